// A layer to a directory on the real file system: nothing lost, nothing outside. Needs root, for owners and devices.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { applyLayer } from "../../runtime/layer/apply.ts";
import { LayerError } from "../../runtime/layer/layer_error.ts";
import { tarEnd, tarHeader } from "../../runtime/layer/tar_write.ts";
import { digestOf, directory, file, type LayerEntry, symlink, tarOf } from "../support/images.ts";

const base = mkdtempSync(`${tmpdir()}/berth-layer-`);
const hooks = { onRead: () => undefined, checkAborted: () => undefined };
let count = 0;
let umask = 0;

beforeAll(() => {
  umask = process.umask(0);
});
afterAll(() => {
  process.umask(umask);
  rmSync(base, { recursive: true, force: true });
});

function place(blob: Uint8Array): { blobPath: string; target: string } {
  const target = `${base}/t${++count}`;
  mkdirSync(target, { mode: 0o755 });
  writeFileSync(`${base}/b${count}`, blob);
  return { blobPath: `${base}/b${count}`, target };
}

async function apply(entries: readonly LayerEntry[]): Promise<string> {
  const tar = tarOf(entries);
  const { blobPath, target } = place(tar);
  await applyLayer({ blobPath, target, digest: null, diffID: digestOf(tar) }, hooks);
  return target;
}

/** `getfattr` and `stat` of coreutils and attr see what we wrote, independent of our own code. */
function run(...command: string[]): string {
  const { stdout, stderr, success } = Bun.spawnSync(command, {
    env: { LC_ALL: "C", PATH: "/usr/bin:/bin:/usr/sbin:/sbin" },
  });
  if (!success) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  return stdout.toString();
}

function isWhiteout(path: string): boolean {
  const status = lstatSync(path);
  return status.isCharacterDevice() && status.rdev === 0;
}

function isOpaque(path: string): boolean {
  const script = "import os,sys; print(os.getxattr(sys.argv[1], 'trusted.overlay.opaque').decode())";
  const { stdout, success } = Bun.spawnSync(["python3", "-c", script, path]);
  return success && stdout.toString().trim() === "y";
}

