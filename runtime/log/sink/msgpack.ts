// The part of MessagePack that the forward protocol needs (msgpack specification): strings, whole numbers, arrays, maps and
// the forward protocol's time, extension 0. And, of an answer, a map of strings.

export type Packed = string | number | Uint8Array | readonly Packed[] | { readonly [key: string]: Packed } | EventTime;

export class EventTime {
  constructor(readonly timeNano: bigint) {}
}

export function pack(value: Packed): Buffer {
  const parts: Uint8Array[] = [];
  add(parts, value);
  return Buffer.concat(parts);
}

function add(parts: Uint8Array[], value: Packed): void {
  if (typeof value === "string") return addText(parts, Buffer.from(value));
  if (value instanceof Uint8Array) return addText(parts, value);
  if (typeof value === "number") return void parts.push(wholeNumber(value));
  if (value instanceof EventTime) return void parts.push(eventTime(value.timeNano));
  if (isList(value)) {
    parts.push(value.length < 16 ? Uint8Array.of(0x90 | value.length) : head(0xdd, value.length));
    for (const item of value) add(parts, item);
    return;
  }
  const entries = Object.entries(value);
  parts.push(entries.length < 16 ? Uint8Array.of(0x80 | entries.length) : head(0xdf, entries.length));
  for (const [key, item] of entries) {
    add(parts, key);
    add(parts, item);
  }
}

function isList(value: readonly Packed[] | { readonly [key: string]: Packed }): value is readonly Packed[] {
  return Array.isArray(value);
}

/** A type byte and four bytes of length. */
function head(type: number, length: number): Buffer {
  const bytes = Buffer.alloc(5, type);
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

function addText(parts: Uint8Array[], bytes: Uint8Array): void {
  parts.push(bytes.length < 32 ? Uint8Array.of(0xa0 | bytes.length) : head(0xdb, bytes.length), bytes);
}

/** Not below zero, up to 2^53. */
function wholeNumber(value: number): Uint8Array {
  if (value < 0x80) return Uint8Array.of(value);
  const bytes = Buffer.alloc(9, 0xcf);
  bytes.writeBigUInt64BE(BigInt(value), 1);
  return bytes;
}

function eventTime(timeNano: bigint): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.set([0xd7, 0x00]);
  bytes.writeUInt32BE(Number(timeNano / 1_000_000_000n), 2);
  bytes.writeUInt32BE(Number(timeNano % 1_000_000_000n), 6);
  return bytes;
}

/** The value of `ack` in `{"ack": "…"}`; null while it has not all come. Throws for anything else. */
export function readAck(bytes: Buffer): string | null {
  const prefix = Buffer.from([0x81, 0xa3, 0x61, 0x63, 0x6b]);
  if (bytes.length <= prefix.length) return null;
  const type = bytes[prefix.length] ?? 0;
  const [at, length] =
    (type & 0xe0) === 0xa0 ? [6, type & 0x1f] : type === 0xd9 && bytes.length > 6 ? [7, bytes[6] ?? 0] : [0, -1];
  if (!bytes.subarray(0, prefix.length).equals(prefix) || length < 0)
    throw new Error("an acknowledgement of another form");
  return bytes.length < at + length ? null : bytes.subarray(at, at + length).toString();
}
