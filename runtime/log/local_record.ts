// The format of the `local` driver: binary records with their length at both ends, so that a file reads both ways.
//
//   u32 length │ u8 stream │ u8 0 │ u16 attributes' length │ i64 time (ns) │ attributes (JSON) │ bytes │ u32 length
//              ╰──────────────────────────────── length ────────────────────────────────────────────╯   (little-endian)
import { MAX_RECORD_BYTES } from "./lines.ts";
import { toDetails } from "./json_decode.ts";
import type { LogStream, RawRecord, ReadAt, RecordDecoder, RecordEncoder, RecordFormat, TakeRaw } from "./record.ts";
import { toTimeText } from "./time_text.ts";

const HEAD_BYTES = 12;
const LENGTH_BYTES = 4;
const MAX_ATTRIBUTES_BYTES = 0xffff;
const MAX_LENGTH = HEAD_BYTES + MAX_ATTRIBUTES_BYTES + MAX_RECORD_BYTES;
const BLOCK = 256 << 10;

/** `scratch` is shared by all logs; at least 256 KiB. */
export function localFormat(scratch: Uint8Array): RecordFormat {
  return {
    encoder: (attributes) => new LocalEncoder(scratch, attributes),
    decoder: () => new LocalDecoder(),
    tail: tailOfRecords,
    // WHY: nothing in the middle of a file says where a record begins; the writer's index (log_index.ts) does.
    seek: () => Promise.resolve(0),
    wholeBytes: wholeRecords,
    counter: countRecords,
  };
}

class LocalEncoder implements RecordEncoder {
  readonly addLines = null;
  #used = 0;
  /** The next record's time in halves. WHY: a BigInt for each record is most of its cost. */
  #low = 0;
  #high = 0;
  #stream: LogStream = 1;
  readonly #view: DataView;
  readonly #attributes: Uint8Array;

  constructor(
    private readonly out: Uint8Array,
    attributes: Readonly<Record<string, string>>,
  ) {
    this.#view = new DataView(out.buffer, out.byteOffset, out.byteLength);
    const isEmpty = Object.keys(attributes).length === 0;
    this.#attributes = new TextEncoder().encode(isEmpty ? "" : JSON.stringify(attributes));
    if (this.#attributes.length > MAX_ATTRIBUTES_BYTES) {
      throw new RangeError(
        `log attributes of ${this.#attributes.length} bytes, a record takes ${MAX_ATTRIBUTES_BYTES}`,
      );
    }
  }

