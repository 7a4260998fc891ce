// A file or a directory of a container as a tar stream: `docker cp` out, and the whole of it, `docker export`. The container may be running: each directory is
// read by a descriptor, each name is opened once (O_PATH, never following a link) and only then looked at and read, so
// that neither a link nor a device that is swapped in meanwhile leads out of the container.
import { read } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { promisify } from "node:util";
import { SyscallError } from "../errors.ts";
import { ownHeader, tarTypeOf } from "../layer/entry_header.ts";
import { decodePath } from "../layer/path_text.ts";
import { tarEnd, tarHeader, type TarHeader, tarPadding } from "../layer/tar_write.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { alloc } from "../sys/ffi.ts";
import { O, readOnce, reopen } from "../sys/file.ts";
import {
  eachName,
  type EntryStatus,
  openEntry,
  type RawName,
  readAttribute,
  readLink,
  statEntry,
} from "../sys/tree.ts";
import { type Level, Levels, MAX_DEPTH } from "./levels.ts";
import type { IDMaps } from "../mod.ts";
import type { Found } from "./look.ts";
import { fromRawName } from "./names.ts";
import { ownerInside } from "./owners.ts";

const readAsync = promisify(read);

/** Files with several names that are remembered; beyond it a further name becomes a copy. */
const MAX_LINKED_FILES = 1 << 16;
/** Sent to the client at once, and the largest file that is read before its header is written. */
const CHUNK_BYTES = 64 << 10;
/** Read at once of larger files. */
const READ_BYTES = 256 << 10;
/** Entries before other work has its turn: less than a millisecond. */
const SLICE_ENTRIES = 64;

export interface PackOptions {
  /** Of a running container in a user namespace; null: its IDs are the host's. */
  idMaps: IDMaps | null;
  /** Told of what could not be read. COMPAT: Docker leaves it out and goes on. */
  onSkipped(path: string, error: Error): void;
}

interface PackedLevel extends Level<RawName> {
  /** What the names in it begin with. */
  prefix: string;
}

/** Takes over the descriptor of `found`. */
export async function* pack(found: Found, options: PackOptions): AsyncGenerator<Uint8Array> {
  using packer = new Packer(options);
  using top = found;
  const { base } = top;
  yield* packer.entry(top.fd, base, base === "/" ? "/" : `${base}/`);
  yield* packer.rest();
  yield packer.take(tarEnd());
}

/** Everything below a directory, by names relative to it. The descriptor (not O_PATH) stays the caller's. */
export async function* packRoot(root: Fd, options: PackOptions): AsyncGenerator<Uint8Array> {
  using packer = new Packer(options);
  packer.enter(reopen(root, O.RDONLY | O.DIRECTORY), "");
  yield* packer.rest();
  yield packer.take(tarEnd());
}

class Packer implements Disposable {
  readonly #levels = new Levels<RawName, PackedLevel>();
  /** The first name of each file that has several. */
  readonly #linked = new Map<string, string>();
  #parts: Uint8Array[] = [];
  #pendingBytes = 0;
  #sliceEntries = 0;
  readonly #buffer = alloc(CHUNK_BYTES);

  constructor(private readonly options: PackOptions) {}

  /** Everything below the directories that are open. */
  async *rest(): AsyncGenerator<Uint8Array> {
    for (let next = this.#levels.next(); next !== null; next = this.#levels.next()) {
      if (++this.#sliceEntries >= SLICE_ENTRIES) {
        this.#sliceEntries = 0;
        await setImmediate();
      }
      yield* this.#named(next.level, next.name);
      if (this.#pendingBytes >= CHUNK_BYTES) yield this.take();
    }
  }

  async *#named({ directory, prefix }: PackedLevel, name: RawName): AsyncGenerator<Uint8Array> {
    const path = prefix + fromRawName(name);
    let file: Fd;
    try {
      file = openEntry(directory, name, O.PATH);
    } catch (error) {
      // It has gone since the directory was read.
      if (error instanceof SyscallError && error.errno === E.ENOENT) return;
      if (error instanceof SyscallError) return this.options.onSkipped(path, error);
      throw error;
    }
    using opened = file;
    yield* this.entry(opened, path, `${path}/`);
  }

