// Records of the json-file format to lines: a fast path for what we wrote ourselves, JSON.parse for the rest.
import { BACKSLASH, NEWLINE, PREFIX, QUOTE, text } from "./json_bytes.ts";
import { ATTRIBUTES_BYTES, INPUT_BYTES, type JsonScan, STOP } from "./json_scan.ts";
import { MAX_RECORD_BYTES } from "./lines.ts";
import type { BulkTaker, LogStream, RawRecord, RecordDecoder, TakeRaw } from "./record.ts";
import { parseTimeText, TIME_TEXT_BYTES, TimeTextReader, toTimeText } from "./time_text.ts";

/** From the end of the text to the end of the record, without attributes: both streams' names have six letters. */
const SUFFIX_BYTES = '","stream":"stdout","time":"'.length + TIME_TEXT_BYTES + '"}'.length;

export class JsonDecoder implements RecordDecoder, RawRecord {
  stream: LogStream = 1;
  source: Uint8Array = new Uint8Array(MAX_RECORD_BYTES * 2);
  readonly from = 0;
  to = 0;
  details = "";
  #carry: Uint8Array = new Uint8Array(0);
  /** `"attrs":{…},` of the last record that was parsed here: the next ones will have the same. */
  #attributes: Uint8Array = new Uint8Array(0);
  /** Where the time text of the current record lies. */
  #timeSource: Uint8Array = new Uint8Array(0);
  #timeAt = 0;
  readonly #times = new TimeTextReader();

  constructor(private readonly scan: JsonScan) {}

  feed(block: Uint8Array, take: TakeRaw, bulk: BulkTaker | null = null): void {
    let position = 0;
    if (this.#carry.length > 0) {
      const newline = block.indexOf(NEWLINE);
      const joined = Buffer.concat([this.#carry, newline < 0 ? block : block.subarray(0, newline)]);
      // A line without end is no record; a bound keeps a file of garbage from filling memory.
      if (newline < 0) {
        this.#carry = joined.length > MAX_LINE_BYTES ? new Uint8Array(0) : joined;
        return;
      }
      this.#carry = new Uint8Array(0);
      if (this.#parse(joined, 0, joined.length)) take(this);
      position = newline + 1;
    }
    const end = block.lastIndexOf(NEWLINE) + 1;
    while (position < end) {
      if (bulk) position = this.#takeLines(block, position, end, bulk);
      if (position >= end) break;
      const newline = block.indexOf(NEWLINE, position);
      if (this.#parse(block, position, newline)) take(this);
      position = newline + 1;
    }
    this.#carry = block.slice(Math.max(position, end));
  }

  /** As far as the scanner knows the records; returns where it met one that it does not. */
  #takeLines(block: Uint8Array, from: number, end: number, bulk: BulkTaker): number {
    const what = bulk.what();
    if (!what) return from;
    const { scan } = this;
    for (let start = from; start < end;) {
      const window = block.subarray(start, Math.min(end, start + INPUT_BYTES));
      const whole = window.lastIndexOf(NEWLINE) + 1;
      if (whole === 0) return start;
      scan.input.set(window.subarray(0, whole));
      scan.attributes.set(this.#attributes);
      for (let position = 0; position < whole;) {
        const { outputBytes, stop, stream, taken } = scan.decode(position, whole, {
          ...what,
          attributesBytes: this.#attributes.length,
        });
        if (outputBytes > 0) bulk.put(stream, scan.output.subarray(0, outputBytes));
        if (stop === STOP.pastUntil) {
          bulk.end();
          return end;
        }
        if (stop === STOP.unknown) return start + taken;
        position = taken;
      }
      start += whole;
    }
    return end;
  }

  timeNano(): bigint {
    return this.#times.read(this.#timeSource, this.#timeAt) ?? 0n;
  }

  timeText(): Uint8Array {
    return this.#timeSource.subarray(this.#timeAt, this.#timeAt + TIME_TEXT_BYTES);
  }

  /** One line, without its newline. False: not a record. */
  #parse(line: Uint8Array, from: number, to: number): boolean {
    return this.#parseOwn(line, from, to) || this.#parseAny(line.subarray(from, to));
  }

  /** The form we write when there are no attributes. */
  #parseOwn(line: Uint8Array, from: number, to: number): boolean {
    const end = to - SUFFIX_BYTES;
    const start = from + PREFIX.length;
    // {"log":"…","stream":"std   out","time":"…Z"}
    if (
      end < start ||
      line[from] !== 0x7b ||
      line[from + 2] !== 0x6c ||
      line[from + 7] !== QUOTE ||
      line[end] !== QUOTE ||
      line[end + 1] !== 0x2c ||
      line[end + 3] !== 0x73 ||
      line[end + 11] !== QUOTE ||
      line[end + 21] !== 0x74 ||
      line[end + 27] !== QUOTE ||
      line[to - 2] !== QUOTE ||
      line[to - 1] !== 0x7d
    )
      return false;
    const length = unescape(line, start, end, this.#room(end - start));
    if (length < 0 || this.#times.read(line, end + 28) === null) return false;
    this.stream = line[end + 15] === 0x6f ? 1 : 2;
    this.to = length;
    this.details = "";
    this.#attributes = NO_BYTES;
    this.#timeSource = line;
    this.#timeAt = end + 28;
    return true;
  }

  #parseAny(line: Uint8Array): boolean {
    const record = parseObject(line);
    if (!record || typeof record["log"] !== "string" || typeof record["time"] !== "string") return false;
    const time = parseTimeText(record["time"]);
    if (time === null) return false;
    const bytes = text.encode(record["log"]);
    this.#room(bytes.length).set(bytes);
    this.to = bytes.length;
    this.stream = record["stream"] === "stderr" ? 2 : 1;
    this.details = toDetails(record["attrs"]);
    this.#attributes = rawAttributes(line);
    this.#timeSource = text.encode(toTimeText(time));
    this.#timeAt = 0;
    return true;
  }

  #room(sizeBytes: number): Uint8Array {
    if (this.source.length < sizeBytes) this.source = new Uint8Array(sizeBytes * 2);
    return this.source;
  }
}

const NO_BYTES = new Uint8Array(0);
const STREAM_BYTES = '","stream":"stdout",'.length;
const TIME_BYTES = '"time":"'.length + TIME_TEXT_BYTES + '"}'.length;

/** Of a line of ours: what stands between stream and time. */
function rawAttributes(line: Uint8Array): Uint8Array {
  const stream = Buffer.from(line.buffer, line.byteOffset, line.byteLength).indexOf('","stream":"std');
  const raw = stream < 0 ? NO_BYTES : line.slice(stream + STREAM_BYTES, Math.max(0, line.length - TIME_BYTES));
  return raw.length <= ATTRIBUTES_BYTES ? raw : NO_BYTES;
}

/** Longer lines than any record of ours or Docker's are passed over. */
const MAX_LINE_BYTES = 1 << 20;

function parseObject(line: Uint8Array): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(line));
    return typeof value === "object" && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}

