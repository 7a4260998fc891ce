// A container's output to its log, exactly once. The daemon may be killed between any two system calls; the container's
// pipes (or pty) and `staging` are held open by its shim as well, so what lies in them outlives the daemon.
//
//   source ──(b) splice──▶ staging ──(c) tee──▶ scratch ──read──▶ buffer ──▶ (d) log, then clients
//   (held by the shim)     (held by the shim)   (ours)                 │
//                               └──(f) splice──▶ /dev/null             └──▶ unfinished line: journal
//
//   (a) journal: begun, offset 0, log size and inode, unfinished lines        staging is empty
//   (b) splice                                                                bytes are in source or in staging
//   (c) tee and read                                                          nothing is consumed
//   (d) append to the log                                                     the log grows, in one or more writes
//   (e) journal: logged, unfinished lines                                     one pwrite: from now on staging is history
//   (f) drain staging                                                         may be cut short, nobody minds
//
// After a restart: `begun`: cut the log back to the journalled size, take staging from `offset` on again. `logged`: drop what
// is in staging. A rotation in the middle of (d) journals `begun` with the offset reached before and after it.
// WHY (e): a drain that SIGKILL interrupts leaves a part, and a part looks like output that is still to be logged.
//
// INVARIANT: staging is empty at (a). INVARIANT: a to f are one turn of the event loop. INVARIANT: the log file grows only
// here, so that cutting it back removes nothing else.
import { SyscallError } from "../errors.ts";
import type { LogWriter } from "../log/mod.ts";
import type { LogStream } from "../log/record.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { readOnce } from "../sys/file.ts";
import { splice, tee, writeOnce } from "../sys/splice.ts";
import type { Journal } from "./journal.ts";

/** Taken from a stream at once: bounds the time of one turn, and the pipes' sizes. */
export const TRANSFER_BYTES = 256 << 10;
/** WHY: splice(2) from a pty allocates pages for all that it is asked for, and a pty holds 4 KiB. */
const TERMINAL_BYTES = 16 << 10;

/** The calls that move bytes: a test that kills the daemon between any two of them takes their place. */
export interface PipeCalls {
  splice(from: Fd, to: Fd, count: number): number;
  tee(from: Fd, to: Fd, count: number): number;
  read(from: Fd, into: Uint8Array): number | null;
  write(to: Fd, bytes: Uint8Array): number;
}

export const pipeCalls: PipeCalls = { splice, tee, read: readOnce, write: writeOnce };

/** What all transfers of a daemon share, since each is over within one turn. */
export interface TransferParts {
  /** A pipe at least as large as any staging. */
  scratch: { read: Fd; write: Fd };
  /** At least TRANSFER_BYTES. */
  buffer: Uint8Array;
  devNull: Fd;
  calls: PipeCalls;
}

/** What came of one step: bytes (a view of the shared buffer), nothing for now, or the end of the stream. */
export type Step = { kind: "bytes"; bytes: Uint8Array } | { kind: "empty" } | { kind: "end" };

export class Transfer {
  constructor(
    private readonly parts: TransferParts,
    private readonly staging: { read: Fd; write: Fd },
    private readonly log: LogWriter,
    private readonly journal: Journal,
  ) {}

  /** Finishes what an earlier daemon began. Comes before the first step. */
  recover(): void {
    const state = this.journal.read();
    if (!state) {
      this.#drain();
      this.#note("logged", 1, 0);
      return;
    }
    for (const stream of [1, 2] as const) this.log.restoreTail(stream, state.tails[stream]);
    if (state.phase === "begun") {
      // Another inode: killed in the middle of a rotation, and nothing has been written to the new file.
      if (this.log.inode === state.logInode && this.log.sizeBytes > state.logSizeBytes) {
        this.log.truncate(state.logSizeBytes);
      }
      // The file that is cut back if we are killed here in our turn.
      this.#note("begun", state.stream, state.offset);
      this.#append(state.stream, this.#peek(), state.offset);
      this.#note("logged", state.stream, 0);
    }
    this.#drain();
  }

  /** One chunk from source to log. */
  step(stream: LogStream, source: Fd, isTerminal: boolean): Step {
    this.log.refresh();
    this.#note("begun", stream, 0);
    const moved = this.#stage(source, isTerminal ? TERMINAL_BYTES : TRANSFER_BYTES);
    if (moved === 0 || moved === -E.EIO) return { kind: "end" };
    if (moved === -E.EAGAIN || moved === -E.EINTR) return { kind: "empty" };
    if (moved < 0) throw new SyscallError("splice", -moved, { from: source.number });
    const bytes = this.#peek();
    this.#append(stream, bytes, 0);
    this.#note("logged", stream, 0);
    this.#drain();
    return { kind: "bytes", bytes };
  }

  /** The end of a stream: its unfinished line goes to the log. */
  finish(stream: LogStream): void {
    this.log.refresh();
    this.#note("begun", stream, 0);
    this.log.flushPartial(stream);
    this.#note("logged", stream, 0);
  }

  #stage(source: Fd, count: number): number {
    const { calls, buffer } = this.parts;
    const moved = calls.splice(source, this.staging.write, count);
    if (moved !== -E.EINVAL) return moved;
    // A kernel that does not splice from this kind of file. Killed between these two calls, the daemon loses a chunk.
    let read: number | null;
    try {
      read = calls.read(source, buffer.subarray(0, Math.min(count, buffer.length)));
    } catch (error) {
      if (error instanceof SyscallError && error.errno === E.EIO) return -E.EIO;
      throw error;
    }
    return read === null ? -E.EAGAIN : read === 0 ? 0 : calls.write(this.staging.write, buffer.subarray(0, read));
  }

  /** All that staging holds, without consuming it. */
  #peek(): Uint8Array {
    const { buffer, calls, scratch } = this.parts;
    const repeated = calls.tee(this.staging.read, scratch.write, buffer.length);
    if (repeated === -E.EAGAIN) return buffer.subarray(0, 0);
    if (repeated < 0) throw new SyscallError("tee", -repeated);
    for (let length = 0; length < repeated;) {
      length += calls.read(scratch.read, buffer.subarray(length, repeated)) ?? 0;
    }
    return buffer.subarray(0, repeated);
  }

  #append(stream: LogStream, bytes: Uint8Array, from: number): void {
    let reached = from;
    this.log.append(stream, bytes, from, {
      before: (takenBytes) => {
        reached = takenBytes;
        this.#note("begun", stream, reached);
      },
      after: () => this.#note("begun", stream, reached),
    });
  }

  #drain(): void {
    const { calls, devNull } = this.parts;
    while (calls.splice(this.staging.read, devNull, TRANSFER_BYTES) > 0);
  }

  #note(phase: "logged" | "begun", stream: LogStream, offset: number): void {
    const { log } = this;
    this.journal.write({
      phase,
      stream,
      offset,
      logSizeBytes: log.sizeBytes,
      logInode: log.inode,
      tails: { 1: log.tail(1), 2: log.tail(2) },
    });
  }
}
