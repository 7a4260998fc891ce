// The json-file format: one JSON object per line, written byte by byte for speed (600 MB/s of 100-byte lines) and read back
// with a fast path for what we wrote ourselves and JSON.parse for the rest.
// COMPAT: log collectors read these files: `{"log":"text\n","stream":"stdout","attrs":{…},"time":"…Z"}`, `<>&`, U+2028/9 and
// control characters but \n and \r as \u00xx, invalid UTF-8 as \ufffd.
import { isAscii, isUtf8 } from "node:buffer";
import { ATTRIBUTES_BYTES, INPUT_BYTES, type JsonScan, STOP, TEMPLATE_BYTES } from "./json_scan.ts";
import { MAX_RECORD_BYTES } from "./lines.ts";
import type {
  BulkTaker,
  LogStream,
  RawRecord,
  ReadAt,
  RecordDecoder,
  RecordEncoder,
  RecordFormat,
  TakeRaw,
} from "./record.ts";
import { parseTimeText, TIME_TEXT_BYTES, TimeTextReader, toTimeText } from "./time_text.ts";

const NEWLINE = 0x0a,
  QUOTE = 0x22,
  BACKSLASH = 0x5c;
const NANO = 1_000_000_000n;
const text = new TextEncoder();

/** For each byte: 0 copies as it is, 1 needs a second look. */
const SPECIAL = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte < 0x20 || byte >= 0x80 || [QUOTE, BACKSLASH, 0x3c, 0x3e, 0x26].includes(byte) ? 1 : 0,
);
/** The scanner copies in sixteens, beyond the end of a record. */
const RECORD_SLACK = 64;
const HEX = text.encode("0123456789abcdef");
const PREFIX = text.encode('{"log":"');
/** From the end of the text to the end of the record, without attributes: both streams' names have six letters. */
const SUFFIX_BYTES = '","stream":"stdout","time":"'.length + TIME_TEXT_BYTES + '"}'.length;

/** `scan` is shared by all logs. */
export function jsonFormat(scan: JsonScan): RecordFormat {
  return {
    encoder: (attributes) => new JsonEncoder(scan, attributes),
    decoder: () => new JsonDecoder(scan),
    tail: tailOfLines,
    seek: seekLines,
    wholeBytes: wholeLines,
    counter: countLines,
  };
}

// ---- writing

class JsonEncoder implements RecordEncoder {
  #used = 0;
  #seconds = 0;
  #nanos = 0;
  #suffix: Suffix;
  readonly #suffixes: Readonly<Record<LogStream, Suffix>>;
  /** A record's largest size: every byte as \u00xx, and what is around it. */
  readonly #largest: number;
  readonly #out: Uint8Array;
  /** What of the source lies in the scanner's input: up to `wholeTo` in whole lines. */
  #window = { from: 0, wholeTo: 0, to: 0, isUtf8: true };

