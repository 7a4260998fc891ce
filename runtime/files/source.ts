// What is bound into a container, looked at on the host before it is: whether a path exists below a directory without
// leading out of it, and how the mount that a path lies on propagates.
import { readFileSync } from "node:fs";
import { unescapeMount } from "../facts.ts";
import { O, openBeneath, openPath, statusOf } from "../sys/file.ts";

/** Throws SyscallError: ENOENT for what is not there, EXDEV for what lies outside, ELOOP … */
export function checkBeneath(directory: string, path: string): void {
  using base = openPath(directory, O.PATH | O.DIRECTORY);
  openBeneath(base, path, O.PATH).close();
}

interface HostMount {
  point: string;
  /** Sends mounts below it to its peers, and receives theirs. */
  isShared: boolean;
  /** Receives them. */
  isSlave: boolean;
}

/** The mount that a path lies on; null when the kernel does not say (before Linux 5.8) or the path has gone. */
export function findMount(path: string): HostMount | null {
  using file = openPath(path, O.PATH);
  const { mountID } = statusOf(file);
  return mountByID(readFileSync("/proc/self/mountinfo", "utf8"), mountID);
}

/**
 * One line of /proc/self/mountinfo (proc_pid_mountinfo(5)), by the mount's ID:
 *
 *   36 35 98:0 /root /point rw,noatime shared:1 master:2 - ext3 /dev/root rw
 */
export function mountByID(mountinfo: string, id: bigint): HostMount | null {
  const line = mountinfo.split("\n").find((each) => each.startsWith(`${id} `));
  if (line === undefined) return null;
  const fields = (line.split(" - ")[0] ?? "").split(" ");
  const optional = fields.slice(6);
  return {
    point: unescapeMount(fields[4] ?? ""),
    isShared: optional.some((field) => field.startsWith("shared:")),
    isSlave: optional.some((field) => field.startsWith("master:")),
  };
}
