// A tar stream to files of a container that lives: `docker cp` in. Beside layer/tree_writer.ts, which fills directories
// that nobody else sees: here the container may run and swap any name for another at any moment, files may be there
// already, and umask, set-group-ID directories and default ACLs may stand against what the archive says.
//
// INVARIANT: nothing is written outside the root. A parent directory is opened below it (openInRoot); an entry is made
// there by its name (O_EXCL, never following a link), opened once, and changed by that descriptor alone.
import { setImmediate } from "node:timers/promises";
import { SyscallError } from "../errors.ts";
import { decompress } from "../layer/compression.ts";
import { LayerError } from "../layer/layer_error.ts";
import { MAX_LAYER_ENTRIES } from "../layer/limits.ts";
import { cleanPath } from "../layer/path_text.ts";
import { type TarEntry, TarReader, type TarTime, type TarVisitor } from "../layer/tar_read.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openInRoot, S_IFCHR, S_IFDIR, S_IFMT, writeAll } from "../sys/file.ts";
import {
  readDirectory,
  type EntryStatus,
  linkName,
  openEntry,
  type RawName,
  removeEntry,
  seekTo,
  setMode,
  setOwner,
  setTimes,
  statEntry,
  truncateTo,
  writeAttribute,
} from "../sys/tree.ts";
import type { IDMaps } from "../mod.ts";
import { toRawName } from "./names.ts";
import { type Maker, makerOf, ownerOutside } from "./owners.ts";

const S_IFIFO = 0o010000,
  S_IFBLK = 0o060000;
/** Of the archive at a time. WHY by the clock: a slice is one write, or a hundred small files that a slow disk makes. */
const SLICE_LEAST_BYTES = 2 << 10,
  SLICE_MOST_BYTES = 256 << 10;
/** Unpacked before other work has its turn. */
const TURN_MS = 2;
/** Of a directory that a file takes the place of. */
const MAX_DEPTH = 512;
const OVERLAY_XATTR = /^(?:trusted|user)\.overlay\./;

export interface UnpackOptions {
  /** The container's root, not O_PATH. */
  root: Fd;
  /** Where in it; absolute. */
  directory: string;
  /** Whose everything becomes; null: as the archive says. */
  owner: { uid: number; gid: number } | null;
  /** Of a running container in a user namespace; null: its IDs are the host's. */
  idMaps: IDMaps | null;
  /** A directory does not give way to a file, nor a file to a directory. */
  keepsKinds: boolean;
  signal: AbortSignal;
}

/** Plain, gzip or zstd. Throws LayerError for what is wrong with the archive, or is refused of it. */
export async function unpack(archive: AsyncIterable<Uint8Array>, options: UnpackOptions): Promise<void> {
  using writer = new LiveTreeWriter(options);
  // COMPAT: an archive may just end, as Go's tar reader has it; what breaks off inside an entry is refused.
  const reader = new TarReader(writer, { allowsMissingEnd: true });
  let slice = SLICE_LEAST_BYTES;
  let heldMs = 0;
  for await (const chunk of decompress(archive, { usesHostTools: true })) {
    for (let start = 0, end = 0; start < chunk.length; start = end) {
      options.signal.throwIfAborted();
      end = Math.min(start + slice, chunk.length);
      const begun = performance.now();
      reader.write(chunk.subarray(start, end));
      const tookMs = performance.now() - begun;
      if (tookMs > TURN_MS) slice = Math.max(slice >> 1, SLICE_LEAST_BYTES);
      else if (tookMs < TURN_MS / 4) slice = Math.min(slice << 1, SLICE_MOST_BYTES);
      heldMs += tookMs;
      if (heldMs < TURN_MS) continue;
      heldMs = 0;
      await setImmediate();
    }
  }
  reader.finish();
  await writer.finish();
}

