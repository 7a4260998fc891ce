// Snapshots by copying, for data roots where overlayfs cannot work: a container's root is one directory that holds a copy
// of all its image's layers. Slow and large, and correct. The copy is made in a Worker (layer/job.ts).
import { SyscallError } from "../errors.ts";
import type { Rootfs } from "../bundle.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath, readOnce, writeAll } from "../sys/file.ts";
import {
  copyRange,
  copySymlinkEntry,
  type EntryStatus,
  linkEntry,
  makeDirectoryEntry,
  makeNodeEntry,
  openEntry,
  type RawName,
  readAttributes,
  readDirectory,
  removeEntry,
  setMode,
  setOwner,
  setTimes,
  showName,
  statEntry,
  truncateTo,
  writeAttribute,
} from "../sys/tree.ts";
import { removeSnapshot } from "./overlay.ts";
import {
  directorySize,
  type ImageLayers,
  makeSnapshotDirectories,
  type Snapshotter,
  snapshotPaths,
} from "./snapshotter.ts";
import type { Trash } from "./trash.ts";

/** Copies an image's layers into a directory: the layer pool's `copy` job. */
export type CopyLayers = (request: ImageLayers & { target: string }) => Promise<unknown>;

export function createCopySnapshotter(containersDir: string, trash: Trash, copyLayers: CopyLayers): Snapshotter {
  const rootfs = (key: string, image: ImageLayers): Rootfs => {
    const { upper, work, target } = snapshotPaths(containersDir, key);
    return { kind: "directory", layersDir: image.layersDir, lower: image.lower, upper, work, target };
  };
  return {
    driver: "copy",
    canLimit: false,
    rootfs,
    async prepare(key, image) {
      const paths = snapshotPaths(containersDir, key);
      makeSnapshotDirectories(paths, image);
      try {
        await copyLayers({ ...image, target: paths.upper });
      } catch (error) {
        await removeSnapshot(containersDir, key, trash);
        throw error;
      }
      return rootfs(key, image);
    },
    release: () => {},
    remove: (key) => removeSnapshot(containersDir, key, trash),
    usage: (key) => directorySize(snapshotPaths(containersDir, key).upper),
  };
}

const S_IFMT = 0o170000,
  S_IFDIR = 0o040000,
  S_IFCHR = 0o020000,
  S_IFREG = 0o100000,
  S_IFLNK = 0o120000;
const OVERLAY_XATTR = /^(?:trusted|user)\.overlay\./;
const OPAQUE_XATTR = "trusted.overlay.opaque";
const COPY_BYTES = 8 << 20;

/** One layer on its way into the target. */
interface LayerCopy {
  target: Fd;
  /** Where the first name of a file with several names was copied to: one open name after the other from the target. */
  linked: Map<string, RawName[]>;
  checkAborted: () => void;
}

/** What an overlay of `lower` (topmost first) shows, written below `target` layer by layer. Needs umask 0. */
export function copyLowers(
  layersDir: string,
  lower: readonly string[],
  target: string,
  checkAborted: () => void,
): void {
  using to = openPath(target, O.DIRECTORY);
  for (const name of lower.toReversed()) {
    using from = openPath(`${layersDir}/${name}`, O.DIRECTORY);
    copyContents(from, to, [], { target: to, linked: new Map(), checkAborted });
    copyAttributes(from, to, statEntry(from, null));
  }
}

function copyContents(from: Fd, to: Fd, path: RawName[], copy: LayerCopy): void {
  for (const name of readDirectory(from)) {
    copy.checkAborted();
    const status = statEntry(from, name);
    const type = status.mode & S_IFMT;
    if (type === S_IFDIR) copyDirectory(from, to, name, path, status, copy);
    else {
      removeTree(to, name);
      const isWhiteout = type === S_IFCHR && status.deviceMajor === 0 && status.deviceMinor === 0;
      if (!isWhiteout) copyOther(from, to, name, [...path, name], status, copy);
    }
  }
}

