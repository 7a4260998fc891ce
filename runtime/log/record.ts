// What the two file formats of container logs have in common: how records are made, found and read. json_record.ts and
// local_record.ts implement it; log_file.ts and log_reader.ts use it and know neither.

import type { DecodeSelection } from "./json_scan.ts";

export type LogStream = 1 | 2;

/** Makes records in a buffer that is shared by all logs of the daemon: only valid within one turn of the event loop. */
export interface RecordEncoder {
  /** Starts an empty buffer for records of one stream; each record is at least one nanosecond later than the one before. */
  begin(stream: LogStream, timeNano: bigint): void;
  /** Adds the record for bytes [from, to) of `source`, at most MAX_RECORD_BYTES of them. */
  add(source: Uint8Array, from: number, to: number): void;
  /**
   * Adds the records of whole lines of `source` from `from` on, quickly; null for a format that has no such way. Stops at
   * `stopBytes` of output; and before a line that it leaves to `add`, so that nothing may have been taken. `source` stays
   * the same from `begin` on. Returns how far it came.
   */
  readonly addLines: ((source: Uint8Array, from: number, stopBytes: number) => number) | null;
  /** The bytes made since `begin` or `drop`. */
  bytes(): Uint8Array;
  /** Forgets them, goes on with the same stream and the time of the last record. */
  drop(): void;
  readonly sizeBytes: number;
  /** False: `bytes` must be written and dropped before the next record. */
  readonly hasRoom: boolean;
  /** The time of the last record. */
  readonly timeNano: bigint;
}

/** One record as read. The decoder has one such object and changes it: it means something during `take` only. */
export interface RawRecord {
  readonly stream: LogStream;
  /** What the workload wrote, its newline included: bytes [from, to) of `source`. */
  readonly source: Uint8Array;
  readonly from: number;
  readonly to: number;
  /** `k=v,k2=v2`, URL-encoded; "" without attributes. */
  readonly details: string;
  timeNano(): bigint;
  /** `2024-01-01T00:00:00.000000000Z`: 30 bytes, a view. */
  timeText(): Uint8Array;
}

export type TakeRaw = (record: RawRecord) => void;

/** Takes many records at once, as the bytes that a reader gives out. */
export interface BulkTaker {
  /** null: take them one by one now. */
  what(): DecodeSelection | null;
  /** Whole records of one stream, or framed; a view. */
  put(stream: LogStream, bytes: Uint8Array): void;
  /** A record past `until` has come. */
  end(): void;
}

/** Turns file bytes back into records. One decoder reads one file from a record's start to its end. */
export interface RecordDecoder {
  /** Gives every whole record of `block` to `take`, in order; keeps a cut one for the next block. Skips what is corrupt. */
  feed(block: Uint8Array, take: TakeRaw, bulk?: BulkTaker | null): void;
}

/** Reads file bytes at an offset; fewer than asked only at the end. */
export type ReadAt = (offset: number, count: number) => Promise<Uint8Array>;

export interface RecordFormat {
  encoder(attributes: Readonly<Record<string, string>>): RecordEncoder;
  decoder(): RecordDecoder;
  /**
   * Where the last `count` records before `end` begin, looking backwards; `found` is smaller than `count` when the file
   * has fewer.
   */
  tail(read: ReadAt, end: number, count: number): Promise<{ offset: number; found: number }>;
  /** A record's start before which every record is older than `timeNano`; found by bisection, so for sorted files. */
  seek(read: ReadAt, end: number, timeNano: bigint): Promise<number>;
  /** How many bytes of a file are whole records: a crash of the machine may have torn the last. Reads the end only. */
  wholeBytes(read: (offset: number, count: number) => Uint8Array, end: number): number;
  /** Counts records in a stream of file bytes. */
  counter(): { feed(block: Uint8Array): void; readonly count: number };
}