class LiveTreeWriter implements TarVisitor, Disposable {
  /** The directory that the last entry was made in. */
  #parentPath = "";
  #parent: Fd | null = null;
  #file: Fd | null = null;
  #fileEntry: TarEntry | null = null;
  #fileEnd = 0;
  #entries = 0;
  /** Written last: every file that is made in a directory changes its time. */
  readonly #directoryTimes = new Map<string, TarEntry>();

  readonly #maker: Maker;

  constructor(private readonly options: UnpackOptions) {
    this.#maker = makerOf(options.idMaps);
  }

  entry(entry: TarEntry): void {
    if (++this.#entries > MAX_LAYER_ENTRIES) throw new LayerError(`more than ${MAX_LAYER_ENTRIES} entries`);
    const path = inside(entry.path, "entry");
    if (path === "") {
      // COMPAT: the extraction point keeps its owner, mode and times.
      if (entry.type === "directory") return;
      throw new LayerError(`entry ${JSON.stringify(entry.path)} would replace the extraction point`);
    }
    const { directory, name } = split(path);
    const parent = this.#open(directory);
    // WHY no look first: most often nothing is there, and the call that makes the file finds out by itself.
    if (entry.type === "file" && this.#startFile(entry, parent, name)) return;
    const exists = this.#makeRoom(parent, name, path, entry);
    if (entry.type === "directory") this.#directory(entry, parent, name, path, exists);
    else if (entry.type === "file") this.#startAgain(entry, parent, name);
    else if (entry.type === "link") this.#link(entry, parent, name);
    else if (entry.type === "symlink") this.#symlink(entry, parent, name);
    else this.#node(entry, parent, name);
  }

  data(bytes: Uint8Array, position: number): void {
    if (this.#file === null) return;
    if (position !== this.#fileEnd) seekTo(this.#file, position);
    writeAll(this.#file, bytes);
    this.#fileEnd = position + bytes.length;
  }

  end(): void {
    const entry = this.#fileEntry;
    if (this.#file === null || entry === null) return;
    using file = this.#file;
    this.#file = null;
    this.#fileEntry = null;
    if (this.#fileEnd !== entry.size) truncateTo(file, entry.size);
    this.#finishOpen(file, entry);
    setTimes(file, null, timesOf(entry));
  }

  /** The times of the directories. */
  async finish(): Promise<void> {
    let count = 0;
    for (const [path, entry] of this.#directoryTimes) {
      if (++count % 256 === 0) await setImmediate();
      this.options.signal.throwIfAborted();
      try {
        using directory = openInRoot(this.options.root, this.#place(path), O.RDONLY | O.DIRECTORY);
        setTimes(directory, null, timesOf(entry));
      } catch (error) {
        // A later entry, or the container, has put something else there.
        if (!(error instanceof SyscallError) || !GONE.has(error.errno)) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#file?.close();
    this.#forget();
  }

  #place(path: string): string {
    return path === "" ? this.options.directory : `${this.options.directory}/${path}`;
  }

  /** The directory at a path, made where it is missing. Valid until the next call. */
  #open(path: string): Fd {
    if (this.#parent !== null && this.#parentPath === path) return this.#parent;
    const opened = this.#openOrMake(path);
    this.#forget();
    this.#parent = opened;
    this.#parentPath = path;
    return opened;
  }

  #openOrMake(path: string): Fd {
    try {
      return openInRoot(this.options.root, this.#place(path), O.RDONLY | O.DIRECTORY);
    } catch (error) {
      // Without a path it is the extraction point that has gone.
      if (!(error instanceof SyscallError) || error.errno !== E.ENOENT || path === "") throw error;
    }
    const { directory, name } = split(path);
    using parent = this.#openOrMake(directory);
    const raw = toRawName(name);
    try {
      this.#maker.directory(parent, raw, 0o755);
    } catch (error) {
      if (!(error instanceof SyscallError) || error.errno !== E.EEXIST) throw error;
      throw new LayerError(`${JSON.stringify(path)} is a symbolic link to nothing, where a directory is needed`);
    }
    const made = openEntry(parent, raw, O.RDONLY | O.DIRECTORY);
    try {
      const { uid, gid } = ownerOutside(this.options.owner ?? { uid: 0, gid: 0 }, this.options.idMaps);
      setOwner(made, null, uid, gid);
      setMode(made, 0o755);
      return made;
    } catch (error) {
      made.close();
      throw error;
    }
  }

  #forget(): void {
    this.#parent?.close();
    this.#parent = null;
  }

  /** Takes away what the entry replaces. True: a directory is there already, and stays. */
  #makeRoom(parent: Fd, name: string, path: string, entry: TarEntry): boolean {
    const raw = toRawName(name);
    const there = statOrNull(parent, raw);
    if (there === null) return false;
    const isDirectory = (there.mode & S_IFMT) === S_IFDIR;
    const becomesDirectory = entry.type === "directory";
    if (isDirectory && becomesDirectory) return true;
    if (this.options.keepsKinds && isDirectory !== becomesDirectory) {
      const [from, to] = isDirectory ? ["directory", "non-directory"] : ["non-directory", "directory"];
      const { directory } = this.options;
      const shown = `${directory === "/" ? "" : directory}/${path}`;
      throw new LayerError(`cannot overwrite ${from} ${JSON.stringify(shown)} with ${to} ${JSON.stringify(directory)}`);
    }
    removeTree(parent, raw, 0);
    return false;
  }

  #directory(entry: TarEntry, parent: Fd, name: string, path: string, exists: boolean): void {
    const raw = toRawName(name);
    if (!exists) this.#maker.directory(parent, raw, 0o700);
    using made = openEntry(parent, raw, O.RDONLY | O.DIRECTORY);
    this.#finishOpen(made, entry);
    this.#directoryTimes.delete(path);
    this.#directoryTimes.set(path, entry);
  }

  /** False: there is something of that name. */
  #startFile(entry: TarEntry, parent: Fd, name: string): boolean {
    try {
      // Nobody may do more with it meanwhile than when it is whole.
      this.#file = this.#maker.file(parent, toRawName(name), entry.mode & 0o755);
    } catch (error) {
      if (error instanceof SyscallError && error.errno === E.EEXIST) return false;
      throw error;
    }
    this.#fileEntry = entry;
    this.#fileEnd = 0;
    return true;
  }

  /** In the room that was made for it: the container may have been quicker to put something there. */
  #startAgain(entry: TarEntry, parent: Fd, name: string): void {
    if (!this.#startFile(entry, parent, name)) throw new SyscallError("openat", E.EEXIST, { name });
  }

  #link(entry: TarEntry, parent: Fd, name: string): void {
    const target = split(inside(entry.linkPath, "hard link to"));
    try {
      using from = openInRoot(this.options.root, this.#place(target.directory), O.PATH | O.DIRECTORY);
      linkName(from, toRawName(target.name), parent, toRawName(name));
    } catch (error) {
      if (!(error instanceof SyscallError) || (error.errno !== E.ENOENT && error.errno !== E.EPERM)) throw error;
      const why = error.errno === E.ENOENT ? "there is no such file" : "it cannot be linked to";
      const both = `${JSON.stringify(entry.path)} to ${JSON.stringify(entry.linkPath)}`;
      throw new LayerError(`hard link ${both}: ${why}`, { cause: error });
    }
  }

  #symlink(entry: TarEntry, parent: Fd, name: string): void {
    const raw = toRawName(name);
    this.#maker.symlink(parent, raw, toRawName(entry.linkPath));
    const { uid, gid } = this.#ownerOf(entry);
    setOwner(parent, raw, uid, gid);
    setTimes(parent, raw, timesOf(entry));
  }

  #node(entry: TarEntry, parent: Fd, name: string): void {
    const { major, minor } = entry;
    if (major > 0xfff || minor > 0xfffff || major < 0 || minor < 0)
      throw new LayerError(`device ${JSON.stringify(entry.path)} has the number ${major}:${minor}`);
    const type = entry.type === "char" ? S_IFCHR : entry.type === "block" ? S_IFBLK : S_IFIFO;
    const raw = toRawName(name);
    this.#maker.node(parent, raw, type | 0o600, entry.type === "fifo" ? 0 : major, entry.type === "fifo" ? 0 : minor);
    using node = openEntry(parent, raw, O.PATH);
    const { uid, gid } = this.#ownerOf(entry);
    setOwner(node, null, uid, gid);
    setMode(node, entry.mode);
    setTimes(parent, raw, timesOf(entry));
  }

  /**
   * Owner first: changing it clears the set-ID bits and the file capabilities. WHY the look: each change is a transaction of
   * the file system, and most files are made as they shall be.
   */
  #finishOpen(file: Fd, entry: TarEntry): void {
    const { uid, gid } = this.#ownerOf(entry);
    const now = statEntry(file, null);
    const isOwned = now.uid === uid && now.gid === gid;
    if (!isOwned) setOwner(file, null, uid, gid);
    if (!isOwned || (now.mode & 0o7777) !== (entry.mode & 0o7777)) setMode(file, entry.mode);
    for (const [name, value] of entry.xattrs ?? []) {
      if (!OVERLAY_XATTR.test(name)) tryAttribute(file, name, value);
    }
  }

  #ownerOf(entry: TarEntry): { uid: number; gid: number } {
    return ownerOutside(this.options.owner ?? entry, this.options.idMaps);
  }
}

const GONE: ReadonlySet<number> = new Set([E.ENOENT, E.ENOTDIR, E.ELOOP]);

/** A path of the archive, clean; "" is the extraction point. */
function inside(path: string, what: string): string {
  const clean = cleanPath(path);
  if (clean === null) throw new LayerError(`${what} ${JSON.stringify(path)} climbs out of the extraction point`);
  return clean;
}

function split(path: string): { directory: string; name: string } {
  const slash = path.lastIndexOf("/");
  return { directory: slash < 0 ? "" : path.slice(0, slash), name: path.slice(slash + 1) };
}

function timesOf({ mtime, atime }: TarEntry): Pick<EntryStatus, "accessed" | "modified"> {
  const pair = ({ sec, nsec }: TarTime): readonly [bigint, number] => [BigInt(sec), nsec];
  return { modified: pair(mtime), accessed: pair(atime ?? mtime) };
}

/** COMPAT: Docker drops attributes that this file system or kind of file cannot have. */
function tryAttribute(file: Fd, name: string, value: Uint8Array): void {
  try {
    writeAttribute(file, toRawName(name), Uint8Array.from(value));
  } catch (error) {
    if (!(error instanceof SyscallError) || error.errno !== E.EPERM) throw error;
  }
}

function statOrNull(directory: Fd, name: RawName): EntryStatus | null {
  try {
    return statEntry(directory, name);
  } catch (error) {
    if (error instanceof SyscallError && error.errno === E.ENOENT) return null;
    throw error;
  }
}

/** By descriptors: a directory that becomes a link meanwhile is not entered. */
function removeTree(directory: Fd, name: RawName, depth: number): void {
  const status = statOrNull(directory, name);
  if (status === null) return;
  const isDirectory = (status.mode & S_IFMT) === S_IFDIR;
  if (isDirectory) {
    if (depth > MAX_DEPTH) throw new LayerError(`what is replaced is more than ${MAX_DEPTH} directories deep`);
    using inside = openEntry(directory, name, O.RDONLY | O.DIRECTORY);
    for (const child of readDirectory(inside)) removeTree(inside, child, depth + 1);
  }
  removeEntry(directory, name, isDirectory);
}
