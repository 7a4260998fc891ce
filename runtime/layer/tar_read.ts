// A streaming reader of tar: ustar, pax (with global headers), GNU long names, GNU and pax sparse files. Bytes are pushed
// in with write(), in pieces of any size; a visitor is called back in order, synchronously, and file contents reach it as
// views of the pushed bytes. See pax(1) and the tar(5) pages of libarchive and GNU tar.
//
//   block of 512:  name 0..100 | mode 100 | uid 108 | gid 116 | size 124 | mtime 136 | checksum 148 | type 156
//                  link 157 | magic 257 | user 265 | group 297 | major 329 | minor 337 | prefix 345..500
import { LayerError } from "./layer_error.ts";
import { MAX_PATH_BYTES, MAX_PAX_BYTES } from "./limits.ts";
import { decodePath } from "./path_text.ts";
import { applyPax, type PaxRecords, parsePax } from "./tar_pax.ts";
import { parseDecimalMap, type SparsePiece, readGnuPieces, checkPieces } from "./tar_sparse.ts";

export interface TarTime {
  sec: number;
  nsec: number;
}

export type TarType = "file" | "link" | "symlink" | "directory" | "char" | "block" | "fifo";

export interface TarEntry {
  type: TarType;
  /** As it stands in the archive (see path_text.ts for bytes that are not UTF-8). Not cleaned: it may climb. */
  path: string;
  /** Target of a link or symlink; "" otherwise. */
  linkPath: string;
  /** Permission bits with set-ID and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Of a file, holes included; 0 otherwise. */
  size: number;
  mtime: TarTime;
  atime: TarTime | null;
  major: number;
  minor: number;
  userName: string;
  groupName: string;
  xattrs: Map<string, Uint8Array> | null;
}

export interface TarVisitor {
  entry(entry: TarEntry): void;
  /** A piece of the last file's content and where it belongs; holes are passed over. `bytes` is only valid in this call. */
  data(bytes: Uint8Array, position: number): void;
  /** All of the last entry was told. */
  end(): void;
}

export interface TarReadOptions {
  /** Accept an archive that stops after an entry, without the closing zero block. Safe only where a digest is checked. */
  allowsMissingEnd?: boolean;
}

const BLOCK = 512;
const TYPES: Readonly<Record<string, TarType>> = {
  "\0": "file",
  "0": "file",
  "7": "file",
  S: "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "directory",
  "6": "fifo",
};
/** Headers that describe the next entry: pax, pax global, GNU long name and long link. */
const META = new Set(["x", "g", "L", "K"]);

type Stage = "header" | "meta" | "sparseHeader" | "sparseMap" | "body" | "done";

export class TarReader {
  #stage: Stage = "header";
  /** A header that is not all there yet. */
  readonly #block = new Uint8Array(BLOCK);
  #blockFill = 0;
  /** Bytes of the current entry still to come, and the zeroes that fill its last block. */
  #left = 0;
  #padding = 0;
  #metaType = "";
  #meta: Uint8Array = new Uint8Array(0);
  #metaFill = 0;
  #globals: PaxRecords = new Map();
  #pax: PaxRecords | null = null;
  #longPath: string | null = null;
  #longLink: string | null = null;
  #entry: TarEntry | null = null;
  #pieces: SparsePiece[] | null = null;
  #piece = 0;
  #position = 0;
  #entries = 0;

  constructor(
    private readonly visitor: TarVisitor,
    private readonly options: TarReadOptions = {},
  ) {}

