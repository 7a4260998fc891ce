// The files of one log: `x`, and rotated ones `x.1` (the youngest), `x.2.gz` … Rotation renames; what is compressed is
// compressed in the background, one at a time. Readers hold descriptors, so renames never disturb them.
import {
  closeSync,
  createReadStream,
  createWriteStream,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  unlinkSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { basename, dirname } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { TimeIndex } from "./log_index.ts";

/** The calls that change a log's files: a test that kills the daemon between any two of them takes their place. */
export interface FileCalls {
  open(path: string, flags: string, mode: number): number;
  write(fd: number, bytes: Uint8Array): number;
  truncate(fd: number, sizeBytes: number): void;
  rename(from: string, to: string): void;
  unlink(path: string): void;
  close(fd: number): void;
}

export const fileCalls: FileCalls = {
  open: openSync,
  write: (fd, bytes) => writeSync(fd, bytes, 0, bytes.length),
  truncate: ftruncateSync,
  rename: renameSync,
  unlink: unlinkSync,
  close: closeSync,
};

/** A file that will not change any more. */
export interface RotatedFile {
  /** Counts up by one with each rotation; the current file's is one more than the youngest rotated one's. */
  readonly generation: number;
  index: number;
  isCompressed: boolean;
  readonly timeIndex: TimeIndex | null;
}

export interface RotationOptions {
  /** All files together, the current one included. */
  maxFiles: number;
  compresses: boolean;
}

export function rotatedPath(path: string, file: { index: number; isCompressed: boolean }): string {
  return `${path}.${file.index}${file.isCompressed ? ".gz" : ""}`;
}

/** The rotated files on disk, the oldest first. Their generations end at -1, so that the current file's is 0. */
export function scanRotated(path: string): RotatedFile[] {
  const name = basename(path);
  const found = new Map<number, RotatedFile>();
  for (const entry of readdirSync(dirname(path))) {
    if (!entry.startsWith(`${name}.`)) continue;
    const [, index, suffix] = /^([1-9]\d{0,5})(\.gz)?$/.exec(entry.slice(name.length + 1)) ?? [];
    if (index === undefined) continue;
    const isCompressed = suffix !== undefined;
    // Both forms: the daemon was killed before it removed the plain one. A .gz under its final name is complete.
    if (found.has(Number(index)) && !isCompressed) continue;
    found.set(Number(index), { generation: -Number(index), index: Number(index), isCompressed, timeIndex: null });
  }
  return [...found.values()].sort((one, other) => other.index - one.index);
}

/** Reads synchronously at an offset; fewer bytes only at the end. */
export function readAtSync(fd: number, offset: number, count: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(count));
  let length = 0;
  while (length < count) {
    const read = readSync(fd, bytes, length, count - length, offset + length);
    if (read === 0) break;
    length += read;
  }
  return bytes.subarray(0, length);
}

export function identity(fd: number): { sizeBytes: number; inode: number } {
  const { size, ino } = fstatSync(fd);
  return { sizeBytes: size, inode: ino };
}

/** Keeps the rotated files of one log in order. */
export class RotatedFiles {
  /** The oldest first. */
  #files: RotatedFile[];
  #isCompressing = false;
  #isClosed = false;

  constructor(
    private readonly path: string,
    private readonly options: RotationOptions,
    private readonly calls: FileCalls,
    private readonly onProblem: (error: unknown) => void,
    /** This file is about to be removed: logs are bounded. */
    private readonly onAgeOut: (path: string, isCompressed: boolean) => void,
  ) {
    this.#files = scanRotated(path);
    this.#remove(this.#temporary);
    this.#compressNext();
  }

  list(): readonly RotatedFile[] {
    return this.#files;
  }

  /** Makes room at `.1` and moves the current file there. Afterwards there is no file at `path`. */
  rotate(generation: number, timeIndex: TimeIndex): void {
    const { maxFiles } = this.options;
    const keeps: RotatedFile[] = [];
    // From the oldest on, so that no rename meets a name in use. A crash in between leaves a gap, which is harmless.
    for (const file of this.#files) {
      if (file.index + 1 >= maxFiles) {
        this.onAgeOut(rotatedPath(this.path, file), file.isCompressed);
        this.#remove(rotatedPath(this.path, file));
        continue;
      }
      const from = rotatedPath(this.path, file);
      const moved = { ...file, index: file.index + 1 };
      if (this.#try(() => this.calls.rename(from, rotatedPath(this.path, moved)))) {
        file.index++;
        keeps.push(file);
      }
    }
    this.#files = keeps;
    if (maxFiles < 2) {
      this.onAgeOut(this.path, false);
      return this.#remove(this.path);
    }
    const first: RotatedFile = { generation, index: 1, isCompressed: false, timeIndex };
    if (this.#try(() => this.calls.rename(this.path, rotatedPath(this.path, first)))) this.#files.push(first);
    this.#compressNext();
  }

  close(): void {
    this.#isClosed = true;
  }

  get #temporary(): string {
    return `${this.path}.compressing`;
  }

  /** Compresses the youngest plain file but the first. What cannot keep up with the writer ages out uncompressed. */
  #compressNext(): void {
    if (!this.options.compresses || this.#isCompressing || this.#isClosed) return;
    const file = this.#files.findLast(({ index, isCompressed }) => index >= 2 && !isCompressed);
    if (!file) return;
    this.#isCompressing = true;
    void this.#compress(file).then(
      () => {
        this.#isCompressing = false;
        this.#compressNext();
      },
      (error: unknown) => {
        this.#isCompressing = false;
        if (!this.#isClosed) this.onProblem(error);
      },
    );
  }

  async #compress(file: RotatedFile): Promise<void> {
    // Opened by its name of now; later renames do not matter to the stream.
    const fd = openSync(rotatedPath(this.path, file), "r");
    const { mtime } = fstatSync(fd);
    const target = createWriteStream(this.#temporary, { mode: 0o640 });
    await pipeline(createReadStream("", { fd, highWaterMark: 256 << 10 }), createGzip({ level: 5 }), target);
    // From here on in one turn: no rotation comes in between.
    if (this.#isClosed || !this.#files.includes(file)) return this.#remove(this.#temporary);
    utimesSync(this.#temporary, mtime, mtime);
    const plain = rotatedPath(this.path, file);
    this.calls.rename(this.#temporary, rotatedPath(this.path, { ...file, isCompressed: true }));
    file.isCompressed = true;
    this.#remove(plain);
  }

  #remove(path: string): void {
    this.#try(() => {
      if (existsSync(path)) this.calls.unlink(path);
    });
  }

  /** A file that somebody else has removed, or a full disk, does not stop the log. */
  #try(act: () => void): boolean {
    try {
      act();
      return true;
    } catch (error) {
      // Only what the system says is tolerated.
      if (!(error instanceof Error && "code" in error)) throw error;
      this.onProblem(error);
      return false;
    }
  }
}
