// copyUp() on real file systems: what a database image brings along in its volume must arrive as it is.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openRootfsView } from "../../runtime/launch/view.ts";
import { copyUp } from "../../runtime/snapshot/copy_up.ts";
import { cstr } from "../../runtime/sys/ffi.ts";
import { O, openPath } from "../../runtime/sys/file.ts";
import { readAttributes, showName, writeAttribute } from "../../runtime/sys/tree.ts";

let base = "";
beforeAll(() => {
  base = mkdtempSync(join(tmpdir(), "berth-copy-up-"));
});
afterAll(() => rmSync(base, { recursive: true, force: true }));

function sh(script: string): string {
  const run = spawnSync("sh", ["-euc", script], { cwd: base, encoding: "utf8" });
  if (run.status !== 0) throw new Error(run.stderr);
  return run.stdout;
}

async function copy(root: string, path: string, destination: string) {
  using view = openPath(join(base, root), O.RDONLY | O.DIRECTORY);
  return await copyUp(view, path, join(base, destination));
}

/** Everything that tells two trees apart, one line per entry. */
function describe(directory: string): string {
  return sh(`cd ${directory}; find . -printf '%P|%y|%m|%U:%G|%s|%l|%T@|%n\\n' | grep -av '|d|' | LC_ALL=C sort;
    find . -type d -printf '%P|%m|%U:%G|%T@\\n' | LC_ALL=C sort`);
}

test("files, links, nodes, owners, modes, times and odd names arrive as they are", async () => {
  sh(`mkdir -p image/data/sub/deep volume; cd image/data
    echo one > one; chmod 4755 one; chown 999:998 one
    head -c 3000000 /dev/urandom > big; chown 1:2 big; touch -d '2001-02-03 04:05:06.789012345' big
    ln big sub/big-too; ln -s ../../outside sub/link; chown -h 5:6 sub/link
    mkfifo -m 0622 sub/pipe; mknod -m 0666 sub/null c 1 3; chown 7:8 sub/null
    printf x > "$(printf 'caf\\351')"; : > empty
    truncate -s 5M sparse; printf end >> sparse
    chown 70:71 sub; chmod 1770 sub; touch -d 2002-01-01 sub/deep sub; chown 999:999 .; chmod 0700 .; touch -d 2003-03-03 .`);
  expect(await copy("image", "/data", "volume")).toBe("copied");
  expect(describe("volume")).toBe(describe("image/data"));
  sh(
    "cmp image/data/big volume/sub/big-too; cmp image/data/sparse volume/sparse; test image/data/big -ef image/data/sub/big-too",
  );
  const stored = Number(sh("stat -c %b volume/sparse"));
  expect(stored * 512).toBeLessThan(1 << 20);
});

test("extended attributes and file capabilities are kept", async () => {
  sh("mkdir -p xattr/d volume-x; printf x > xattr/d/f; chown 3:3 xattr/d/f; setcap cap_net_raw+ep xattr/d/f");
  using source = openPath(join(base, "xattr/d/f"), O.RDONLY);
  writeAttribute(source, cstr("user.note"), new TextEncoder().encode("hello"));
  writeAttribute(source, cstr("user.none"), new Uint8Array());
  expect(await copy("xattr", "d", "volume-x")).toBe("copied");
  using target = openPath(join(base, "volume-x/f"), O.RDONLY);
  expect(
    readAttributes(target)
      .map(({ name }) => showName(name))
      .sort(),
  ).toEqual(["security.capability", "user.none", "user.note"]);
  expect(readAttributes(target)).toEqual(readAttributes(source));
  expect(sh("getcap volume-x/f")).toContain("cap_net_raw");
});

test("a volume on another file system gets the same", async () => {
  const there = mkdtempSync("/dev/shm/berth-copy-up-");
  try {
    sh(
      "mkdir -p other/d; head -c 3000000 /dev/urandom > other/d/big; truncate -s 9M other/d/hole; printf x >> other/d/hole",
    );
    using view = openPath(join(base, "other"), O.RDONLY | O.DIRECTORY);
    expect(await copyUp(view, "d", there)).toBe("copied");
    expect(readFileSync(join(there, "big")).equals(readFileSync(join(base, "other/d/big")))).toBe(true);
    expect(readFileSync(join(there, "hole")).equals(readFileSync(join(base, "other/d/hole")))).toBe(true);
  } finally {
    rmSync(there, { recursive: true });
  }
});

