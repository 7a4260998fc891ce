// Both snapshotters by one suite, and that the copied root is what overlayfs shows of the same layers. The overlay is
// mounted in a mount namespace of its own.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { applyLayer } from "../../runtime/layer/apply.ts";
import { createLayerPool } from "../../runtime/layer/pool.ts";
import { copyLowers, createCopySnapshotter } from "../../runtime/snapshot/copy.ts";
import { canOverlay, createOverlaySnapshotter } from "../../runtime/snapshot/overlay.ts";
import type { ImageLayers, Snapshotter } from "../../runtime/snapshot/snapshotter.ts";
import { openTrash } from "../../runtime/snapshot/trash.ts";
import { spawnLayerWorker } from "../../src/workers.ts";
import { directory, file, type LayerEntry, symlink, tarOf } from "../support/images.ts";

const base = mkdtempSync(`${tmpdir()}/berth-snapshot-`);
const layersDir = `${base}/layers`;
const pool = createLayerPool({ spawn: spawnLayerWorker, size: 1, idleMs: 1000 });
let umask = 0;

beforeAll(async () => {
  umask = process.umask(0);
  mkdirSync(layersDir);
  await makeLayer("low", [
    { ...directory("./", 0o751), uid: 11, gid: 12 },
    { ...directory("etc", 0o700), mtime: { sec: 1_000_000, nsec: 5 } },
    file("etc/kept", "kept"),
    file("etc/changed", "old"),
    file("etc/gone", "gone"),
    directory("opaque"),
    file("opaque/hidden", "x"),
    directory("tree/deep"),
    file("tree/deep/x", "x"),
    directory("becomes-file"),
    file("becomes-file/x", "x"),
    file("becomes-directory", "x"),
    { ...file("su", "su", 0o4755), uid: 3 },
    file("first", "linked"),
    { type: "link", path: "etc/second", linkPath: "first" },
  ]);
  await makeLayer("high", [
    directory("./", 0o711),
    directory("etc", 0o755),
    file("etc/changed", "new"),
    file("etc/.wh.gone", ""),
    file("etc/added", "added"),
    directory("opaque"),
    file("opaque/.wh..wh..opq", ""),
    file("opaque/shown", "y"),
    file(".wh.tree", ""),
    file("becomes-file", "file"),
    directory("becomes-directory"),
    file("becomes-directory/y", "y"),
    symlink("link", "etc/kept"),
    { type: "char", path: "null", major: 1, minor: 3, mode: 0o666 },
    { type: "fifo", path: "pipe" },
    {
      ...file("ping", "ping", 0o755),
      xattrs: new Map([["security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex")]]),
    },
    file("caf\udce9", "latin"),
  ]);
});
afterAll(() => {
  pool.close();
  process.umask(umask);
  rmSync(base, { recursive: true, force: true });
});

async function makeLayer(name: string, entries: readonly LayerEntry[]): Promise<void> {
  writeFileSync(`${base}/${name}.tar`, tarOf(entries));
  mkdirSync(`${layersDir}/${name}`, { mode: 0o755 });
  await applyLayer(
    { blobPath: `${base}/${name}.tar`, target: `${layersDir}/${name}`, digest: null, diffID: null },
    {
      onRead: () => undefined,
      checkAborted: () => undefined,
    },
  );
}

const image: ImageLayers = { layersDir, lower: ["high", "low"] };
const LISTING = `find . -printf '%p %y %m %U:%G %n %l %T@\\n' | grep -v '^\\. ' | sort; find . -type f -print0 | sort -z | xargs -0 cat; getcap -r . 2>/dev/null || true`;

function shell(script: string): string {
  const { stdout, stderr, success } = Bun.spawnSync(["sh", "-c", script], {
    env: { LC_ALL: "C", PATH: "/usr/bin:/bin:/usr/sbin:/sbin" },
  });
  if (!success) throw new Error(stderr.toString());
  return stdout.toString();
}

test("a copied root is what overlayfs shows of the same layers", () => {
  mkdirSync(`${base}/view`);
  const overlay = shell(
    `unshare -m sh -c 'mount -t overlay o -o ro,lowerdir=${layersDir}/high:${layersDir}/low ${base}/view && cd ${base}/view && ${LISTING.replaceAll("'", `'"'"'`)}'`,
  );
  mkdirSync(`${base}/copy`);
  copyLowers(layersDir, image.lower, `${base}/copy`, () => undefined);
  const copied = shell(`cd ${base}/copy && ${LISTING}`);
  // A directory that two layers share shows the upper one's time in both; link counts of directories are overlayfs's own.
  const plain = (text: string): string[] => text.split("\n").map((line) => line.replace(/^(\S+ d \S+ \S+) \d+/, "$1"));
  expect(plain(copied)).toEqual(plain(overlay));
  expect(copied).toContain("etc/added");
  expect(copied).not.toContain("gone");
});

