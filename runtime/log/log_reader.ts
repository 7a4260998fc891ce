// Reading a container's log: where to begin (tail from the end, since by the index), then forward through the rotated files
// and the current one, then, when following, what the writer appends. Pulled by its consumer: a slow one holds nobody up.
//
//   generation   -2        -1        0 (current)
//   file         x.2.gz    x.1       x            ── rotation ──▶ what was current keeps its generation, its name changes
//
// A follower that is still in a file when it is rotated finishes it by its descriptor and goes on with the next generation.
// One that is so slow that a file has aged out meanwhile goes on with the oldest left: logs are bounded, readers are not
// waited for.
import { createReadStream, openSync, promises, statSync } from "node:fs";
import { createGunzip } from "node:zlib";
import { type RotatedFile, rotatedPath, scanRotated } from "./files.ts";
import type { TimeIndex } from "./log_index.ts";
import type { LogPiece, LogRead, LogReader, LogWriter } from "./mod.ts";
import { PieceSink } from "./piece_sink.ts";
import type { ReadAt, RecordFormat } from "./record.ts";

/** Read from disk at once; also about the size of the pieces given out. */
const BLOCK_BYTES = 512 << 10;
const LEAST_BLOCK_BYTES = 4 << 10;
/** A rotated file's time of change is compared with `since` with this to spare: the clock may have been set. */
const MTIME_SLACK_MS = 5_000;

export function createLogReader(
  path: string,
  format: RecordFormat,
  writer: LogWriter | null,
  nowNano: () => bigint,
): LogReader {
  return {
    read(what, signal): AsyncIterable<LogPiece> {
      const end = writer ? { generation: writer.generation, sizeBytes: writer.sizeBytes } : null;
      return new Reading(path, format, writer, what, signal, end, nowNano).run();
    },
  };
}

/** A file to read: open for a plain one, a name for a compressed one. */
interface Source {
  generation: number;
  rotated: RotatedFile | null;
}

class Reading {
  readonly #sink: PieceSink;
  #block: Uint8Array = new Uint8Array(0);

  constructor(
    private readonly path: string,
    private readonly format: RecordFormat,
    private readonly writer: LogWriter | null,
    private readonly what: LogRead,
    private readonly signal: AbortSignal,
    /** Where the stored part ends; null: without a writer, at the end of the file. */
    private readonly end: { generation: number; sizeBytes: number } | null,
    private readonly nowNano: () => bigint,
  ) {
    this.#sink = new PieceSink(what);
  }

  async *run(): AsyncGenerator<LogPiece> {
    const sources = this.#sources();
    const first = this.what.tail === null ? await this.#since(sources) : await this.#tail(sources, this.what.tail);
    const current = this.end?.generation ?? 0;
    let next = first.generation;
    let offset = first.offset;
    let skip = first.skip;
    for (const source of sources) {
      if (source.generation < next || source.generation === current) continue;
      yield* this.#rotatedFile(source.generation, offset, skip);
      if (this.#isOver) return;
      next = source.generation + 1;
      offset = 0;
      skip = 0;
    }
    yield* this.#current(offset);
  }

  get #isOver(): boolean {
    return this.signal.aborted || this.#sink.isPastUntil;
  }