test("a volume that holds something is kept as it is", async () => {
  sh("mkdir -p kept/d volume-k; echo image > kept/d/f; echo mine > volume-k/mine");
  expect(await copy("kept", "d", "volume-k")).toBe("kept");
  expect(readdirSync(join(base, "volume-k"))).toEqual(["mine"]);
});

test("a path that the image lacks copies nothing, a file in its place is told", async () => {
  sh("mkdir -p absent volume-a; echo file > absent/file");
  expect(await copy("absent", "/no/such", "volume-a")).toBe("absent");
  expect(await copy("absent", "/file", "volume-a")).toBe("notDirectory");
  expect(readdirSync(join(base, "volume-a"))).toEqual([]);
});

test("a symbolic link in the image is followed inside the image only", async () => {
  sh(`mkdir -p jail/etc volume-j; echo secret > outside-secret; echo ours > jail/etc/ours
    ln -s ${base} jail/absolute; ln -s ../../../../../../etc jail/climbing`);
  expect(await copy("jail", "/absolute", "volume-j")).toBe("absent");
  expect(await copy("jail", "/climbing", "volume-j")).toBe("copied");
  expect(readdirSync(join(base, "volume-j"))).toEqual(["ours"]);
});

test("a tree that is too deep fails and leaves the volume empty", async () => {
  sh(`mkdir -p volume-f "deep/d/$(yes a | head -n 600 | paste -sd/)"; echo x > deep/d/file`);
  await expect(copy("deep", "d", "volume-f")).rejects.toThrow("512 directories deep");
  expect(readdirSync(join(base, "volume-f"))).toEqual([]);
});

test("a large tree lets other work have its turn", async () => {
  mkdirSync(join(base, "many/d"), { recursive: true });
  mkdirSync(join(base, "volume-m"));
  for (let index = 0; index < 500; index++) writeFileSync(join(base, "many/d", `f${index}`), "x");
  let turns = 0;
  const tick = setInterval(() => turns++, 0);
  await copy("many", "d", "volume-m");
  clearInterval(tick);
  expect(readdirSync(join(base, "volume-m")).length).toBe(500);
  expect(statSync(join(base, "volume-m/f499")).size).toBe(1);
  expect(turns).toBeGreaterThan(0);
});

test("the view of a container's root file system serves: a detached overlay, never on the mount table", async () => {
  sh(`mkdir -p layers/one/data layers/two/data/sub c/upper c/work c/rootfs volume-o
    echo lower > layers/one/data/lower; echo hidden > layers/one/data/gone; echo upper > layers/two/data/sub/upper
    mknod layers/two/data/gone c 0 0`);
  const at = (path: string) => join(base, path);
  const directories = { upper: at("c/upper"), work: at("c/work"), target: at("c/rootfs") };
  using view = openRootfsView(
    { kind: "overlay", layersDir: at("layers"), lower: ["two", "one"], ...directories },
    { mountSetattr: true, lowerdirPlus: false },
  );
  expect(await copyUp(view, "/data", at("volume-o"))).toBe("copied");
  expect(sh("cd volume-o; find . | LC_ALL=C sort")).toBe(".\n./lower\n./sub\n./sub/upper\n");
  expect(sh("cat volume-o/lower volume-o/sub/upper")).toBe("lower\nupper\n");
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(base);
});

test("a view as kernels before 6.7 make it takes a hundred layers; one that is missing is named, and nothing stays open", () => {
  const names = Array.from({ length: 100 }, (_, index) => `layer-${index}`);
  sh(`mkdir -p hundred old/upper old/rootfs; cd hundred; mkdir ${names.join(" ")}; echo x > layer-99/file`);
  const directories = {
    upper: join(base, "old/upper"),
    work: join(base, "old/work"),
    target: join(base, "old/rootfs"),
  };
  const rootfs = { kind: "overlay" as const, layersDir: join(base, "hundred"), lower: names, ...directories };
  const features = { mountSetattr: true, lowerdirPlus: false };
  {
    using view = openRootfsView(rootfs, features);
    expect(readFileSync(`/proc/self/fd/${view.number}/file`, "utf8")).toBe("x\n");
  }
  const before = readdirSync("/proc/self/fd").length;
  expect(() => openRootfsView({ ...rootfs, lower: [...names, "absent"] }, features)).toThrow("mount overlay: ENOENT");
  expect(() => openRootfsView({ ...rootfs, layersDir: "/absent" }, features)).toThrow("chdir /absent: ENOENT");
  expect(readdirSync("/proc/self/fd").length).toBe(before);
});