function copyDirectory(from: Fd, to: Fd, name: RawName, path: RawName[], status: EntryStatus, copy: LayerCopy): void {
  using source = openEntry(from, name, O.DIRECTORY);
  const isOpaque = readAttributes(source).some((attribute) => showName(attribute.name) === OPAQUE_XATTR);
  const existing = statOrNull(to, name);
  const isDirectory = existing !== null && (existing.mode & S_IFMT) === S_IFDIR;
  if (existing !== null && (isOpaque || !isDirectory)) removeTree(to, name);
  if (!isDirectory || isOpaque) makeDirectoryEntry(to, name, 0o700);
  using made = openEntry(to, name, O.DIRECTORY);
  copyContents(source, made, [...path, name], copy);
  copyAttributes(source, made, status);
}

function copyOther(from: Fd, to: Fd, name: RawName, path: RawName[], status: EntryStatus, copy: LayerCopy): void {
  const type = status.mode & S_IFMT;
  const first = status.links > 1 ? copy.linked.get(status.identity) : undefined;
  if (first !== undefined) {
    using file = openChain(copy.target, first);
    linkEntry(file, to, name);
    return;
  }
  if (status.links > 1) copy.linked.set(status.identity, path);
  if (type === S_IFREG) return copyFile(from, to, name, status);
  if (type === S_IFLNK) copySymlinkEntry(from, to, name);
  else makeNodeEntry(to, name, status.mode, status.deviceMajor, status.deviceMinor);
  setOwner(to, name, status.uid, status.gid);
  setTimes(to, name, status);
}

function copyFile(from: Fd, to: Fd, name: RawName, status: EntryStatus): void {
  using source = openEntry(from, name, O.RDONLY);
  using made = openEntry(to, name, O.WRONLY | O.CREAT | O.EXCL, 0o600);
  let offset = 0;
  while (offset < status.sizeBytes) {
    const count = copyRange(source, made, offset, COPY_BYTES);
    if (count === null) {
      copyBytes(source, made);
      break;
    }
    if (count === 0) break;
    offset += count;
  }
  truncateTo(made, status.sizeBytes);
  copyAttributes(source, made, status);
}

/** Where the kernel cannot copy between these two file systems. Nothing was copied yet then. */
function copyBytes(from: Fd, to: Fd): void {
  const buffer = new Uint8Array(new ArrayBuffer(1 << 20));
  for (let count = readOnce(from, buffer); count !== null && count > 0; count = readOnce(from, buffer)) {
    writeAll(to, buffer.subarray(0, count));
  }
}

/** Owner first: it takes set-ID bits and capabilities away. Times last: everything else changes them. */
function copyAttributes(from: Fd, to: Fd, status: EntryStatus): void {
  setOwner(to, null, status.uid, status.gid);
  setMode(to, status.mode);
  for (const { name, value } of readAttributes(from))
    if (!OVERLAY_XATTR.test(showName(name))) writeAttribute(to, name, value);
  setTimes(to, null, status);
}

function openChain(root: Fd, path: readonly RawName[]): Fd {
  let current = root;
  for (const name of path) {
    const next = openEntry(current, name, O.PATH);
    if (current !== root) current.close();
    current = next;
  }
  return current;
}

function statOrNull(directory: Fd, name: RawName): EntryStatus | null {
  try {
    return statEntry(directory, name);
  } catch (error) {
    if (error instanceof SyscallError && error.errno === E.ENOENT) return null;
    throw error;
  }
}

function removeTree(directory: Fd, name: RawName): void {
  const status = statOrNull(directory, name);
  if (status === null) return;
  const isDirectory = (status.mode & S_IFMT) === S_IFDIR;
  if (isDirectory) {
    using inside = openEntry(directory, name, O.DIRECTORY);
    for (const child of readDirectory(inside)) removeTree(inside, child);
  }
  removeEntry(directory, name, isDirectory);
}