  /** All files of the stored part, the oldest first. */
  #sources(): Source[] {
    const rotated = this.writer ? this.writer.rotated : scanRotated(this.path);
    const current = this.end?.generation ?? 0;
    const before = rotated.filter(({ generation }) => generation < current);
    return [
      ...before.map((file) => ({ generation: file.generation, rotated: file })),
      { generation: current, rotated: null },
    ];
  }

  // ---- where to begin

  async #tail(sources: Source[], count: number): Promise<Start> {
    let missing = count;
    let oldest = sources.at(-1)?.generation ?? 0;
    if (count === 0) return { generation: oldest, offset: await this.#endOfCurrent(), skip: 0 };
    for (const source of sources.toReversed()) {
      if (this.signal.aborted) break;
      const found = await this.#tailOfFile(source, missing);
      if (found.found >= missing) return { generation: source.generation, ...found.start };
      missing -= found.found;
      oldest = source.generation;
    }
    return { generation: oldest, offset: 0, skip: 0 };
  }

  async #tailOfFile(
    source: Source,
    count: number,
  ): Promise<{ found: number; start: { offset: number; skip: number } }> {
    using file = await this.#open(source.generation);
    if (!file) {
      const compressed = this.#rotated(source.generation);
      if (!compressed?.isCompressed) return { found: 0, start: { offset: 0, skip: 0 } };
      const counter = this.format.counter();
      for await (const block of unzipped(rotatedPath(this.path, compressed))) counter.feed(block);
      return { found: counter.count, start: { offset: 0, skip: Math.max(0, counter.count - count) } };
    }
    const end = source.rotated ? file.sizeBytes : this.#limit(file.sizeBytes);
    const { offset, found } = await this.format.tail(file.read, end, count);
    return { found, start: { offset, skip: 0 } };
  }

  async #since(sources: Source[]): Promise<Start> {
    const since = this.what.sinceNano;
    const oldest = sources[0]?.generation ?? 0;
    if (since === null) return { generation: oldest, offset: 0, skip: 0 };
    for (const source of sources) {
      if (source.rotated && this.#isOlderThan(source.rotated, since)) continue;
      if (source.rotated?.isCompressed) return { generation: source.generation, offset: 0, skip: 0 };
      return { generation: source.generation, offset: await this.#seek(source, since), skip: 0 };
    }
    return { generation: oldest, offset: 0, skip: 0 };
  }

  #isOlderThan(file: RotatedFile, sinceNano: bigint): boolean {
    const changed = statSync(rotatedPath(this.path, file), { throwIfNoEntry: false })?.mtimeMs;
    return changed === undefined || changed + MTIME_SLACK_MS < Number(sinceNano / 1_000_000n);
  }

  async #seek(source: Source, sinceNano: bigint): Promise<number> {
    using file = await this.#open(source.generation);
    if (!file) return 0;
    const index: TimeIndex | null = source.rotated ? source.rotated.timeIndex : (this.writer?.timeIndex ?? null);
    const end = source.rotated ? file.sizeBytes : this.#limit(file.sizeBytes);
    const indexed = index?.seek(sinceNano) ?? 0;
    if (index && (indexed > index.startBytes || index.startBytes === 0)) return Math.min(indexed, end);
    return await this.format.seek(file.read, index ? Math.min(index.startBytes, end) : end, sinceNano);
  }

  // ---- forward

  async *#rotatedFile(generation: number, offset: number, skip: number): AsyncGenerator<LogPiece> {
    // Aged out since.
    if (!this.#rotated(generation)) return;
    const decoder = this.format.decoder();
    this.#sink.passOver(skip);
    const feed = (block: Uint8Array): void => decoder.feed(block, this.#sink.take, this.#sink);
    {
      using open = await this.#open(generation);
      if (open) return yield* this.#readOn(open, offset, open.sizeBytes, feed);
    }
    // Perhaps since the place to begin was found: the bytes are the same.
    const compressed = this.#rotated(generation);
    if (!compressed?.isCompressed) return;
    let before = offset;
    for await (const block of unzipped(rotatedPath(this.path, compressed))) {
      const from = Math.min(before, block.length);
      before -= from;
      feed(block.subarray(from));
      yield* this.#sink.pieces();
      if (this.#isOver) return;
    }
  }

  /** The current file up to where the stored part ends; then, when following, on and on. */
  async *#current(start: number): AsyncGenerator<LogPiece> {
    let generation = this.end?.generation ?? 0;
    let offset = start;
    const follow = this.what.followUntil;
    using watch = follow && this.writer ? new AppendWatch(this.writer, follow, this.signal, this.#untilMs()) : null;
    for (;;) {
      using file = await this.#open(generation);
      const decoder = this.format.decoder();
      const feed = (block: Uint8Array): void => decoder.feed(block, this.#sink.take, this.#sink);
      for (;;) {
        // Asked before reading: what comes after the answer wakes us again.
        const isEnding = !watch || watch.isOver;
        const isRotated = watch !== null && this.writer !== null && this.writer.generation > generation;
        if (file) {
          const size = await file.size();
          // Somebody has emptied the file: what is in it now is new.
          if (size < offset) offset = 0;
          const end = watch ? size : this.#limit(size);
          yield* this.#readOn(file, offset, end, feed);
          offset = Math.max(offset, end);
        }
        if (this.#isOver) return;
        if (isRotated) break;
        if (isEnding) return;
        // A follower that waits holds no buffers: there may be thousands.
        if (this.#block.length > LEAST_BLOCK_BYTES) this.#block = new Uint8Array(0);
        await watch.news();
      }
      if (!this.writer || this.#isOver) return;
      generation = yield* this.#catchUp(generation);
      offset = 0;
    }
  }

  /** Reads whole files between the one that was finished and the current one; returns the current generation. */
  async *#catchUp(finished: number): AsyncGenerator<LogPiece, number> {
    let generation = finished + 1;
    while (this.writer && generation < this.writer.generation && !this.#isOver) {
      yield* this.#rotatedFile(generation, 0, 0);
      generation++;
    }
    return generation;
  }

  async *#readOn(
    file: OpenFile,
    from: number,
    end: number,
    feed: (block: Uint8Array) => void,
  ): AsyncGenerator<LogPiece> {
    for (let offset = from; offset < end;) {
      const wanted = Math.min(BLOCK_BYTES, end - offset);
      if (this.#block.length < wanted)
        this.#block = new Uint8Array(new ArrayBuffer(Math.max(wanted, LEAST_BLOCK_BYTES)));
      const count = await file.into(this.#block, offset, wanted);
      if (count === 0) return;
      feed(this.#block.subarray(0, count));
      offset += count;
      yield* this.#sink.pieces();
      if (this.#isOver) return;
    }
  }

  // ---- files

  #rotated(generation: number): RotatedFile | null {
    const files = this.writer ? this.writer.rotated : scanRotated(this.path);
    return files.find((file) => file.generation === generation) ?? null;
  }

  /** Opens the plain file of a generation under the name it has now; null when there is none any more, or it is compressed. */
  async #open(generation: number): Promise<OpenFile | null> {
    // A rotation between finding the name and opening it gives us another file: then once more.
    for (let tries = 0; tries < 8; tries++) {
      const rotated = this.#rotated(generation);
      const isCurrent = generation === (this.writer?.generation ?? 0);
      if (rotated ? rotated.isCompressed : !isCurrent) return null;
      const before = this.writer?.generation;
      const handle = await promises.open(rotated ? rotatedPath(this.path, rotated) : this.path, "r").catch(() => null);
      if (this.writer?.generation === before) return handle ? await OpenFile.of(handle) : null;
      await handle?.close();
    }
    return null;
  }

  #limit(sizeBytes: number): number {
    return Math.min(sizeBytes, this.end?.sizeBytes ?? sizeBytes);
  }

  async #endOfCurrent(): Promise<number> {
    if (this.end) return this.end.sizeBytes;
    using file = await this.#open(0);
    return file?.sizeBytes ?? 0;
  }

  /** Time left until `until`, or null. */
  #untilMs(): number | null {
    const { untilNano } = this.what;
    return untilNano === null ? null : Math.max(0, Number((untilNano - this.nowNano()) / 1_000_000n) + 1);
  }
}

interface Start {
  generation: number;
  offset: number;
  /** Records to pass over: where a compressed file cannot be entered in the middle. */
  skip: number;
}

class OpenFile implements Disposable {
  private constructor(
    private readonly handle: promises.FileHandle,
    readonly sizeBytes: number,
  ) {}

  static async of(handle: promises.FileHandle): Promise<OpenFile> {
    return new OpenFile(handle, (await handle.stat()).size);
  }

  async size(): Promise<number> {
    return (await this.handle.stat()).size;
  }

  async into(block: Uint8Array, offset: number, count: number): Promise<number> {
    return (await this.handle.read(block, 0, count, offset)).bytesRead;
  }

  readonly read: ReadAt = async (offset, count) => {
    const bytes = new Uint8Array(new ArrayBuffer(count));
    let length = 0;
    while (length < count) {
      const { bytesRead } = await this.handle.read(bytes, length, count - length, offset + length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.subarray(0, length);
  };

  [Symbol.dispose](): void {
    // Only close itself can fail here, and nothing was written.
    this.handle.close().catch(() => {});
  }
}

/** A damaged .gz ends where the damage begins: a torn rotated file must not hide the younger ones. */
async function* unzipped(path: string): AsyncGenerator<Uint8Array> {
  const fd = openNow(path);
  if (fd === null) return;
  const source = createReadStream("", { fd, highWaterMark: 256 << 10 });
  const plain = source.pipe(createGunzip({ chunkSize: 256 << 10 }));
  source.on("error", (error) => plain.destroy(error));
  try {
    for await (const block of plain) yield block as Uint8Array;
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  } finally {
    source.destroy();
    plain.destroy();
  }
}

/** In the turn in which the path was made: after a rotation it would name another file. null: it has aged out. */
function openNow(path: string): number | null {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return null;
  }
}

/** Wakes a follower: on append, at the end of the run, on abort, at `until`. */
class AppendWatch implements Disposable {
  isOver = false;
  #hasNews = false;
  #wake: () => void = () => {};
  readonly #stop: () => void;
  readonly #timer: ReturnType<typeof setTimeout> | null;

  constructor(
    writer: LogWriter,
    ended: Promise<void>,
    private readonly signal: AbortSignal,
    untilMs: number | null,
  ) {
    const news = (): void => {
      if (writer.isClosed) this.isOver = true;
      this.#hasNews = true;
      this.#wake();
    };
    const over = (): void => {
      this.isOver = true;
      this.#wake();
    };
    this.#stop = writer.onAppend(news);
    if (writer.isClosed) this.isOver = true;
    ended.then(over, over);
    signal.addEventListener("abort", over);
    this.#over = over;
    // A later `until` than a timer can hold is as good as none.
    this.#timer = untilMs !== null && untilMs < 2 ** 31 ? setTimeout(over, untilMs) : null;
  }
  readonly #over: () => void;

  /** Resolves when something was appended since the last call, or it is over. */
  async news(): Promise<void> {
    if (!this.#hasNews && !this.isOver) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#hasNews = false;
  }

  [Symbol.dispose](): void {
    this.#stop();
    this.signal.removeEventListener("abort", this.#over);
    if (this.#timer !== null) clearTimeout(this.#timer);
  }
}
