// docker diff and docker export with the real CLI, of containers that run and that do not: what changed and nothing else,
// every kind of file, and nothing of what is mounted in it.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";
import { directory, dockerArchive, file, imageOf, layerOf, symlink } from "../support/images.ts";

let berth: TestDaemon;
let work: string;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  const applets = (await run(["/bin/busybox", "--list"])).stdout.trim().split("\n");
  const image = imageOf(
    [
      [
        directory("bin"),
        file("bin/busybox", readFileSync("/bin/busybox"), 0o755),
        ...applets.filter((name) => name !== "busybox").map((name) => symlink(`bin/${name}`, "busybox")),
      ],
      [
        directory("etc"),
        file("etc/one", "1"),
        file("etc/two", "2"),
        directory("gone"),
        directory("gone/sub"),
        file("gone/sub/a", "a"),
      ],
      [directory("dir"), file("dir/low", "low"), file("dir/both", "low"), directory("became"), file("became/x", "x")],
      [file("dir/high", "high"), symlink("link", "etc/one"), file("plain", "plain")],
    ].map((entries) => layerOf(entries)),
  );
  const archive = join(berth.directory, "layers.tar");
  writeFileSync(archive, dockerArchive(image, ["layers:latest"]));
  await berth.dockerOK("load", "-i", archive);
});
afterAll(async () => await berth[Symbol.asyncDispose]());
beforeEach(() => {
  work = join(berth.directory, "work");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work);
});
afterEach(async () => {
  const left = await berth.dockerOK("ps", "-aq");
  if (left !== "") await berth.dockerOK("rm", "-f", "-v", ...left.split("\n"));
});

/** Runs a script in a container, which then goes on or not. */
async function changed(script: string, isLive: boolean, ...options: string[]): Promise<void> {
  const command = `${script}\n${isLive ? "touch /dev/shm/ready; exec sleep 1000" : ""}`;
  await berth.dockerOK("run", "-d", "--name", "c1", "--network", "none", ...options, "layers", "sh", "-ec", command);
  if (!isLive) return expect(await berth.dockerOK("wait", "c1")).toBe("0");
  await until(
    "the script has ended",
    async () => (await berth.docker(["exec", "c1", "test", "-e", "/dev/shm/ready"])).code === 0,
  );
}

const diff = async (): Promise<string[]> =>
  (await berth.dockerOK("diff", "c1")).split("\n").filter((line) => line !== "");

describe.each([true, false])("diff while it runs: %p", (isLive) => {
  test("tells what was added, modified and deleted, and the directories above", async () => {
    await changed(
      "echo 1 >/new; echo more >>/etc/one; rm /dir/low; mkdir -p /x/y; echo f >/x/y/f; chmod 600 /plain; ln -sfn other /link; rm -r /gone",
      isLive,
    );
    expect(await diff()).toEqual([
      "C /dir",
      "D /dir/low",
      "C /etc",
      "C /etc/one",
      "D /gone",
      "C /link",
      "A /new",
      "C /plain",
      "A /x",
      "A /x/y",
      "A /x/y/f",
    ]);
  });

  test("a directory that was made anew has lost what it had; one became a file, a file became one", async () => {
    await changed(
      "rm -r /dir; mkdir /dir; echo new >/dir/both; rm -r /became; echo f >/became; rm /plain; mkdir /plain; >/plain/in",
      isLive,
    );
    const found = await diff();
    expect(found).toEqual([
      "C /became",
      "C /dir",
      "C /dir/both",
      "D /dir/high",
      "D /dir/low",
      "C /plain",
      "A /plain/in",
    ]);
  });

  test("what was only touched, opened, or made and removed again is no change", async () => {
    await changed(
      "chmod 700 /etc/one; chmod 644 /etc/one; touch /dir/temporary; rm /dir/temporary; chmod 700 /gone; chmod 755 /gone",
      isLive,
    );
    expect(await diff()).toEqual([]);
  });

  test("the engine's own files are not listed; a volume's place is, but nothing in it", async () => {
    await changed(
      ">/vol/in; >/tmpfs/in; echo x >>/etc/hosts; >/dev/null; >/etc/three",
      isLive,
      "-v",
      "/vol",
      "--tmpfs",
      "/tmpfs",
    );
    expect(await diff()).toEqual(["C /etc", "A /etc/three", "A /tmpfs", "A /vol"]);
  });
});

test("diff of nothing is null, of nobody a 404", async () => {
  await berth.dockerOK("create", "--name", "c1", "busybox", "true");
  const reply = await berth.request("GET", "/containers/c1/changes");
  expect([reply.status, await reply.text()]).toEqual([200, "null\n"]);
  expect((await berth.request("GET", "/containers/nope/changes")).status).toBe(404);
  expect((await berth.request("GET", "/containers/nope/export")).status).toBe(404);
});

test("diff of a large tree lists all of it, in order", async () => {
  await changed(
    "mkdir /many; cd /many; for d in 1 2 3 4; do mkdir $d; seq 300 | sed s,^,$d/, | xargs touch; done",
    false,
  );
  const found = await diff();
  expect(found).toHaveLength(1205);
  expect(found.slice(0, 3)).toEqual(["A /many", "A /many/1", "A /many/1/1"]);
  expect(new Set(found).size).toBe(1205);
});

