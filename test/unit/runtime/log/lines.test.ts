// The splitter against a naive one, for every way of cutting the input into chunks.
import { expect, test } from "bun:test";
import { LineSplitter, MAX_RECORD_BYTES } from "../../../../runtime/log/lines.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

function split(chunks: Uint8Array[], stops = (): boolean => false): { records: string[]; splitter: LineSplitter } {
  const splitter = new LineSplitter();
  const records: string[] = [];
  const take = (source: Uint8Array, from: number, to: number): boolean => {
    records.push(Buffer.from(source.subarray(from, to)).toString("latin1"));
    return !stops();
  };
  for (const chunk of chunks) {
    for (let position = 0; position < chunk.length;) {
      const reached = splitter.split(chunk, position, take);
      expect(reached).toBeGreaterThan(position);
      position = reached;
    }
  }
  return { records, splitter };
}

/** Byte by byte: a record at each newline and at each full 16 KiB. For ASCII. */
function naive(bytes: Uint8Array): { records: string[]; tail: string } {
  const records: string[] = [];
  let line = "";
  for (const byte of bytes) {
    line += String.fromCharCode(byte);
    if (byte === 10 || line.length === MAX_RECORD_BYTES) {
      records.push(line);
      line = "";
    }
  }
  return { records, tail: line };
}

function* random(seed: number): Generator<number, never> {
  for (let state = seed; ;) yield (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
}

test("records are the same however the input is cut, and as a naive splitter makes them", () => {
  const dice = random(7);
  for (let round = 0; round < 200; round++) {
    const lengths = Array.from({ length: 12 }, () => {
      const kind = dice.next().value;
      return kind < 0.2
        ? 0
        : kind < 0.8
          ? Math.floor(dice.next().value * 200)
          : MAX_RECORD_BYTES - 2 + Math.floor(dice.next().value * 5);
    });
    const input = encode(lengths.map((length) => "x".repeat(length)).join("\n"));
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < input.length;) {
      const size = 1 + Math.floor(dice.next().value ** 3 * 40_000);
      chunks.push(input.subarray(at, at + size));
      at += size;
    }
    const { records, splitter } = split(chunks, () => dice.next().value < 0.1);
    const expected = naive(input);
    expect(records).toEqual(expected.records);
    expect(Buffer.from(splitter.tail).toString("latin1")).toBe(expected.tail);
  }
});

test("a long line is cut before a character that does not fit whole, in one chunk or byte by byte", () => {
  for (const shift of [0, 1, 2, 3]) {
    const input = encode(`${"a".repeat(shift)}${"😀".repeat(9_000)}\n`);
    const whole = split([input]).records;
    const bytewise = split([...input].map((byte) => Uint8Array.of(byte))).records;
    expect(bytewise).toEqual(whole);
    expect(whole.join("")).toBe(Buffer.from(input).toString("latin1"));
    for (const record of whole) {
      expect(record.length).toBeLessThanOrEqual(MAX_RECORD_BYTES);
      expect(Buffer.from(record, "latin1").toString("utf8")).not.toContain("\ufffd");
    }
  }
});

test("a splitter begins with the unfinished line it is given, and flush ends it without newline", () => {
  const splitter = new LineSplitter(encode("half "));
  const records: string[] = [];
  const take = (source: Uint8Array, from: number, to: number): boolean =>
    records.push(Buffer.from(source.subarray(from, to)).toString()) > 0;
  splitter.split(encode("a line\nand the "), 0, take);
  splitter.flush(take);
  splitter.flush(take);
  expect(records).toEqual(["half a line\n", "and the "]);
});

test("bytes that are no UTF-8 at all are cut at 16 KiB, and none is lost", () => {
  for (const byte of [0x80, 0xbf, 0xc3, 0xff]) {
    const input = new Uint8Array(50_000).fill(byte);
    const { records, splitter } = split([input]);
    expect(records.join("").length + splitter.tail.length).toBe(input.length);
  }
});
