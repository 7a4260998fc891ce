// Writes tar: ustar headers, and a pax header before each entry that does not fit one (long names, names beyond ASCII,
// nanoseconds, big numbers, xattrs). Pure: header bytes out, contents are the caller's. Readers: Docker, containerd, GNU
// tar, libarchive. See pax(1).
import { LayerError } from "./layer_error.ts";
import { encodePath } from "./path_text.ts";
import type { TarEntry, TarTime, TarType } from "./tar_read.ts";

/** What an entry needs to say; the rest has the defaults of a plain file of root's. */
export type TarHeader = Pick<TarEntry, "type" | "path"> & Partial<Omit<TarEntry, "type" | "path">>;

const BLOCK = 512;
const NAME_BYTES = 100,
  PREFIX_BYTES = 155;
const MAX_OCTAL_7 = 0o7777777,
  MAX_OCTAL_11 = 0o77777777777;
const FLAGS: Readonly<Record<TarType, string>> = {
  file: "0",
  link: "1",
  symlink: "2",
  char: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};
const EPOCH: TarTime = { sec: 0, nsec: 0 };

/** The blocks before an entry's content. Directories' names end with a slash, as all writers have it. */
export function tarHeader(entry: TarHeader): Uint8Array {
  const path = entry.type === "directory" && !entry.path.endsWith("/") ? `${entry.path}/` : entry.path;
  const size = entry.type === "file" ? (entry.size ?? 0) : 0;
  const mtime = entry.mtime ?? EPOCH;
  const { records, name, prefix } = paxFor({ ...entry, path, size, mtime });
  const parts: Uint8Array[] = [];
  if (records.length > 0) {
    const body = Buffer.concat(records);
    parts.push(
      ustar({ flag: "x", name: paxName(path), prefix: new Uint8Array(0), size: body.length, mtime: 0 }, null),
      body,
      zeroes(tarPadding(body.length)),
    );
  }
  const fits = {
    flag: FLAGS[entry.type],
    name,
    prefix,
    size: size <= MAX_OCTAL_11 ? size : 0,
    mtime: isOctalTime(mtime) ? mtime.sec : 0,
  };
  parts.push(ustar(fits, entry));
  return Buffer.concat(parts);
}

/** Zeroes that fill the last block of a content of this size. */
export function tarPadding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

/** The end of an archive: two blocks of zeroes. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}

function zeroes(count: number): Uint8Array {
  return new Uint8Array(count);
}

interface Whole extends TarHeader {
  size: number;
  mtime: TarTime;
}

/** What ustar fields cannot hold, as pax records, and the name as far as they can. */
function paxFor(entry: Whole): { records: Uint8Array[]; name: Uint8Array; prefix: Uint8Array } {
  const records: Uint8Array[] = [];
  const add = (key: string, value: string | Uint8Array): void => void records.push(paxRecord(key, value));
  const path = encodePath(entry.path);
  const split = isASCII(path) ? splitName(path) : null;
  // Names that are no UTF-8, which pax otherwise promises: libarchive takes them so.
  if (!entry.path.isWellFormed() || !(entry.linkPath ?? "").isWellFormed()) add("hdrcharset", "BINARY");
  if (split === null) add("path", path);
  const link = encodePath(entry.linkPath ?? "");
  if (link.length > NAME_BYTES || !isASCII(link)) add("linkpath", link);
  if (entry.size > MAX_OCTAL_11) add("size", String(entry.size));
  if ((entry.uid ?? 0) > MAX_OCTAL_7) add("uid", String(entry.uid));
  if ((entry.gid ?? 0) > MAX_OCTAL_7) add("gid", String(entry.gid));
  if (!isOctalTime(entry.mtime)) add("mtime", timeText(entry.mtime));
  if (entry.atime) add("atime", timeText(entry.atime));
  for (const [name, value] of entry.xattrs ?? []) add(`SCHILY.xattr.${name}`, value);
  return { records, name: split?.name ?? path.subarray(0, NAME_BYTES), prefix: split?.prefix ?? new Uint8Array(0) };
}

/** ustar holds 100 bytes of name, and 155 before them up to a slash. */
function splitName(path: Uint8Array): { name: Uint8Array; prefix: Uint8Array } | null {
  if (path.length <= NAME_BYTES) return { name: path, prefix: new Uint8Array(0) };
  for (let at = Math.max(path.length - 1 - NAME_BYTES, 0); at <= PREFIX_BYTES && at < path.length - 1; at++) {
    if (path[at] === 0x2f && at > 0) return { name: path.subarray(at + 1), prefix: path.subarray(0, at) };
  }
  return null;
}

function isASCII(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte < 0x80);
}

function isOctalTime({ sec, nsec }: TarTime): boolean {
  return nsec === 0 && sec >= 0 && sec <= MAX_OCTAL_11;
}

/** Decimal seconds; those before 1970 count down from zero, where ours count up from the second before. */
function timeText({ sec, nsec }: TarTime): string {
  if (nsec === 0) return String(sec);
  const isNegative = sec < 0;
  const whole = isNegative ? -(sec + 1) : sec;
  const fraction = String(isNegative ? 1_000_000_000 - nsec : nsec)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${isNegative ? "-" : ""}${whole}.${fraction}`;
}

/** `length key=value\n`, where the length counts its own digits. */
function paxRecord(key: string, value: string | Uint8Array): Uint8Array {
  const body = Buffer.concat([
    Buffer.from(` ${key}=`),
    typeof value === "string" ? Buffer.from(value) : value,
    Buffer.from("\n"),
  ]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

/** A name for the pax header itself, which readers that know pax do not use. */
function paxName(path: string): Uint8Array {
  const last = path.replace(/\/$/, "").split("/").at(-1) ?? "";
  return encodePath(`PaxHeaders.0/${last}`)
    .filter((byte) => byte < 0x80)
    .subarray(0, NAME_BYTES);
}

interface Fields {
  flag: string;
  name: Uint8Array;
  prefix: Uint8Array;
  size: number;
  mtime: number;
}

function ustar(fields: Fields, entry: TarHeader | null): Uint8Array {
  const block = Buffer.alloc(BLOCK);
  block.set(fields.name, 0);
  octal(block, 100, 8, entry?.mode ?? 0o644);
  octal(block, 108, 8, clamp(entry?.uid));
  octal(block, 116, 8, clamp(entry?.gid));
  octal(block, 124, 12, fields.size);
  octal(block, 136, 12, fields.mtime);
  block.write(fields.flag, 156, "latin1");
  const link = encodePath(entry?.linkPath ?? "");
  block.set(link.subarray(0, NAME_BYTES), 157);
  block.write("ustar\0" + "00", 257, "latin1");
  block.set(encodePath(entry?.userName ?? "").subarray(0, 31), 265);
  block.set(encodePath(entry?.groupName ?? "").subarray(0, 31), 297);
  octal(block, 329, 8, entry?.major ?? 0);
  octal(block, 337, 8, entry?.minor ?? 0);
  block.set(fields.prefix, 345);
  block.fill(" ", 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** What does not fit stands in the pax header. */
function clamp(id: number | undefined): number {
  return id === undefined || id > MAX_OCTAL_7 ? 0 : id;
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  const text = value.toString(8).padStart(length - 1, "0");
  if (value < 0 || !Number.isInteger(value) || text.length >= length)
    throw new LayerError(`${value} does not fit a tar header`);
  block.write(`${text}\0`, at, "latin1");
}
