// What is asked of the sources of mounts at each start, in Docker's words: the kernel's own answer would come later and say
// less. What decides is still the mount itself.
import { checkBeneath, findMount, type HostFacts, SyscallError } from "../../../runtime/mod.ts";
import { internal } from "../../errors.ts";
import type { MountPoint } from "./container.ts";
import { MOUNT_OPTION } from "./mount_specs.ts";

/** mount_setattr(2), by which a whole tree is made read-only. */
const RECURSIVE_READ_ONLY_SINCE = { major: 5, minor: 12 };

export function checkSources(mounts: readonly MountPoint[], facts: Pick<HostFacts, "kernelVersion">): void {
  for (const mount of mounts) {
    if (mount.type === "bind") checkPropagation(mount);
    if (mount.type === "volume" && mount.subpath !== "") checkSubpath(mount);
    if (mount.options.includes(MOUNT_OPTION.readOnlyForced) && !hasRecursiveReadOnly(facts.kernelVersion)) {
      throw internal("rro is not supported: the kernel is older than 5.12");
    }
  }
}

function checkPropagation({ source, propagation }: MountPoint): void {
  const isSlaveEnough = propagation.endsWith("slave");
  if (!isSlaveEnough && !propagation.endsWith("shared")) return;
  const mount = findMount(source);
  if (mount === null || mount.isShared || (isSlaveEnough && mount.isSlave)) return;
  const wanted = isSlaveEnough ? "shared or slave" : "shared";
  throw internal(`path ${source} is mounted on ${mount.point} but it is not a ${wanted} mount`);
}

const EXDEV = "EXDEV";

function checkSubpath({ source, subpath }: MountPoint): void {
  try {
    checkBeneath(source, subpath);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    if (cause.code === EXDEV) {
      throw internal(`path concatenation escapes the base directory, base: ${source}, subpath: ${subpath}`, { cause });
    }
    const [, reason = cause.code] = /: ([^:]*)$/.exec(cause.message) ?? [];
    throw internal(`cannot access path ${source}/${subpath}: lstat ${source}/${subpath}: ${reason}`, { cause });
  }
}

function hasRecursiveReadOnly(version: string): boolean {
  const [major = 0, minor = 0] = version.split(/[.-]/).map(Number);
  const { major: least, minor: leastMinor } = RECURSIVE_READ_ONLY_SINCE;
  return major !== least ? major > least : minor >= leastMinor;
}
