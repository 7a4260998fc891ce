// What one reading gives out: selects records and lays them end to end, one piece for each run of the same stream, or framed.
// Called by log_reader.ts; a decoder hands over records one by one (`take`) or many at once (`put`).
import type { LogPiece, LogRead } from "./mod.ts";
import type { DecodeSelection } from "./json_scan.ts";
import type { BulkTaker, LogStream, RawRecord } from "./record.ts";
import { TIME_TEXT_BYTES, toTimeText } from "./time_text.ts";

/** A piece begins with this much room and grows. */
const PIECE_BYTES = 4 << 10;
const HEAD_BYTES = 8;
const YEAR_10000 = 253_402_300_800_000_000_000n;

export class PieceSink implements BulkTaker {
  isPastUntil = false;
  #pieces: LogPiece[] = [];
  #buffer = new Uint8Array(0);
  #length = 0;
  #stream: LogStream = 1;
  /** Records to pass over. */
  #skips = 0;
  readonly #encoder = new TextEncoder();
  readonly #selection: DecodeSelection | null;

  constructor(private readonly asked: LogRead) {
    const { details, isFramed, sinceNano, stderr, stdout, timestamps, untilNano } = asked;
    // Details are rarely asked for, and a time of another year than 1970 to 9999 has another form.
    const isPlain =
      !details && [sinceNano, untilNano].every((time) => time === null || (time >= 0n && time < YEAR_10000));
    const bytesOf = (time: bigint | null): Uint8Array | null =>
      time === null || !isPlain ? null : this.#encoder.encode(toTimeText(time));
    const [since, until] = [bytesOf(sinceNano), bytesOf(untilNano)] as const;
    this.#selection = isPlain ? { stdout, stderr, timestamps, isFramed, since, until } : null;
  }

  /** The first so many records from here on are passed over. */
  passOver(count: number): void {
    this.#skips = count;
  }

  readonly take = (record: RawRecord): void => {
    const { asked: what } = this;
    if (this.#skips > 0) {
      this.#skips--;
      return;
    }
    if (this.isPastUntil) return;
    if (what.untilNano !== null && record.timeNano() > what.untilNano) return this.end();
    if (!(record.stream === 1 ? what.stdout : what.stderr)) return;
    if (what.sinceNano !== null && record.timeNano() < what.sinceNano) return;
    const details = what.details ? this.#encoder.encode(`${record.details} `) : null;
    const length = (what.timestamps ? TIME_TEXT_BYTES + 1 : 0) + (details?.length ?? 0) + record.to - record.from;
    const into = this.#room(record.stream, length + (what.isFramed ? HEAD_BYTES : 0));
    let at = this.#length;
    if (what.isFramed) {
      into.fill(0, at, at + HEAD_BYTES);
      into[at] = record.stream;
      for (let byte = 0; byte < 4; byte++) into[at + 4 + byte] = length >>> (24 - 8 * byte);
      at += HEAD_BYTES;
    }
    if (what.timestamps) {
      into.set(record.timeText(), at);
      at += TIME_TEXT_BYTES;
      into[at++] = 0x20;
    }
    if (details) {
      into.set(details, at);
      at += details.length;
    }
    into.set(record.source.subarray(record.from, record.to), at);
    this.#length = at + record.to - record.from;
  };

  what = (): DecodeSelection | null => (this.#skips > 0 || this.isPastUntil ? null : this.#selection);

  put(stream: LogStream, bytes: Uint8Array): void {
    this.#room(stream, bytes.length).set(bytes, this.#length);
    this.#length += bytes.length;
  }

  end(): void {
    this.isPastUntil = true;
  }

  /** What is ready: the receiver owns it. */
  pieces(): LogPiece[] {
    this.#finish();
    const ready = this.#pieces;
    this.#pieces = [];
    return ready;
  }

  #finish(): void {
    if (this.#length === 0) return;
    this.#pieces.push({ stream: this.#stream, bytes: this.#buffer.subarray(0, this.#length) });
    this.#buffer = this.#buffer.subarray(this.#length);
    this.#length = 0;
  }

  /** The buffer, with room for so much more of this stream. One allocation serves many short pieces. */
  #room(stream: LogStream, more: number): Uint8Array {
    if (stream !== this.#stream && !this.asked.isFramed) {
      this.#finish();
      this.#stream = stream;
    }
    if (this.#length + more > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(PIECE_BYTES, this.#length === 0 ? more : (this.#length + more) * 2));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    return this.#buffer;
  }
}
