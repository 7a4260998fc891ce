// docker cp in every direction with the real CLI, into and out of containers that run and that do not; and containers that
// do their worst meanwhile.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";
import { directory, file, type LayerEntry, symlink, tarOf } from "../support/images.ts";

let berth: TestDaemon;
let work: string;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());
beforeEach(() => {
  work = join(berth.directory, "work");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, "dir/sub"), { recursive: true });
  writeFileSync(join(work, "file"), "a file\n");
  writeFileSync(join(work, "dir/inner"), "inner\n");
  writeFileSync(join(work, "dir/sub/deep"), "deep\n");
  symlinkSync("inner", join(work, "dir/link"));
});
afterEach(async () => {
  const left = await berth.dockerOK("ps", "-aq");
  if (left !== "") await berth.dockerOK("rm", "-f", "-v", ...left.split("\n"));
});

const at = (path: string): string => join(work, path);
const cp = (...args: string[]) => berth.docker(["cp", ...args]);
const cpOK = (...args: string[]) => berth.dockerOK("cp", ...args);
const text = (path: string): string => readFileSync(at(path), "utf8");

const LIVE = ["sleep", "1000"];

/** A container by the name c1, running or made only. What `sh` does is done in both: a stopped one did it in its run. */
async function make(isLive: boolean, ...options: string[]): Promise<void> {
  await berth.dockerOK("create", "--name", "c1", "--network", "none", ...options, "busybox", ...LIVE);
  if (isLive) await berth.dockerOK("start", "c1");
}

/** Runs a script over the container's files, wherever they are. */
async function inside(script: string): Promise<string> {
  const isRunning = (await berth.dockerOK("inspect", "-f", "{{.State.Running}}", "c1")) === "true";
  if (!isRunning) await berth.dockerOK("start", "c1");
  const said = await berth.dockerOK("exec", "c1", "sh", "-c", script);
  if (!isRunning) await berth.dockerOK("kill", "c1");
  return said;
}

function put(path: string, body: Uint8Array, query = ""): Promise<Response> {
  return berth.request("PUT", `/containers/c1/archive?path=${encodeURIComponent(path)}${query}`, { body });
}

async function messageOf(response: Response): Promise<string> {
  return ((await response.json()) as { message: string }).message;
}