describe.each([true, false])("export while it runs: %p", (isLive) => {
  const EVERYTHING = [
    "mkdir /k; cd /k; echo text >file; ln file twin; ln -s file soft; mkfifo fifo; mknod null c 1 3",
    "chown 1234:5678 file; chmod 4750 file; touch -d '2020-01-02 03:04:05' file",
    `mkdir ${"l".repeat(120)}; echo long >${"l".repeat(120)}/${"m".repeat(120)}`,
    "dd if=/dev/zero of=sparse bs=1 count=1 seek=300000 2>/dev/null; rm /etc/two",
  ].join("\n");

  test("has every kind of file, and nothing of a volume", async () => {
    await changed(`${EVERYTHING}; echo secret >/vol/in`, isLive, "-v", "/vol", "--cap-add", "MKNOD");
    const tar = join(work, "c1.tar");
    await berth.dockerOK("export", "-o", tar, "c1");
    const out = join(work, "out");
    mkdirSync(out);
    expect(await run(["tar", "-xpf", tar, "-C", out, "--numeric-owner", "--xattrs"])).toMatchObject({
      code: 0,
      stderr: "",
    });
    const at = (path: string): string => join(out, path);
    expect(readFileSync(at("k/file"), "utf8")).toBe("text\n");
    expect(lstatSync(at("k/file"))).toMatchObject({ uid: 1234, gid: 5678, nlink: 2, mode: 0o104750 });
    expect(lstatSync(at("k/file")).mtime.toISOString()).toBe("2020-01-02T03:04:05.000Z");
    expect(lstatSync(at("k/twin")).ino).toBe(lstatSync(at("k/file")).ino);
    expect(readlinkSync(at("k/soft"))).toBe("file");
    expect(lstatSync(at("k/fifo")).isFIFO()).toBe(true);
    expect(lstatSync(at("k/null")).rdev).toBe(0x103);
    expect(readFileSync(at(`k/${"l".repeat(120)}/${"m".repeat(120)}`), "utf8")).toBe("long\n");
    expect(lstatSync(at("k/sparse")).size).toBe(300_001);
    expect(readdirSync(at("vol"))).toEqual([]);
    expect(readdirSync(at("proc"))).toEqual([]);
    expect([existsSync(at("etc/two")), existsSync(at("etc/one"))]).toEqual([false, true]);
    expect(lstatSync(at("etc/hosts")).size).toBe(0);
    // Other readers see the same names; none begins with a dot or a slash that tar's extraction would take away.
    const names = (await run(["tar", "-tf", tar])).stdout.split("\n");
    expect(names.filter((name) => name.startsWith("/") || name.startsWith("./"))).toEqual([]);
    const python = "import sys, tarfile; print('\\n'.join(m.name for m in tarfile.open(sys.argv[1])))";
    const others = (await run(["python3", "-c", python, tar])).stdout.trim().split("\n");
    expect(others).toEqual(names.filter((name) => name !== "").map((name) => name.replace(/\/$/, "")));
  });
});

test("an exporter that goes away leaves nothing open, and the container can be removed meanwhile", async () => {
  await changed("dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null", true);
  const open = (): number => readdirSync(`/proc/${berth.pid}/fd`).length;
  const before = open();
  const gone = new AbortController();
  const reply = await fetch("http://d/containers/c1/export", { unix: berth.socket, signal: gone.signal });
  await reply.body?.getReader().read();
  expect(open()).toBeGreaterThan(before);
  await berth.dockerOK("rm", "-f", "c1");
  gone.abort();
  await until("its descriptors are closed", () => open() <= before);
});

test("export is an event, once it is whole", async () => {
  await berth.dockerOK("create", "--name", "c1", "--label", "exported", "busybox", "true");
  await berth.dockerOK("export", "-o", join(work, "x.tar"), "c1");
  const filters = encodeURIComponent(JSON.stringify({ event: ["export"], label: ["exported"] }));
  const reply = await berth.request("GET", `/events?since=1&until=${Date.now() / 1000}&filters=${filters}`);
  expect(await reply.json()).toMatchObject({ Action: "export", Actor: { Attributes: { name: "c1" } } });
});

test("diff of a container whose root is a copy compares all of it", async () => {
  await using copies = await TestDaemon.start({ args: ["--storage-driver", "copy"] });
  await loadBusybox(copies);
  const script = "rm /bin/cat; rm -r /www; echo 1 >/etc/new; chmod 700 /root; rmdir /mnt; echo f >/mnt";
  await copies.dockerOK("run", "--name", "c1", "--network", "none", "busybox", "sh", "-ec", script);
  expect((await copies.dockerOK("diff", "c1")).split("\n")).toEqual([
    "C /bin",
    "D /bin/cat",
    "C /etc",
    "A /etc/new",
    "C /mnt",
    "C /root",
    "D /www",
  ]);
  await copies.dockerOK("rm", "c1");
});
