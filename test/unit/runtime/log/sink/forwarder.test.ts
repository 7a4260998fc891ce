// Delivery of a log to a sink that fails, hangs and is killed in between: every record arrives, in order.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogs, type LogOptions, type Logs } from "../../../../../runtime/log/mod.ts";
import { forward, RecordSplitter } from "../../../../../runtime/log/sink/forwarder.ts";
import { type SinkRecord, TooLargeError } from "../../../../../runtime/log/sink/mod.ts";

let directory = "";
let logs: Logs;
let options: LogOptions;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-forward-"));
  let clock = 1_704_067_200_000_000_000n;
  logs = createLogs({ nowNano: () => (clock += 1_000_000n), onProblem: () => {} });
  const path = join(directory, "x-cached.log");
  options = { driver: "local", path, maxSizeBytes: null, maxFiles: 2, compresses: false, attributes: {} };
});
afterEach(() => rmSync(directory, { recursive: true }));

function deliver(send: (records: readonly SinkRecord[]) => Promise<void>, abort = new AbortController()) {
  const problems: unknown[] = [];
  const all = { stdout: true, stderr: true, untilNano: null, tail: null, details: false };
  const done = forward(
    {
      placePath: join(directory, "log-delivered"),
      read: (sinceNano, signal) =>
        logs
          .reader(options, null)
          .read({ ...all, sinceNano, timestamps: true, isFramed: true, followUntil: null }, signal),
      sink: { send, close: () => {} },
      onProblem: (error) => problems.push(error),
      onDelivered: () => {},
    },
    abort.signal,
  );
  return { done, problems, abort };
}

function put(...lines: string[]): void {
  const writer = logs.open(options);
  for (const line of lines) writer.append(1, new TextEncoder().encode(`${line}\n`));
  writer.close();
}
const textOf = ({ bytes }: SinkRecord): string => Buffer.from(bytes).toString();

test("a batch that fails is sent again, and told of once", async () => {
  put("one", "two");
  const got: string[][] = [];
  const { done, problems } = deliver(async (records) => {
    got.push(records.map(textOf));
    if (got.length < 3) throw new Error("down");
  });
  await done;
  expect(got).toEqual([
    ["one", "two"],
    ["one", "two"],
    ["one", "two"],
  ]);
  expect(problems.length).toBe(1);
});

test("what was delivered is not sent again, after an abort in the middle neither", async () => {
  put(...Array.from({ length: 1200 }, (_, index) => `line ${index}`));
  const got: string[] = [];
  const first = deliver(async (records) => {
    got.push(...records.map(textOf));
    if (got.length > 600) first.abort.abort();
  });
  await first.done;
  expect(got.length).toBe(1024);
  put("after");
  await deliver(async (records) => void got.push(...records.map(textOf))).done;
  expect(got).toEqual([...Array.from({ length: 1200 }, (_, index) => `line ${index}`), "after"]);
  await deliver(async (records) => void got.push(...records.map(textOf))).done;
  expect(got.length).toBe(1201);
});

test("a record that cannot be sent is told of and passed over; those around it arrive", async () => {
  put("one", "huge", "two");
  const got: string[] = [];
  const { done, problems } = deliver(async (records) => {
    if (records.some((each) => textOf(each) === "huge")) throw new TooLargeError("huge");
    got.push(...records.map(textOf));
  });
  await done;
  expect(got).toEqual(["one", "two"]);
  expect(problems.map(String)).toEqual(["Error: huge"]);
});

test("a receiver that stays away is given up on abort", async () => {
  put("one");
  const { abort, done, problems } = deliver(() => Promise.reject(new Error("down")));
  while (problems.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  abort.abort();
  await done;
});

test("pieces of a long line are numbered, and a last line without newline is whole", async () => {
  const writer = logs.open(options);
  writer.append(1, new TextEncoder().encode(`${"x".repeat(40_000)}\nshort\nend`));
  writer.append(2, new TextEncoder().encode("other\n"));
  writer.flushPartial();
  writer.close();
  const got: (readonly [number, string | undefined])[] = [];
  await deliver(async (records) => {
    for (const { bytes, partial } of records)
      got.push([bytes.length, partial ? `${partial.ordinal} ${partial.isLast}` : undefined]);
  }).done;
  expect(got).toEqual([
    [16384, "1 false"],
    [16384, "2 false"],
    [7232, "3 true"],
    [5, undefined],
    [5, undefined],
    [3, undefined],
  ]);
  expect(new RecordSplitter().split(new Uint8Array(0))).toEqual([]);
});
