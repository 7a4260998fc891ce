// The fast loops of the json-file format give what the plain ones give: on lines of all kinds, cut anywhere.
import { expect, test } from "bun:test";
import { jsonFormat } from "../../../../runtime/log/json_record.ts";
import { createJsonScan, INPUT_BYTES } from "../../../../runtime/log/json_scan.ts";
import { LineSplitter } from "../../../../runtime/log/lines.ts";
import { PieceSink } from "../../../../runtime/log/piece_sink.ts";
import type { LogRead } from "../../../../runtime/log/mod.ts";

const format = jsonFormat(createJsonScan());
const AT = 1_704_067_200_000_000_000n;
const ALL: LogRead = {
  stdout: true,
  stderr: true,
  sinceNano: null,
  untilNano: null,
  tail: null,
  timestamps: false,
  details: false,
  isFramed: false,
  followUntil: null,
};
const PIECES = [
  "plain text of some length, as most lines are ",
  "",
  'quoted "x" and \\back\\slashes\\ ',
  "<a href='x'>&amp;</a>",
  "\x1b[31mred\x1b[0m\t\r\0\x7f\x1f",
  "é€😀 Größe 漢字 ",
  "\u2028\u2029",
  "y".repeat(15),
  "z".repeat(16),
  "w".repeat(17_000),
].map((text) => new TextEncoder().encode(text));
const BROKEN = [Uint8Array.of(0xff, 0x80), Uint8Array.of(0xc3), Uint8Array.of(0xed, 0xa0, 0x80)];

function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => (state = (state * 48271) % 2147483647) % below;
}

function someLines(random: (below: number) => number, count: number, pieces: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let line = 0; line < count; line++) {
    for (let index = random(4); index > 0; index--) parts.push(pieces[random(pieces.length)] ?? new Uint8Array(0));
    parts.push(Uint8Array.of(0x0a));
  }
  return Buffer.concat(parts);
}

/** One by one, as json_record.ts does without the scanner. */
function plainly(bytes: Uint8Array, attributes: Record<string, string> = {}, at = AT): Uint8Array {
  const encoder = format.encoder(attributes);
  const parts: Uint8Array[] = [];
  encoder.begin(1, at);
  new LineSplitter().split(bytes, 0, (source, from, to) => {
    encoder.add(source, from, to);
    parts.push(encoder.bytes().slice());
    encoder.drop();
    return true;
  });
  return Buffer.concat(parts);
}

/** With the scanner, as log_file.ts does. */
function quickly(bytes: Uint8Array, attributes: Record<string, string> = {}, at = AT): Uint8Array {
  const encoder = format.encoder(attributes);
  const parts: Uint8Array[] = [];
  const splitter = new LineSplitter();
  encoder.begin(1, at);
  for (let position = 0; position < bytes.length;) {
    const reached = splitter.isEmpty ? (encoder.addLines?.(bytes, position, Infinity) ?? position) : position;
    position =
      reached > position
        ? reached
        : splitter.split(bytes, position, (source, from, to) => {
            encoder.add(source, from, to);
            return false;
          });
    parts.push(encoder.bytes().slice());
    encoder.drop();
  }
  return Buffer.concat(parts);
}

test("records of whole chunks are those that are made one by one", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomFrom(seed);
    const bytes = someLines(random, 40, seed % 3 === 0 ? [...PIECES, ...BROKEN] : PIECES.slice(0, seed % 2 ? 10 : 6));
    const attributes: Record<string, string> = seed % 4 === 0 ? { tag: "a&b", label: 'x"y' } : {};
    expect(Buffer.compare(quickly(bytes, attributes), plainly(bytes, attributes))).toBe(0);
  }
});

test("times go on by a nanosecond, across a second, and over chunks larger than the scanner's input", () => {
  const bytes = someLines(randomFrom(5), 20_000, PIECES.slice(0, 3));
  expect(bytes.length).toBeGreaterThan(INPUT_BYTES);
  for (const at of [AT, AT + 999_990_000n, AT + 999_999_999n - BigInt(INPUT_BYTES)]) {
    expect(Buffer.compare(quickly(bytes, {}, at), plainly(bytes, {}, at))).toBe(0);
  }
});

test("records are read as they are one by one, whatever is asked for, cut anywhere, with garbage between", () => {
  let total = 0;
  for (let seed = 1; seed <= 80; seed++) {
    const random = randomFrom(seed);
    const file = Buffer.concat(
      Array.from({ length: 8 }, (_, index) => {
        const encoder = format.encoder(seed % 3 === 0 && index < 6 ? { tag: "t", env: "é" } : {});
        encoder.begin(random(2) === 0 ? 1 : 2, AT + BigInt(random(50)) * 1_000_000n);
        new LineSplitter().split(someLines(random, 10, PIECES), 0, (source, from, to) => {
          encoder.add(source, from, to);
          if (encoder.hasRoom) return true;
          encoder.drop();
          return true;
        });
        const garbage = [
          "",
          "{}\n",
          '{"log":"torn\n',
          "\0\0\0\0\n",
          '{"log":"x","stream":"stdout","time":"2024-01-01T0\n',
        ];
        return Buffer.concat([encoder.bytes().slice(), Buffer.from(garbage[random(garbage.length)] ?? "")]);
      }),
    );
    const what: LogRead = {
      ...ALL,
      isFramed: seed % 2 === 0,
      timestamps: random(2) === 0,
      stderr: random(4) > 0,
      sinceNano: random(3) === 0 ? AT + 20_000_005n : null,
      untilNano: random(3) === 0 ? AT + 40_000_005n : null,
    };
    const read = (isBulk: boolean, chunkBytes: number): string => {
      const sink = new PieceSink(what);
      const decoder = format.decoder();
      for (let at = 0; at < file.length; at += chunkBytes) {
        decoder.feed(file.subarray(at, at + chunkBytes), sink.take, isBulk ? sink : null);
      }
      return sink
        .pieces()
        .map(({ bytes, stream }) => `${what.isFramed ? "" : stream}${Buffer.from(bytes).toString("latin1")}`)
        .join("|");
    };
    const expected = read(false, file.length);
    total += expected.length;
    expect(read(true, file.length)).toBe(expected);
    expect(read(true, 1 + random(5000))).toBe(expected);
  }
  expect(total).toBeGreaterThan(100_000);
});

test("bounds beyond what a time's text can say are bounds all the same", () => {
  const file = plainly(new TextEncoder().encode("one\ntwo\n"));
  const read = (what: Partial<LogRead>): string => {
    const sink = new PieceSink({ ...ALL, ...what });
    format.decoder().feed(file, sink.take, sink);
    return sink
      .pieces()
      .map(({ bytes }) => Buffer.from(bytes).toString())
      .join("");
  };
  expect(read({ sinceNano: -1n, untilNano: 10n ** 30n })).toBe("one\ntwo\n");
  expect(read({ sinceNano: 10n ** 30n })).toBe("");
  expect(read({ untilNano: -(10n ** 30n) })).toBe("");
});
