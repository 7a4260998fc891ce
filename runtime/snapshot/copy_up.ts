// Copy-up: the content of an image's directory into a new, empty volume, with owners, modes, extended attributes, times,
// links and holes. Called once per volume at create, by engine/containers/mounts.ts.
//
// Neither side is trusted: the image may hold any tree, and a container may already have the volume mounted. So no path
// is ever joined: each step opens one name relative to a descriptor, and follows no link.
import { setImmediate } from "node:timers/promises";
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { alloc } from "../sys/ffi.ts";
import { O, openInRoot, openPath, readOnce, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, writeAll } from "../sys/file.ts";
import {
  copyRange,
  copySymlinkEntry,
  type EntryStatus,
  linkEntry,
  makeDirectoryEntry,
  makeNodeEntry,
  nextData,
  openEntry,
  type RawName,
  readAttributes,
  readDirectory,
  removeEntry,
  seekTo,
  setMode,
  setOwner,
  setTimes,
  showName,
  statEntry,
  truncateTo,
  writeAttribute,
} from "../sys/tree.ts";

/** `absent`: the image has nothing there; `kept`: the volume is not empty; `notDirectory`: the image has a file there. */
export type CopyUpOutcome = "copied" | "absent" | "kept" | "notDirectory";

/** A directory level holds two descriptors open, so this bounds both the stack and the descriptors. */
const MAX_DEPTH = 512;
/** Files with several names that are remembered by an open descriptor; beyond it a further name becomes a copy. */
const MAX_LINKED_FILES = 512;
/** Copied in one go before other work has its turn. */
const SLICE_BYTES = 8 << 20;
const SLICE_ENTRIES = 64;

/**
 * Copies the directory `path` of the root file system `view` into the directory `destination`, unless that holds
 * something. `destination` itself takes the owner, mode, attributes and times of the image's directory. A failure
 * leaves it empty again.
 */
