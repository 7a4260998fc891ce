// Removing a container: marked in memory, then its directory (renamed at once, deleted in the background), its anonymous
// volumes, its row, `destroy`, and whoever waited for it.
import { conflict } from "../../errors.ts";
import type { ContainersDeps } from "./deps.ts";
import { cancelRestart } from "./exited.ts";
import { containerDir } from "./paths.ts";
import type { Live } from "./registry.ts";
import { hasTask, next } from "./state.ts";
import { errorText } from "./error_text.ts";

export interface RemoveOptions {
  force: boolean;
  volumes: boolean;
}

/** Sends SIGKILL and waits for the end; stop.ts has it. */
export type KillAndWait = (deps: ContainersDeps, nameOrID: string, signal: string) => Promise<void>;

export async function remove(
  deps: ContainersDeps,
  nameOrID: string,
  options: RemoveOptions,
  killAndWait: KillAndWait,
): Promise<void> {
  const live = deps.registry.get(nameOrID);
  for (let tries = 0; ; tries++) {
    if (isBeingRemoved(live)) throw inProgress(nameOrID);
    if (options.force && hasTask(live.record.state)) await killForRemoval(deps, live, killAndWait);
    // With AutoRemove, or beside another removal, it may be gone by now: that is what was asked for.
    if (deps.registry.byID(live.id) !== live) return;
    using _lock = await deps.registry.lock(live);
    if (isBeingRemoved(live)) throw inProgress(nameOrID);
    // A start was in the middle, or came in between: what runs now is killed in its turn.
    if (options.force && hasTask(live.record.state) && tries < FORCED_TRIES) continue;
    if (options.force && live.record.state.status === "restarting") await cancelRestart(deps, live);
    return await removeHeld(deps, live, { volumes: options.volumes });
  }
}

/** Somebody who starts it in a loop wins in the end, and the removal is refused as without force. */
const FORCED_TRIES = 5;

function isBeingRemoved(live: Live): boolean {
  return live.record.state.status === "removing";
}

function inProgress(asked: string): Error {
  return conflict(`removal of container ${asked} is already in progress`);
}

async function killForRemoval(deps: ContainersDeps, live: Live, killAndWait: KillAndWait): Promise<void> {
  live.isForcedOut = true;
  try {
    await killAndWait(deps, live.id, "SIGKILL");
  } catch (error) {
    // It ended by itself between the look and the signal.
    const now = deps.registry.byID(live.id);
    if (now === live && hasTask(live.record.state)) throw error;
  } finally {
    live.isForcedOut = false;
  }
}

/** Under the container's lock. A removal that fails leaves it dead: the next one tries again. */
export async function removeHeld(deps: ContainersDeps, live: Live, options: { volumes: boolean }): Promise<void> {
  next(live.record.state, { type: "remove" }, live.record);
  const before = live.record;
  deps.machine.mark(live, { type: "remove" });
  try {
    // Its snapshot, its log and its files all lie in there. WHY first: a row without a directory is what restore.ts takes
    // for a removal that a crash cut short, and finishes.
    await deps.logDelivery.finish(before.id);
    if (Object.keys(before.hostConfig.StorageOpt).length > 0) deps.snapshots.release(before.id);
    await deps.discard(containerDir(deps.config(), before.id));
    if (options.volumes) await deps.mounts.removeAnonymous(before);
    await deps.machine.drop(live);
  } catch (error) {
    await deps.machine.record(live, { type: "removeFailed", error: errorText(error) });
    throw error;
  }
  deps.machine.announce(live, { action: "destroy" });
  live.slot.release();
  for (const wake of Array.from(live.onRemoved)) wake();
  live.onRemoved.clear();
}
