// The end of a process with everything it has started. For a health probe that takes too long: killing its shell alone
// would leave the command behind that hangs. See proc(5) for /proc/<pid>/task/<tid>/children.
import { readdirSync, readFileSync } from "node:fs";
import type { Fd } from "../sys/fd.ts";
import { openPidfd, SIGNAL, signalPidfd } from "../sys/process.ts";

/** Far more than any probe has; one that forks faster than this is ended with its container. */
const MAX_FAMILY = 4096;
/** Looks at the same process: a fork that was under way when it was stopped shows at the second. */
const MAX_LOOKS = 4;

/**
 * SIGKILL to a process and its descendants. They are stopped from the top down first, so that none forks while its
 * children are read. One that a parent has left behind already is nobody's child and is not found.
 */
export function killFamily(pid: number, pidfd: Fd): void {
  using held = new DisposableStack();
  const found: Fd[] = [pidfd];
  const known = new Set([pid]);
  const queue = [pid];
  signalPidfd(pidfd, SIGNAL.STOP);
  for (let parent = queue.shift(); parent !== undefined; parent = queue.shift()) {
    for (let look = 0; look < MAX_LOOKS && found.length < MAX_FAMILY; look++) {
      const fresh = childrenOf(parent).filter((child) => !known.has(child));
      if (fresh.length === 0 && look > 0) break;
      for (const child of fresh) {
        known.add(child);
        const descriptor = openPidfd(child);
        if (descriptor === null) continue;
        held.use(descriptor);
        // INVARIANT: the number may have gone to another process between the two looks; its parent tells.
        if (parentOf(child) !== parent) continue;
        signalPidfd(descriptor, SIGNAL.STOP);
        found.push(descriptor);
        queue.push(child);
      }
    }
  }
  for (const each of found) signalPidfd(each, SIGNAL.KILL);
}

/** Empty for one that has ended, and on a kernel without CONFIG_PROC_CHILDREN. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((tid) =>
      readFileSync(`/proc/${pid}/task/${tid}/children`, "latin1").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** Field 4 of /proc/<pid>/stat; the name before it is in parentheses and may hold anything. */
function parentOf(pid: number): number | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return null;
  }
}
