// clock_gettime(2).
import { alloc, check } from "./ffi.ts";

const CLOCK_REALTIME = 0;

/** Reads the wall clock to the nanosecond: what log records are stamped with. */
export function createWallClock(): () => bigint {
  const answer = alloc(16);
  const view = new DataView(answer.buffer);
  return () => {
    // SAFETY: struct timespec is 16 bytes; the buffer lives as long as this function.
    check("clock_gettime", [CLOCK_REALTIME, answer]);
    return view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true);
  };
}