describe.each([
  ["running", true],
  ["stopped", false],
] as const)("a %s container", (_state, isLive) => {
  test("takes a file under its name, under another, and over an old one", async () => {
    await make(isLive);
    await cpOK(at("file"), "c1:/tmp");
    await cpOK(at("file"), "c1:/tmp/");
    await cpOK(at("file"), "c1:/tmp/other");
    writeFileSync(at("file"), "newer\n");
    await cpOK(at("file"), "c1:/tmp/other");
    expect(await inside("cd /tmp; cat file other; ls")).toBe("a file\nnewer\nfile\nother");
  });

  test("takes a directory: into one that is there, as one that is not, and its content alone", async () => {
    await make(isLive);
    await cpOK(at("dir"), "c1:/tmp");
    await cpOK(at("dir"), "c1:/made");
    await cpOK(`${at("dir")}/.`, "c1:/mnt");
    expect(await inside("cat /tmp/dir/sub/deep /made/sub/deep /mnt/sub/deep; readlink /made/link; ls /mnt")).toBe(
      "deep\ndeep\ndeep\ninner\ninner\nlink\nsub",
    );
  });

  test("gives a file, a directory, the content of one, and a link as a link or what it leads to", async () => {
    await make(isLive);
    await cpOK(at("dir"), "c1:/made");
    await cpOK("c1:/made/inner", at("out"));
    await cpOK("c1:/made", at("whole"));
    await cpOK("c1:/made/.", at("."));
    await cpOK("c1:/made/link", at("aslink"));
    await cpOK("-L", "c1:/made/link", at("followed"));
    expect([text("out"), text("whole/sub/deep"), text("sub/deep"), text("followed")]).toEqual([
      "inner\n",
      "deep\n",
      "deep\n",
      "inner\n",
    ]);
    expect(readlinkSync(at("aslink"))).toBe("inner");
    expect(readlinkSync(at("whole/link"))).toBe("inner");
  });

  test("follows symbolic links of its own on the way, absolute ones from its own root", async () => {
    await make(isLive);
    await inside("mkdir -p /real/deep; ln -s /real /abs; ln -s ../real /tmp/rel; ln -s ../../../../../../etc /climb");
    await cpOK(at("file"), "c1:/abs/deep/x");
    await cpOK(at("file"), "c1:/tmp/rel");
    await cpOK(at("dir"), "c1:/abs");
    expect(await inside("cat /real/deep/x /real/file /real/dir/inner")).toBe("a file\na file\ninner");
    await cpOK("c1:/climb/passwd", at("passwd"));
    expect(text("passwd")).toStartWith("root:x:0:0:root:/root:/bin/sh\nuser:");
  });

  test("passes through stdin and stdout", async () => {
    await make(isLive);
    const line = `tar -C ${at("dir")} -c . | docker cp - c1:/tmp && docker cp c1:/tmp/sub - | tar -t`;
    const ran = await run(["sh", "-c", line], { env: berth.clientEnv });
    expect(ran).toEqual({ stdout: "sub/\nsub/deep\n", stderr: "", code: 0 });
    expect(await inside("cat /tmp/inner")).toBe("inner");
  });

  test("keeps owners, modes and times as the archive has them; -a makes all its user's", async () => {
    await make(isLive, "--user", "user");
    chownSync(at("file"), 123, 456);
    chmodSync(at("file"), 0o4750);
    await cpOK(at("file"), "c1:/tmp/kept");
    await cpOK("-a", at("file"), "c1:/tmp/given");
    expect(await inside("stat -c '%a %u %g' /tmp/kept /tmp/given")).toBe("4750 123 456\n4750 1000 1000");
    const listed = await run(["sh", "-c", "docker cp c1:/tmp/kept - | tar -tv --numeric-owner"], {
      env: berth.clientEnv,
    });
    expect(listed.stdout).toMatch(/^-rwsr-x--- 123\/456 /);
    await cpOK("-a", "c1:/tmp/kept", at("back"));
    expect(statSync(at("back")).mode & 0o7777).toBe(0o4750);
    expect(Math.floor(statSync(at("back")).mtimeMs / 1000)).toBe(Math.floor(statSync(at("file")).mtimeMs / 1000));
  });

  test("has volumes and binds in their places, also behind links and below each other", async () => {
    mkdirSync(at("host/below"), { recursive: true });
    writeFileSync(at("host/f"), "of the host\n");
    await make(
      isLive,
      "-v",
      "vol:/data/vol",
      "-v",
      `${at("host")}:/data/host`,
      "-v",
      "nested:/data/host/below",
      "-v",
      "ro:/ro:ro",
    );
    await inside("ln -s /data/vol /v");
    await cpOK(at("file"), "c1:/v/x");
    await cpOK(at("file"), "c1:/data/host/below");
    await cpOK(at("dir"), "c1:/data/host");
    expect(text("host/dir/inner")).toBe("inner\n");
    expect(readdirSync(at("host/below"))).toEqual([]);
    await cpOK("c1:/data", at("data"));
    expect([text("data/vol/x"), text("data/host/f"), text("data/host/below/file")]).toEqual([
      "a file\n",
      "of the host\n",
      "a file\n",
    ]);
    const refused = await cp(at("file"), "c1:/ro/x");
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining("mounted volume is marked read-only")]);
    await berth.dockerOK("rm", "-f", "c1");
    await berth.dockerOK("volume", "rm", "vol", "nested", "ro");
  });

  test("that is read-only takes nothing but into its volumes", async () => {
    await make(isLive, "--read-only", "-v", "vol:/vol");
    const refused = await cp(at("file"), "c1:/tmp/x");
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringContaining("container rootfs is marked read-only"),
    ]);
    await cpOK(at("file"), "c1:/vol/x");
    await cpOK("c1:/vol/x", at("back"));
    expect(text("back")).toBe("a file\n");
    await berth.dockerOK("rm", "-f", "c1");
    await berth.dockerOK("volume", "rm", "vol");
  });

  test("says what is not there, and what is no directory", async () => {
    await make(isLive);
    expect((await cp("c1:/nope", at("."))).stderr).toContain("Could not find the file /nope in container c1");
    expect((await berth.request("HEAD", "/containers/c1/archive?path=/nope")).status).toBe(404);
    const wrong = await put("/etc/passwd", tarOf([]));
    expect([wrong.status, await messageOf(wrong)]).toEqual([400, "extraction point is not a directory"]);
    const missing = await put("/nope", tarOf([]));
    expect([missing.status, await messageOf(missing)]).toEqual([404, "Could not find the file /nope in container c1"]);
    expect((await cp(at("file"), "c1:/nope/")).code).toBe(1);
  });

  test("keeps the kind of what is there only where that is asked for", async () => {
    await make(isLive);
    await inside("mkdir -p /tmp/d/full; echo > /tmp/f");
    const asked = "&noOverwriteDirNonDir=true";
    const first = await put("/tmp", tarOf([file("d", "x")]), asked);
    expect([first.status, await messageOf(first)]).toEqual([
      400,
      'cannot overwrite directory "/tmp/d" with non-directory "/tmp"',
    ]);
    const second = await put("/tmp", tarOf([directory("f")]), asked);
    expect([second.status, await messageOf(second)]).toEqual([
      400,
      'cannot overwrite non-directory "/tmp/f" with directory "/tmp"',
    ]);
    expect((await put("/tmp", tarOf([file("d", "x"), directory("f")]))).status).toBe(200);
    expect(await inside("cd /tmp; cat d; test -d f && echo directory")).toBe("xdirectory");
  });

  test("takes every compression, hard links, devices and long names, and gives them again", async () => {
    await make(isLive);
    const long = `${"n".repeat(200)}/${"m".repeat(200)}`;
    const entries: LayerEntry[] = [
      file("one", "same file"),
      { type: "link", path: "two", linkPath: "one" },
      { type: "fifo", path: "pipe", mode: 0o622 },
      { type: "char", path: "null", major: 1, minor: 3, mode: 0o666 },
      file(`${long}/café`, "far away"),
      { ...file("nano", ""), mtime: { sec: 1_600_000_000, nsec: 123_456_789 } },
    ];
    expect((await put("/mnt", gzipSync(tarOf(entries)))).status).toBe(200);
    expect((await put("/www", zstdCompressSync(tarOf(entries)))).status).toBe(200);
    for (const place of ["/mnt", "/www"]) {
      const seen = await inside(
        `cd ${place}; stat -c '%h %a %F' one two pipe null; cat ${long}/café; test one -ef two && echo same`,
      );
      expect(seen).toBe(
        "2 644 regular file\n2 644 regular file\n1 622 fifo\n1 666 character special file\nfar awaysame",
      );
    }
    for (const tool of ["xz", "bzip2"]) {
      const packed = new Uint8Array(Bun.spawnSync([tool, "-c"], { stdin: tarOf([file(tool, `by ${tool}`)]) }).stdout);
      expect((await put("/home", packed)).status).toBe(200);
    }
    expect(await inside("cat /home/xz /home/bzip2")).toBe("by xzby bzip2");
    const out = await berth.request("GET", "/containers/c1/archive?path=/mnt/.");
    writeFileSync(at("out.tar"), await out.bytes());
    mkdirSync(at("unpacked"));
    expect(await run(["tar", "-C", at("unpacked"), "-xpf", at("out.tar")])).toMatchObject({ code: 0, stderr: "" });
    expect(statSync(at("unpacked/one")).ino).toBe(statSync(at("unpacked/two")).ino);
    expect(statSync(at("unpacked/null")).rdev).toBe(0x103);
    expect(text(`unpacked/${long}/café`)).toBe("far away");
    expect(statSync(at("unpacked/nano"), { bigint: true }).mtimeNs).toBe(1_600_000_000_123_456_789n);
  });

  test("is left by no archive, whatever that says", async () => {
    await make(isLive);
    const outside = at("outside");
    mkdirSync(outside);
    const climbing = await put("/tmp", tarOf([file("../../escape", "x")]));
    expect([climbing.status, await messageOf(climbing)]).toEqual([400, expect.stringContaining("climbs out")]);
    expect((await put("/tmp", tarOf([{ type: "link", path: "l", linkPath: "../etc/passwd" }]))).status).toBe(400);
    // A link that the archive itself has made leads to the container's own root.
    const through = tarOf([
      symlink("way", outside),
      file("way/in", "x"),
      symlink("up", "../../../../.."),
      file("up/top", "x"),
    ]);
    await put("/tmp", through);
    expect(readdirSync(outside)).toEqual([]);
    expect(existsSync("/top")).toBe(false);
    for (const damaged of [
      Buffer.from("no tar at all".repeat(100)),
      tarOf([file("cut", "x".repeat(5000))]).subarray(0, 2000),
    ]) {
      expect((await put("/tmp", damaged)).status).toBe(400);
    }
    const xz = await put("/tmp", Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0, 0]));
    expect([xz.status, await messageOf(xz)]).toEqual([400, expect.stringContaining("the xz data is damaged")]);
    expect((await put("/tmp", new Uint8Array(0))).status).toBe(200);
  });

  test("tells in its header what a path is", async () => {
    await make(isLive);
    await inside("mkdir /d; ln -s /d/../d/missing /d/link; chmod 1777 /d; printf 12345 > /d/f; chmod 4755 /d/f");
    const stat = async (path: string): Promise<unknown> => {
      const { headers } = await berth.request("HEAD", `/containers/c1/archive?path=${path}`);
      return JSON.parse(Buffer.from(headers.get("x-docker-container-path-stat") ?? "", "base64").toString());
    };
    expect(await stat("/d/f")).toMatchObject({ name: "f", size: 5, mode: 2 ** 23 + 0o755, linkTarget: "" });
    expect(await stat("/d/")).toMatchObject({ name: "d", mode: 2 ** 31 + 2 ** 20 + 0o777 });
    expect(await stat("/d/link")).toMatchObject({ name: "link", mode: 2 ** 27 + 0o777, linkTarget: "/d/missing" });
    expect(await stat("/")).toMatchObject({ name: "/" });
  });

  test("leaves nothing behind", async () => {
    await make(isLive, "-v", "vol:/vol");
    const before = openFiles();
    await cpOK(at("dir"), "c1:/vol");
    await cpOK("c1:/vol", at("vol"));
    await cp("c1:/nope", at("."));
    // A client that goes in the middle.
    const controller = new AbortController();
    const reply = await fetch("http://berth/containers/c1/archive?path=/bin/busybox", {
      unix: berth.socket,
      signal: controller.signal,
    } as RequestInit);
    await reply.body?.getReader().read();
    controller.abort();
    await until("descriptors are closed", () => openFiles() <= before + 1);
    await berth.dockerOK("rm", "-f", "c1");
    await berth.dockerOK("volume", "rm", "vol");
    // What was removed is deleted in the background.
    await until("nothing is left", async () => (await berth.leftovers()).length === 0);
  });
});

