// eventfd(2).
import { Fd } from "./fd.ts";
import { check } from "./ffi.ts";

const NONBLOCK = 0o4000,
  CLOEXEC = 0o2000000;

/** A counter that starts at zero; non-blocking, for readerOf(). */
export function eventfd(): Fd {
  return new Fd(check("eventfd2", [0, NONBLOCK | CLOEXEC]));
}
