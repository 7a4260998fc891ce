// What the engine starts when it starts itself, in the order of boot_order.ts and a few at a time: those that were waiting
// for a restart, and those whose policy says so. One that is broken, or slow, delays only what depends on it.
import { BOOT_HINT_WAIT_MS, STARTS_AT_ONCE } from "../../limits.ts";
import { bootOrder, type Condition } from "./boot_order.ts";
import type { ContainersDeps } from "./deps.ts";
import { resumeRestart } from "./exited.ts";
import type { Live } from "./registry.ts";
import { removeHeld } from "./remove.ts";
import { startsWithEngine } from "./restart_policy.ts";
import { startHeld } from "./start.ts";
import { exitCodeOf, hasTask } from "./state.ts";

export async function bringUp(deps: ContainersDeps, all: readonly Live[]): Promise<void> {
  const down = all.filter((live) => !hasTask(live.record.state));
  const wanted = down.filter(isWanted);
  const { order, broken } = bootOrder(wanted.map(({ record }) => record));
  for (const cycle of broken) {
    deps.log.warn("containers depend on each other in a circle: one is started without waiting", {
      containers: cycle.join(" -> "),
    });
  }
  const turns = createTurns(STARTS_AT_ONCE);
  const byID = new Map(wanted.map((live) => [live.id, live]));
  const tried = new Map(wanted.map(({ id }) => [id, Promise.withResolvers<void>()]));
  await Promise.all([
    ...down.filter((live) => !isWanted(live)).map((live) => turns(() => removeIfAsked(deps, live))),
    ...wanted.map(async (live) => {
      for (const { id, condition } of order.get(live.id) ?? []) {
        await tried.get(id)?.promise;
        await reached(deps, byID.get(id), condition);
      }
      await turns(() => bringUpOne(deps, live));
      tried.get(live.id)?.resolve();
    }),
  ]);
}

/** Runs work at most so many at a time; what waits for another container takes no turn meanwhile. */
function createTurns(atOnce: number): (work: () => Promise<void>) => Promise<void> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running === atOnce) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
}

function isWanted({ record }: Live): boolean {
  const { state, hostConfig, hasBeenStartedBefore, hasBeenManuallyStopped, restartCount } = record;
  if (state.status === "dead" || state.status === "removing") return false;
  if (state.status === "restarting") return true;
  const exitCode = exitCodeOf(state);
  return startsWithEngine(hostConfig.RestartPolicy, {
    hasBeenStartedBefore,
    hasBeenManuallyStopped,
    exitCode,
    restartCount,
  });
}

async function bringUpOne(deps: ContainersDeps, live: Live): Promise<void> {
  if (deps.registry.byID(live.id) !== live) return;
  try {
    using _lock = await deps.registry.lock(live);
    // Somebody may have started, stopped or removed it while it waited for its turn.
    if (hasTask(live.record.state) || !isWanted(live)) return;
    const wasRestarting = live.record.state.status === "restarting";
    if (wasRestarting && resumeRestart(deps, live, startHeld)) return;
    // COMPAT: a start with the engine is like one by hand: it counts anew, and forgets that the container was stopped.
    await startHeld(deps, live, { isManual: !wasRestarting });
  } catch (error) {
    deps.log.warn("a container could not be brought up with the engine", { container: live.id, error });
  }
}

async function removeIfAsked(deps: ContainersDeps, live: Live): Promise<void> {
  const { hostConfig, state } = live.record;
  if (!hostConfig.AutoRemove || state.status !== "exited") return;
  try {
    using _lock = await deps.registry.lock(live);
    if (live.record.state.status === "exited") await removeHeld(deps, live, { volumes: true });
  } catch (error) {
    deps.log.warn("a container that was to be removed at its end could not be", { container: live.id, error });
  }
}

/** Compose's conditions are hints: a bounded wait, at the end of which the dependant is started all the same. */
async function reached(deps: ContainersDeps, live: Live | undefined, condition: Condition): Promise<void> {
  if (!live || condition === "started") return;
  const isReached = (): boolean =>
    !hasTask(live.record.state) || (condition === "healthy" && live.health?.status !== "starting");
  for (let waitedMs = 0; waitedMs < BOOT_HINT_WAIT_MS && !isReached(); waitedMs += LOOK_MS) {
    await new Promise<void>((resolve) => deps.clock.after(LOOK_MS, resolve));
  }
}

const LOOK_MS = 100;
