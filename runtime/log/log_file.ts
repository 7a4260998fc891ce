// LogFile: the writer of one container's log. Synchronous throughout: the stdio plane's transfer needs the bytes to be in
// the file when `append` returns. A disk that is full costs lines, never the workload's time.
import { countUntaken, openAgedOut } from "./aged_out.ts";
import { type FileCalls, identity, readAtSync, type RotatedFile, RotatedFiles } from "./files.ts";
import { LineSplitter } from "./lines.ts";
import { TimeIndex } from "./log_index.ts";
import type { DroppedWatch, LogOptions, LogWriter, RotationHooks } from "./mod.ts";
import type { LogStream, RecordEncoder, RecordFormat } from "./record.ts";

const SECOND = 1_000_000_000n;
/** A disk that stays full is told of once in this time, not with every line. */
const PROBLEM_NANO = 10n * SECOND;

/** Files that are gone from the directory and still read. */
const MAX_COUNTING = 16;

export interface LogFileDeps {
  format: RecordFormat;
  calls: FileCalls;
  nowNano: () => bigint;
  onProblem(error: unknown): void;
}

export function openLogFile(options: LogOptions, deps: LogFileDeps): LogWriter {
  return new LogFile(options, deps);
}

class LogFile implements LogWriter {
  #fd = -1;
  #sizeBytes = 0;
  #inode = 0;
  #generation = 0;
  #isClosed = false;
  #lastNano = 0n;
  #problemAt = -PROBLEM_NANO;
  #timeIndex: TimeIndex;
  /** Records were added since listeners were last told. */
  #hasNews = false;
  readonly #encoder: RecordEncoder;
  readonly #files: RotatedFiles;
  readonly #splitters: Record<LogStream, LineSplitter> = { 1: new LineSplitter(), 2: new LineSplitter() };
  #watch: DroppedWatch | null = null;
  #counting = 0;
  readonly #listeners = new Set<() => void>();

  constructor(
    private readonly options: LogOptions,
    private readonly deps: LogFileDeps,
  ) {
    this.#encoder = deps.format.encoder(options.attributes);
    this.#files = new RotatedFiles(options.path, options, deps.calls, (error) => this.#problem(error), this.#ageOut);
    this.#open();
    this.#timeIndex = new TimeIndex(this.#sizeBytes);
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }
  get inode(): number {
    return this.#inode;
  }
  get generation(): number {
    return this.#generation;
  }
  get isClosed(): boolean {
    return this.#isClosed;
  }
  get rotated(): readonly RotatedFile[] {
    return this.#files.list();
  }
  get timeIndex(): TimeIndex {
    return this.#timeIndex;
  }

  tail(stream: LogStream): Uint8Array {
    return this.#splitters[stream].tail;
  }

  restoreTail(stream: LogStream, tail: Uint8Array): void {
    this.#splitters[stream] = new LineSplitter(tail);
  }

  append(stream: LogStream, bytes: Uint8Array, from = 0, hooks?: RotationHooks): void {
    if (this.#isClosed) throw new Error("log used after close");
    this.#encoder.begin(stream, this.#nextTime());
    for (let position = from; position < bytes.length;) {
      if (this.#isDue()) {
        this.#rotate(
          () => hooks?.before(position),
          () => hooks?.after(),
        );
      }
      position = this.#fill(this.#splitters[stream], bytes, position);
      this.#write();
    }
    this.#tell();
  }

