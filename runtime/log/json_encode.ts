// Lines to records of the json-file format: sixteen bytes at a time by the scanner, byte by byte what that leaves: invalid
// UTF-8, lines over 16 KiB.
import { isAscii, isUtf8 } from "node:buffer";
import { BACKSLASH, NEWLINE, PREFIX, QUOTE, text } from "./json_bytes.ts";
import { INPUT_BYTES, type JsonScan, TEMPLATE_BYTES } from "./json_scan.ts";
import { MAX_RECORD_BYTES } from "./lines.ts";
import type { LogStream, RecordEncoder } from "./record.ts";
import { TIME_TEXT_BYTES, toTimeText } from "./time_text.ts";

const NANO = 1_000_000_000n;

/** For each byte: 0 copies as it is, 1 needs a second look. */
const SPECIAL = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte < 0x20 || byte >= 0x80 || [QUOTE, BACKSLASH, 0x3c, 0x3e, 0x26].includes(byte) ? 1 : 0,
);
/** The scanner copies in sixteens, beyond the end of a record. */
const RECORD_SLACK = 64;
const HEX = text.encode("0123456789abcdef");

export class JsonEncoder implements RecordEncoder {
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