describe("a layer", () => {
  test("keeps contents, modes, owners, times and kinds", async () => {
    const mtime = { sec: 1_600_000_000, nsec: 123_456_789 };
    const long = `${"d".repeat(200)}/${"f".repeat(200)}`;
    const root = await apply([
      { ...directory("./", 0o750), uid: 3, gid: 4, mtime },
      { ...directory("etc", 0o711), uid: 7, gid: 8, mtime },
      { ...file("etc/shadow", "secret", 0o640), uid: 70_000, gid: 4_000_000_000, mtime },
      { ...file("etc/su", "x", 0o6755), uid: 5, gid: 6, mtime: { sec: -100, nsec: 1 } },
      { ...file("etc/empty", "", 0o000), mtime, atime: { sec: 7, nsec: 9 } },
      directory("tmp", 0o1777),
      { ...directory("shared", 0o2775), gid: 50 },
      file("shared/inside", "y", 0o600),
      { ...symlink("etc/link", "/nowhere/at/all"), uid: 9, gid: 9, mtime },
      { type: "link", path: "etc/hard", linkPath: "etc/shadow" },
      { type: "char", path: "null", major: 1, minor: 3, mode: 0o666 },
      { type: "block", path: "disk", major: 259, minor: 70_000, mode: 0o6660, uid: 1, gid: 2 },
      { type: "fifo", path: "pipe", mode: 0o622 },
      file("no/parent/told", "z"),
      file(long, "long"),
      file("caf\udce9", "latin"),
    ]);
    const stat = (path: string): string => run("stat", "-c", "%A %u:%g %s %h %.Y %t:%T", `${root}/${path}`).trim();
    expect(run("stat", "-c", "%A %u:%g %.9Y", root).trim()).toBe("drwxr-x--- 3:4 1600000000.123456789");
    expect(run("stat", "-c", "%A %u:%g %.9Y", `${root}/etc`).trim()).toBe("drwx--x--x 7:8 1600000000.123456789");
    expect(run("stat", "-c", "%A %u:%g %s %h %.9Y", `${root}/etc/shadow`).trim()).toBe(
      "-rw-r----- 70000:4000000000 6 2 1600000000.123456789",
    );
    expect(run("stat", "-c", "%A %u:%g", `${root}/etc/su`).trim()).toBe("-rwsr-sr-x 5:6");
    expect(statSync(`${root}/etc/su`).mtimeMs).toBeLessThan(-99_000);
    expect(run("stat", "-c", "%A %.9X", `${root}/etc/empty`).trim()).toBe("---------- 7.000000009");
    expect(stat("tmp")).toStartWith("drwxrwxrwt 0:0");
    expect(stat("shared")).toStartWith("drwxrwsr-x 0:50");
    expect(stat("shared/inside")).toStartWith("-rw------- 0:0 1 ");
    expect(run("stat", "-c", "%N %u:%g %.9Y", `${root}/etc/link`)).toContain("9:9 1600000000.123456789");
    expect(readlinkSync(`${root}/etc/link`)).toBe("/nowhere/at/all");
    expect(statSync(`${root}/etc/hard`).ino).toBe(statSync(`${root}/etc/shadow`).ino);
    expect(stat("null")).toEndWith(" 1:3");
    expect(stat("disk")).toMatch(/^brwS?.*1:2 .* 103:11170$/);
    expect(stat("pipe")).toStartWith("prw--w--w- ");
    expect(readFileSync(`${root}/no/parent/told`, "utf8")).toBe("z");
    expect(readFileSync(`${root}/${long}`, "utf8")).toBe("long");
    expect(
      readdirSync(Buffer.from(root), { encoding: "buffer" }).some((name) =>
        name.equals(Buffer.from("caf\xe9", "latin1")),
      ),
    ).toBe(true);
  });

  test("keeps extended attributes and capabilities, but none of overlayfs's own", async () => {
    const capability = Buffer.from("0100000200040000000000000000000000000000", "hex");
    const xattrs = new Map<string, Uint8Array>([
      ["security.capability", capability],
      ["user.note", Buffer.from("a=b\n")],
      ["trusted.overlay.redirect", Buffer.from("/etc")],
      ["trusted.overlay.metacopy", new Uint8Array(0)],
    ]);
    const root = await apply([
      { ...file("ping", "elf", 0o755), uid: 1, xattrs },
      { ...directory("d"), xattrs: new Map([["user.dir", Buffer.from("1")]]) },
    ]);
    const script =
      "import os,sys,json; print(json.dumps({n: os.getxattr(sys.argv[1], n).hex() for n in sorted(os.listxattr(sys.argv[1]))}))";
    const read = (path: string): unknown => JSON.parse(run("python3", "-c", script, path));
    expect(read(`${root}/ping`)).toEqual({
      "security.capability": capability.toString("hex"),
      "user.note": "613d620a",
    });
    expect(read(`${root}/d`)).toEqual({ "user.dir": "31" });
  });

  test("turns whiteouts into overlayfs's", async () => {
    const root = await apply([
      directory("a"),
      file("a/.wh.gone", ""),
      file(".wh.top", ""),
      directory("b"),
      file("b/.wh..wh..opq", ""),
      file("b/new", "1"),
      file(".wh..wh.plnk", "ignored"),
      // Hidden and brought anew in the same layer, in either order: the new directory must not show the old one's files.
      file(".wh.first", ""),
      directory("first"),
      file("first/x", "1"),
      directory("second"),
      file("second/x", "1"),
      file(".wh.second", ""),
      file(".wh.plain", ""),
      file("plain", "new"),
    ]);
    expect(isWhiteout(`${root}/a/gone`)).toBe(true);
    expect(isWhiteout(`${root}/top`)).toBe(true);
    expect(isOpaque(`${root}/b`)).toBe(true);
    expect(isOpaque(`${root}/a`)).toBe(false);
    expect(isOpaque(`${root}/first`)).toBe(true);
    expect(isOpaque(`${root}/second`)).toBe(true);
    expect(readFileSync(`${root}/plain`, "utf8")).toBe("new");
    expect(readdirSync(root).toSorted()).toEqual(["a", "b", "first", "plain", "second", "top"]);
  });

  test("takes the later of two entries of one name", async () => {
    const root = await apply([
      file("f", "one"),
      file("f", "two"),
      directory("d", 0o700),
      file("d/kept", "1"),
      directory("d", 0o755),
      directory("full"),
      directory("full/deep"),
      file("full/deep/x", "1"),
      file("full", "now a file"),
      file("g", "1"),
      directory("g"),
      file("g/h", "1"),
      symlink("l", "d"),
      directory("l"),
      file("l/inside", "1"),
      file("s", "1"),
      symlink("s", "f"),
    ]);
    expect(readFileSync(`${root}/f`, "utf8")).toBe("two");
    expect(readFileSync(`${root}/d/kept`, "utf8")).toBe("1");
    expect(statSync(`${root}/d`).mode & 0o777).toBe(0o755);
    expect(readFileSync(`${root}/full`, "utf8")).toBe("now a file");
    expect(lstatSync(`${root}/l`).isDirectory()).toBe(true);
    expect(readdirSync(`${root}/d`)).toEqual(["kept"]);
    expect(readlinkSync(`${root}/s`)).toBe("f");
  });

  test("may lead through its own symbolic links, which stay inside", async () => {
    const root = await apply([
      directory("usr/lib"),
      symlink("lib", "usr/lib"),
      symlink("abs", "/usr/lib"),
      symlink("up", "../../../../../../usr/lib"),
      file("lib/a", "1"),
      file("abs/b", "2"),
      file("up/c", "3"),
    ]);
    expect(readdirSync(`${root}/usr/lib`).toSorted()).toEqual(["a", "b", "c"]);
  });

  test("is the same from gzip and zstd, and both digests are told", async () => {
    const tar = tarOf([directory("d"), file("d/f", Buffer.alloc(300_000, "abc"))]);
    const frames = Buffer.concat([zstdCompressSync(tar.subarray(0, 700)), zstdCompressSync(tar.subarray(700))]);
    for (const blob of [tar, gzipSync(tar), zstdCompressSync(tar), frames]) {
      const { blobPath, target } = place(blob);
      const result = await applyLayer({ blobPath, target, digest: digestOf(blob), diffID: null }, hooks);
      expect(result).toEqual({ digest: digestOf(blob), diffID: digestOf(tar), sizeBytes: 300_000, entries: 2 });
      expect(readFileSync(`${target}/d/f`).length).toBe(300_000);
    }
  });

  test("made sparse stays sparse", async () => {
    const work = `${base}/sparse`;
    mkdirSync(work);
    run("truncate", "-s", "64M", `${work}/hole`);
    run("dd", "if=/bin/sh", `of=${work}/hole`, "bs=4096", "count=2", "seek=8000", "conv=notrunc", "status=none");
    for (const format of ["gnu", "posix"]) {
      run("tar", "-C", work, `--format=${format}`, "-S", "-cf", `${base}/sparse.tar`, "hole");
      const { blobPath, target } = place(readFileSync(`${base}/sparse.tar`));
      const result = await applyLayer({ blobPath, target, digest: null, diffID: null }, hooks);
      expect(result.sizeBytes).toBe(64 << 20);
      expect(run("sha256sum", `${target}/hole`).slice(0, 64)).toBe(run("sha256sum", `${work}/hole`).slice(0, 64));
      expect(statSync(`${target}/hole`).blocks * 512).toBeLessThan(1 << 20);
    }
  });

  test("equals what GNU tar makes of a real tree", async () => {
    run("tar", "-cf", `${base}/real.tar`, "-C", "/usr/share", "zoneinfo", "-C", "/usr/lib", "systemd");
    const reference = `${base}/reference`;
    mkdirSync(reference);
    run("tar", "-C", reference, "--numeric-owner", "-xpf", `${base}/real.tar`);
    const { blobPath, target } = place(readFileSync(`${base}/real.tar`));
    await applyLayer({ blobPath, target, digest: null, diffID: null }, hooks);
    const listing = (root: string): string =>
      run("sh", "-c", `cd ${root} && find . -mindepth 1 -printf '%p %y %m %U:%G %T@ %n %l\\n' | sort`);
    expect(listing(target)).toBe(listing(reference));
    expect(run("diff", "-r", "--no-dereference", target, reference)).toBe("");
  });
});

