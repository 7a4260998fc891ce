// pax extended headers: `length key=value\n` records, and what they change about the entry they stand before.
// See pax(1), "pax Header Block"; SCHILY.xattr is star's and everybody's, GNU.sparse is GNU tar's.
import { LayerError } from "./layer_error.ts";
import { MAX_XATTRS } from "./limits.ts";
import { decodePath } from "./path_text.ts";
import type { TarEntry, TarTime } from "./tar_read.ts";
import { parseCommaMap, type SparsePiece } from "./tar_sparse.ts";

export type PaxRecords = Map<string, Uint8Array>;

/** Where GNU.sparse.offset and .numbytes, which repeat, are collected as one map. */
const SPARSE_MAP = "GNU.sparse.map";
const XATTR = "SCHILY.xattr.";

export function parsePax(bytes: Uint8Array): PaxRecords {
  const records: PaxRecords = new Map();
  const repeated: string[] = [];
  for (let at = 0; at < bytes.length;) {
    // GNU tar and others fill up with NULs; nothing follows them.
    if (bytes[at] === 0) break;
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 || space - at > 8 ? "" : decodePath(bytes, at, space);
    const end = /^\d+$/.test(digits) ? at + Number(digits) : -1;
    const equals = bytes.indexOf(0x3d, space + 1);
    if (end <= space || end > bytes.length || bytes[end - 1] !== 0x0a || equals < 0 || equals >= end) {
      throw new LayerError("a damaged pax header");
    }
    const key = decodePath(bytes, space + 1, equals);
    const value = bytes.slice(equals + 1, end - 1);
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") repeated.push(decodePath(value));
    else records.set(key, value);
    at = end;
  }
  if (repeated.length > 0) records.set(SPARSE_MAP, Buffer.from(repeated.join(",")));
  return records;
}

/** What the records say about a sparse file: pieces are null when the map stands at the start of its data. */
export interface PaxSparse {
  realSize: number;
  pieces: SparsePiece[] | null;
}

/** Changes `entry` by the global records and then by its own. */
export function applyPax(entry: TarEntry, globals: PaxRecords, own: PaxRecords | null): PaxSparse | null {
  if (globals.size > 0) applyRecords(entry, globals);
  if (own === null) return null;
  applyRecords(entry, own);
  return sparseOf(entry, own);
}

function applyRecords(entry: TarEntry, records: PaxRecords): void {
  for (const [key, value] of records) {
    if (value.length === 0) continue;
    if (key === "path") entry.path = decodePath(value);
    else if (key === "linkpath") entry.linkPath = decodePath(value);
    else if (key === "size") entry.size = entry.type === "file" ? integer(key, value) : 0;
    else if (key === "uid") entry.uid = integer(key, value);
    else if (key === "gid") entry.gid = integer(key, value);
    else if (key === "mtime") entry.mtime = time(key, value);
    else if (key === "atime") entry.atime = time(key, value);
    else if (key === "uname") entry.userName = decodePath(value);
    else if (key === "gname") entry.groupName = decodePath(value);
    else if (key.startsWith(XATTR)) addXattr(entry, key.slice(XATTR.length), value);
  }
}

function addXattr(entry: TarEntry, name: string, value: Uint8Array): void {
  entry.xattrs ??= new Map();
  entry.xattrs.set(name, value);
  if (entry.xattrs.size > MAX_XATTRS)
    throw new LayerError(`tar entry ${JSON.stringify(entry.path)} has more than ${MAX_XATTRS} xattrs`);
}

function sparseOf(entry: TarEntry, records: PaxRecords): PaxSparse | null {
  const major = records.get("GNU.sparse.major");
  const map = records.get(SPARSE_MAP);
  if (major === undefined && map === undefined) return null;
  const name = records.get("GNU.sparse.name");
  if (name !== undefined && name.length > 0) entry.path = decodePath(name);
  const sizeKey = records.has("GNU.sparse.realsize") ? "GNU.sparse.realsize" : "GNU.sparse.size";
  const size = records.get(sizeKey);
  if (size === undefined) throw new LayerError(`sparse tar entry ${JSON.stringify(entry.path)} has no real size`);
  return { realSize: integer(sizeKey, size), pieces: map === undefined ? null : parseCommaMap(map) };
}

function integer(key: string, value: Uint8Array): number {
  const text = decodePath(value);
  const number = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(number))
    throw new LayerError(`a pax header with ${key}=${JSON.stringify(text.slice(0, 40))}`);
  return number;
}

/** Seconds with a fraction, which counts upwards from the second before for times before 1970. */
function time(key: string, value: Uint8Array): TarTime {
  const text = decodePath(value);
  const match = /^(-?)(\d{1,12})(?:\.(\d*))?$/.exec(text);
  if (match === null) throw new LayerError(`a pax header with ${key}=${JSON.stringify(text.slice(0, 40))}`);
  const sec = Number(match[2]);
  const nsec = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  if (match[1] === "") return { sec, nsec };
  return nsec === 0 ? { sec: -sec, nsec: 0 } : { sec: -sec - 1, nsec: 1_000_000_000 - nsec };
}
