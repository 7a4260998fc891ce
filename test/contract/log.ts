// What every log driver that keeps files promises: one suite, run on each. Readers are compared with a naive model: all
// records in memory, filtered one by one.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogs, type LogOptions, type LogRead, type Logs, type LogWriter } from "../../runtime/log/mod.ts";
import { parseTimeText } from "../../runtime/log/time_text.ts";

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
const START = 1_704_067_200_000_000_000n;

interface Line {
  stream: 1 | 2;
  text: string;
}

export function logContract(driver: LogOptions["driver"]): void {
  describe(`${driver} log`, () => {
    let directory = "";
    let clock = START;
    let problems: unknown[] = [];
    let logs: Logs;
    let options: LogOptions;
    const never = new AbortController().signal;

    beforeEach(() => {
      directory = mkdtempSync(join(tmpdir(), "berth-log-"));
      clock = START;
      problems = [];
      logs = createLogs({ nowNano: () => (clock += 1_000_000n), onProblem: (_, error) => problems.push(error) });
      options = {
        driver,
        path: join(directory, "x-json.log"),
        maxSizeBytes: null,
        maxFiles: 5,
        compresses: false,
        attributes: {},
      };
    });
    afterEach(() => rmSync(directory, { recursive: true }));

    const put = (writer: LogWriter, stream: 1 | 2, text: string): void =>
      writer.append(stream, new TextEncoder().encode(text));

    /** Everything that a read gives, one entry for each line. */
    async function lines(writer: LogWriter | null, what: Partial<LogRead>, signal = never): Promise<Line[]> {
      const all: Line[] = [];
      for await (const piece of logs.reader(options, writer).read({ ...ALL, ...what }, signal)) {
        const text = Buffer.from(piece.bytes).toString();
        for (const line of text.match(/[^\n]*\n|[^\n]+$/g) ?? []) all.push({ stream: piece.stream, text: line });
      }
      return all;
    }
    const texts = async (writer: LogWriter | null, what: Partial<LogRead>): Promise<string[]> =>
      (await lines(writer, what)).map(({ text }) => text);

    /** Waits for a background compression to have happened. */
    async function until(condition: () => boolean): Promise<void> {
      while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
    }

    test("lines come back in order, with their streams, whether the writer is open or not", async () => {
      const writer = logs.open(options);
      put(writer, 1, "one\ntwo\n");
      put(writer, 2, "err\n");
      put(writer, 1, "thr");
      put(writer, 2, "more\n");
      put(writer, 1, "ee\n\nlast");
      const expected = [
        { stream: 1, text: "one\n" },
        { stream: 1, text: "two\n" },
        { stream: 2, text: "err\n" },
        { stream: 2, text: "more\n" },
        { stream: 1, text: "three\n" },
        { stream: 1, text: "\n" },
      ] as const;
      expect(await lines(writer, {})).toEqual([...expected]);
      writer.flushPartial();
      writer.close();
      expect(await lines(null, {})).toEqual([...expected, { stream: 1, text: "last" }]);
      expect(await texts(null, { stdout: false })).toEqual(["err\n", "more\n"]);
      expect(statSync(options.path).mode & 0o777).toBe(0o640);
    });

    test("timestamps and details stand before each line, in this order", async () => {
      options = { ...options, attributes: { tag: "a b", env: "x" } };
      const writer = logs.open(options);
      put(writer, 1, "one\n");
      const [line] = await texts(writer, { timestamps: true, details: true });
      expect(line).toMatch(/^2024-01-01T00:00:00\.\d{9}Z env=x,tag=a%20b one\n$/);
    });

    test("tail, since and until agree with a naive reader, over rotated and compressed files, with a clock that jumps", async () => {
      let state = 11;
      const random = (below: number): number => (state = (state * 48271) % 2147483647) % below;
      for (const compresses of [false, true]) {
        options = {
          ...options,
          path: join(directory, `c${compresses}-json.log`),
          maxSizeBytes: 9_000,
          maxFiles: 6,
          compresses,
        };
        let writer = logs.open(options);
        for (let count = 0; count < 400; count++) {
          put(writer, random(3) === 0 ? 2 : 1, `${"y".repeat(random(80))}${count}\n`.repeat(1 + random(3)));
          if (random(100) === 0) clock += BigInt(random(10_000)) * 1_000_000n;
          if (random(150) === 0) {
            writer.close();
            writer = logs.open(options);
          }
        }
        if (compresses)
          await until(
            () => readdirSync(directory).filter((name) => name.startsWith("ctrue") && name.endsWith(".gz")).length >= 1,
          );
        const model = (await lines(writer, { timestamps: true })).map(({ stream, text }) => ({
          stream,
          text: text.slice(31),
          time: parseTimeText(text.slice(0, 30)) ?? 0n,
        }));
        // What has not aged out: the end of all that was written, without a gap.
        expect(model.length).toBeGreaterThan(100);
        expect(model.at(-1)?.text).toEndWith("399\n");
        const numbers = model.map(({ text }) => Number(/(\d+)\n/.exec(text)?.[1]?.slice(-3)));
        expect(numbers.every((number, index) => index === 0 || number - (numbers[index - 1] ?? 0) <= 1)).toBeTrue();
        for (let round = 0; round < 60; round++) {
          const pick = (): bigint | null =>
            random(2) === 0 ? null : (model[random(model.length)]?.time ?? 0n) + BigInt(random(3) - 1);
          const sinceNano = pick();
          const untilNano = pick();
          const tail = random(2) === 0 ? null : random(model.length + 20);
          const expected: string[] = [];
          for (const { text, time } of tail === null ? model : model.slice(Math.max(0, model.length - tail))) {
            if (untilNano !== null && time > untilNano) break;
            if (sinceNano === null || time >= sinceNano) expected.push(text);
          }
          expect(await texts(random(2) === 0 ? writer : null, { sinceNano, untilNano, tail })).toEqual(expected);
        }
        writer.close();
      }
    });

    test("since finds its line in a large file, by the writer's index and without it", async () => {
      const writer = logs.open(options);
      const block = "z".repeat(99);
      for (let count = 0; count < 300; count++) put(writer, 1, `${count}\n${`${block}\n`.repeat(80)}`);
      const [wanted] = (await texts(writer, { timestamps: true })).filter((line) => line.endsWith(" 250\n"));
      const sinceNano = parseTimeText(wanted?.slice(0, 30) ?? "");
      for (const open of [writer, null]) {
        const found = await texts(open, { sinceNano });
        expect(found[0]).toBe("250\n");
        expect(found.length).toBe(50 * 81);
      }
      writer.close();
      // A second run of the same log: its index knows only what it wrote itself.
      const second = logs.open(options);
      put(second, 1, "again\n");
      expect((await texts(second, { sinceNano })).slice(0, 1)).toEqual(["250\n"]);
      expect((await texts(second, { sinceNano })).at(-1)).toBe("again\n");
      second.close();
    });

    test("rotation keeps max-file files of about max-size each, and loses no line between them", async () => {
      options = { ...options, maxSizeBytes: 2_000, maxFiles: 3 };
      const writer = logs.open(options);
      put(writer, 1, Array.from({ length: 500 }, (_, index) => `line ${index}\n`).join(""));
      expect(readdirSync(directory).sort()).toEqual(["x-json.log", "x-json.log.1", "x-json.log.2"]);
      for (const name of readdirSync(directory)) expect(statSync(join(directory, name)).size).toBeLessThan(2_200);
      const kept = await texts(writer, {});
      expect(kept).toEqual(Array.from({ length: kept.length }, (_, index) => `line ${500 - kept.length + index}\n`));
      expect(kept.length).toBeGreaterThan(30);
      writer.close();
      options = { ...options, maxFiles: 1 };
      const single = logs.open({ ...options, path: join(directory, "one-json.log") });
      put(single, 1, "line\n".repeat(500));
      expect(readdirSync(directory).filter((name) => name.startsWith("one"))).toEqual(["one-json.log"]);
      single.close();
    });

    test("rotated files are compressed behind the first, and read back", async () => {
      options = { ...options, maxSizeBytes: 12_000, maxFiles: 3, compresses: true };
      const writer = logs.open(options);
      put(writer, 1, Array.from({ length: 2_000 }, (_, index) => `line ${index}\n`).join(""));
      await until(() => existsSync(`${options.path}.2.gz`));
      expect(readdirSync(directory).sort()).toEqual(["x-json.log", "x-json.log.1", "x-json.log.2.gz"]);
      const kept = await texts(writer, {});
      expect(kept.at(-1)).toBe("line 1999\n");
      expect(await texts(writer, { tail: kept.length - 3 })).toEqual(kept.slice(3));
      writer.close();
      expect(await texts(null, {})).toEqual(kept);
      expect(problems).toEqual([]);
    });

    test("a follower gets every line across rotations and ends after the last one of the run", async () => {
      options = { ...options, maxSizeBytes: 2_000, maxFiles: 6 };
      const writer = logs.open(options);
      let end: () => void = () => {};
      const followUntil = new Promise<void>((resolve) => (end = resolve));
      put(writer, 1, "stored 0\nstored 1\n");
      const following = texts(writer, { tail: 1, followUntil });
      for (let count = 0; count < 300; count++) {
        put(writer, 1, `line ${count}\n`);
        // The follower keeps up: what it has not read yet is far less than what the files keep.
        if (count % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      put(writer, 2, "unfinished");
      writer.flushPartial();
      end();
      expect(await following).toEqual([
        "stored 1\n",
        ...Array.from({ length: 300 }, (_, index) => `line ${index}\n`),
        "unfinished",
      ]);
      expect(writer.generation).toBeGreaterThan(3);
      writer.close();
    });

    test("a follower that is slow holds nobody up, and goes on with the oldest lines left", async () => {
      options = { ...options, maxSizeBytes: 2_000, maxFiles: 3 };
      const writer = logs.open(options);
      put(writer, 1, "first\n");
      const reading = logs
        .reader(options, writer)
        .read({ ...ALL, followUntil: new Promise(() => {}) }, never)
        [Symbol.asyncIterator]();
      const first = await reading.next();
      expect(Buffer.from(first.value?.bytes ?? []).toString()).toBe("first\n");
      put(writer, 1, Array.from({ length: 2_000 }, (_, index) => `line ${index}\n`).join(""));
      const got: string[] = [];
      while (got.at(-1) !== "line 1999") {
        const next = await reading.next();
        got.push(
          ...Buffer.from(next.value?.bytes ?? [])
            .toString()
            .split("\n")
            .filter((line) => line !== ""),
        );
      }
      // The rest of its own file, perhaps a gap, and the end without one.
      expect(got[0]).toBe("line 0");
      const numbers = got.map((line) => Number(line.slice(5)));
      expect(numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? 0))).toBeTrue();
      await reading.return?.(undefined);
      writer.close();
    });

    test("a follow ends on abort, at until, and when the writer closes; with tail 0 it begins with what comes", async () => {
      const writer = logs.open(options);
      put(writer, 1, "old\n");
      const run = new Promise<void>(() => {});
      const abort = new AbortController();
      const aborted = lines(writer, { followUntil: run }, abort.signal);
      const timed = texts(writer, { followUntil: run, untilNano: clock + 20_000_000n });
      const closed = texts(writer, { tail: 0, followUntil: run });
      // All three have begun: each opens the file first.
      await new Promise((resolve) => setTimeout(resolve, 5));
      put(writer, 1, "new\n");
      abort.abort();
      expect((await aborted).length).toBeLessThanOrEqual(2);
      expect(await timed).toEqual(["old\n", "new\n"]);
      writer.close();
      expect(await closed).toEqual(["new\n"]);
    });

    test("a read that began before a line was written does not show it, unless it follows", async () => {
      const writer = logs.open(options);
      put(writer, 1, "before\n");
      const reading = logs.reader(options, writer).read(ALL, never);
      put(writer, 1, "after\n");
      const got: string[] = [];
      for await (const { bytes } of reading) got.push(Buffer.from(bytes).toString());
      expect(got).toEqual(["before\n"]);
      writer.close();
    });

    test("a torn last record is cut off when the log is opened again, and hidden until then", async () => {
      const writer = logs.open(options);
      put(writer, 1, "one\ntwo\n");
      const whole = writer.sizeBytes;
      put(writer, 1, "three\n");
      writer.close();
      truncateSync(options.path, whole + 11);
      expect(await texts(null, {})).toEqual(["one\n", "two\n"]);
      const second = logs.open(options);
      expect(second.sizeBytes).toBe(whole);
      put(second, 1, "four\n");
      expect(await texts(second, {})).toEqual(["one\n", "two\n", "four\n"]);
      second.close();
      appendFileSync(options.path, "garbage");
      expect(await texts(null, {})).toEqual(["one\n", "two\n", "four\n"]);
    });

    test("a log that somebody empties goes on from its start", async () => {
      const writer = logs.open(options);
      put(writer, 1, "old\n");
      truncateSync(options.path, 0);
      writer.refresh();
      expect(writer.sizeBytes).toBe(0);
      put(writer, 1, "new\n");
      expect(await texts(writer, {})).toEqual(["new\n"]);
      writer.close();
    });

    test("there is nothing to read before the first run, also when following", async () => {
      expect(await texts(null, {})).toEqual([]);
      expect(await texts(null, { tail: 5, followUntil: Promise.resolve() })).toEqual([]);
      expect(await texts(null, { sinceNano: START })).toEqual([]);
    });

    test("a disk that is full costs the lines, is told once, and no half record stays", async () => {
      let isFull = false;
      const { fileCalls } = await import("../../runtime/log/files.ts");
      const tight = createLogs(
        { nowNano: () => (clock += 1_000_000n), onProblem: (_, error) => problems.push(error) },
        {
          ...fileCalls,
          write(fd, bytes) {
            if (!isFull) return fileCalls.write(fd, bytes);
            if (bytes.length > 20) return fileCalls.write(fd, bytes.subarray(0, 20));
            throw Object.assign(new Error("no space left on device"), { code: "ENOSPC" });
          },
        },
      );
      const writer = tight.open(options);
      put(writer, 1, "kept\n");
      isFull = true;
      for (let count = 0; count < 50; count++) put(writer, 1, `lost ${count}\n`);
      isFull = false;
      put(writer, 1, "kept too\n");
      expect(await texts(writer, {})).toEqual(["kept\n", "kept too\n"]);
      expect(problems.length).toBe(1);
      writer.close();
    });
  });
}
