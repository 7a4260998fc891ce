// The json-file record: what collectors parse, byte for byte, and reading it back.
import { expect, test } from "bun:test";
import { jsonFormat } from "../../../../runtime/log/json_record.ts";
import { createJsonScan } from "../../../../runtime/log/json_scan.ts";
import type { LogStream } from "../../../../runtime/log/record.ts";
import { parseTimeText, toTimeText } from "../../../../runtime/log/time_text.ts";

const format = jsonFormat(createJsonScan());
const AT = 1_704_067_200_000_000_000n;

function encodeRecord(bytes: Uint8Array, stream: LogStream = 1, attributes: Record<string, string> = {}): string {
  const encoder = format.encoder(attributes);
  encoder.begin(stream, AT);
  encoder.add(bytes, 0, bytes.length);
  return Buffer.from(encoder.bytes()).toString("utf8");
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Seen {
  stream: LogStream;
  text: string;
  time: string;
  timeNano: bigint;
  details: string;
}

function decode(file: Uint8Array, chunkBytes = file.length || 1): Seen[] {
  const decoder = format.decoder();
  const seen: Seen[] = [];
  for (let at = 0; at < file.length; at += chunkBytes) {
    decoder.feed(file.subarray(at, at + chunkBytes), (record) =>
      seen.push({
        stream: record.stream,
        text: Buffer.from(record.source.subarray(record.from, record.to)).toString("latin1"),
        time: Buffer.from(record.timeText()).toString(),
        timeNano: record.timeNano(),
        details: record.details,
      }),
    );
  }
  return seen;
}

test("a line is one JSON object with its newline, stream and time of nine digits", () => {
  expect(encodeRecord(encode("hi\n"))).toBe(
    '{"log":"hi\\n","stream":"stdout","time":"2024-01-01T00:00:00.000000000Z"}\n',
  );
  expect(encodeRecord(encode("hi"), 2)).toBe(
    '{"log":"hi","stream":"stderr","time":"2024-01-01T00:00:00.000000000Z"}\n',
  );
});

test("attributes stand between stream and time", () => {
  expect(encodeRecord(encode("hi\n"), 1, { tag: "x&y" })).toBe(
    '{"log":"hi\\n","stream":"stdout","attrs":{"tag":"x&y"},"time":"2024-01-01T00:00:00.000000000Z"}\n',
  );
});

test("escapes are Docker's", () => {
  const log = (bytes: Uint8Array): string =>
    encodeRecord(bytes).slice(8, -'","stream":"stdout","time":"2024-01-01T00:00:00.000000000Z"}\n'.length);
  expect(log(encode('"\\<>&\t\r\b\0\x7f'))).toBe('\\"\\\\\\u003c\\u003e\\u0026\\u0009\\r\\u0008\\u0000\x7f');
  expect(log(encode("é€😀\u2028\u2029"))).toBe("é€😀\\u2028\\u2029");
  expect(log(encode("é€😀"))).toBe("é€😀");
  expect(log(Uint8Array.of(0x61, 0xff, 0xc3, 0xa9, 0xe2, 0x82))).toBe("a\\ufffdé\\ufffd\\ufffd");
  // Overlong, surrogate, beyond U+10FFFF.
  expect(log(Uint8Array.of(0xc0, 0x80))).toBe("\\ufffd\\ufffd");
  expect(log(Uint8Array.of(0xed, 0xa0, 0x80))).toBe("\\ufffd\\ufffd\\ufffd");
  expect(log(Uint8Array.of(0xf4, 0x90, 0x80, 0x80))).toBe("\\ufffd\\ufffd\\ufffd\\ufffd");
});

test("each record of a chunk is a nanosecond later, across a second too", () => {
  const encoder = format.encoder({});
  encoder.begin(1, AT + 999_999_998n);
  for (let index = 0; index < 4; index++) encoder.add(encode("x\n"), 0, 2);
  const times = decode(encoder.bytes()).map(({ time }) => time.slice(17));
  expect(times).toEqual(["00.999999998Z", "00.999999999Z", "01.000000000Z", "01.000000001Z"]);
});

test("random bytes come back as JSON.parse reads them, however the file is cut into blocks", () => {
  let state = 1;
  const random = (below: number): number => (state = (state * 48271) % 2147483647) % below;
  const encoder = format.encoder({});
  const count = 300;
  encoder.begin(2, AT);
  for (let round = 0; round < count; round++) {
    const bytes = Uint8Array.from({ length: random(60) }, () => (random(3) === 0 ? random(256) : 0x20 + random(95)));
    encoder.add(bytes, 0, bytes.length);
  }
  const file = encoder.bytes().slice();
  const lines = Buffer.from(file).toString("utf8").trimEnd().split("\n");
  const parsed = lines.map((line) => Buffer.from((JSON.parse(line) as { log: string }).log).toString("latin1"));
  for (const chunkBytes of [file.length, 1, 7, 100])
    expect(decode(file, chunkBytes).map(({ text }) => text)).toEqual(parsed);
  expect(parsed.length).toBe(count);
});

test("records of other writers are read: other order, attributes, short fractions, zones", () => {
  const file = encode(
    [
      '{"time":"2024-01-01T00:00:00.5Z","stream":"stderr","log":"a\\u00e9\\ud83d\\ude00\\n"}',
      '{"log":"b\\n","stream":"stdout","attrs":{"z":"1","a":"x y"},"time":"2024-01-01T01:00:00+01:00"}',
      '{"log":"\\ud83d\\ude00\\/\\n","stream":"stdout","time":"2024-01-01T00:00:00.000000000Z"}',
      "",
    ].join("\n"),
  );
  const seen = decode(file);
  expect(seen.map(({ text }) => Buffer.from(text, "latin1").toString())).toEqual(["aé😀\n", "b\n", "😀/\n"]);
  expect(seen.map(({ timeNano }) => timeNano - AT)).toEqual([500_000_000n, 0n, 0n]);
  expect(seen.map(({ details }) => details)).toEqual(["", "a=x%20y,z=1", ""]);
  expect(seen.map(({ stream }) => stream)).toEqual([2, 1, 1]);
});

test("what is no record is passed over", () => {
  const good = encodeRecord(encode("good\n"));
  const bad = [
    "",
    "{",
    "null",
    "[]",
    '{"log":1,"time":"x"}',
    '{"log":"x","stream":"stdout"}',
    good.slice(5),
    "\0".repeat(100),
    good.slice(0, 30),
  ];
  for (const line of bad)
    expect(decode(encode(`${line.trimEnd()}\n${good}`)).map(({ text }) => text)).toEqual(["good\n"]);
  expect(decode(encode(good.slice(0, -1)))).toEqual([]);
  expect(
    format.wholeBytes(
      (offset, count) => encode(good + good.slice(0, 20)).subarray(offset, offset + count),
      good.length + 20,
    ),
  ).toBe(good.length);
});

test("times are read and written to the nanosecond", () => {
  for (const text of [
    "2024-02-29T23:59:59.123456789Z",
    "1970-01-01T00:00:00.000000000Z",
    "1969-12-31T23:59:59.999999999Z",
  ]) {
    expect(toTimeText(parseTimeText(text) ?? 0n)).toBe(text);
  }
  for (const text of ["", "2024", "2024-01-01 00:00:00Z", "2024-13-01T00:00:00Z", "2024-01-01T00:00:00"])
    expect(parseTimeText(text)).toBeNull();
});
