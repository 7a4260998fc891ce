// Exactly once, proved step by step: the daemon dies before (or in the middle of) each single call that the transfer makes,
// a new one takes over on the same pipes, and dies in its turn, at every place. The log must hold each line once.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FileCalls, fileCalls } from "../../runtime/log/files.ts";
import { createLogs, type LogWriter } from "../../runtime/log/mod.ts";
import { Journal, journalCalls } from "../../runtime/stdio/journal.ts";
import { type PipeCalls, pipeCalls, Transfer, TRANSFER_BYTES } from "../../runtime/stdio/transfer.ts";
import { E } from "../../runtime/sys/errno.ts";
import type { Fd } from "../../runtime/sys/fd.ts";
import { alloc } from "../../runtime/sys/ffi.ts";
import { growPipe, O, openPath, pipe2, writeAll } from "../../runtime/sys/file.ts";

class Killed extends Error {}

/** Counts the calls of one daemon's life, and ends it at a given one. */
class Life {
  calls = 0;
  constructor(
    private readonly killAt: number,
    /** The fatal call is done in part, where it can be. */
    private readonly isCut: boolean,
    private readonly refusesSplice: boolean,
  ) {}

  #count<T>(whole: () => T, part?: () => unknown): T {
    if (this.calls++ === this.killAt) {
      if (this.isCut) part?.();
      throw new Killed();
    }
    // Nothing runs after death, also not in a handler of ours.
    if (this.calls > this.killAt + 1) throw new Killed();
    return whole();
  }

  readonly files: FileCalls = {
    open: (path, flags, mode) => this.#count(() => fileCalls.open(path, flags, mode)),
    write: (fd, bytes) =>
      this.#count(
        () => fileCalls.write(fd, bytes),
        () => fileCalls.write(fd, bytes.subarray(0, bytes.length >> 1)),
      ),
    truncate: (fd, sizeBytes) => this.#count(() => fileCalls.truncate(fd, sizeBytes)),
    rename: (from, to) => this.#count(() => fileCalls.rename(from, to)),
    unlink: (path) => this.#count(() => fileCalls.unlink(path)),
    close: (fd) => this.#count(() => fileCalls.close(fd)),
  };
  // A head is written within one page: wholly or not at all. An unfinished line may be cut.
  readonly journal = {
    pwrite: (fd: number, bytes: Uint8Array, offset: number): void =>
      this.#count(
        () => journalCalls.pwrite(fd, bytes, offset),
        () => offset > 0 && journalCalls.pwrite(fd, bytes.subarray(0, bytes.length >> 1), offset),
      ),
  };
  readonly pipes: PipeCalls = {
    splice: (from, to, count) => {
      const isFromSource = this.sources.includes(from);
      if (this.refusesSplice && isFromSource) return this.#count(() => -E.EINVAL);
      return this.#count(
        () => pipeCalls.splice(from, to, count),
        () => pipeCalls.splice(from, to, 100),
      );
    },
    tee: (from, to, count) => this.#count(() => pipeCalls.tee(from, to, count)),
    read: (from, into) => this.#count(() => pipeCalls.read(from, into)),
    write: (to, bytes) => this.#count(() => pipeCalls.write(to, bytes)),
  };
  sources: Fd[] = [];
}

let directory = "";
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), "berth-crash-"))));
afterEach(() => rmSync(directory, { recursive: true }));

/** What lives with the shim and so outlives every daemon. */
class World implements Disposable {
  readonly source = { 1: pipe2(O.NONBLOCK), 2: pipe2(O.NONBLOCK) };
  readonly staging = pipe2(O.NONBLOCK);
  readonly path: string;
  constructor(
    name: string,
    private readonly maxSizeBytes: number | null,
  ) {
    this.path = join(directory, name);
    growPipe(this.staging.write, TRANSFER_BYTES);
  }

  /** One daemon, until it dies or there is nothing left to do. True: it survived. */
  live(life: Life): boolean {
    life.sources = [this.source[1].read, this.source[2].read];
    const scratch = pipe2(O.NONBLOCK);
    growPipe(scratch.write, TRANSFER_BYTES);
    const devNull = openPath("/dev/null", O.WRONLY);
    let clock = 1_700_000_000_000_000_000n;
    const raise = (error: unknown): void => {
      if (error instanceof Killed) throw error;
    };
    const logs = createLogs({ nowNano: () => (clock += 1_000n), onProblem: (_, error) => raise(error) }, life.files);
    const journal = new Journal(`${this.path}.journal`, life.journal, raise);
    let log: LogWriter | null = null;
    try {
      log = logs.open({
        driver: "json-file",
        path: this.path,
        maxSizeBytes: this.maxSizeBytes,
        maxFiles: 50,
        compresses: false,
        attributes: {},
      });
      const transfer = new Transfer(
        { scratch, buffer: alloc(TRANSFER_BYTES), devNull, calls: life.pipes },
        this.staging,
        log,
        journal,
      );
      transfer.recover();
      for (const stream of [1, 2] as const) {
        let step = transfer.step(stream, this.source[stream].read, false);
        while (step.kind === "bytes") step = transfer.step(stream, this.source[stream].read, false);
        if (step.kind === "end") transfer.finish(stream);
      }
      return true;
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      return false;
    } finally {
      journal.close();
      for (const fd of [scratch.read, scratch.write, devNull]) fd.close();
    }
  }

