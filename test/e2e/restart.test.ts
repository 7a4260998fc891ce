// A killed daemon loses nothing: output, exit codes, terminals, published ports, stdin.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const WRITERS = 20;
const LINES = 400;

test("kill -9 while twenty containers write: no line is missing or doubled, and the rest goes on", async () => {
  const write = `i=0; while [ $i -lt ${LINES} ]; do echo line $i; echo err $i >&2; i=$((i+1)); usleep 5000; done`;
  const names = Array.from({ length: WRITERS }, (_, index) => `writer${index}`);
  await Promise.all(
    names.map((name) => berth.dockerOK("run", "-d", "--network", "none", "--name", name, "busybox", "sh", "-c", write)),
  );
  await berth.dockerOK(
    "run",
    "-d",
    "--network",
    "none",
    "--name",
    "leaver",
    "busybox",
    "sh",
    "-c",
    "sleep 1.5; exit 33",
  );
  await berth.dockerOK("run", "-dit", "--network", "none", "--name", "terminal", "busybox", "sh");
  await berth.dockerOK(
    "run",
    "-d",
    "--name",
    "web",
    "-p",
    "18080:80",
    "busybox",
    "httpd",
    "-f",
    "-p",
    "80",
    "-h",
    "/www",
  );
  const attached = berth.docker(["attach", "--no-stdin", "writer0"]);

  for (let round = 0; round < 3; round++) {
    await berth.kill();
    await Bun.sleep(700);
    await berth.boot();
  }
  await attached;

  const answer = await berth.inside(["curl", "-sf", "--max-time", "5", "http://127.0.0.1:18080/index.html"]);
  expect(answer.stdout).toBe("served by busybox\n");
  await until("the writers are done", async () => (await berth.dockerOK("ps", "-q", "--filter", "name=writer")) === "");
  for (const name of names) {
    const { stdout, stderr } = await berth.docker(["logs", name]);
    expect(stdout).toBe(Array.from({ length: LINES }, (_, index) => `line ${index}\n`).join(""));
    expect(stderr).toBe(Array.from({ length: LINES }, (_, index) => `err ${index}\n`).join(""));
    expect(await berth.dockerOK("inspect", name, "--format", "{{.State.ExitCode}}")).toBe("0");
  }
  expect(await berth.dockerOK("inspect", "leaver", "--format", "{{.State.Status}} {{.State.ExitCode}}")).toBe(
    "exited 33",
  );

  // The terminal still answers: bytes in, bytes out, by the same pty.
  const shell = await berth.docker(["exec", "terminal", "sh", "-c", "ls -l /proc/1/fd/0"]);
  expect(shell.stdout).toContain("/dev/pts/0");
  const session = Bun.spawn(["script", "-qec", "docker attach terminal", "/dev/null"], {
    env: berth.clientEnv,
    stdin: "pipe",
    stdout: "pipe",
  });
  await session.stdin.write("echo $((6*7))\nexit 3\n");
  await session.stdin.flush();
  const shown = await new Response(session.stdout).text();
  expect(shown).toContain("42");
  await until(
    "the shell has ended",
    async () => (await berth.dockerOK("inspect", "terminal", "--format", "{{.State.Status}}")) === "exited",
  );
  expect(await berth.dockerOK("inspect", "terminal", "--format", "{{.State.ExitCode}}")).toBe("3");
  await berth.dockerOK("rm", "-f", ...names, "leaver", "terminal", "web");
}, 120_000);

test("SIGTERM leaves containers running, and the next daemon knows them", async () => {
  await berth.dockerOK(
    "run",
    "-d",
    "-i",
    "--name",
    "kept",
    "busybox",
    "sh",
    "-c",
    "while read x; do echo got $x; done; echo end",
  );
  const pid = await berth.dockerOK("inspect", "kept", "--format", "{{.State.Pid}}");
  expect(await berth.stop()).toBe(0);
  process.kill(Number(pid), 0);
  await berth.boot();
  expect(await berth.dockerOK("inspect", "kept", "--format", "{{.State.Pid}} {{.State.Running}}")).toBe(`${pid} true`);
  // Without StdinOnce the end of a client's stdin ends its attachment, so it is held open until the answer is there.
  const attached = Bun.spawn(["docker", "attach", "kept"], { env: berth.clientEnv, stdin: "pipe", stdout: "pipe" });
  await attached.stdin.write("one\ntwo\n");
  await attached.stdin.flush();
  const reader = (attached.stdout as ReadableStream<Uint8Array>).getReader();
  let shown = "";
  while (!shown.includes("got two\n")) shown += new TextDecoder().decode((await reader.read()).value);
  expect(shown).toBe("got one\ngot two\n");
  attached.kill("SIGKILL");
  await berth.dockerOK("rm", "-f", "kept");
});

test("a restart policy holds across a kill of the daemon", async () => {
  await berth.dockerOK("run", "-d", "--restart", "always", "--name", "always", "busybox", "sleep", "1000");
  await berth.dockerOK("run", "-d", "--restart", "unless-stopped", "--name", "stopped", "busybox", "sleep", "1000");
  await berth.dockerOK("stop", "-t", "0", "stopped");
  const pid = Number(await berth.dockerOK("inspect", "always", "--format", "{{.State.Pid}}"));
  await berth.kill();
  process.kill(pid, "SIGKILL");
  await berth.boot();
  await until(
    "it is back",
    async () => (await berth.dockerOK("inspect", "always", "--format", "{{.State.Running}}")) === "true",
  );
  expect(await berth.dockerOK("inspect", "stopped", "--format", "{{.State.Status}}")).toBe("exited");
  await berth.dockerOK("rm", "-f", "always", "stopped");
});

test("a second daemon on the same data root is refused, and the first goes on", async () => {
  const second = await berth.inside([
    `${import.meta.dir}/../../dist/berth`,
    "-H",
    `unix://${berth.directory}/other.sock`,
    "--data-root",
    berth.dataRoot,
    "--exec-root",
    `${berth.directory}/exec2`,
    "--pidfile",
    `${berth.directory}/other.pid`,
    "--bridge",
    "none",
  ]);
  expect(second.code).toBe(1);
  expect(second.stderr).toContain("is in use by another berth");
  expect((await berth.request("GET", "/_ping")).status).toBe(200);
});