function openFiles(): number {
  return readdirSync(`/proc/${berth.pid}/fd`).length;
}

test("a tmpfs of a running container is seen, and files of /proc have their content", async () => {
  await make(true, "--tmpfs", "/t");
  await cpOK(at("file"), "c1:/t/x");
  expect(await inside("cat /t/x")).toBe("a file");
  await cpOK("c1:/proc/1/cmdline", at("cmdline"));
  expect(text("cmdline")).toBe("sleep\0" + "1000\0");
});

test("a container that is made but has not run can be filled, and finds it when it starts", async () => {
  await berth.dockerOK(
    "create",
    "--name",
    "c1",
    "--network",
    "none",
    "-v",
    "/not/there/yet",
    "busybox",
    "cat",
    "/not/there/yet/file",
  );
  expect(await cp("c1:/not/there", at("there"))).toMatchObject({ code: 0 });
  await cpOK(at("file"), "c1:/not/there/yet/");
  expect(await berth.dockerOK("start", "-a", "c1")).toBe("a file");
});

test("events tell of both directions", async () => {
  await make(false);
  const since = String(Date.now() / 1000);
  await cpOK(at("file"), "c1:/tmp");
  await cpOK("c1:/tmp/file", at("back"));
  const seen = await berth.dockerOK(
    "events",
    "--since",
    since,
    "--until",
    String(Date.now() / 1000),
    "--format",
    "{{.Action}}",
  );
  expect(seen).toBe("extract-to-dir\narchive-path");
});

