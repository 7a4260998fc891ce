// The stdio plane on real pipes and ptys: order, backpressure, ends, stdin, and a reader process that is really killed.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogs, type LogWriter } from "../../runtime/log/mod.ts";
import type { ExitReport, TaskStreams } from "../../runtime/mod.ts";
import {
  createStdioPlane,
  type OpenStdio,
  type Stdio,
  type StdioClient,
  type StdioPlane,
} from "../../runtime/stdio/plane.ts";
import { createWallClock } from "../../runtime/sys/clock.ts";
import { Fd } from "../../runtime/sys/fd.ts";
import { alloc, check, syscall } from "../../runtime/sys/ffi.ts";
import { O, openPath, pipe2, readOnce, setNonBlocking, writeAll } from "../../runtime/sys/file.ts";

const REPORT: ExitReport = { exitCode: 0, signal: null, exitedAt: new Date(0), oomKilled: false };
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

let directory = "";
let plane: StdioPlane;
let problems: unknown[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-stdio-"));
  problems = [];
  plane = createStdioPlane((error) => problems.push(error));
});
afterEach(() => {
  plane.close();
  rmSync(directory, { recursive: true });
  expect(problems).toEqual([]);
});

/** A task of pipes whose workload is the test. */
class PipeTask implements Disposable {
  readonly out = pipe2();
  readonly err = pipe2();
  readonly in = pipe2();
  readonly staging = pipe2(O.NONBLOCK);
  readonly streams: TaskStreams = {
    stdin: this.in.write,
    stdout: this.out.read,
    stderr: this.err.read,
    terminal: null,
    staging: this.staging,
  };
  #onExit: (report: ExitReport) => void = () => {};
  readonly exited = new Promise<ExitReport>((resolve) => (this.#onExit = resolve));

  exit(): void {
    for (const fd of [this.out.write, this.err.write, this.in.read]) fd.close();
    this.#onExit(REPORT);
  }

  /** The process ends, its children hold the pipes. */
  exitButKeepPipes(): void {
    this.#onExit(REPORT);
  }

  [Symbol.dispose](): void {
    for (const { read, write } of [this.out, this.err, this.in, this.staging]) {
      read.close();
      write.close();
    }
  }
}

function openLog(): LogWriter {
  const logs = createLogs({ nowNano: createWallClock(), onProblem: (_, error) => problems.push(error) });
  return logs.open({
    driver: "json-file",
    path: join(directory, "x-json.log"),
    maxSizeBytes: null,
    maxFiles: 1,
    compresses: false,
    attributes: {},
  });
}

const logged = (): { log: string; stream: string }[] =>
  readFileSync(join(directory, "x-json.log"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as { log: string; stream: string });

const withLog = (log: LogWriter): OpenStdio => ({ log, journalPath: join(directory, "journal"), isTTY: false });
const BARE: OpenStdio = { log: null, journalPath: null, isTTY: false };

class Collector implements StdioClient {
  stdout = true;
  stderr = true;
  text = { 1: "", 2: "" };
  hasEnded = false;
  #wake: () => void = () => {};

  write(stream: 1 | 2, bytes: Uint8Array): Promise<void> | void {
    this.text[stream] += Buffer.from(bytes).toString("latin1");
    this.#wake();
  }
  end(): void {
    this.hasEnded = true;
    this.#wake();
  }
  /** Resolves once the condition holds; looks after each write. */
  async until(condition: (text: Record<1 | 2, string>) => boolean): Promise<void> {
    while (!condition(this.text)) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

function join2(stdio: Stdio): Collector {
  const collector = new Collector();
  stdio.attach(collector);
  return collector;
}

test("output reaches log and clients in order, and the end comes after the last byte", async () => {
  using task = new PipeTask();
  const log = openLog();
  const stdio = plane.open(task, withLog(log));
  const client = join2(stdio);
  const quiet = new Collector();
  quiet.stdout = false;
  stdio.attach(quiet);
  writeAll(task.out.write, encode("one\ntw"));
  writeAll(task.err.write, encode("oops\n"));
  await client.until((text) => text[1] === "one\ntw" && text[2] === "oops\n");
  writeAll(task.out.write, encode("o\nlast"));
  task.exit();
  await stdio.drained;
  expect(client.text).toEqual({ 1: "one\ntwo\nlast", 2: "oops\n" });
  expect(quiet.text).toEqual({ 1: "", 2: "oops\n" });
  expect([client.hasEnded, quiet.hasEnded]).toEqual([true, true]);
  expect(
    logged()
      .filter(({ stream }) => stream === "stdout")
      .map(({ log }) => log),
  ).toEqual(["one\n", "two\n", "last"]);
  expect(
    logged()
      .filter(({ stream }) => stream === "stderr")
      .map(({ log }) => log),
  ).toEqual(["oops\n"]);
  log.close();
});

test("megabytes pass without a byte lost or changed, with a log and without", async () => {
  for (const isLogged of [true, false]) {
    using task = new PipeTask();
    const log = isLogged ? openLog() : null;
    const stdio = plane.open(task, log ? withLog(log) : BARE);
    const client = join2(stdio);
    const child = Bun.spawn(["seq", "1", "300000"], {
      stdio: ["ignore", task.out.write.number, task.err.write.number],
    });
    await child.exited;
    task.exit();
    await stdio.drained;
    expect(client.text[1]).toBe(Array.from({ length: 300_000 }, (_, index) => `${index + 1}\n`).join(""));
    if (!log) continue;
    expect(
      logged()
        .map(({ log: line }) => line)
        .join(""),
    ).toBe(client.text[1]);
    log.close();
  }
});

test("a client that does not drain makes the workload wait; once removed it holds nobody up", async () => {
  using task = new PipeTask();
  const stdio = plane.open(task, BARE);
  let given = 0;
  const remove = stdio.attach({
    stdout: true,
    stderr: false,
    write: () => (given++, new Promise<void>(() => {})),
    end: () => {},
  });
  const other = join2(stdio);
  setNonBlocking(task.out.write);
  const block = alloc(65536).fill(0x78);
  let written = 0;
  const fill = (): void => {
    for (let result = 1; result > 0;) {
      result = syscall("write", task.out.write.number, block, block.length);
      if (result > 0) written += result;
    }
  };
  fill();
  await other.until((text) => text[1].length > 0);
  fill();
  const before = written;
  // Other streams go on, and the full pipe stays full.
  writeAll(task.err.write, encode("err"));
  await other.until((text) => text[2] === "err");
  fill();
  expect(written).toBe(before);
  expect(given).toBe(1);
  remove();
  await other.until((text) => text[1].length === written);
  task.exit();
  await stdio.drained;
});

test("after the exit a stuck client delays neither the log nor the other clients", async () => {
  using task = new PipeTask();
  const log = openLog();
  const stdio = plane.open(task, withLog(log));
  const remove = stdio.attach({ stdout: true, stderr: true, write: () => new Promise<void>(() => {}), end: () => {} });
  const other = join2(stdio);
  writeAll(task.out.write, encode("first\n"));
  await other.until((text) => text[1] === "first\n");
  writeAll(task.out.write, encode("second\n"));
  task.exit();
  await stdio.logged;
  expect(logged().map(({ log: line }) => line)).toEqual(["first\n", "second\n"]);
  expect(other.text[1]).toBe("first\nsecond\n");
  let isDrained = false;
  const drained = stdio.drained.then(() => (isDrained = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(isDrained).toBeFalse();
  remove();
  await drained;
  log.close();
});

test("a client that throws or rejects is dropped", async () => {
  using task = new PipeTask();
  const stdio = plane.open(task, BARE);
  let calls = 0;
  stdio.attach({
    stdout: true,
    stderr: true,
    write: () => {
      calls++;
      throw new Error("gone");
    },
    end: () => void calls++,
  });
  stdio.attach({
    stdout: true,
    stderr: true,
    write: () => (calls++, Promise.reject(new Error("gone"))),
    end: () => void calls++,
  });
  const other = join2(stdio);
  writeAll(task.out.write, encode("1"));
  await other.until((text) => text[1] === "1");
  writeAll(task.out.write, encode("2"));
  await other.until((text) => text[1] === "12");
  task.exit();
  await stdio.drained;
  expect(calls).toBe(2);
});

test("children that outlive the task and hold its pipes do not keep the streams open for ever", async () => {
  using task = new PipeTask();
  const stdio = plane.open(task, BARE);
  const client = join2(stdio);
  writeAll(task.out.write, encode("from the child"));
  task.exitButKeepPipes();
  await stdio.drained;
  expect(client).toMatchObject({ text: { 1: "from the child" }, hasEnded: true });
  const late = join2(stdio);
  expect(late.hasEnded).toBeTrue();
});

test("children that outlive the task and never stop writing do not fill the memory of a client that does not read", async () => {
  using task = new PipeTask();
  const stdio = plane.open(task, { log: null, journalPath: null, isTTY: false });
  let takenBytes = 0;
  const never = new Promise<void>(() => {});
  const remove = stdio.attach({
    stdout: true,
    stderr: true,
    write(_stream, bytes) {
      takenBytes += bytes.length;
      return never;
    },
    end: () => {},
  });
  task.exitButKeepPipes();
  setNonBlocking(task.out.write);
  const chunk = alloc(64 << 10);
  let isOver = false;
  void stdio.logged.then(() => (isOver = true));
  let writtenBytes = 0;
  while (!isOver) {
    const count = syscall("write", task.out.write.number, chunk, chunk.length);
    if (count > 0) writtenBytes += count;
    else await Bun.sleep(1);
  }
  expect(writtenBytes).toBeGreaterThan(1 << 20);
  expect(takenBytes).toBeLessThan(6 << 20);
  remove();
  await stdio.drained;
});

test("stdin arrives in order although the workload reads slowly; its end comes after it", async () => {
  using task = new PipeTask();
  let dropped = 0;
  const stdio = plane.open(task, { ...BARE, dropStdin: () => void dropped++ });
  const input = Array.from({ length: 40_000 }, (_, index) => `${index}\n`);
  const half = input.length / 2;
  const writes = [
    stdio.writeStdin(encode(input.slice(0, half).join(""))),
    stdio.writeStdin(encode(input.slice(half).join(""))),
  ];
  stdio.closeStdin();
  await stdio.writeStdin(encode("too late"));
  expect(dropped).toBe(0);
  setNonBlocking(task.in.read);
  let got = "";
  const buffer = alloc(10_000);
  for (let count: number | null = null; count !== 0;) {
    count = readOnce(task.in.read, buffer);
    if (count) got += Buffer.from(buffer.subarray(0, count)).toString();
    else if (count === null) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(writes);
  expect(got).toBe(input.join(""));
  expect(dropped).toBe(1);
  task.exit();
  await stdio.drained;
});

test("input for a workload that has closed its stdin is dropped, also what was waiting", async () => {
  using task = new PipeTask();
  const stdio = plane.open(task, BARE);
  const waiting = stdio.writeStdin(new Uint8Array(1 << 20));
  await new Promise((resolve) => setImmediate(resolve));
  task.in.read.close();
  await waiting;
  await stdio.writeStdin(encode("more"));
  task.exit();
  await stdio.drained;
});

/** A pty of the host's devpts; the slave raw, so that nothing is echoed or changed. */
function openPty(): { master: Fd; slave: Fd } {
  const TIOCSPTLCK = 0x40045431,
    TIOCGPTPEER = 0x5441,
    TCGETS = 0x5401,
    TCSETS = 0x5402;
  const master = openPath("/dev/ptmx", O.RDWR | O.NOCTTY);
  check("ioctl", [master.number, TIOCSPTLCK, alloc(8)]);
  const slave = new Fd(check("ioctl", [master.number, TIOCGPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC]));
  const settings = alloc(64);
  check("ioctl", [slave.number, TCGETS, settings]);
  const view = new DataView(settings.buffer);
  for (const [offset, off] of [
    [0, ~0],
    [4, 1],
    [12, 0b1111],
  ] as const)
    view.setUint32(offset, view.getUint32(offset, true) & ~off, true);
  check("ioctl", [slave.number, TCSETS, settings]);
  return { master, slave };
}

test("a terminal: output in order to log and client, input without blocking, and its end", async () => {
  const { master, slave } = openPty();
  const staging = pipe2(O.NONBLOCK);
  let exit: (report: ExitReport) => void = () => {};
  const exited = new Promise<ExitReport>((resolve) => (exit = resolve));
  const log = openLog();
  const stdio = plane.open(
    { streams: { stdin: null, stdout: null, stderr: null, terminal: master, staging }, exited },
    { log, journalPath: join(directory, "journal"), isTTY: true },
  );
  const client = join2(stdio);
  const child = Bun.spawn(["sh", "-c", "head -c 20000 | tr x y; seq 1 20000"], {
    stdio: [slave.number, slave.number, slave.number],
  });
  slave.close();
  await stdio.writeStdin(encode("x".repeat(20_000)));
  await child.exited;
  exit(REPORT);
  await stdio.drained;
  const expected = "y".repeat(20_000) + Array.from({ length: 20_000 }, (_, index) => `${index + 1}\n`).join("");
  expect(client.text[1]).toBe(expected);
  expect(
    logged()
      .map(({ log: line }) => line)
      .join(""),
  ).toBe(expected);
  for (const fd of [master, staging.read, staging.write]) fd.close();
  log.close();
});

test("a terminal that no process has open for a while is read again", async () => {
  const { master, slave } = openPty();
  const name = alloc(8);
  check("ioctl", [master.number, 0x80045430, name]);
  const stdio = plane.open(
    {
      streams: { stdin: null, stdout: null, stderr: null, terminal: master, staging: null },
      exited: new Promise(() => {}),
    },
    { log: null, journalPath: null, isTTY: true },
  );
  const client = join2(stdio);
  writeAll(slave, encode("one"));
  slave.close();
  await client.until((text) => text[1] === "one");
  const again = openSync(`/dev/pts/${new DataView(name.buffer).getUint32(0, true)}`, O.RDWR | O.NOCTTY);
  check("write", [again, "two", 3]);
  await client.until((text) => text[1] === "onetwo");
  closeSync(again);
  stdio.close();
  master.close();
});

test("two thousand idle streams cost the busy one nothing, and all are served", async () => {
  const tasks = Array.from({ length: 400 }, () => new PipeTask());
  const clients = tasks.map((task) => join2(plane.open(task, BARE)));
  const [busy] = tasks;
  const [first] = clients;
  if (!busy || !first) throw new Error("no tasks");
  for (let count = 0; count < 200; count++) {
    writeAll(busy.out.write, encode("."));
    await first.until((text) => text[1].length === count + 1);
  }
  for (const [index, task] of tasks.entries()) writeAll(task.err.write, encode(`${index}`));
  await Promise.all(clients.map((client, index) => client.until((text) => text[2] === `${index}`)));
  for (const task of tasks) task[Symbol.dispose]();
});

test("a reader process that is killed fifty times loses and doubles nothing, on pipes and on a pty", async () => {
  for (const isTTY of [false, true]) {
    const log = join(directory, `kill-${isTTY}-json.log`);
    const out = pipe2();
    const err = pipe2();
    const pty = isTTY ? openPty() : null;
    const staging = pipe2(O.NONBLOCK);
    // This process plays the shim: it holds everything and reads nothing.
    const script = `i=0; while [ $i -lt 40 ]; do seq $((i*500)) $((i*500+499)); seq $((i*500)) $((i*500+499)) >&2; sleep 0.05; i=$((i+1)); done; printf end`;
    const slave = pty?.slave.number;
    const writer = Bun.spawn(["sh", "-c", script], {
      stdio: ["ignore", slave ?? out.write.number, slave ?? err.write.number],
    });
    for (const fd of [out.write, err.write, pty?.slave]) fd?.close();
    const read = pty?.master ?? out.read;
    let hasFinished = false;
    for (let kills = 0; !hasFinished; kills++) {
      const reader = Bun.spawn(
        [
          process.execPath,
          join(import.meta.dir, "../support/stdio_reader.ts"),
          log,
          isTTY ? "tty" : "pipes",
          String(writer.pid),
        ],
        {
          stdio: ["ignore", "pipe", "inherit", read.number, err.read.number, staging.read.number, staging.write.number],
        },
      );
      const started = reader.stdout.getReader();
      await started.read();
      // At any moment of its work; towards the end it may finish.
      const timer = kills < 25 ? setTimeout(() => reader.kill("SIGKILL"), (kills * 7.3) % 40) : null;
      await reader.exited;
      if (timer) clearTimeout(timer);
      hasFinished = reader.signalCode === null;
      if (hasFinished) expect(reader.exitCode).toBe(0);
    }
    await writer.exited;
    const records = readFileSync(log, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { log: string; stream: string });
    const numbers = Array.from({ length: 20_000 }, (_, index) => `${index}\n`);
    const of = (stream: string): string[] =>
      records.filter((record) => record.stream === stream).map((record) => record.log);
    if (isTTY) {
      const lines = of("stdout");
      expect(lines.at(-1)).toBe("end");
      const sorted = lines
        .slice(0, -1)
        .map(Number)
        .sort((one, other) => one - other);
      expect(sorted).toEqual(numbers.flatMap((line) => [Number(line), Number(line)]));
    } else {
      expect(of("stdout")).toEqual([...numbers, "end"]);
      expect(of("stderr")).toEqual(numbers);
    }
    for (const fd of [out.read, err.read, pty?.master, staging.read, staging.write]) fd?.close();
  }
}, 60_000);
