// The json-file format: one JSON object per line, written by json_encode.ts and read by json_decode.ts; here is how places
// in a file are found.
// COMPAT: log collectors read these files: `{"log":"text\n","stream":"stdout","attrs":{…},"time":"…Z"}`, `<>&`, U+2028/9 and
// control characters but \n and \r as \u00xx, invalid UTF-8 as \ufffd.
import { NEWLINE } from "./json_bytes.ts";
import { JsonDecoder } from "./json_decode.ts";
import { JsonEncoder } from "./json_encode.ts";
import type { JsonScan } from "./json_scan.ts";
import type { ReadAt, RecordFormat } from "./record.ts";
import { TIME_TEXT_BYTES, TimeTextReader } from "./time_text.ts";

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
