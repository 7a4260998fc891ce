// Control files of a cgroup directory: small texts that are read and written whole. A refusal becomes a SyscallError that
// names the file and the value, since "EINVAL" alone tells nobody which limit was wrong.
import { closeSync, constants, openSync, readFileSync, writeSync } from "node:fs";
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";

/** Answers of a control file whose cgroup is being removed, or whose controller cannot say. */
const NOTHING_THERE: readonly number[] = [E.ENOENT, E.ENODEV, E.EOPNOTSUPP];

/** The text of a control file; null where this kernel or this controller has no such file, or the cgroup has gone. */
export function readControl(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const errno = errnoOf(error);
    if (NOTHING_THERE.includes(errno)) return null;
    throw new SyscallError("read", errno, { file: path });
  }
}

/** Writes values one after the other, each by a write(2) of its own, as the kernel wants them. False: no such file. */
export function writeControl(path: string, values: readonly string[]): boolean {
  let current = "";
  let fd = -1;
  try {
    // Without O_TRUNC and O_CREAT: control files know neither.
    fd = openSync(path, constants.O_WRONLY);
    for (current of values) writeSync(fd, current);
    return true;
  } catch (error) {
    const errno = errnoOf(error);
    if (fd < 0 && errno === E.ENOENT) return false;
    throw new SyscallError("write", errno, { file: path, value: current });
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}

/** The errno of an error from node:fs; errors of another kind are thrown on. */
export function errnoOf(error: unknown): number {
  if (error instanceof SyscallError) return error.errno;
  if (error instanceof Error && "errno" in error && typeof error.errno === "number") return Math.abs(error.errno);
  throw error;
}