test("a file larger than any buffer goes in and out whole, while the daemon answers others", async () => {
  await make(true);
  await run(["sh", "-c", `head -c 60000000 /dev/urandom > ${at("big")}`]);
  const copying = cpOK(at("big"), "c1:/tmp/big");
  expect(await berth.dockerOK("ps", "-q")).not.toBe("");
  await copying;
  await cpOK("c1:/tmp/big", at("back"));
  expect(await run(["cmp", at("big"), at("back")])).toMatchObject({ code: 0 });
});

test("a container that is stopped in the middle of a copy ends it, and a restart goes well", async () => {
  await make(true);
  const archive = tarOf([file("x", "y".repeat(100_000))]);
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(archive.slice(0, 4096)),
  });
  const copying = berth.request("PUT", "/containers/c1/archive?path=/tmp", { body });
  await until("it has begun", async () => (await inside("ls /tmp")) === "x");
  await berth.dockerOK("restart", "-t", "0", "c1");
  const reply = await copying;
  expect([reply.status, await messageOf(reply)]).toEqual([409, expect.stringContaining("stopped while files")]);
  expect(await inside("echo up")).toBe("up");
});

describe("a hostile container", () => {
  /** What it must never reach: a directory of the host's, by a path that is not in the container. */
  const SECRET = "the host's secret";

  test("swaps a directory for a link to the host while cp goes in and out: nothing of the host's is read or written", async () => {
    const outside = at("outside");
    mkdirSync(join(outside, "sub"), { recursive: true });
    writeFileSync(join(outside, "f"), SECRET);
    writeFileSync(join(outside, "sub/f"), SECRET);
    await make(true);
    // Compiled tools are not there: two shells swap as fast as they can.
    const script = [
      "mkdir -p /x/real/sub; echo mine > /x/real/f; echo mine > /x/real/sub/f",
      `ln -s ${outside} /x/evil`,
      "swap() { while :; do mv -T /x/d /x/away 2>/dev/null; ln -sfn /x/evil /x/d; rm -f /x/d; mv -T /x/away /x/d 2>/dev/null; done; }",
      `deep() { while :; do rm -rf /x/real/sub; ln -s ${join(outside, "sub")} /x/real/sub; rm -f /x/real/sub; mkdir -p /x/real/sub; echo mine > /x/real/sub/f; done; }`,
      "cp -r /x/real /x/d; swap & deep & wait",
    ].join("\n");
    await berth.dockerOK("exec", "-d", "c1", "sh", "-c", script);
    await until(
      "it swaps",
      async () => (await berth.dockerOK("exec", "c1", "sh", "-c", "test -d /x/real && echo yes")) === "yes",
    );
    const archive = tarOf([
      directory("d"),
      file("d/f", "written"),
      directory("d/sub", 0o777),
      file("d/sub/f", "written"),
      { type: "char", path: "d/sub/node", major: 1, minor: 3 },
      file("real/sub/f", "written"),
      directory("real/sub", 0o777),
    ]);
    const seen: string[] = [];
    let done = 0;
    for (const end = Date.now() + 4000; Date.now() < end; done++) {
      const [out] = await Promise.all([
        berth.request(
          "GET",
          `/containers/c1/archive?path=${["/x/d/", "/x", "/x/real", "/x/d/f", "/x/d/sub/f"][done % 5]}`,
        ),
        put("/x", archive, done % 2 === 0 ? "" : "&noOverwriteDirNonDir=true"),
        put("/x/d", tarOf([file("f", "written"), file("sub/f", "written"), directory("sub")])),
      ]);
      seen.push(await out.text().catch(() => ""));
    }
    expect(done).toBeGreaterThan(20);
    expect(seen.filter((each) => each.includes(SECRET))).toEqual([]);
    expect(seen.some((each) => each.includes("mine") || each.includes("written"))).toBe(true);
    expect([readdirSync(outside).toSorted(), readdirSync(join(outside, "sub"))]).toEqual([["f", "sub"], ["f"]]);
    expect([text("outside/f"), text("outside/sub/f")]).toEqual([SECRET, SECRET]);
    expect(statSync(join(outside, "sub")).mode & 0o777).toBe(0o755);
  }, 20_000);
});