/** Attributes as `details` shows them: sorted, URL-encoded. */
export function toDetails(attributes: unknown): string {
  if (typeof attributes !== "object" || attributes === null) return "";
  return Object.entries(attributes)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(String(value))}`)
    .join(",");
}

/** Undoes our own escapes into `into`; returns the length, or -1 for an escape we do not write. */
function unescape(line: Uint8Array, from: number, to: number, into: Uint8Array): number {
  let at = 0;
  for (let index = from; index < to; index++) {
    const byte = line[index] as number;
    if (byte !== BACKSLASH) {
      into[at++] = byte;
      continue;
    }
    const kind = line[++index] as number;
    if (index >= to) return -1;
    if (kind === 0x6e) into[at++] = NEWLINE;
    else if (kind === QUOTE || kind === BACKSLASH) into[at++] = kind;
    else if (kind === 0x72) into[at++] = 0x0d;
    else if (kind === 0x75 && index + 4 < to) {
      const unit = hexUnit(line, index + 1);
      // Surrogates come in pairs; JSON.parse knows how.
      if (unit < 0 || (unit & 0xf800) === 0xd800) return -1;
      at = addUnit(into, at, unit);
      index += 4;
    } else return -1;
  }
  return at;
}

function hexUnit(line: Uint8Array, at: number): number {
  let unit = 0;
  for (let index = at; index < at + 4; index++) {
    const byte = (line[index] as number) | 0x20;
    const digit = byte >= 0x61 ? byte - 0x57 : byte - 0x30;
    // Digits have bit 0x20 set already.
    if (digit < 0 || digit > 15 || (byte >= 0x3a && byte < 0x61)) return -1;
    unit = unit * 16 + digit;
  }
  return unit;
}

function addUnit(into: Uint8Array, at: number, unit: number): number {
  if (unit < 0x80) into[at++] = unit;
  else {
    if (unit < 0x800) into[at++] = 0xc0 | (unit >> 6);
    else {
      into[at++] = 0xe0 | (unit >> 12);
      into[at++] = 0x80 | ((unit >> 6) & 0x3f);
    }
    into[at++] = 0x80 | (unit & 0x3f);
  }
  return at;
}
