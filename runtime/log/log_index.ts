// A sparse index from time to place, kept in memory while a log file is written: `since` starts near the first line it
// wants. Exact also where the clock was set back. After a restart of the daemon the reader bisects the file instead.

/** A mark at least this far from the last one. */
const STRIDE_BYTES = 256 << 10;
/** Then every second mark goes, and the stride doubles: 64 KB at most, however long the log. */
const MAX_MARKS = 4096;

export class TimeIndex {
  /** Ascending in both: every record before `offset` is at most as late as `latest`. */
  #marks: { offset: number; latest: bigint }[] = [];
  #strideBytes = STRIDE_BYTES;
  #latest = 0n;

  /** `startBytes`: what the file held before the index was begun; nothing is known of that part. */
  constructor(readonly startBytes: number) {}

  /** Records up to `offset` (a record's end) have been written; the last at `timeNano`. */
  note(offset: number, timeNano: bigint): void {
    if (timeNano > this.#latest) this.#latest = timeNano;
    const last = this.#marks.at(-1)?.offset ?? this.startBytes;
    if (offset - last < this.#strideBytes) return;
    this.#marks.push({ offset, latest: this.#latest });
    if (this.#marks.length < MAX_MARKS) return;
    this.#marks = this.#marks.filter((_, index) => index % 2 === 1);
    this.#strideBytes *= 2;
  }

  /** A record's start: every record between `startBytes` and it is older than `timeNano`. */
  seek(timeNano: bigint): number {
    let low = 0;
    let high = this.#marks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#marks[middle]?.latest ?? 0n) < timeNano) low = middle + 1;
      else high = middle;
    }
    return this.#marks[low - 1]?.offset ?? this.startBytes;
  }
}
