// What a container has changed: one entry after the other, parents first, names in the order of their bytes, so that the
// same changes always give the same sequence. For layers (diff.ts), and for whoever else wants to know.
//
//   walkUpper    reads the upper directory of an overlay as it lies on the disk (Documentation/filesystems/overlayfs.rst,
//                "whiteouts and opaque directories")
//   walkCopy     compares a whole copy with the layers it was made of, where there is no overlay
//
// INVARIANT: the container may be running, and swap any name for another at any moment: each is opened once (O_PATH, never
// following a link), and what is said of it is said of that descriptor.
import type { Fd } from "../sys/fd.ts";
import { O, reopen, S_IFLNK, S_IFMT, S_IFREG } from "../sys/file.ts";
import { type EntryStatus, type RawName, readAttribute, readDirectory, readLink, statEntry } from "../sys/tree.ts";
import { LayerError } from "./layer_error.ts";
import { isDirectory, isOpaque, isWhiteout, type MergedDirectory, openIfThere } from "./merged.ts";
import { decodePath } from "./path_text.ts";

/** `path` has no slash at its start; "" is the root. `file` is open until the next change is asked for: O_PATH, or a directory for reading. */
export type Change =
  | { kind: "entry"; path: string; file: Fd; status: EntryStatus }
  /** The name is hidden: what lower layers have there is gone. */
  | { kind: "whiteout"; path: string }
  /** Nothing of the lower layers shows in this directory. Follows the directory's own entry. */
  | { kind: "opaque"; path: string };

type Changes = Generator<Change, void>;

/** A directory level holds a few descriptors open. */
const MAX_DEPTH = 512;

/**
 * `mountPoints`: paths that the engine itself makes in a container's root to mount something there; what has come about for
 * them is none of the container's changes. The root comes first, but only where its owner or mode is another.
 */
export function* walkUpper(root: Fd, below: MergedDirectory, mountPoints: ReadonlySet<string>): Changes {
  const status = statEntry(root, null);
  if (!isSameDirectory(status, below.status())) yield { kind: "entry", path: "", file: root, status };
  yield* upperDirectory(root, below, "", ownNames(root, "", mountPoints), mountPoints, 0);
}

function* upperDirectory(
  directory: Fd,
  below: MergedDirectory | null,
  path: string,
  names: readonly RawName[],
  mountPoints: ReadonlySet<string>,
  depth: number,
): Changes {
  checkDepth(depth);
  for (const name of names) {
    using file = openIfThere(directory, name);
    // It has gone since the directory was read.
    if (file === null) continue;
    const status = statEntry(file, null);
    const here = joined(path, name);
    if (isWhiteout(status)) yield { kind: "whiteout", path: here };
    else if (!isDirectory(status)) yield { kind: "entry", path: here, file, status };
    else {
      using inside = reopen(file, O.RDONLY | O.DIRECTORY);
      using merged = below?.enter(name) ?? null;
      yield* enterDirectory(inside, merged, here, status, mountPoints, depth + 1);
    }
  }
}

function* enterDirectory(
  directory: Fd,
  below: MergedDirectory | null,
  path: string,
  status: EntryStatus,
  mountPoints: ReadonlySet<string>,
  depth: number,
): Changes {
  const isHiding = isOpaque(directory);
  const names = ownNames(directory, path, mountPoints);
  const isForMounts = !isHiding && names.length === 0 && !isEmpty(directory);
  if (isForMounts && isSameDirectory(status, below?.status() ?? null)) return;
  yield { kind: "entry", path, file: directory, status };
  if (isHiding) yield { kind: "opaque", path };
  yield* upperDirectory(directory, isHiding ? null : below, path, names, mountPoints, depth);
}

/** Times do not count: whatever is made in a directory changes them. */
function isSameDirectory(a: EntryStatus, b: EntryStatus | null): boolean {
  return b !== null && a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}

function isEmpty(directory: Fd): boolean {
  using listing = reopen(directory, O.RDONLY | O.DIRECTORY);
  return readDirectory(listing).length === 0;
}

