// Moving bytes between pipes inside the kernel: splice(2), tee(2), and how much a pipe can hold. Results are counts, or -errno
// where the caller decides by the number (EAGAIN, EINVAL, EIO are ordinary answers here).
import type { Fd } from "./fd.ts";
import { check, syscall } from "./ffi.ts";

const SPLICE_F_MOVE = 1,
  SPLICE_F_NONBLOCK = 2;
const F_GETPIPE_SZ = 1032;

/** splice(2) without waiting: moves up to `count` bytes, one side of which is a pipe. 0 is the end; else a count or -errno. */
export function splice(from: Fd, to: Fd, count: number): number {
  return syscall("splice", from.number, null, to.number, null, count, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

/** tee(2) without waiting: repeats up to `count` bytes of one pipe in another and leaves them in the first. */
export function tee(from: Fd, to: Fd, count: number): number {
  return syscall("tee", from.number, to.number, count, SPLICE_F_NONBLOCK);
}

/** F_GETPIPE_SZ: how many bytes a pipe can hold. */
export function pipeSize(fd: Fd): number {
  return check("fcntl", [fd.number, F_GETPIPE_SZ], { command: "F_GETPIPE_SZ" });
}

/** write(2) once, without waiting where the descriptor is O_NONBLOCK: a count, or -errno. */
export function writeOnce(fd: Fd, bytes: Uint8Array): number {
  return syscall("write", fd.number, bytes, bytes.length);
}