describe("a hostile layer", () => {
  const outside = `${base}/outside`;
  beforeAll(() => {
    mkdirSync(outside);
    writeFileSync(`${outside}/victim`, "untouched");
  });
  const up = `../outside/`;
  const cases: [string, LayerEntry[]][] = [
    ["climbs by a name", [file(`${up}evil`, "x")]],
    ["climbs by a name with a good start", [directory("a"), file(`a/../../outside/evil`, "x")]],
    ["climbs by a hard link", [{ type: "link", path: "l", linkPath: `${up}victim` }]],
    ["links to the directory above", [{ type: "link", path: "l", linkPath: ".." }]],
    ["links to what it does not have", [{ type: "link", path: "l", linkPath: "victim" }]],
    ["links to itself", [file("l", "x"), { type: "link", path: "l", linkPath: "./l" }]],
    ["links to a directory", [directory("d"), { type: "link", path: "l", linkPath: "d" }]],
    ["whites out the directory above", [file("a/.wh...", "")]],
    ["whites out nothing", [file("a/.wh.", "")]],
    ["puts a file into a file", [file("f", "x"), file("f/g", "x")]],
    ["puts a file into a device", [{ type: "char", path: "n", major: 1, minor: 3 }, file("n/g", "x")]],
    ["puts a file into a symbolic link to itself", [symlink("l", "l"), file("l/g", "x")]],
    ["leads through a symbolic link to nothing", [symlink("l", `${outside}`), file("l/evil", "x")]],
    [
      "leads through /proc's magic links",
      [symlink("l", "/proc/self/root"), directory("proc/self"), file("l/evil", "x")],
    ],
    ["replaces the root", [symlink("./", outside)]],
    ["has a name that no file can have", [file("n".repeat(300), "x")]],
    ["has a device number that is none", [{ type: "char", path: "n", major: 5000, minor: 3 }]],
  ];
  for (const [name, entries] of cases) {
    test(`that ${name} is refused or stays inside`, async () => {
      const { blobPath, target } = place(tarOf(entries));
      const outcome = await applyLayer({ blobPath, target, digest: null, diffID: null }, hooks).catch(
        (error: unknown) => error,
      );
      expect(outcome).toBeInstanceOf(Error);
      expect(readdirSync(outside)).toEqual(["victim"]);
      expect(readFileSync(`${outside}/victim`, "utf8")).toBe("untouched");
      expect(existsSync(`${base}/evil`)).toBe(false);
    });
  }

  test("cannot write through an absolute name or link", async () => {
    const root = await apply([
      symlink("l", outside),
      directory(outside.slice(1)),
      file("l/evil", "x"),
      file(`${outside}/evil2`, "x"),
    ]);
    expect(readdirSync(outside)).toEqual(["victim"]);
    expect(readdirSync(`${root}${outside}`).toSorted()).toEqual(["evil", "evil2"]);
  });

  test("cannot change what a symbolic link points at, by replacing or by a directory's mode", async () => {
    const root = await apply([
      symlink("d", outside),
      { ...directory("d", 0o700), uid: 1234 },
      symlink("v", `${outside}/victim`),
      file("v", "mine"),
    ]);
    expect(statSync(outside).uid).toBe(0);
    expect(lstatSync(`${root}/d`).isDirectory()).toBe(true);
    expect(readFileSync(`${outside}/victim`, "utf8")).toBe("untouched");
  });

  test("is told by its digest or diffID", async () => {
    const tar = tarOf([file("a", "x")]);
    const wrong = `sha256:${"0".repeat(64)}`;
    const first = place(tar);
    await expect(applyLayer({ ...first, digest: wrong, diffID: null }, hooks)).rejects.toThrow(`not ${wrong}`);
    const second = place(tar);
    await expect(applyLayer({ ...second, digest: null, diffID: wrong }, hooks)).rejects.toThrow("has diffID sha256:");
  });

  test("is told when it is cut short", async () => {
    const whole = tarOf([file("a", Buffer.alloc(5000)), file("b", "x")]);
    for (const blob of [
      whole.subarray(0, 3000),
      gzipSync(whole).subarray(0, 60),
      zstdCompressSync(whole).subarray(0, 30),
    ]) {
      const { blobPath, target } = place(blob);
      await expect(applyLayer({ blobPath, target, digest: null, diffID: digestOf(whole) }, hooks)).rejects.toThrow(
        LayerError,
      );
    }
  });
});

test("a file far larger than memory allows for is written piece by piece", async () => {
  const piece = gzipSync(Buffer.alloc(16 << 20), { level: 1 });
  const count = 16;
  const size = count * (16 << 20);
  const { blobPath, target } = place(
    Buffer.concat([
      gzipSync(tarHeader({ type: "file", path: "zeroes", size })),
      ...Array.from({ length: count }, () => piece),
      gzipSync(tarEnd()),
    ]),
  );
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  let most = 0;
  const watch = {
    onRead: () => undefined,
    checkAborted: () => void (most = Math.max(most, process.memoryUsage.rss())),
  };
  const result = await applyLayer({ blobPath, target, digest: null, diffID: null }, watch);
  expect(result.sizeBytes).toBe(size);
  expect(statSync(`${target}/zeroes`).size).toBe(size);
  expect(most - before).toBeLessThan(96 << 20);
});
