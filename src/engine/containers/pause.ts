// Pause, unpause and resize: what is done to a container that goes on running.
import { SyscallError } from "../../../runtime/mod.ts";
import { conflict, internal } from "../../errors.ts";
import type { ContainersDeps } from "./deps.ts";
import { hasTask, next, notRunning } from "./state.ts";
import { errorText } from "./error_text.ts";

export async function pause(deps: ContainersDeps, nameOrID: string): Promise<void> {
  const live = deps.registry.get(nameOrID);
  using _lock = await deps.registry.lock(live);
  next(live.record.state, { type: "paused" }, live.record);
  if (!live.run) throw notRunning(live.record);
  try {
    await live.run.task.cgroup.freeze();
  } catch (cause) {
    throw internal(`Cannot pause container ${live.id}: ${errorText(cause)}`, { cause });
  }
  live.run.probing.pause();
  await deps.machine.record(live, { type: "paused" }, { announce: { action: "pause" } });
}

export async function unpause(deps: ContainersDeps, nameOrID: string): Promise<void> {
  const live = deps.registry.get(nameOrID);
  using _lock = await deps.registry.lock(live);
  next(live.record.state, { type: "unpaused" }, live.record);
  if (!live.run) throw notRunning(live.record);
  await live.run.task.cgroup.thaw();
  await deps.machine.record(live, { type: "unpaused" }, { announce: { action: "unpause" } });
  live.run.probing.resume();
}

/** Takes no lock: a resize comes with every change of a window's edge. */
export function resize(deps: ContainersDeps, nameOrID: string, rows: number, columns: number): void {
  const live = deps.registry.get(nameOrID);
  if (!hasTask(live.record.state) || !live.run) throw notRunning(live.record);
  try {
    // COMPAT: without a terminal there is nothing to resize, and nothing wrong with asking.
    if (live.record.config.Tty) live.run.task.resize(rows, columns);
  } catch (cause) {
    if (!(cause instanceof SyscallError)) throw cause;
    throw conflict(`cannot resize container ${live.id}: ${cause.message}`, { cause });
  }
  deps.machine.announce(live, { action: "resize", attributes: { height: String(rows), width: String(columns) } });
}