describe.each([["overlay"], ["copy"]] as const)("the %s snapshotter", (kind) => {
  const open = async (): Promise<{
    snapshots: Snapshotter;
    containers: string;
    emptied: () => Promise<void>;
    trash: string;
  }> => {
    const root = mkdtempSync(`${base}/${kind}-`);
    const containers = `${root}/containers`;
    mkdirSync(containers);
    const errors: unknown[] = [];
    const trash = await openTrash({ directory: `${root}/trash`, onError: (_path, error) => errors.push(error) });
    const snapshots =
      kind === "overlay"
        ? createOverlaySnapshotter(containers, trash, null)
        : createCopySnapshotter(containers, trash, (request) => pool.run("copy", request));
    return { snapshots, containers, emptied: trash.emptied, trash: `${root}/trash` };
  };

  test("prepares a root with the image's own owner and mode", async () => {
    const { snapshots, containers } = await open();
    const rootfs = await snapshots.prepare("one", image);
    expect(rootfs).toEqual(snapshots.rootfs("one", image));
    expect(rootfs).toMatchObject({
      layersDir,
      upper: `${containers}/one/upper`,
      work: `${containers}/one/work`,
      target: `${containers}/one/rootfs`,
    });
    expect(statSync(rootfs.upper).mode & 0o777).toBe(0o711);
    expect(readdirSync(rootfs.target)).toEqual([]);
    expect(existsSync(`${rootfs.upper}/etc/added`)).toBe(kind === "copy");
    expect(rootfs.kind).toBe(kind === "copy" ? "directory" : "overlay");
  });

  test("refuses to prepare twice, and touches nothing then", async () => {
    const { snapshots } = await open();
    const { upper } = await snapshots.prepare("one", image);
    writeFileSync(`${upper}/precious`, "x");
    expect(
      await snapshots.prepare("one", image).then(
        () => null,
        (error: NodeJS.ErrnoException) => error.code,
      ),
    ).toBe("EEXIST");
    expect(existsSync(`${upper}/precious`)).toBe(true);
  });

  test("leaves nothing of a prepare that fails", async () => {
    const { snapshots, containers, emptied, trash } = await open();
    expect(
      await snapshots.prepare("bad", { layersDir, lower: ["absent"] }).then(
        () => null,
        (error: unknown) => error,
      ),
    ).toBeInstanceOf(Error);
    await emptied();
    expect(existsSync(`${containers}/bad/upper`)).toBe(false);
    expect(readdirSync(trash)).toEqual([]);
  });

  test("removes at once, deletes soon, and does nothing for what is gone", async () => {
    const { snapshots, containers, emptied, trash } = await open();
    const { upper } = await snapshots.prepare("one", image);
    writeFileSync(`${upper}/file`, "x");
    await snapshots.remove("one");
    expect(readdirSync(`${containers}/one`)).toEqual([]);
    await snapshots.remove("one");
    await snapshots.remove("never");
    await emptied();
    expect(readdirSync(trash)).toEqual([]);
  });

  test("counts what was written, a file with two names once", async () => {
    const { snapshots } = await open();
    const { upper } = await snapshots.prepare("one", { layersDir, lower: [] });
    mkdirSync(`${upper}/d`);
    writeFileSync(`${upper}/d/file`, Buffer.alloc(5000));
    shell(`ln ${upper}/d/file ${upper}/same && ln -s file ${upper}/d/link`);
    expect(await snapshots.usage("one")).toBe(5000);
    expect(await snapshots.usage("absent")).toBe(0);
  });

  test("an image without layers is an empty directory", async () => {
    const { snapshots } = await open();
    expect((await snapshots.prepare("one", { layersDir, lower: [] })).kind).toBe("directory");
  });
});

test("canOverlay() tries it for real, and leaves nothing", async () => {
  const directory = `${base}/probe`;
  mkdirSync(directory);
  expect(await canOverlay(directory)).toBe(true);
  // proc takes no directories at all.
  expect(await canOverlay("/proc").catch((error: NodeJS.ErrnoException) => error.code)).toBe("ENOENT");
  expect(readdirSync(directory)).toEqual([]);
});

test("the trash deletes what a killed daemon left in it", async () => {
  const directory = `${base}/left`;
  mkdirSync(`${directory}/old/deep`, { recursive: true });
  const trash = await openTrash({ directory, onError: (_path, error) => expect(error).toBeUndefined() });
  await trash.discard(`${base}/absent`);
  await trash.emptied();
  expect(readdirSync(directory)).toEqual([]);
});

describe("a Worker", () => {
  test("applies layers with the modes they tell, whatever the daemon's umask, which it leaves alone", async () => {
    const before = process.umask(0o077);
    try {
      const target = `${base}/by-worker`;
      mkdirSync(target);
      writeFileSync(`${base}/by-worker.tar`, tarOf([directory("d", 0o777), file("d/f", "x", 0o666)]));
      const reads: number[] = [];
      const result = await pool.run(
        "apply",
        { blobPath: `${base}/by-worker.tar`, target, digest: null, diffID: null },
        { onRead: (bytes) => reads.push(bytes) },
      );
      expect(result).toMatchObject({ entries: 2, sizeBytes: 1 });
      expect(statSync(`${target}/d`).mode & 0o777).toBe(0o777);
      expect(statSync(`${target}/d/f`).mode & 0o777).toBe(0o666);
      expect(process.umask()).toBe(0o077);
    } finally {
      process.umask(before);
    }
  });

  test("stops soon after an abort, in the middle of a blob", async () => {
    const target = `${base}/aborted`;
    mkdirSync(target);
    writeFileSync(`${base}/big.tar`, tarOf([file("big", new Uint8Array(64 << 20))]));
    const controller = new AbortController();
    const running = pool.run(
      "apply",
      { blobPath: `${base}/big.tar`, target, digest: null, diffID: null },
      {
        signal: controller.signal,
        onRead: () => controller.abort(),
      },
    );
    expect(
      await running.then(
        () => null,
        (error: Error) => error.name,
      ),
    ).toBe("AbortError");
    expect(statSync(`${target}/big`).size).toBeLessThan(64 << 20);
    await pool.run("sync", { path: base });
  });
});
