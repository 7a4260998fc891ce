// The end of a task: the exit record, from the pipe while the shim lives, from its file afterwards.
import { readFileSync } from "node:fs";
import type { ExitReport } from "../mod.ts";
import { EXIT_MESSAGE_BYTES } from "../program/descriptors.ts";
import type { Fd } from "../sys/fd.ts";
import { parseWaitStatus, SIGNAL } from "../sys/process.ts";
import { readerOf } from "../sys/readable.ts";

/** Parses an exit record; null when it is not whole. See program/descriptors.ts. */
export function parseExitRecord(bytes: Uint8Array): Omit<ExitReport, "oomKilled"> | null {
  if (bytes.length < EXIT_MESSAGE_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const exitedAtNano = view.getBigInt64(16, true) * 1_000_000_000n + view.getBigInt64(24, true);
  const { exitCode, signal } = parseWaitStatus(view.getInt32(0, true));
  return { exitCode, signal, exitedAt: new Date(Number(exitedAtNano / 1_000_000n)), exitedAtNano };
}

/** The record in an exit file; null when there is none yet, or no file. */
export function readExitFile(path: string): Omit<ExitReport, "oomKilled"> | null {
  try {
    return parseExitRecord(readFileSync(path));
  } catch {
    return null;
  }
}

/** A process whose end nobody saw: its shim was killed, and it with it. */
export function unseenExit(): Omit<ExitReport, "oomKilled"> {
  return { exitCode: 128 + SIGNAL.KILL, signal: SIGNAL.KILL, exitedAt: new Date() };
}

export interface ExitWatch {
  /** The record; null at the end of the pipe without one, or after `stop`. */
  record: Promise<Omit<ExitReport, "oomKilled"> | null>;
  /** Stops waiting. The pipe stays the caller's. */
  stop: () => void;
}

/** Waits for the exit record on a pipe. */
export function watchExitPipe(pipe: Fd): ExitWatch {
  const reader = readerOf(pipe);
  const wait = async (): Promise<Omit<ExitReport, "oomKilled"> | null> => {
    let bytes: Uint8Array = new Uint8Array(0);
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return null;
      bytes = bytes.length === 0 ? value : Buffer.concat([bytes, value]);
      const record = parseExitRecord(bytes);
      if (record) return record;
    }
  };
  // A pipe that cannot be read tells no more than one that has ended.
  const record = wait().catch(() => null);
  return { record, stop: () => void reader.cancel().catch(() => undefined) };
}
