// The journal of one container's log: what a later daemon must know to go on without a line missing or doubled. A small
// file below the exec root (tmpfs: it means nothing after a reboot). transfer.ts draws the protocol it is part of.
//
//   offset 0      head, 64 bytes, written with one pwrite:
//                 u32 magic │ u32 phase │ u32 stream │ u32 offset in staging │ u64 log size │ u64 log inode
//                 │ u32 stdout tail: slot │ u32 its length │ u32 stderr tail: slot │ u32 its length │ 16 bytes unused
//   offset 4096   four slots of 16 KiB: unfinished lines, two for each stream, used in turn
//
// INVARIANT: a head names only slots that are written completely and that no later write touches until another head has
// replaced it. A write within one page is not cut short by a signal, so a head is there wholly or not at all.
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { MAX_RECORD_BYTES } from "../log/lines.ts";
import type { LogStream } from "../log/record.ts";

const MAGIC = 0x62_6a_6e_31;
const HEAD_BYTES = 64;
const SLOTS_AT = 4096;

/** The calls that write it: a test that kills the daemon between any two of them takes their place. */
export interface JournalCalls {
  pwrite(fd: number, bytes: Uint8Array, offset: number): void;
}

export const journalCalls: JournalCalls = {
  pwrite: (fd, bytes, offset) => {
    writeSync(fd, bytes, 0, bytes.length, offset);
  },
};

/** `logged`: all of staging is in the log or in a tail. `begun`: of staging, the first `offset` bytes are. */
export interface JournalState {
  phase: "logged" | "begun";
  stream: LogStream;
  offset: number;
  /** Size and inode of the log file at which that is true; the file may have grown since when begun. */
  logSizeBytes: number;
  logInode: number;
  tails: Readonly<Record<LogStream, Uint8Array>>;
}

export class Journal {
  readonly #fd: number;
  readonly #head = new DataView(new ArrayBuffer(HEAD_BYTES));
  readonly #headBytes = new Uint8Array(this.#head.buffer);
  /** What the head on disk says of each tail. */
  readonly #tails: Record<LogStream, { slot: 0 | 1; length: number }> = {
    1: { slot: 0, length: 0 },
    2: { slot: 0, length: 0 },
  };

  /** What lies in the slot that the head names. */
  readonly #written: Record<LogStream, Uint8Array> = { 1: new Uint8Array(0), 2: new Uint8Array(0) };

  constructor(
    path: string,
    private readonly calls: JournalCalls,
    private readonly onProblem: (error: unknown) => void,
  ) {
    // WHY: not "a+", for with O_APPEND pwrite(2) appends whatever its offset.
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  }

  /** What an earlier daemon left; null for a new journal. */
  read(): JournalState | null {
    const head = this.#readAt(0, HEAD_BYTES);
    if (head.length < HEAD_BYTES) return null;
    const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
    if (view.getUint32(0, true) !== MAGIC) return null;
    for (const stream of [1, 2] as const) {
      const at = 24 + 8 * stream;
      const length = view.getUint32(at + 4, true);
      this.#tails[stream] = {
        slot: view.getUint32(at, true) === 1 ? 1 : 0,
        length: Math.min(length, MAX_RECORD_BYTES),
      };
    }
    return {
      phase: view.getUint32(4, true) === 1 ? "begun" : "logged",
      stream: view.getUint32(8, true) === 2 ? 2 : 1,
      offset: view.getUint32(12, true),
      logSizeBytes: Number(view.getBigUint64(16, true)),
      logInode: Number(view.getBigUint64(24, true)),
      tails: { 1: this.#readTail(1), 2: this.#readTail(2) },
    };
  }

  /** `tails` is what the log holds unfinished now. */
  write(state: JournalState): void {
    for (const stream of [1, 2] as const) this.#writeTail(stream, state.tails[stream]);
    const head = this.#head;
    head.setUint32(0, MAGIC, true);
    head.setUint32(4, state.phase === "begun" ? 1 : 0, true);
    head.setUint32(8, state.stream, true);
    head.setUint32(12, state.offset, true);
    head.setBigUint64(16, BigInt(state.logSizeBytes), true);
    head.setBigUint64(24, BigInt(state.logInode), true);
    for (const stream of [1, 2] as const) {
      head.setUint32(24 + 8 * stream, this.#tails[stream].slot, true);
      head.setUint32(28 + 8 * stream, this.#tails[stream].length, true);
    }
    this.calls.pwrite(this.#fd, this.#headBytes, 0);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #writeTail(stream: LogStream, tail: Uint8Array): void {
    const last = this.#tails[stream];
    if (tail.length === 0) {
      this.#tails[stream] = { slot: last.slot, length: 0 };
      return;
    }
    if (this.#isWritten(stream, tail)) return;
    const slot = last.slot === 0 ? 1 : 0;
    try {
      this.calls.pwrite(this.#fd, tail, slotAt(stream, slot));
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      // The tmpfs is full: a kill now would lose this unfinished line. The head has its page already and never fails.
      this.onProblem(error);
      this.#tails[stream] = { slot: last.slot, length: 0 };
      return;
    }
    this.#written[stream] = tail.slice();
    this.#tails[stream] = { slot, length: tail.length };
  }
  #isWritten(stream: LogStream, tail: Uint8Array): boolean {
    return this.#tails[stream].length === tail.length && Buffer.compare(this.#written[stream], tail) === 0;
  }

  #readTail(stream: LogStream): Uint8Array {
    const { slot, length } = this.#tails[stream];
    const tail = this.#readAt(slotAt(stream, slot), length);
    this.#written[stream] = tail;
    return tail;
  }

  #readAt(offset: number, count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    return count === 0 ? bytes : bytes.subarray(0, readSync(this.#fd, bytes, 0, count, offset));
  }
}

function slotAt(stream: LogStream, slot: 0 | 1): number {
  return SLOTS_AT + ((stream - 1) * 2 + slot) * MAX_RECORD_BYTES;
}