  /** Whole lines as fast as the encoder can; what it leaves, and a line that began in an earlier chunk, one by one. */
  #fill(splitter: LineSplitter, bytes: Uint8Array, from: number): number {
    const { addLines } = this.#encoder;
    if (!addLines) return splitter.split(bytes, from, this.#take);
    if (splitter.isEmpty) {
      const { maxSizeBytes } = this.options;
      const reached = addLines(bytes, from, maxSizeBytes === null ? Infinity : maxSizeBytes - this.#sizeBytes);
      if (reached > from) return reached;
    }
    return splitter.split(bytes, from, this.#takeOne);
  }

  flushPartial(stream?: LogStream): void {
    for (const each of stream ? [stream] : ([1, 2] as const)) {
      this.#encoder.begin(each, this.#nextTime());
      this.#splitters[each].flush(this.#take);
      this.#write();
    }
    this.#tell();
  }

  truncate(sizeBytes: number): void {
    this.deps.calls.truncate(this.#fd, sizeBytes);
    this.#sizeBytes = sizeBytes;
    this.#timeIndex = new TimeIndex(sizeBytes);
  }

  /** Reads the size again: people empty logs with `> file`. */
  refresh(): void {
    const { sizeBytes } = identity(this.#fd);
    if (sizeBytes < this.#sizeBytes) this.#timeIndex = new TimeIndex(sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  onAppend(callback: () => void): () => void {
    this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  watchDropped(watch: DroppedWatch | null): void {
    this.#watch = watch;
  }

  #ageOut = (path: string, isCompressed: boolean): void => {
    const watch = this.#watch;
    if (!watch || this.#counting >= MAX_COUNTING) return;
    const fd = openAgedOut(path);
    if (fd === null) return;
    this.#counting++;
    void countUntaken(fd, isCompressed, this.deps.format, watch.takenNano())
      .then(
        (records) => {
          if (records > 0) watch.dropped(records);
        },
        (error: unknown) => this.#problem(error),
      )
      .finally(() => this.#counting--);
  };

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#files.close();
    this.deps.calls.close(this.#fd);
    this.#hasNews = true;
    this.#tell();
  }

  #take = (source: Uint8Array, from: number, to: number): boolean => {
    if (!this.#encoder.hasRoom) this.#write();
    this.#encoder.add(source, from, to);
    return !this.#isDue();
  };

  #takeOne = (source: Uint8Array, from: number, to: number): boolean => {
    this.#take(source, from, to);
    return false;
  };

  /** COMPAT: Docker rotates before the first record that finds the file at its limit or beyond. */
  #isDue(): boolean {
    const { maxSizeBytes } = this.options;
    return maxSizeBytes !== null && this.#sizeBytes + this.#encoder.sizeBytes >= maxSizeBytes;
  }

  /** Every record has a time of its own. Where the clock was set back by more than a second, time goes back too. */
  #nextTime(): bigint {
    const now = this.deps.nowNano();
    return now <= this.#lastNano && this.#lastNano - now < SECOND ? this.#lastNano + 1n : now;
  }

  #write(): void {
    const bytes = this.#encoder.bytes();
    if (bytes.length === 0) return;
    this.#lastNano = this.#encoder.timeNano;
    try {
      for (let done = 0; done < bytes.length;) done += this.deps.calls.write(this.#fd, bytes.subarray(done));
      this.#sizeBytes += bytes.length;
      this.#timeIndex.note(this.#sizeBytes, this.#lastNano);
      this.#hasNews = true;
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // A part may have been written: no reader must see half a record.
      this.#problem(error);
      this.truncate(this.#sizeBytes);
    }
    this.#encoder.drop();
  }

  #rotate(before: () => void, after: () => void): void {
    before();
    const old = this.#fd;
    this.#files.rotate(this.#generation, this.#timeIndex);
    try {
      this.#open();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // No new file (no descriptors left, say): the old one serves until the next try.
      this.#problem(error);
      return;
    }
    this.deps.calls.close(old);
    this.#generation++;
    this.#timeIndex = new TimeIndex(this.#sizeBytes);
    after();
    this.#hasNews = true;
  }

  #open(): void {
    const fd = this.deps.calls.open(this.options.path, "a+", 0o640);
    this.#fd = fd;
    const { sizeBytes, inode } = identity(fd);
    const wholeBytes = this.deps.format.wholeBytes((offset, count) => readAtSync(fd, offset, count), sizeBytes);
    if (wholeBytes < sizeBytes) this.deps.calls.truncate(fd, wholeBytes);
    this.#sizeBytes = wholeBytes;
    this.#inode = inode;
  }

  #problem(error: unknown): void {
    const now = this.deps.nowNano();
    if (now - this.#problemAt < PROBLEM_NANO) return;
    this.#problemAt = now;
    this.deps.onProblem(error);
  }

  #tell(): void {
    if (!this.#hasNews) return;
    this.#hasNews = false;
    for (const listener of this.#listeners) listener();
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "code" in error;
}