  /** Takes the next bytes of the archive. Throws LayerError for what is not tar, and whatever the visitor throws. */
  write(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length && this.#stage !== "done") {
      if (this.#stage === "body") at = this.#takeBody(chunk, at);
      else if (this.#stage === "meta") at = this.#takeMeta(chunk, at);
      else if (this.#stage === "header" && this.#padding > 0) at = this.#skipPadding(chunk, at);
      else at = this.#takeBlock(chunk, at);
    }
  }

  /** No more bytes will come. Throws when the archive is cut short. */
  finish(): void {
    if (this.#stage === "done") return;
    const isBetween =
      this.#stage === "header" &&
      this.#blockFill === 0 &&
      this.#padding === 0 &&
      this.#pax === null &&
      this.#longPath === null &&
      this.#longLink === null;
    if (isBetween && this.options.allowsMissingEnd) return;
    throw new LayerError(
      this.#entry === null
        ? `the tar archive is truncated after ${this.#entries} entries`
        : `the tar archive is truncated inside ${JSON.stringify(this.#entry.path)}`,
    );
  }

  #skipPadding(chunk: Uint8Array, at: number): number {
    const count = Math.min(this.#padding, chunk.length - at);
    this.#padding -= count;
    return at + count;
  }

  /** Stages that work on whole blocks of 512 bytes: straight from the chunk where one lies in it as a whole. */
  #takeBlock(chunk: Uint8Array, at: number): number {
    if (this.#blockFill === 0 && chunk.length - at >= BLOCK) {
      this.#onBlock(chunk, at);
      return at + BLOCK;
    }
    const count = Math.min(BLOCK - this.#blockFill, chunk.length - at);
    this.#block.set(chunk.subarray(at, at + count), this.#blockFill);
    this.#blockFill += count;
    if (this.#blockFill === BLOCK) {
      this.#blockFill = 0;
      this.#onBlock(this.#block, 0);
    }
    return at + count;
  }

  #onBlock(bytes: Uint8Array, at: number): void {
    if (this.#stage === "header") this.#onHeader(bytes, at);
    else if (this.#stage === "sparseHeader") this.#onSparseHeader(bytes, at);
    else this.#onSparseMapBlock(bytes, at);
  }

  #onHeader(bytes: Uint8Array, at: number): void {
    if (isZero(bytes, at)) {
      if (this.#pax !== null || this.#longPath !== null || this.#longLink !== null) {
        throw new LayerError("a tar header that describes the next entry is followed by none");
      }
      this.#stage = "done";
      return;
    }
    if (!hasGoodChecksum(bytes, at)) {
      throw new LayerError(
        this.#entries === 0 ? "not a tar archive" : `a damaged tar header after ${this.#entries} entries`,
      );
    }
    const type = String.fromCharCode(bytes[at + 156] ?? 0);
    const size = readNumber(bytes, at + 124, 12, "size");
    if (META.has(type)) return this.#startMeta(type, size);
    this.#startEntry(bytes, at, type, size);
  }

  #startMeta(type: string, size: number): void {
    if (size > MAX_PAX_BYTES)
      throw new LayerError(`a tar header of type ${type} has ${size} bytes, the limit is ${MAX_PAX_BYTES}`);
    this.#metaType = type;
    this.#meta = new Uint8Array(size);
    this.#metaFill = 0;
    this.#padding = paddingOf(size);
    this.#stage = "meta";
    if (size === 0) this.#endMeta();
  }

  #takeMeta(chunk: Uint8Array, at: number): number {
    const count = Math.min(this.#meta.length - this.#metaFill, chunk.length - at);
    this.#meta.set(chunk.subarray(at, at + count), this.#metaFill);
    this.#metaFill += count;
    if (this.#metaFill === this.#meta.length) this.#endMeta();
    return at + count;
  }

  #endMeta(): void {
    const bytes = this.#meta;
    if (this.#metaType === "x") this.#pax = parsePax(bytes);
    else if (this.#metaType === "L") this.#longPath = readText(bytes, 0, bytes.length);
    else if (this.#metaType === "K") this.#longLink = readText(bytes, 0, bytes.length);
    else for (const [key, value] of parsePax(bytes)) this.#setGlobal(key, value);
    this.#meta = new Uint8Array(0);
    this.#stage = "header";
  }

  #setGlobal(key: string, value: Uint8Array): void {
    if (value.length === 0) this.#globals.delete(key);
    else this.#globals.set(key, value);
    if (this.#globals.size > 1024) throw new LayerError("more than 1024 global pax records");
  }

  #startEntry(bytes: Uint8Array, at: number, type: string, headerSize: number): void {
    const kind = TYPES[type];
    if (kind === undefined) {
      throw new LayerError(
        `unhandled tar header type ${type.charCodeAt(0)} of ${JSON.stringify(readText(bytes, at, at + 100))}`,
      );
    }
    const entry = readEntry(bytes, at, kind, headerSize);
    if (this.#longPath !== null) entry.path = this.#longPath;
    if (this.#longLink !== null) entry.linkPath = this.#longLink;
    const sparse = applyPax(entry, this.#globals, this.#pax);
    this.#longPath = this.#longLink = this.#pax = null;
    // COMPAT: before POSIX a directory was a file whose name ends with a slash.
    if (entry.type === "file" && entry.path.endsWith("/") && type !== "S") entry.type = "directory";
    checkEntry(entry);
    this.#entry = entry;
    this.#left = entry.type === "file" ? entry.size : 0;
    this.#padding = paddingOf(this.#left);
    this.#position = 0;
    this.#pieces = null;
    if (type === "S") {
      this.#pieces = readGnuPieces(bytes, at + 386, 4);
      entry.size = readNumber(bytes, at + 483, 12, "real size");
      if (bytes[at + 482] !== 0) {
        this.#stage = "sparseHeader";
        return;
      }
    } else if (sparse !== null && entry.type === "file") {
      entry.size = sparse.realSize;
      this.#pieces = sparse.pieces;
      if (sparse.pieces === null) {
        this.#meta = new Uint8Array(0);
        this.#stage = "sparseMap";
        return;
      }
    }
    this.#announce();
  }

  /** More pieces of an old GNU sparse file, in blocks before its data. */
  #onSparseHeader(bytes: Uint8Array, at: number): void {
    this.#pieces = [...(this.#pieces ?? []), ...readGnuPieces(bytes, at, 21)];
    checkPieces(this.#pieces, Number.MAX_SAFE_INTEGER, null);
    if (bytes[at + 504] === 0) this.#announce();
  }

  /** The map of a pax 1.0 sparse file: decimal lines at the start of its data, filled up to whole blocks. */
  #onSparseMapBlock(bytes: Uint8Array, at: number): void {
    this.#left -= BLOCK;
    if (this.#left < 0)
      throw new LayerError(`the map of sparse file ${JSON.stringify(this.#entry?.path)} is longer than its data`);
    if (this.#meta.length > MAX_PAX_BYTES) throw new LayerError("the map of a sparse file is too long");
    this.#meta = Buffer.concat([this.#meta, bytes.subarray(at, at + BLOCK)]);
    this.#pieces = parseDecimalMap(this.#meta);
    if (this.#pieces !== null) this.#announce();
  }

  /** The entry is whole: tell it, and go on with its content. */
  #announce(): void {
    const entry = this.#entry;
    if (entry === null) return;
    this.#entries++;
    this.#meta = new Uint8Array(0);
    if (this.#pieces !== null) {
      checkPieces(this.#pieces, entry.size, this.#left);
      this.#piece = 0;
      this.#position = this.#pieces[0]?.offset ?? 0;
    }
    this.visitor.entry(entry);
    this.#stage = "body";
    if (this.#left === 0) this.#endEntry();
  }

  #takeBody(chunk: Uint8Array, at: number): number {
    const piece = this.#pieces?.[this.#piece];
    const room = piece === undefined ? this.#left : Math.min(this.#left, piece.offset + piece.size - this.#position);
    const count = Math.min(room, chunk.length - at);
    if (count > 0)
      this.visitor.data(at === 0 && count === chunk.length ? chunk : chunk.subarray(at, at + count), this.#position);
    this.#left -= count;
    this.#position += count;
    if (this.#left === 0) this.#endEntry();
    else if (piece !== undefined && this.#position === piece.offset + piece.size) {
      this.#piece++;
      this.#position = this.#pieces?.[this.#piece]?.offset ?? this.#position;
    }
    return at + count;
  }

  #endEntry(): void {
    this.visitor.end();
    this.#entry = null;
    this.#pieces = null;
    this.#stage = "header";
  }
}

function readEntry(bytes: Uint8Array, at: number, type: TarType, size: number): TarEntry {
  const isPosix = hasMagic(bytes, at, "ustar\0");
  const isGnu = !isPosix && hasMagic(bytes, at, "ustar ");
  let path = readText(bytes, at, at + 100);
  if (isPosix && bytes[at + 345] !== 0) path = `${readText(bytes, at + 345, at + 500)}/${path}`;
  const isDevice = (type === "char" || type === "block") && (isPosix || isGnu);
  return {
    type,
    path,
    linkPath: type === "link" || type === "symlink" ? readText(bytes, at + 157, at + 257) : "",
    mode: readNumber(bytes, at + 100, 8, "mode") & 0o7777,
    uid: readNumber(bytes, at + 108, 8, "uid"),
    gid: readNumber(bytes, at + 116, 8, "gid"),
    size: type === "file" ? size : 0,
    mtime: { sec: readNumber(bytes, at + 136, 12, "mtime"), nsec: 0 },
    atime: null,
    major: isDevice ? readNumber(bytes, at + 329, 8, "major") : 0,
    minor: isDevice ? readNumber(bytes, at + 337, 8, "minor") : 0,
    userName: isPosix || isGnu ? readText(bytes, at + 265, at + 297) : "",
    groupName: isPosix || isGnu ? readText(bytes, at + 297, at + 329) : "",
    xattrs: null,
  };
}

const MAX_ID = 0xffff_fffe;

function checkEntry(entry: TarEntry): void {
  const name = JSON.stringify(entry.path.slice(0, 200));
  if (entry.path === "") throw new LayerError("a tar entry without a name");
  if (entry.path.includes("\0") || entry.linkPath.includes("\0"))
    throw new LayerError(`a NUL byte in the name of tar entry ${name}`);
  for (const text of [entry.path, entry.linkPath]) {
    // A character is three bytes at most for each unit of a string.
    if (text.length * 3 > MAX_PATH_BYTES && Buffer.byteLength(text) > MAX_PATH_BYTES) {
      throw new LayerError(`the name of tar entry ${name}… is longer than ${MAX_PATH_BYTES} bytes`);
    }
  }
  if (entry.size < 0 || !Number.isSafeInteger(entry.size))
    throw new LayerError(`tar entry ${name} has size ${entry.size}`);
  if (!isID(entry.uid) || !isID(entry.gid))
    throw new LayerError(`tar entry ${name} has owner ${entry.uid}:${entry.gid}`);
  if ((entry.type === "link" || entry.type === "symlink") && entry.linkPath === "") {
    throw new LayerError(`tar entry ${name} is a link to nothing`);
  }
}

function isID(id: number): boolean {
  return Number.isInteger(id) && id >= 0 && id <= MAX_ID;
}

function paddingOf(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function isZero(bytes: Uint8Array, at: number): boolean {
  for (let index = at; index < at + BLOCK; index++) if (bytes[index] !== 0) return false;
  return true;
}

/** The sum of all bytes, those of the checksum itself taken as spaces. COMPAT: old tars summed signed bytes. */
function hasGoodChecksum(bytes: Uint8Array, at: number): boolean {
  let unsigned = 8 * 32;
  let high = 0;
  for (let index = at; index < at + BLOCK; index++) {
    const byte = bytes[index] ?? 0;
    unsigned += byte;
    if (byte > 127) high++;
  }
  for (let index = at + 148; index < at + 156; index++) {
    const byte = bytes[index] ?? 0;
    unsigned -= byte;
    if (byte > 127) high--;
  }
  const told = readOctal(bytes, at + 148, 8);
  return told !== null && (told === unsigned || told === unsigned - 256 * high);
}

function hasMagic(bytes: Uint8Array, at: number, magic: string): boolean {
  for (let index = 0; index < magic.length; index++)
    if (bytes[at + 257 + index] !== magic.charCodeAt(index)) return false;
  return true;
}

/** Text up to the first NUL. */
function readText(bytes: Uint8Array, start: number, end: number): string {
  let stop = start;
  while (stop < end && bytes[stop] !== 0) stop++;
  return stop === start ? "" : decodePath(bytes, start, stop);
}

/** An octal number, or GNU's base 256: the first bit set, the rest a big-endian two's complement number. */
export function readNumber(bytes: Uint8Array, at: number, length: number, field: string): number {
  const first = bytes[at] ?? 0;
  const value = first & 0x80 ? readBase256(bytes, at, length) : readOctal(bytes, at, length);
  if (value === null || !Number.isSafeInteger(value)) throw new LayerError(`a tar header with a bad ${field}`);
  return value;
}

function readOctal(bytes: Uint8Array, at: number, length: number): number | null {
  let index = at;
  const end = at + length;
  while (index < end && bytes[index] === 32) index++;
  let value = 0;
  for (; index < end; index++) {
    const byte = bytes[index] ?? 0;
    if (byte === 0 || byte === 32) break;
    if (byte < 48 || byte > 55) return null;
    value = value * 8 + byte - 48;
  }
  for (; index < end; index++) {
    const byte = bytes[index];
    if (byte !== 0 && byte !== 32) return null;
  }
  return value;
}

function readBase256(bytes: Uint8Array, at: number, length: number): number | null {
  const first = bytes[at] ?? 0;
  let value = (first & 0x3f) - (first & 0x40);
  for (let index = at + 1; index < at + length; index++) {
    value = value * 256 + (bytes[index] ?? 0);
    if (!Number.isSafeInteger(value)) return null;
  }
  return value;
}