  constructor(
    private readonly scan: JsonScan,
    attributes: Readonly<Record<string, string>>,
  ) {
    const out = scan.output;
    this.#out = out;
    const attrs = Object.keys(attributes).length > 0 ? `"attrs":${JSON.stringify(attributes)},` : "";
    this.#suffixes = { 1: new Suffix("stdout", attrs), 2: new Suffix("stderr", attrs) };
    this.#suffix = this.#suffixes[1];
    this.#largest = 6 * MAX_RECORD_BYTES + PREFIX.length + this.#suffix.bytes.length;
    if (this.#largest + RECORD_SLACK > out.length || this.#suffix.bytes.length > TEMPLATE_BYTES)
      throw new RangeError(`log attributes of ${attrs.length} bytes do not fit a record`);
  }

  get sizeBytes(): number {
    return this.#used;
  }
  get hasRoom(): boolean {
    return this.#used <= this.#roomBytes;
  }
  get timeNano(): bigint {
    return BigInt(this.#seconds) * NANO + BigInt(this.#nanos);
  }

  get #roomBytes(): number {
    return this.#out.length - this.#largest - RECORD_SLACK;
  }

  begin(stream: LogStream, timeNano: bigint): void {
    this.#used = 0;
    this.#window = { from: 0, wholeTo: 0, to: 0, isUtf8: true };
    this.#seconds = Number(timeNano / NANO);
    this.#nanos = Number(timeNano % NANO);
    this.#suffix = this.#suffixes[stream];
    this.#suffix.setTime(timeNano);
  }

  bytes(): Uint8Array {
    return this.#out.subarray(0, this.#used);
  }

  drop(): void {
    this.#used = 0;
  }

  readonly addLines = (source: Uint8Array, from: number, stopBytes: number): number => {
    // A carry into the seconds is left to add().
    if (this.#nanos > 1_000_000_000 - INPUT_BYTES) return from;
    if (from >= this.#window.to || from < this.#window.from) this.#load(source, from);
    const { wholeTo, from: start, isUtf8 } = this.#window;
    if (from >= wholeTo) return from;
    const { scan } = this;
    const suffix = this.#suffix;
    scan.template.set(suffix.bytes);
    const { records, taken, used } = scan.encode(from - start, wholeTo - start, {
      used: this.#used,
      stopAt: Math.min(stopBytes, this.#roomBytes),
      templateBytes: suffix.bytes.length,
      timeEnd: suffix.timeEnd,
      isUtf8,
    });
    this.#used = used;
    this.#nanos += records;
    suffix.takeTime(scan.template);
    return start + taken;
  };

  #load(source: Uint8Array, from: number): void {
    const to = Math.min(source.length, from + INPUT_BYTES);
    const bytes = source.subarray(from, to);
    const whole = bytes.lastIndexOf(NEWLINE) + 1;
    this.scan.input.set(bytes.subarray(0, whole));
    this.#window = { from, wholeTo: from + whole, to, isUtf8: isClean(bytes.subarray(0, whole)) };
  }

  add(source: Uint8Array, from: number, to: number): void {
    const out = this.#out;
    let at = this.#used;
    out.set(PREFIX, at);
    at += PREFIX.length;
    const hasNewline = source[to - 1] === NEWLINE;
    const end = hasNewline ? to - 1 : to;
    let isPlain: boolean | null = null;
    for (let index = from; index < end; index++) {
      const byte = source[index] as number;
      if (SPECIAL[byte] === 0) {
        out[at++] = byte;
      } else if (byte < 0x80) {
        at = escape(out, at, byte);
      } else {
        // WHY: valid text beyond ASCII, the common case, needs one native check and is then copied like the rest.
        isPlain ??= isPlainUtf8(source, index, end);
        if (isPlain) {
          out[at++] = byte;
        } else {
          const length = utf8Length(source, index, end);
          at = addUtf8(out, at, source, index, length);
          index += Math.max(length, 1) - 1;
        }
      }
    }
    const suffix = this.#suffix;
    // Without newline the suffix starts behind its own `\n`.
    const cut = hasNewline ? 0 : 2;
    out.set(cut === 0 ? suffix.bytes : suffix.withoutNewline, at);
    this.#used = at + suffix.bytes.length - cut;
    this.#tick();
  }

  /** One nanosecond on, so that no two records share a time and `since` can name each. */
  #tick(): void {
    if (++this.#nanos < 1_000_000_000) return this.#suffix.increment();
    this.#nanos = 0;
    this.#seconds++;
    this.#suffix.setTime(this.timeNano);
  }
}

/** `\n","stream":"stdout","attrs":{…},"time":"…Z"}` and a newline, its time changed in place. */
class Suffix {
  readonly bytes: Uint8Array;
  readonly withoutNewline: Uint8Array;
  readonly #timeAt: number;

  constructor(stream: string, attrs: string) {
    const head = `\\n","stream":"${stream}",${attrs}"time":"`;
    this.bytes = text.encode(`${head}${toTimeText(0n)}"}\n`);
    this.withoutNewline = this.bytes.subarray(2);
    this.#timeAt = text.encode(head).length;
  }

  setTime(timeNano: bigint): void {
    this.bytes.set(text.encode(toTimeText(timeNano)), this.#timeAt);
  }

  /** Where the nine digits end. */
  get timeEnd(): number {
    return this.#timeAt + TIME_TEXT_BYTES - 1;
  }

  /** Goes on from the time of a copy of this suffix that counted on. */
  takeTime(copy: Uint8Array): void {
    this.bytes.set(copy.subarray(this.#timeAt, this.#timeAt + TIME_TEXT_BYTES), this.#timeAt);
  }

  /** Adds one to the nine digits; never overflows, the caller counts. */
  increment(): void {
    for (let at = this.#timeAt + TIME_TEXT_BYTES - 2; ; at--) {
      const digit = this.bytes[at] as number;
      if (digit < 0x39) {
        this.bytes[at] = digit + 1;
        return;
      }
      this.bytes[at] = 0x30;
    }
  }
}

function escape(out: Uint8Array, at: number, byte: number): number {
  out[at] = BACKSLASH;
  if (byte === QUOTE || byte === BACKSLASH) out[at + 1] = byte;
  else if (byte === NEWLINE) out[at + 1] = 0x6e;
  else if (byte === 0x0d) out[at + 1] = 0x72;
  else return unicodeEscape(out, at, byte);
  return at + 2;
}

function unicodeEscape(out: Uint8Array, at: number, unit: number): number {
  out[at] = BACKSLASH;
  out[at + 1] = 0x75;
  for (let digit = 0; digit < 4; digit++) out[at + 2 + digit] = HEX[(unit >> (12 - 4 * digit)) & 15] as number;
  return at + 6;
}

/** Nothing but valid UTF-8 without U+2028 and U+2029. */
function isClean(bytes: Uint8Array): boolean {
  if (isAscii(bytes)) return true;
  if (!isUtf8(bytes)) return false;
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return !buffer.includes("\u2028") && !buffer.includes("\u2029");
}

/** Valid UTF-8 up to `end`, without U+2028 and U+2029 (e2 80 a8, e2 80 a9). */
function isPlainUtf8(source: Uint8Array, from: number, end: number): boolean {
  const rest = source.subarray(from, end);
  for (let at = rest.indexOf(0xe2); at >= 0; at = rest.indexOf(0xe2, at + 1)) {
    if (rest[at + 1] === 0x80 && (rest[at + 2] === 0xa8 || rest[at + 2] === 0xa9)) return false;
  }
  return isUtf8(rest);
}

/** Copies one character, or writes \u2028, \u2029 or \ufffd for it. */
function addUtf8(out: Uint8Array, at: number, source: Uint8Array, index: number, length: number): number {
  if (length === 0) return unicodeEscape(out, at, 0xfffd);
  const third = source[index + 2];
  if (length === 3 && source[index] === 0xe2 && source[index + 1] === 0x80 && (third === 0xa8 || third === 0xa9)) {
    return unicodeEscape(out, at, 0x2000 | (third & 0x3f));
  }
  for (let offset = 0; offset < length; offset++) out[at + offset] = source[index + offset] as number;
  return at + length;
}

/** Bytes of the valid character at `index` (beyond ASCII), by the table of RFC 3629; 0 where there is none. */
function utf8Length(source: Uint8Array, index: number, end: number): number {
  const lead = source[index] as number;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (index + length > end) return 0;
  const second = source[index + 1] as number;
  // No overlong forms, no surrogates, nothing beyond U+10FFFF.
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let at = index + 2; at < index + length; at++) if (((source[at] as number) & 0xc0) !== 0x80) return 0;
  return length;
}

// ---- reading

class JsonDecoder implements RecordDecoder, RawRecord {
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

// ---- finding

const BLOCK = 64 << 10;

async function tailOfLines(read: ReadAt, end: number, count: number): Promise<{ offset: number; found: number }> {
  let found = 0;
  for (let position = end; position > 0;) {
    const start = Math.max(0, position - BLOCK);
    const block = await read(start, position - start);
    // The newline that ends the last record is not the start of one.
    const first = position === end ? block.length - 2 : block.length - 1;
    for (let at = lastNewline(block, first); at >= 0; at = lastNewline(block, at - 1)) {
      if (++found === count) return { offset: start + at + 1, found };
    }
    position = start;
  }
  return { offset: 0, found: end > 0 ? found + 1 : found };
}

/** WHY: a negative second argument of lastIndexOf counts from the end. */
function lastNewline(block: Uint8Array, from: number): number {
  return from < 0 ? -1 : block.lastIndexOf(NEWLINE, from);
}

async function seekLines(read: ReadAt, end: number, timeNano: bigint): Promise<number> {
  const times = new TimeTextReader();
  let low = 0;
  let high = end;
  while (high - low > 4 * BLOCK) {
    const middle = low + Math.floor((high - low) / 2);
    const block = await read(middle, BLOCK * 2);
    // The time of the record that ends at the first newline far enough in.
    const newline = block.indexOf(NEWLINE, TIME_TEXT_BYTES + 2);
    const time = newline < 0 ? null : times.read(block, newline - 2 - TIME_TEXT_BYTES);
    const next = middle + newline + 1;
    if (time !== null && time < timeNano && next < high) low = next;
    else high = middle;
  }
  return low;
}

function wholeLines(read: (offset: number, count: number) => Uint8Array, end: number): number {
  for (let position = end; position > 0;) {
    const start = Math.max(0, position - BLOCK);
    const newline = read(start, position - start).lastIndexOf(NEWLINE);
    if (newline >= 0) return start + newline + 1;
    position = start;
  }
  return 0;
}

function countLines(): { feed(block: Uint8Array): void; readonly count: number } {
  let count = 0;
  return {
    feed(block): void {
      for (let at = block.indexOf(NEWLINE); at >= 0; at = block.indexOf(NEWLINE, at + 1)) count++;
    },
    get count(): number {
      return count;
    },
  };
}