  get sizeBytes(): number {
    return this.#used;
  }
  get hasRoom(): boolean {
    return this.#used + MAX_LENGTH + 2 * LENGTH_BYTES <= this.out.length;
  }
  get timeNano(): bigint {
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  begin(stream: LogStream, timeNano: bigint): void {
    this.#used = 0;
    this.#stream = stream;
    this.#low = Number(timeNano & 0xffff_ffffn);
    this.#high = Number(timeNano >> 32n);
  }

  bytes(): Uint8Array {
    return this.out.subarray(0, this.#used);
  }

  drop(): void {
    this.#used = 0;
  }

  add(source: Uint8Array, from: number, to: number): void {
    const at = this.#used;
    const length = HEAD_BYTES + this.#attributes.length + to - from;
    const view = this.#view;
    view.setUint32(at, length, true);
    view.setUint16(at + 4, this.#stream, true);
    view.setUint16(at + 6, this.#attributes.length, true);
    view.setUint32(at + 8, this.#low, true);
    view.setUint32(at + 12, this.#high, true);
    const attributes = this.#attributes.length;
    if (attributes > 0) this.out.set(this.#attributes, at + LENGTH_BYTES + HEAD_BYTES);
    this.out.set(source.subarray(from, to), at + LENGTH_BYTES + HEAD_BYTES + attributes);
    view.setUint32(at + LENGTH_BYTES + length, length, true);
    this.#used = at + length + 2 * LENGTH_BYTES;
    this.#low++;
    if (this.#low === 2 ** 32) {
      this.#low = 0;
      this.#high++;
    }
  }
}

class LocalDecoder implements RecordDecoder, RawRecord {
  stream: LogStream = 1;
  source: Uint8Array = new Uint8Array(0);
  from = 0;
  to = 0;
  #carry: Uint8Array = new Uint8Array(0);
  #time = 0n;
  #attributes: Uint8Array = new Uint8Array(0);
  #details = "";

  feed(block: Uint8Array, take: TakeRaw): void {
    const bytes = this.#carry.length > 0 ? Buffer.concat([this.#carry, block]) : block;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (at + LENGTH_BYTES <= bytes.length) {
      const length = view.getUint32(at, true);
      const end = at + LENGTH_BYTES + length;
      // What follows a corrupt length cannot be told from noise: the rest of this block is passed over.
      if (length < HEAD_BYTES || length > MAX_LENGTH) {
        at = bytes.length;
        break;
      }
      if (end + LENGTH_BYTES > bytes.length) break;
      const attributes = view.getUint16(at + 6, true);
      this.stream = bytes[at + 4] === 2 ? 2 : 1;
      this.#time = view.getBigInt64(at + 8, true);
      this.source = bytes;
      this.from = at + LENGTH_BYTES + HEAD_BYTES + attributes;
      this.to = end;
      if (attributes > 0) this.#readAttributes(bytes.subarray(at + LENGTH_BYTES + HEAD_BYTES, this.from));
      else this.#details = "";
      if (view.getUint32(end, true) === length && this.from <= end) take(this);
      at = end + LENGTH_BYTES;
    }
    this.#carry = bytes.slice(at);
  }

  get details(): string {
    return this.#details;
  }

  timeNano(): bigint {
    return this.#time;
  }

  timeText(): Uint8Array {
    return new TextEncoder().encode(toTimeText(this.#time));
  }

  /** All records of a container carry the same attributes: they are parsed when they differ from the last. */
  #readAttributes(bytes: Uint8Array): void {
    if (bytes.length === this.#attributes.length && Buffer.compare(bytes, this.#attributes) === 0) {
      this.#details = this.#parsed;
      return;
    }
    this.#attributes = bytes.slice();
    try {
      this.#parsed = toDetails(JSON.parse(new TextDecoder().decode(bytes)));
    } catch {
      this.#parsed = "";
    }
    this.#details = this.#parsed;
  }
  #parsed = "";
}

async function tailOfRecords(read: ReadAt, end: number, count: number): Promise<{ offset: number; found: number }> {
  let found = 0;
  let offset = end;
  let block = new Uint8Array(0);
  let blockAt = end;
  while (offset >= HEAD_BYTES + 2 * LENGTH_BYTES && found < count) {
    if (offset - LENGTH_BYTES < blockAt) {
      blockAt = Math.max(0, offset - BLOCK);
      block = new Uint8Array(await read(blockAt, offset - blockAt));
    }
    const length = uint32(block, offset - LENGTH_BYTES - blockAt);
    const start = offset - length - 2 * LENGTH_BYTES;
    if (length < HEAD_BYTES || length > MAX_LENGTH || start < 0) break;
    offset = start;
    found++;
  }
  return { offset, found };
}

/** A torn end has no length to go back by: then from the front. Local files are small by default (20 MB). */
function wholeRecords(read: (offset: number, count: number) => Uint8Array, end: number): number {
  if (endsWhole(read, end)) return end;
  let offset = 0;
  let block = new Uint8Array(0);
  let blockAt = 0;
  const has = (at: number): boolean => {
    if (at + LENGTH_BYTES > end) return false;
    if (at < blockAt || at + LENGTH_BYTES > blockAt + block.length) {
      blockAt = at;
      block = new Uint8Array(read(at, Math.min(BLOCK, end - at)));
    }
    return block.length >= at - blockAt + LENGTH_BYTES;
  };
  while (has(offset)) {
    const length = uint32(block, offset - blockAt);
    const last = offset + LENGTH_BYTES + length;
    if (length < HEAD_BYTES || length > MAX_LENGTH || !has(last) || uint32(block, last - blockAt) !== length) break;
    offset = last + LENGTH_BYTES;
  }
  return offset;
}

function endsWhole(read: (offset: number, count: number) => Uint8Array, end: number): boolean {
  if (end < HEAD_BYTES + 2 * LENGTH_BYTES) return end === 0;
  const length = uint32(read(end - LENGTH_BYTES, LENGTH_BYTES), 0);
  const start = end - length - 2 * LENGTH_BYTES;
  return length >= HEAD_BYTES && length <= MAX_LENGTH && start >= 0 && uint32(read(start, LENGTH_BYTES), 0) === length;
}

function uint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}

function countRecords(): { feed(block: Uint8Array): void; readonly count: number } {
  const decoder = new LocalDecoder();
  let count = 0;
  return {
    feed: (block) => decoder.feed(block, () => count++),
    get count(): number {
      return count;
    },
  };
}