  logged(stream: 1 | 2): string {
    const name = this.path.slice(directory.length + 1);
    const files = readdirSync(directory).filter(
      (file) => file === name || (/^\.\d+$/.test(file.slice(name.length)) && file.startsWith(name)),
    );
    const index = (file: string): number => Number(/\.(\d+)$/.exec(file)?.[1] ?? 0);
    return files
      .sort((one, other) => index(other) - index(one))
      .flatMap((file) =>
        readFileSync(join(directory, file), "utf8")
          .split("\n")
          .filter((line) => line !== ""),
      )
      .map((line) => JSON.parse(line) as { log: string; stream: string })
      .filter((record) => record.stream === (stream === 1 ? "stdout" : "stderr"))
      .map(({ log }) => log)
      .join("|");
  }

  [Symbol.dispose](): void {
    for (const { read, write } of [this.source[1], this.source[2], this.staging]) {
      read.close();
      write.close();
    }
  }
}

const OUT = [
  `${"line\n".repeat(9)}one\ntw`,
  "o\nthr",
  "ee\n",
  "x".repeat(17_000),
  `yz\n${"line\n".repeat(12)}`,
  "unfinished",
];
const ERR = ["e1\ne", "2\n"];
const expected = (chunks: string[]): string =>
  chunks
    .join("")
    .split(/(?<=\n)/)
    .flatMap((line) => (line.length > 16_384 ? [line.slice(0, 16_384), line.slice(16_384)] : [line]))
    .join("|");

/** Feeds the chunks, one before each life; the lives die at `first`, then `second`, then never. */
function run(
  name: string,
  kills: number[],
  isCut: boolean,
  maxSizeBytes: number | null,
  refusesSplice = false,
): boolean[] {
  using world = new World(name, maxSizeBytes);
  const survived: boolean[] = [];
  const rounds = Math.max(OUT.length, kills.length);
  for (let round = 0; round < rounds; round++) {
    if (OUT[round]) writeAll(world.source[1].write, new TextEncoder().encode(OUT[round]));
    if (ERR[round]) writeAll(world.source[2].write, new TextEncoder().encode(ERR[round]));
    survived.push(world.live(new Life(kills[round] ?? Infinity, isCut, refusesSplice)));
  }
  world.source[1].write.close();
  world.source[2].write.close();
  while (!world.live(new Life(kills[rounds] ?? Infinity, isCut, refusesSplice))) kills = [];
  expect({ kills, isCut, out: world.logged(1), err: world.logged(2) }).toEqual({
    kills,
    isCut,
    out: expected(OUT),
    err: expected(ERR),
  });
  return survived;
}

for (const [what, maxSizeBytes] of [
  ["in one file", null],
  ["with a rotation every few lines", 600],
] as const) {
  test(`killed at every call, and the next daemon at every call of its recovery: each line once, ${what}`, () => {
    let lives = 0;
    for (const isCut of [false, true]) {
      let hasSurvived = false;
      for (let first = 0; !hasSurvived; first++) {
        for (let second = 0; second < 12; second++) {
          [hasSurvived = true] = run(`a${lives++}`, [first, second], isCut, maxSizeBytes);
        }
        // The same place in every life.
        run(
          `a${lives++}`,
          OUT.map(() => first),
          isCut,
          maxSizeBytes,
        );
        for (const file of readdirSync(directory)) rmSync(join(directory, file));
      }
    }
    expect(lives).toBeGreaterThan(600);
  }, 60_000);
}

test("killed at every call of the last round, when the unfinished line is flushed", () => {
  for (const isCut of [false, true]) {
    for (let last = 0; last < 60; last++) run(`z${isCut}${last}`, [...OUT.map(() => Infinity), last], isCut, null);
  }
});

test("a source that cannot be spliced is read: without a kill between read and write, each line once", () => {
  expect(run("nosplice", [], false, null, true)).toEqual(OUT.map(() => true));
});
