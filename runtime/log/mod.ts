// Container logs: the door. `createLogs` is called once by the composition root; the stdio plane writes with a LogWriter,
// logs and attach read with a LogReader. Formats: json-file as Docker's, `local` our own binary one.
import { fileCalls, type RotatedFile } from "./files.ts";
import { jsonFormat } from "./json_record.ts";
import { localFormat } from "./local_record.ts";
import { openLogFile } from "./log_file.ts";
import type { TimeIndex } from "./log_index.ts";
import { createLogReader } from "./log_reader.ts";
import { createJsonScan } from "./json_scan.ts";
import type { LogStream, RecordFormat } from "./record.ts";

/** What one container's log is. */
export interface LogOptions {
  driver: "json-file" | "local";
  /** The current file: `<containers>/<id>/<id>-json.log`. Its directory exists. */
  path: string;
  /** null: no bound. */
  maxSizeBytes: number | null;
  /** All files together. */
  maxFiles: number;
  compresses: boolean;
  /** Written with each record: chosen labels, environment and tag. */
  attributes: Readonly<Record<string, string>>;
}

/** What happens around a rotation in the middle of `append`: transfer.ts keeps its journal right with it. */
export interface RotationHooks {
  /** The first `takenBytes` of what was given to `append` are in the log, or its unfinished line; the file will be rotated. */
  before(takenBytes: number): void;
  /** The new file is in place and empty. */
  after(): void;
}

export interface LogWriter {
  /** Bytes as read, from `from` on; splits into lines itself and keeps the unfinished one. */
  append(stream: LogStream, bytes: Uint8Array, from?: number, hooks?: RotationHooks): void;
  /** Size of the current file, as the disk has it. */
  readonly sizeBytes: number;
  readonly inode: number;
  /** Which file is the current one; counts up with each rotation. */
  readonly generation: number;
  /** The files before the current one, the oldest first. */
  readonly rotated: readonly RotatedFile[];
  /** Of the current file. */
  readonly timeIndex: TimeIndex;
  /** Reads the file's size again: people empty logs with `> file`. */
  refresh(): void;
  /** The unfinished line of a stream: a view, valid now. */
  tail(stream: LogStream): Uint8Array;
  /** Puts back an unfinished line that an earlier daemon held. */
  restoreTail(stream: LogStream, tail: Uint8Array): void;
  /** Cuts the current file back: only before anything was appended. */
  truncate(sizeBytes: number): void;
  /** The end of a stream (or both): its unfinished line is logged without newline. */
  flushPartial(stream?: LogStream): void;
  /** Calls back after each append that added records, and after close. */
  onAppend(callback: () => void): () => void;
  /** Counts, from now on, what is dropped before the watch's reader has taken it. One watch at a time; null: none. */
  watchDropped(watch: DroppedWatch | null): void;
  readonly isClosed: boolean;
  close(): void;
}

/** Who must not lose a record without a word. */
export interface DroppedWatch {
  /** The time of the last record that the reader has given out. */
  takenNano(): bigint;
  /** So many records after that are gone; told some time later. At least: of many files at once not all are counted. */
  dropped(records: number): void;
}

/** Which records, and how they are shown. */
export interface LogRead {
  stdout: boolean;
  stderr: boolean;
  /** Unix nanoseconds, both inclusive; null: no bound. */
  sinceNano: bigint | null;
  untilNano: bigint | null;
  /** The last so many records of both streams, counted before the other conditions apply, as under Docker; null: all. */
  tail: number | null;
  timestamps: boolean;
  details: boolean;
  /** Each record behind a head of eight bytes, as http/multiplex draws it: pieces then mix the streams. */
  isFramed: boolean;
  /** Go on with what is appended until this settles and everything logged by then was read. null: do not follow. */
  followUntil: Promise<void> | null;
}

/** One or more whole records, of one stream unless framed, with timestamps and details as asked, newlines kept. The receiver owns it. */
export interface LogPiece {
  stream: LogStream;
  bytes: Uint8Array;
}

export interface LogReader {
  /** What is stored is what the log holds at the time of this call. Ends quietly on abort. */
  read(what: LogRead, signal: AbortSignal): AsyncIterable<LogPiece>;
}

export interface Logs {
  /** Opens a log for writing; makes the file (mode 0640), repairs a torn end. */
  open(options: LogOptions): LogWriter;
  /** `writer`: the one that is open now, null when the container does not run. */
  reader(options: LogOptions, writer: LogWriter | null): LogReader;
}

export interface LogsDeps {
  /** The wall clock in nanoseconds. */
  nowNano: () => bigint;
  /** A log could not be written (disk full …): what could not be written is lost, the workload goes on. */
  onProblem(path: string, error: unknown): void;
}

/** Shared by all writers, since each fills and writes it within one turn. */
const SCRATCH_BYTES = 512 << 10;

export function createLogs(deps: LogsDeps, calls = fileCalls): Logs {
  const scratch = new Uint8Array(new ArrayBuffer(SCRATCH_BYTES));
  let json: RecordFormat | null = null;
  const local = localFormat(scratch);
  const formatOf = (driver: LogOptions["driver"]): RecordFormat =>
    driver === "local" ? local : (json ??= jsonFormat(createJsonScan()));
  return {
    open: (options) =>
      openLogFile(options, {
        format: formatOf(options.driver),
        calls,
        nowNano: deps.nowNano,
        onProblem: (error) => deps.onProblem(options.path, error),
      }),
    reader: (options, writer) => createLogReader(options.path, formatOf(options.driver), writer, deps.nowNano),
  };
}
