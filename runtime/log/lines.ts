// Bytes as they were read to records of a log: one for each line, and pieces of at most 16 KiB of a longer one. Pure.
// COMPAT: Docker's json-file makes a record of 16,384 bytes as soon as so many have come without a newline, and the rest of
// the line, be it only its newline, is the next record. Where the 16 KiB end inside a UTF-8 character we cut before it.

/** The longest record, in bytes of the workload's output. */
export const MAX_RECORD_BYTES = 16 << 10;

const NEWLINE = 10;

/** Takes one record: bytes [from, to) of `source`, its newline included. False: take no more now. */
export type TakeRecord = (source: Uint8Array, from: number, to: number) => boolean;

/** Splits one stream; keeps the unfinished line between calls. */
export class LineSplitter {
  #tail: Uint8Array;
  #length = 0;

  /** `tail`: the unfinished line that an earlier splitter was left with. */
  constructor(tail: Uint8Array = new Uint8Array(0)) {
    this.#tail = tail.slice();
    this.#length = tail.length;
  }

  /** There is no unfinished line. */
  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** The unfinished line: a view that holds until the next call. */
  get tail(): Uint8Array {
    return this.#tail.subarray(0, this.#length);
  }

  /**
   * Gives every record in `bytes` from `from` on to `take`; returns how far it came: the end, or where `take` said stop
   * (then there is no unfinished line).
   */
  split(bytes: Uint8Array, from: number, take: TakeRecord): number {
    let position = from;
    while (this.#length > 0 && position < bytes.length) {
      const room = MAX_RECORD_BYTES - this.#length;
      const newline = bytes.subarray(position, position + room).indexOf(NEWLINE);
      const end = newline >= 0 ? position + newline + 1 : Math.min(position + room, bytes.length);
      this.#keep(bytes, position, end);
      position = end;
      if (newline < 0 && this.#length < MAX_RECORD_BYTES) return position;
      const whole = this.#tail;
      const cut = newline >= 0 ? this.#length : wholeCharacters(whole, 0, this.#length);
      const rest = whole.slice(cut, this.#length);
      this.#length = 0;
      const goesOn = take(whole, 0, cut);
      // The bytes of a cut character begin the next record. They are kept here, so all of [from, position) is taken.
      if (rest.length > 0) this.#keep(rest, 0, rest.length);
      if (!goesOn) return position;
    }
    while (position < bytes.length) {
      const newline = bytes.indexOf(NEWLINE, position);
      const lineEnd = newline >= 0 ? newline + 1 : bytes.length;
      let end = lineEnd;
      // A newline as the 16,385th byte is a record of its own.
      if (lineEnd - position > MAX_RECORD_BYTES || (newline < 0 && lineEnd - position === MAX_RECORD_BYTES)) {
        end = wholeCharacters(bytes, position, position + MAX_RECORD_BYTES);
      } else if (newline < 0) {
        this.#keep(bytes, position, lineEnd);
        return lineEnd;
      }
      const goesOn = take(bytes, position, end);
      position = end;
      if (!goesOn) return position;
    }
    return position;
  }

  /** The end of the stream: the unfinished line is a record without newline. */
  flush(take: TakeRecord): void {
    const length = this.#length;
    this.#length = 0;
    if (length > 0) take(this.#tail, 0, length);
  }

  #keep(source: Uint8Array, from: number, to: number): void {
    const needed = this.#length + to - from;
    if (needed > this.#tail.length) {
      const larger = new Uint8Array(Math.min(MAX_RECORD_BYTES, Math.max(256, needed * 2)));
      larger.set(this.tail);
      this.#tail = larger;
    }
    this.#tail.set(source.subarray(from, to), this.#length);
    this.#length = needed;
  }
}

/** `to`, or a little less where [from, to) ends inside a UTF-8 character. */
function wholeCharacters(bytes: Uint8Array, from: number, to: number): number {
  for (let back = 1; back <= 3 && to - back > from; back++) {
    const byte = bytes[to - back] ?? 0;
    if (byte < 0x80) return to;
    if (byte < 0xc0) continue;
    const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return size > back ? to - back : to;
  }
  return to;
}