  /** One entry, whole but for what lies in a directory. `prefix`: what the names in it begin with. */
  async *entry(file: Fd, path: string, prefix: string): AsyncGenerator<Uint8Array> {
    const status = statEntry(file, null);
    const type = tarTypeOf(status);
    if (type === undefined) return;
    const header: TarHeader = { type, path, ...ownHeader(status), ...ownerInside(status, this.options.idMaps) };
    if (type === "directory") return this.#directory(file, header, prefix);
    const first = status.links > 1 ? this.#linked.get(status.identity) : undefined;
    if (first !== undefined) return this.#add(tarHeader({ ...header, type: "link", linkPath: first }));
    if (type === "file") yield* this.#file(file, header, status);
    else if (type === "symlink") this.#add(tarHeader({ ...header, linkPath: decodePath(readLink(file)) }));
    else this.#add(tarHeader({ ...header, major: status.deviceMajor, minor: status.deviceMinor }));
    if (status.links > 1 && this.#linked.size < MAX_LINKED_FILES) this.#linked.set(status.identity, path);
  }

  #directory(file: Fd, header: TarHeader, prefix: string): void {
    const depth = this.#levels.open.length;
    if (depth >= MAX_DEPTH) throw new Error(`cannot copy a tree that is more than ${MAX_DEPTH} directories deep`);
    const directory = this.#tryOpen(file, header.path, O.RDONLY | O.DIRECTORY);
    if (directory === null) return;
    this.enter(directory, prefix);
    this.#add(tarHeader(header));
  }

  /** Takes over the descriptor. */
  enter(directory: Fd, prefix: string): void {
    this.#levels.enter({ directory, names: eachName(directory), prefix });
  }

  async *#file(place: Fd, header: TarHeader, status: EntryStatus): AsyncGenerator<Uint8Array> {
    // Not blocking: some files of /proc wait for news.
    const opened = this.#tryOpen(place, header.path, O.RDONLY | O.NONBLOCK | O.NOCTTY);
    if (opened === null) return;
    using file = opened;
    const capability = readAttribute(file, "security.capability");
    const xattrs = capability ? new Map([["security.capability", capability]]) : null;
    if (status.sizeBytes <= CHUNK_BYTES) return this.#smallFile(file, { ...header, xattrs }, status.sizeBytes);
    const size = status.sizeBytes;
    this.#add(tarHeader({ ...header, xattrs, size }));
    yield this.take();
    yield* contentOf(file, size);
    this.#add(new Uint8Array(tarPadding(size)));
  }

  /** WHY read first: files of /proc and /sys have other sizes than they say. */
  #smallFile(file: Fd, header: TarHeader, promised: number): void {
    let size = 0;
    try {
      while (size < CHUNK_BYTES) {
        const count = readOnce(file, this.#buffer.subarray(size)) ?? 0;
        if (count === 0) break;
        size += count;
        // All that was promised. What says zero, as files of /proc do, is read to its end.
        if (size === promised) break;
      }
    } catch (error) {
      if (error instanceof SyscallError) return this.options.onSkipped(header.path, error);
      throw error;
    }
    this.#add(tarHeader({ ...header, size }));
    this.#add(this.#buffer.slice(0, size));
    this.#add(new Uint8Array(tarPadding(size)));
  }

  #tryOpen(place: Fd, path: string, flags: number): Fd | null {
    try {
      return reopen(place, flags);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.options.onSkipped(path, error);
      return null;
    }
  }

  #add(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#pendingBytes += bytes.length;
  }

  /** What has gathered, and `last`. */
  take(last?: Uint8Array): Uint8Array {
    const all = Buffer.concat(last ? [...this.#parts, last] : this.#parts);
    this.#parts = [];
    this.#pendingBytes = 0;
    return all;
  }

  [Symbol.dispose](): void {
    this.#levels[Symbol.dispose]();
  }
}

/** As many bytes as the header has promised: one that shrinks meanwhile ends in zeroes. Read by other threads. */
async function* contentOf(file: Fd, size: number): AsyncGenerator<Uint8Array> {
  for (let position = 0; position < size;) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, size - position));
    const { bytesRead } = await readAsync(file.number, buffer, 0, buffer.length, position);
    if (bytesRead === 0) buffer.fill(0);
    const count = bytesRead === 0 ? buffer.length : bytesRead;
    yield buffer.subarray(0, count);
    position += count;
  }
}
