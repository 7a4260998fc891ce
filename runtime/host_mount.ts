// Mounts that the host itself keeps: volumes whose driver options name a file system. They stand on the mount table for as
// long as a container uses them, whoever serves it, and are found there again by the next daemon.
import { readFileSync } from "node:fs";
import { SyscallError } from "./errors.ts";
import { unescapeMount } from "./facts.ts";
import { legacyFlags, parseMountOptions } from "./program/mount_options.ts";
import { E } from "./sys/errno.ts";
import { check } from "./sys/ffi.ts";
import { MNT_DETACH, MS } from "./sys/mount.ts";

export interface HostMount {
  /** As /proc/filesystems has it; with the option `bind` or `rbind` it says nothing. */
  type: string;
  device: string;
  target: string;
  /** The words of mount(8)'s `-o`. */
  options: readonly string[];
}

/** mount(2). The kernel takes one page of options at most. Throws SyscallError; then nothing is mounted. */
export function mountOnHost({ type, device, target, options }: HostMount): void {
  const parsed = parseMountOptions(options);
  const flags = legacyFlags(parsed.attributes);
  const title = { type, device, target };
  // `rro` and its like are of mount_setattr(2), for binds that a container gets.
  if (parsed.recursiveAttributes.set !== 0 || parsed.recursiveAttributes.clear !== 0) {
    throw new SyscallError("mount", E.EINVAL, { ...title, options: options.join(",") });
  }
  if (parsed.isBind) {
    const recursive = parsed.isBindRecursive ? MS.REC : 0;
    check("mount", [device, target, null, MS.BIND | recursive, null], title);
    // A bind takes its flags by a second call.
    if (flags !== 0)
      orUndo(target, () => check("mount", [null, target, null, MS.BIND | MS.REMOUNT | flags, null], title));
  } else {
    const data = parsed.fsOptions.map(([key, value]) => (value === null ? key : `${key}=${value}`)).join(",");
    check("mount", [device, target, type, flags, data], title);
  }
  const propagation = parsed.propagation | (parsed.isPropagationRecursive ? MS.REC : 0);
  if (propagation !== 0) orUndo(target, () => check("mount", [null, target, null, propagation, null], title));
}

function orUndo(target: string, work: () => unknown): void {
  try {
    work();
  } catch (error) {
    unmountOnHost(target);
    throw error;
  }
}

/** umount2(2), lazily: whoever still has files open there goes on. What is not mounted is fine. */
export function unmountOnHost(target: string): void {
  try {
    check("umount2", [target, MNT_DETACH], { target });
  } catch (error) {
    if (!(error instanceof SyscallError && (error.errno === E.EINVAL || error.errno === E.ENOENT))) throw error;
  }
}

/** Mount points below a directory, from proc_pid_mountinfo(5): the fifth field. */
export function hostMountsBelow(directory: string): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => unescapeMount(line.split(" ")[4] ?? ""))
    .filter((path) => path.startsWith(`${directory}/`));
}
