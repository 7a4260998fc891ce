// How a launch fails: whatever was thrown on the way becomes a LaunchError that names the step.
import { LaunchError, SyscallError, UserLookupError } from "../errors.ts";
import { ATTACH_TITLE } from "../program/mounts.ts";
import { COMMAND_TITLE } from "../program/workload.ts";
import { E } from "../sys/errno.ts";
import type { Report } from "./spawn.ts";

/** The errno of an error of ours, or of node's (`errno` negative there). EINVAL for what has none. */
export function errnoOf(error: unknown): number {
  if (error instanceof Error && "errno" in error && typeof error.errno === "number") return Math.abs(error.errno);
  return E.EINVAL;
}

/** For preparations in the daemon: `step` is what was being done. Errors that say more already pass through. */
export function asLaunchError(step: string, error: unknown): Error {
  if (error instanceof LaunchError || error instanceof UserLookupError) return error;
  const detail = error instanceof Error && !(error instanceof SyscallError) ? `${step}: ${error.message}` : step;
  return new LaunchError(detail, errnoOf(error), undefined, { cause: error });
}

/** Runs a preparation under a name. */
export function during<T>(step: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw asLaunchError(step, error);
  }
}

/** Why the workload does not run, or null when it does. */
export function failureOf(report: Report, command: string, wasOutOfMemory: () => boolean): LaunchError | null {
  const { failure } = report;
  if (failure) {
    const { errno, title } = failure;
    // move_mount(2) says EINVAL, where mount(2) says ENOTDIR, for a directory on a file and the other way round.
    const isMismatch = errno === E.EINVAL && title.startsWith(ATTACH_TITLE);
    return new LaunchError(
      title,
      isMismatch ? E.ENOTDIR : errno,
      title.startsWith(COMMAND_TITLE) ? command : undefined,
    );
  }
  if (report.isReady) return null;
  // End of file and nothing said: the process was killed on its way.
  return wasOutOfMemory()
    ? new LaunchError("container init was OOM-killed (memory limit too low?)", E.ENOMEM)
    : new LaunchError("the first process was killed before it could run the command", E.ECHILD);
}