/** The names in a directory but those of mere mount points, in the order of their bytes. */
function ownNames(directory: Fd, path: string, mountPoints: ReadonlySet<string>): RawName[] {
  using listing = reopen(directory, O.RDONLY | O.DIRECTORY);
  return readDirectory(listing)
    .filter((name) => !isMereMountPoint(directory, name, joined(path, name), mountPoints))
    .toSorted(byBytes);
}

function isMereMountPoint(directory: Fd, name: RawName, path: string, mountPoints: ReadonlySet<string>): boolean {
  if (!mountPoints.has(path)) return false;
  using file = openIfThere(directory, name);
  if (file === null) return true;
  const status = statEntry(file, null);
  if (isWhiteout(status)) return false;
  if (!isDirectory(status)) return status.sizeBytes === 0;
  using inside = reopen(file, O.RDONLY | O.DIRECTORY);
  return !isOpaque(inside) && ownNames(inside, path, mountPoints).length === 0;
}

/** What a copy of all layers has that they have not, and the other way round. */
export function* walkCopy(root: Fd, below: MergedDirectory, mountPoints: ReadonlySet<string>): Changes {
  const status = statEntry(root, null);
  if (!isSameDirectory(status, below.status())) yield { kind: "entry", path: "", file: root, status };
  yield* copiedDirectory(root, below, "", mountPoints, 0);
}

function* copiedDirectory(
  directory: Fd,
  below: MergedDirectory | null,
  path: string,
  mountPoints: ReadonlySet<string>,
  depth: number,
): Changes {
  checkDepth(depth);
  const before = below?.names() ?? new Map<string, RawName>();
  const names = new Map(before);
  for (const name of ownNames(directory, path, new Set())) names.set(Buffer.from(name).toString("latin1"), name);
  for (const name of [...names.values()].toSorted(byBytes)) {
    const here = joined(path, name);
    const old = below?.open(name) ?? null;
    using oldFile = old?.file ?? null;
    using file = openIfThere(directory, name);
    if (file === null) {
      if (old !== null) yield { kind: "whiteout", path: here };
      continue;
    }
    if (old === null && isMereMountPoint(directory, name, here, mountPoints)) continue;
    const status = statEntry(file, null);
    if (!isDirectory(status)) {
      if (old === null || oldFile === null || !isSameFile(file, status, oldFile, old.status))
        yield { kind: "entry", path: here, file, status };
      continue;
    }
    using inside = reopen(file, O.RDONLY | O.DIRECTORY);
    using merged = below?.enter(name) ?? null;
    if (!isSameDirectory(status, merged?.status() ?? null)) yield { kind: "entry", path: here, file: inside, status };
    yield* copiedDirectory(inside, merged, here, mountPoints, depth + 1);
  }
}

function isSameFile(file: Fd, status: EntryStatus, oldFile: Fd, old: EntryStatus): boolean {
  const isSame =
    status.mode === old.mode &&
    status.uid === old.uid &&
    status.gid === old.gid &&
    status.sizeBytes === old.sizeBytes &&
    status.deviceMajor === old.deviceMajor &&
    status.deviceMinor === old.deviceMinor &&
    status.modified[0] === old.modified[0] &&
    status.modified[1] === old.modified[1];
  if (!isSame) return false;
  if ((status.mode & S_IFMT) === S_IFLNK) return Buffer.compare(readLink(file), readLink(oldFile)) === 0;
  return (status.mode & S_IFMT) !== S_IFREG || Buffer.compare(capabilityOf(file), capabilityOf(oldFile)) === 0;
}

function capabilityOf(place: Fd): Uint8Array {
  using file = reopen(place, O.RDONLY | O.NONBLOCK);
  return readAttribute(file, "security.capability") ?? new Uint8Array(0);
}

function checkDepth(depth: number): void {
  if (depth > MAX_DEPTH) throw new LayerError(`a tree that is more than ${MAX_DEPTH} directories deep`);
}

function byBytes(a: RawName, b: RawName): number {
  return Buffer.compare(a, b);
}

function joined(path: string, name: RawName): string {
  const text = decodePath(name, 0, name.length - 1);
  return path === "" ? text : `${path}/${text}`;
}
