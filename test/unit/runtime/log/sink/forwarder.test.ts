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

test("what rotation drops before the receiver is back is counted", async () => {
  options = { ...options, maxSizeBytes: 2_000, maxFiles: 3, compresses: true };
  const writer = logs.open(options);
  const line = (count: number): void => writer.append(1, new TextEncoder().encode(`line ${count}\n`));
  let taken = 0n;
  let dropped = 0;
  writer.watchDropped({ takenNano: () => taken, dropped: (records) => (dropped += records) });
  let end: () => void = () => {};
  const followUntil = new Promise<void>((resolve) => (end = resolve));
  const got: string[] = [];
  let isAway = true;
  let tries = 0;
  const all = { stdout: true, stderr: true, untilNano: null, tail: null, details: false };
  const done = forward(
    {
      placePath: join(directory, "log-delivered"),
      read: (sinceNano, signal) =>
        logs.reader(options, writer).read({ ...all, sinceNano, timestamps: true, isFramed: true, followUntil }, signal),
      sink: {
        async send(records) {
          tries++;
          if (isAway) throw new Error("away");
          got.push(...records.map(textOf));
        },
        close: () => {},
      },
      onProblem: () => {},
      onDelivered: () => {},
      onTaken: (timeNano) => (taken = timeNano),
    },
    new AbortController().signal,
  );
  line(0);
  while (tries === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  for (let count = 1; count < 600; count++) {
    line(count);
    // So that not too many files age out at once to be counted.
    if (count % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  isAway = false;
  end();
  await done;
  writer.close();
  expect(got[0]).toBe("line 0");
  expect(got.at(-1)).toBe("line 599");
  expect(got.length).toBeLessThan(400);
  while (got.length + dropped < 600) await new Promise((resolve) => setTimeout(resolve, 1));
  expect(got.length + dropped).toBe(600);
});

test("a batch is passed over after as many tries as the options allow", async () => {
  put("one", "two");
  let tries = 0;
  let givenUp = 0;
  const all = { stdout: true, stderr: true, untilNano: null, tail: null, details: false };
  await forward(
    {
      placePath: join(directory, "log-delivered"),
      read: (sinceNano, signal) =>
        logs
          .reader(options, null)
          .read({ ...all, sinceNano, timestamps: true, isFramed: true, followUntil: null }, signal),
      sink: {
        send: async () => {
          tries++;
          throw new Error("away");
        },
        close: () => {},
      },
      onProblem: () => {},
      onDelivered: () => {},
      retry: { firstWaitMs: 1, growth: 1, maxRetries: 2 },
      onGivenUp: (records) => (givenUp += records),
    },
    new AbortController().signal,
  );
  expect({ tries, givenUp }).toEqual({ tries: 3, givenUp: 2 });
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
