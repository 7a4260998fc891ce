// Delivers one container's local log to a sink: reads it from where the last delivery ended, sends batches, tries again with
// growing waits. The workload never waits for it, and the log is its only buffer: what the log's bounds have dropped before
// the sink came back is gone.
//
// A record's place is its time: no two of a log share one (log_file.ts). The place is written down after each batch, so a
// killed daemon sends at most that one batch again: at least once, never less.
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import type { LogPiece } from "../mod.ts";
import { MAX_RECORD_BYTES } from "../lines.ts";
import type { LogStream } from "../record.ts";
import { parseTimeText, TIME_TEXT_BYTES } from "../time_text.ts";
import { type Sink, type SinkRecord, TooLargeError } from "./mod.ts";

const HEAD_BYTES = 8;
const NEWLINE = 0x0a;
/** Records of one send. */
const BATCH_RECORDS = 512;
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 30_000;
/** A place is nanoseconds since 1970, in as many digits. */
const PLACE_DIGITS = 20;
/** A piece ends before a UTF-8 character that it would cut. */
const CUT_CHARACTER_BYTES = 3;

export interface ForwarderDeps {
  /** Remembers the place, beside the log. */
  placePath: string;
  /** Framed pieces with timestamps of the records after a time, to the end of the log as it is, or of the run. */
  read(sinceNano: bigint | null, signal: AbortSignal): AsyncIterable<LogPiece>;
  sink: Sink;
  /** A delivery has failed; told once until one has succeeded. */
  onProblem(error: unknown): void;
  onDelivered(): void;
  /** Records up to this time are out of the log's hands: they are being sent, or were. */
  onTaken?(timeNano: bigint): void;
  retry?: Partial<RetryPolicy>;
  /** The receiver did not take these after all the tries that the policy allows: they are passed over. */
  onGivenUp?(records: number): void;
}

/** How a batch that fails is tried again. */
export interface RetryPolicy {
  firstWaitMs: number;
  /** Each wait is so many times the one before. */
  growth: number;
  /** null: until it is taken. */
  maxRetries: number | null;
}

const DEFAULT_RETRY: RetryPolicy = { firstWaitMs: FIRST_WAIT_MS, growth: 2, maxRetries: null };

/** Resolves when the log was delivered to the end that `read` found, or on abort. */
export async function forward(deps: ForwarderDeps, signal: AbortSignal): Promise<void> {
  const fd = openSync(deps.placePath, "a+", 0o640);
  closeSync(fd);
  const last = readPlace(deps.placePath);
  const place = openSync(deps.placePath, "r+");
  if (last !== null) deps.onTaken?.(last);
  const splitter = new RecordSplitter();
  try {
    for await (const { bytes } of deps.read(last === null ? null : last + 1n, signal)) {
      const records = splitter.split(bytes);
      const latest = records.at(-1)?.timeNano;
      if (latest !== undefined) deps.onTaken?.(latest);
      for (let at = 0; at < records.length && !signal.aborted; at += BATCH_RECORDS) {
        const batch = records.slice(at, at + BATCH_RECORDS);
        if (!(await deliver(deps, batch, signal))) return;
        const text = String(batch.at(-1)?.timeNano ?? 0n).padStart(PLACE_DIGITS, "0");
        writeSync(place, Buffer.from(text), 0, PLACE_DIGITS, 0);
      }
      if (signal.aborted) return;
    }
  } finally {
    closeSync(place);
    deps.sink.close();
  }
}

function readPlace(path: string): bigint | null {
  const text = readFileSync(path, "utf8");
  return /^\d+$/.test(text) ? BigInt(text) : null;
}

/** False on abort. */
async function deliver(deps: ForwarderDeps, batch: readonly SinkRecord[], signal: AbortSignal): Promise<boolean> {
  const { firstWaitMs, growth, maxRetries } = { ...DEFAULT_RETRY, ...deps.retry };
  const longestMs = Math.max(firstWaitMs, LONGEST_WAIT_MS);
  let waitMs = firstWaitMs;
  for (let tries = 0, isTold = false; !signal.aborted; tries++) {
    try {
      await deps.sink.send(batch);
      deps.onDelivered();
      return true;
    } catch (error) {
      if (error instanceof TooLargeError) return await deliverOthers(deps, batch, error, signal);
      deps.sink.close();
      if (!isTold) deps.onProblem(error);
      isTold = true;
    }
    if (maxRetries !== null && tries >= maxRetries) {
      deps.onGivenUp?.(batch.length);
      return true;
    }
    await pause(waitMs, signal);
    waitMs = Math.min(waitMs * growth, longestMs);
  }
  return false;
}

/** One that cannot be sent is passed over, so that it does not stand in the way of all that follow. */
async function deliverOthers(
  deps: ForwarderDeps,
  batch: readonly SinkRecord[],
  error: TooLargeError,
  signal: AbortSignal,
): Promise<boolean> {
  if (batch.length === 1) {
    deps.onProblem(error);
    return true;
  }
  for (const record of batch) if (!(await deliver(deps, [record], signal))) return false;
  return true;
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
  });
}

/** Turns pieces of a log into records. One for each reading: it knows which piece of a long line comes next. */
export class RecordSplitter {
  readonly #lines: Record<LogStream, { id: string; ordinal: number }> = {
    1: { id: "", ordinal: 0 },
    2: { id: "", ordinal: 0 },
  };

  /** From frames of `2024-01-01T00:00:00.000000000Z text`. */
  split(framed: Uint8Array): SinkRecord[] {
    const view = new DataView(framed.buffer, framed.byteOffset, framed.byteLength);
    const records: SinkRecord[] = [];
    for (let at = 0; at + HEAD_BYTES <= framed.length;) {
      const start = at + HEAD_BYTES + TIME_TEXT_BYTES + 1;
      const end = at + HEAD_BYTES + view.getUint32(at + 4);
      const stream: LogStream = framed[at] === 2 ? 2 : 1;
      const time = Buffer.from(framed.subarray(at + HEAD_BYTES, start - 1)).toString("latin1");
      const timeNano = parseTimeText(time) ?? 0n;
      const hasNewline = end > start && framed[end - 1] === NEWLINE;
      // The last line of a run may lack its newline and yet be whole.
      const goesOn = !hasNewline && end - start >= MAX_RECORD_BYTES - CUT_CHARACTER_BYTES;
      const bytes = framed.subarray(start, hasNewline ? end - 1 : end);
      records.push({ stream, timeNano, bytes, partial: this.#partial(stream, goesOn, timeNano) });
      at = end;
    }
    return records;
  }

  #partial(stream: LogStream, goesOn: boolean, timeNano: bigint): SinkRecord["partial"] {
    const line = this.#lines[stream];
    if (!goesOn && line.ordinal === 0) return null;
    // The first piece's time names the line.
    if (line.ordinal === 0) line.id = timeNano.toString(16);
    const partial = { id: line.id, ordinal: ++line.ordinal, isLast: !goesOn };
    if (!goesOn) line.ordinal = 0;
    return partial;
  }
}
