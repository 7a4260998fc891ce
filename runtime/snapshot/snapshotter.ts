// The contract of snapshotters: from an image's layer directories and a container's own writable directory to a Rootfs
// that launch can build. overlay.ts is the usual one; copy.ts serves where overlayfs cannot work on the data root.
//
//   const rootfs = await snapshots.prepare(container.id, await images.rootfsLayers(imageID));
//   …                                       // launched, stopped, launched again: snapshots.rootfs(id, layers)
//   await snapshots.remove(container.id);   // its files are gone from their place at once, and from the disk soon
import { chmodSync, chownSync, lstatSync, mkdirSync, rmSync, type Stats } from "node:fs";
import { lstat, opendir } from "node:fs/promises";
import { dirname } from "node:path";
import type { Rootfs } from "../bundle.ts";
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openInRootNoSymlinks, openPath } from "../sys/file.ts";

/** An image's unpacked layers: names relative to `layersDir`, the topmost first, none twice. */
export interface ImageLayers {
  layersDir: string;
  lower: string[];
}

export interface Snapshotter {
  /** `overlay2` or `copy`: what `docker info` and inspect call the storage driver. */
  readonly driver: string;
  /** Whether `prepare` takes a limit. */
  readonly canLimit: boolean;
  /**
   * Makes `<containersDir>/<key>/{upper,work,rootfs}`. Fails, leaving nothing, when they are there already. `limitBytes`: what
   * the files that the container writes may take on the disk; all there is without.
   */
  prepare(key: string, image: ImageLayers, limitBytes?: number | null): Promise<Rootfs>;
  /** Its directory is about to be discarded as a whole by somebody else. */
  release(key: string): void;
  /** The same description again, without touching the disk. */
  rootfs(key: string, image: ImageLayers): Rootfs;
  /** Does nothing for what is not there. */
  remove(key: string): Promise<void>;
  /** Bytes of the files that the container has written: what `docker ps --size` calls its size. */
  usage(key: string): Promise<number>;
}

/** Where one container's snapshot lies. */
export interface SnapshotPaths {
  upper: string;
  work: string;
  target: string;
}

export function snapshotPaths(containersDir: string, key: string): SnapshotPaths {
  const base = `${containersDir}/${key}`;
  return { upper: `${base}/upper`, work: `${base}/work`, target: `${base}/rootfs` };
}

/**
 * Makes the three directories, or none; the writable root gets the owner and mode that the image's own root has.
 * WHY synchronous: each call takes some 20 µs, and handing it to another thread and back takes five times that.
 */
export function makeSnapshotDirectories(
  paths: SnapshotPaths,
  image: ImageLayers,
  /** What is to be done to the new directories while they are empty. */
  finish: (paths: SnapshotPaths) => void = () => {},
): void {
  const top = image.lower[0];
  const { uid, gid, mode } =
    top === undefined ? { uid: 0, gid: 0, mode: 0o755 } : lstatSync(`${image.layersDir}/${top}`);
  mkdirSync(dirname(paths.upper), { recursive: true, mode: 0o710 });
  // An upper directory that is there already holds somebody's files: this throws before anything is touched.
  mkdirSync(paths.upper);
  try {
    chownSync(paths.upper, uid, gid);
    chmodSync(paths.upper, mode & 0o7777);
    for (const path of [paths.work, paths.target]) mkdirSync(path, { mode: 0o755 });
    finish(paths);
  } catch (error) {
    for (const path of [paths.upper, paths.work, paths.target]) rmSync(path, { recursive: true, force: true });
    throw error;
  }
}

/**
 * Sum of the sizes of files below a directory, a file with several names once. Files that vanish meanwhile do not count.
 * INVARIANT: the container may be running, and swap a directory for a link at any time: each is opened below the root.
 */
export async function directorySize(path: string): Promise<number> {
  using root = openOrNull(() => openPath(path, O.PATH | O.DIRECTORY));
  if (root === null) return 0;
  const seen = new Set<string>();
  const left = ["."];
  let sum = 0;
  for (let directory = left.pop(); directory !== undefined; directory = left.pop()) {
    const name = directory;
    using opened = openOrNull(() => openInRootNoSymlinks(root, name, O.RDONLY | O.DIRECTORY));
    if (opened === null) continue;
    const base = `/proc/self/fd/${opened.number}`;
    for await (const entry of await opendir(base)) {
      if (entry.isDirectory()) left.push(`${directory}/${entry.name}`);
      else if (entry.isFile()) sum += countOnce(await lstat(`${base}/${entry.name}`).catch(ignoreMissing), seen);
    }
  }
  return sum;
}

/** null for what is not there (any more), is no directory, or lies too deep to be named. */
function openOrNull(open: () => Fd): Fd | null {
  try {
    return open();
  } catch (error) {
    if (error instanceof SyscallError && UNREACHABLE.has(error.errno)) return null;
    throw error;
  }
}

const UNREACHABLE: ReadonlySet<number> = new Set([E.ENOENT, E.ENOTDIR, E.ELOOP, E.ENAMETOOLONG]);

function countOnce(status: Stats | null, seen: Set<string>): number {
  if (status === null) return 0;
  if (status.nlink > 1) {
    const identity = `${status.dev}:${status.ino}`;
    if (seen.has(identity)) return 0;
    seen.add(identity);
  }
  return status.size;
}

function ignoreMissing(error: NodeJS.ErrnoException): null {
  if (error.code === "ENOENT" || error.code === "ENOTDIR") return null;
  throw error;
}