export async function copyUp(view: Fd, path: string, destination: string): Promise<CopyUpOutcome> {
  const opened = openSource(view, path);
  if (typeof opened === "string") return opened;
  using from = opened;
  using to = openPath(destination, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
  using listing = openPath(destination, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
  if (readDirectory(listing).length > 0) return "kept";
  using copy = new TreeCopy();
  try {
    await copy.directory(from, to, 0);
    copy.attributes(from, to, statEntry(from, null));
  } catch (error) {
    using leftovers = openPath(destination, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
    removeContents(leftovers, 0);
    throw error;
  }
  return "copied";
}

function openSource(view: Fd, path: string): Fd | CopyUpOutcome {
  try {
    return openInRoot(view, path, O.RDONLY | O.DIRECTORY);
  } catch (error) {
    if (error instanceof SyscallError && error.errno === E.ENOENT) return "absent";
    if (error instanceof SyscallError && error.errno === E.ENOTDIR) return "notDirectory";
    throw error;
  }
}

/** One copy under way: what it remembers of linked files, and how much it has done in this turn. */
class TreeCopy implements Disposable {
  readonly #linked = new Map<string, Fd>();
  #sliceBytes = 0;
  #sliceEntries = 0;

  async directory(from: Fd, to: Fd, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) throw new Error(`cannot copy a tree that is more than ${MAX_DEPTH} directories deep`);
    for (const name of readDirectory(from)) {
      await this.#rest(0);
      const status = statEntry(from, name);
      const type = status.mode & S_IFMT;
      if (type === S_IFDIR) await this.#subdirectory(from, to, name, depth);
      else if (type === S_IFREG) await this.#file(from, to, name, status);
      else this.#special(from, to, name, status);
    }
  }

  async #subdirectory(from: Fd, to: Fd, name: RawName, depth: number): Promise<void> {
    using source = openEntry(from, name, O.RDONLY | O.DIRECTORY);
    makeDirectoryEntry(to, name, 0o700);
    using target = openEntry(to, name, O.RDONLY | O.DIRECTORY);
    await this.directory(source, target, depth + 1);
    this.attributes(source, target, statEntry(source, null));
  }

  async #file(from: Fd, to: Fd, name: RawName, status: EntryStatus): Promise<void> {
    const known = status.links > 1 ? this.#linked.get(status.identity) : undefined;
    if (known !== undefined) return linkEntry(known, to, name);
    using source = openEntry(from, name, O.RDONLY);
    using target = openEntry(to, name, O.WRONLY | O.CREAT | O.EXCL, 0o600);
    await this.#content(source, target, status);
    this.attributes(source, target, status);
    if (status.links > 1 && this.#linked.size < MAX_LINKED_FILES) this.#linked.set(status.identity, target.duplicate());
  }

  async #content(source: Fd, target: Fd, status: EntryStatus): Promise<void> {
    if (status.storedBytes >= status.sizeBytes) return this.#stretch(source, target, 0, status.sizeBytes);
    truncateTo(target, status.sizeBytes);
    for (let data = nextData(source, 0); data !== null; data = nextData(source, data.end)) {
      await this.#stretch(source, target, data.start, data.end);
    }
  }

  async #stretch(source: Fd, target: Fd, start: number, end: number): Promise<void> {
    for (let offset = start; offset < end;) {
      const copied = copyRange(source, target, offset, Math.min(end - offset, SLICE_BYTES));
      if (copied === null) return this.#readAndWrite(source, target, offset, end);
      if (copied === 0) return;
      offset += copied;
      await this.#rest(copied);
    }
  }

  /** Between file systems the kernel does not copy by itself. */
  async #readAndWrite(source: Fd, target: Fd, start: number, end: number): Promise<void> {
    seekTo(source, start);
    seekTo(target, start);
    const buffer = alloc(1 << 20);
    for (let offset = start; offset < end;) {
      const count = readOnce(source, buffer.subarray(0, Math.min(buffer.length, end - offset))) ?? 0;
      if (count === 0) return;
      writeAll(target, buffer.subarray(0, count));
      offset += count;
      await this.#rest(count);
    }
  }

  #special(from: Fd, to: Fd, name: RawName, status: EntryStatus): void {
    if ((status.mode & S_IFMT) === S_IFLNK) {
      copySymlinkEntry(from, to, name);
      setOwner(to, name, status.uid, status.gid);
    } else {
      makeNodeEntry(to, name, (status.mode & S_IFMT) | 0o600, status.deviceMajor, status.deviceMinor);
      using node = openEntry(to, name, O.PATH);
      setOwner(node, null, status.uid, status.gid);
      setMode(node, status.mode);
    }
    setTimes(to, name, status);
  }

  /** Owner first: changing it clears the set-ID bits and the file capabilities. Times last: everything else sets them. */
  attributes(source: Fd, target: Fd, status: EntryStatus): void {
    setOwner(target, null, status.uid, status.gid);
    for (const { name, value } of readAttributes(source)) {
      // WHY: those of the overlay itself mean nothing, or something else, outside it.
      if (!/^(trusted|user)\.overlay\./.test(showName(name))) writeAttribute(target, name, value);
    }
    setMode(target, status.mode);
    setTimes(target, null, status);
  }

  /** Gives other work its turn after each slice. */
  async #rest(bytes: number): Promise<void> {
    this.#sliceBytes += bytes;
    this.#sliceEntries++;
    if (this.#sliceBytes < SLICE_BYTES && this.#sliceEntries < SLICE_ENTRIES) return;
    this.#sliceBytes = 0;
    this.#sliceEntries = 0;
    await setImmediate();
  }

  [Symbol.dispose](): void {
    for (const fd of this.#linked.values()) fd.close();
    this.#linked.clear();
  }
}

function removeContents(directory: Fd, depth: number): void {
  if (depth > MAX_DEPTH) return;
  for (const name of readDirectory(directory)) {
    const isDirectory = (statEntry(directory, name).mode & S_IFMT) === S_IFDIR;
    if (isDirectory) {
      using below = openEntry(directory, name, O.RDONLY | O.DIRECTORY);
      removeContents(below, depth + 1);
    }
    removeEntry(directory, name, isDirectory);
  }
}
