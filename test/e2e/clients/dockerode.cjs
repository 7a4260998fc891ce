// dockerode against berth, under Node: run, attach, exec, logs, events. Prints one line per step; throws at the first
// surprise. It sends no version prefix, so it always gets the newest shapes. The socket is in DOCKER_HOST.
const assert = require("node:assert");
const { once } = require("node:events");
const { PassThrough } = require("node:stream");
const Docker = require("dockerode");

const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });
const ok = (what) => console.log(`ok ${what}`);

/** Everything a stream gives, as text. */
async function text(stream) {
  let all = "";
  for await (const chunk of stream) all += chunk;
  return all;
}

/** A framed stream as [stdout, stderr]. */
async function split(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on("end", () => (out.end(), err.end()));
  return await Promise.all([text(out), text(err)]);
}

async function main() {
  assert.equal(String(await docker.ping()), "OK");
  assert.equal((await docker.version()).Os, "linux");
  ok("ping and version");

  const events = await docker.getEvents();
  let seen = "";
  events.on("data", (chunk) => (seen += chunk));

  const out = new PassThrough();
  const printed = text(out);
  // It asks for the exit code only after the start: one that is gone by then, with AutoRemove, is a 404.
  const [{ StatusCode }] = await docker.run("busybox", ["sh", "-c", "echo hi; sleep 0.5; exit 3"], out, {
    HostConfig: { AutoRemove: true },
  });
  out.end();
  assert.deepEqual(
    [
      StatusCode,
      (await printed)
        .replace(/^[\0-\x08]*/, "")
        .trim()
        .endsWith("hi"),
    ],
    [3, true],
  );
  ok("run");

  const container = await docker.createContainer({
    Image: "busybox",
    Cmd: ["sh", "-c", "cat; echo end >&2"],
    OpenStdin: true,
    StdinOnce: true,
    name: "ode",
  });
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const both = split(stream);
  await container.start();
  stream.end("through attach\n");
  assert.deepEqual(await both, ["through attach\n", "end\n"]);
  assert.equal((await container.wait()).StatusCode, 0);
  ok("attach and wait");
  const logs = await container.logs({ stdout: true, stderr: true, follow: false });
  assert.match(logs.toString(), /through attach/);
  ok("logs");
  await container.restart();
  await container.remove({ force: true });

  const sleeper = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "100"], Tty: true, name: "ode2" });
  await sleeper.start();
  await sleeper.resize({ h: 20, w: 60 });
  const exec = await sleeper.exec({
    Cmd: ["sh", "-c", "echo out; echo err >&2; exit 5"],
    AttachStdout: true,
    AttachStderr: true,
  });
  assert.deepEqual(await split(await exec.start({ hijack: true, stdin: false })), ["out\n", "err\n"]);
  assert.equal((await exec.inspect()).ExitCode, 5);
  ok("exec");
  // No tar library: the archive that comes out goes in again.
  const passwd = await sleeper.getArchive({ path: "/etc/passwd" });
  await sleeper.putArchive(passwd, { path: "/tmp" });
  const [same] = await split(
    await (
      await sleeper.exec({ Cmd: ["cmp", "/etc/passwd", "/tmp/passwd"], AttachStdout: true, AttachStderr: true })
    ).start({ hijack: true, stdin: false }),
  );
  assert.equal(same, "");
  const { name } = JSON.parse(
    Buffer.from((await sleeper.infoArchive({ path: "/tmp/passwd" })).headers["x-docker-container-path-stat"], "base64"),
  );
  assert.equal(name, "passwd");
  ok("archive");
  const sample = await sleeper.stats({ stream: false, "one-shot": true });
  assert.deepEqual([sample.id, sample.pids_stats.current], [sleeper.id, 1]);
  const samples = await sleeper.stats();
  const [first] = await once(samples, "data");
  assert.equal(JSON.parse(first).name, "/ode2");
  samples.destroy();
  const changes = await sleeper.changes();
  assert.deepEqual(changes, [
    { Path: "/tmp", Kind: 0 },
    { Path: "/tmp/passwd", Kind: 1 },
  ]);
  let exportedBytes = 0;
  for await (const chunk of await sleeper.export()) exportedBytes += chunk.length;
  assert.ok(exportedBytes > 1024 && exportedBytes % 512 === 0);
  assert.deepEqual((await sleeper.top({ ps_args: "-o pid,args" })).Titles, ["PID", "COMMAND"]);
  ok("stats, changes, export, top");
  const listed = await docker.listContainers({ filters: { name: ["ode2"] } });
  assert.deepEqual(listed[0].Names, ["/ode2"]);
  assert.equal((await sleeper.inspect()).State.Running, true);
  await sleeper.stop({ t: 0 });
  await sleeper.remove();
  await assert.rejects(sleeper.inspect(), { statusCode: 404 });
  ok("list, inspect, stop, remove");

  const followed = await docker.createContainer({
    Image: "busybox",
    Cmd: ["sh", "-c", "echo 1; sleep 0.2; echo 2"],
    name: "ode3",
  });
  await followed.start();
  const [lines] = await split(await followed.logs({ stdout: true, stderr: true, follow: true }));
  assert.equal(lines, "1\n2\n");
  await followed.remove();
  ok("logs that follow");

  events.destroy();
  for (const action of ["create", "attach", "start", "die", "destroy", "exec_die", "resize", "restart"])
    assert.match(seen, new RegExp(`"Action":"${action}"`));
  ok("events");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
