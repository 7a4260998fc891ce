// Stop, kill and restart. Each marks the container, sends the signal and waits for exited.ts to have dealt with the end;
// the lock is not held while waiting, since exited.ts needs it.
import { conflict, EngineError, internal } from "../../errors.ts";
import { KILL_WAIT_MS } from "../../limits.ts";
import type { ContainersDeps } from "./deps.ts";
import { cancelRestart } from "./exited.ts";
import type { Live } from "./registry.ts";
import { parseSignal, SIGKILL, SIGTERM } from "./signals.ts";
import { startHeld } from "./start.ts";
import { hasTask, notRunning } from "./state.ts";

export interface StopOptions {
  signal: string | null;
  /** null: the container's own, then the engine's; negative: wait for ever. */
  timeoutSec: number | null;
}

export async function stop(
  deps: ContainersDeps,
  nameOrID: string,
  options: StopOptions,
): Promise<"stopped" | "already-stopped"> {
  return stopLive(deps, deps.registry.get(nameOrID), options);
}

/** `isManual`: false where the engine itself ends: the container comes back with it. */
export async function stopLive(
  deps: ContainersDeps,
  live: Live,
  options: StopOptions,
  isManual = true,
): Promise<"stopped" | "already-stopped"> {
  const { config } = live.record;
  const signal = parseSignal(options.signal || config.StopSignal || "SIGTERM");
  const timeoutSec = options.timeoutSec ?? config.StopTimeout ?? deps.config().defaultStopTimeoutSec;
  const asked = await requestStop(deps, live, signal, isManual);
  if (asked === null) return "already-stopped";
  const isGone = await within(deps, asked.end, timeoutSec < 0 ? null : timeoutSec * 1000);
  if (!isGone) {
    await signalRunning(deps, live, SIGKILL);
    if (!(await within(deps, asked.end, KILL_WAIT_MS))) {
      throw internal(
        `cannot stop container: ${live.record.name}: it does not end ${KILL_WAIT_MS / 1000} s after SIGKILL`,
      );
    }
  }
  deps.machine.announce(live, { action: "stop" });
  return "stopped";
}

/** What has been asked to end: `end` settles when the end has been dealt with. In an object, so that nobody awaits it early. */
interface Asked {
  end: Promise<void>;
}

const ENDED: Asked = { end: Promise.resolve() };

/** Marks and signals. null: there is nothing to stop. */
async function requestStop(deps: ContainersDeps, live: Live, signal: number, isManual: boolean): Promise<Asked | null> {
  using _lock = await deps.registry.lock(live);
  const { state } = live.record;
  if (state.status === "restarting") {
    await cancelRestart(deps, live, isManual);
    return ENDED;
  }
  if (!hasTask(state)) return null;
  const end = nextEnd(live);
  await markStopped(deps, live, isManual);
  await send(deps, live, signal);
  return { end };
}

/** WHY recorded whatever the database says: on a full disk containers must still be stopped, or nothing makes room again. */
async function markStopped(deps: ContainersDeps, live: Live, isManual = true): Promise<void> {
  const patch = isManual ? { hasBeenManuallyStopped: true } : {};
  await deps.machine.record(live, { type: "stopRequested" }, { patch });
}

function nextEnd(live: Live): Promise<void> {
  return new Promise((resolve) => {
    live.onExit.add(() => resolve());
  });
}

/** Under the lock: a paused one is thawed, so that it can act on the signal, or die of it. */
async function send(deps: ContainersDeps, live: Live, signal: number): Promise<void> {
  const { run } = live;
  if (!run) throw notRunning(live.record);
  deps.machine.announce(live, { action: "kill", attributes: { signal: String(signal) } });
  run.task.signal(signal);
  if (live.record.state.status !== "paused") return;
  await run.task.cgroup.thaw();
  await deps.machine.record(live, { type: "unpaused" });
  run.probing.resume();
}

async function signalRunning(deps: ContainersDeps, live: Live, signal: number): Promise<void> {
  if (deps.registry.byID(live.id) !== live) return;
  using _lock = await deps.registry.lock(live);
  if (live.run) await send(deps, live, signal);
}

/** false: not within that time. null: without end. */
async function within(deps: ContainersDeps, done: Promise<void>, timeoutMs: number | null): Promise<boolean> {
  if (timeoutMs === null) return done.then(() => true);
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const cancel = deps.clock.after(timeoutMs, () => resolve(false));
  const isDone = await Promise.race([done.then(() => true), late]);
  cancel();
  return isDone;
}

export async function kill(deps: ContainersDeps, nameOrID: string, signalText: string | null): Promise<void> {
  const signal = parseSignal(signalText || "SIGKILL");
  const live = deps.registry.get(nameOrID);
  const { end } = await requestKill(deps, live, nameOrID, signal);
  if (signal !== SIGKILL) return;
  if (await within(deps, end, KILL_WAIT_MS)) return;
  throw internal(`cannot kill container: ${nameOrID}: it does not end ${KILL_WAIT_MS / 1000} s after SIGKILL`);
}

async function requestKill(deps: ContainersDeps, live: Live, asked: string, signal: number): Promise<Asked> {
  using _lock = await deps.registry.lock(live);
  const isMeantToEnd = endsByIntent(live, signal);
  if (live.record.state.status === "restarting" && isMeantToEnd) {
    await cancelRestart(deps, live);
    return ENDED;
  }
  if (!hasTask(live.record.state)) {
    throw conflict(`cannot kill container: ${asked}: container ${live.id} is not running`);
  }
  const end = nextEnd(live);
  if (isMeantToEnd) {
    await markStopped(deps, live);
    await send(deps, live, signal);
  } else {
    deps.machine.announce(live, { action: "kill", attributes: { signal: String(signal) } });
    live.run?.task.signal(signal);
  }
  return { end };
}

const SIGINT = 2,
  SIGQUIT = 3;

/** A restart policy must not bring back what the user has told to end. Other signals (HUP, USR1) mean something else. */
function endsByIntent(live: Live, signal: number): boolean {
  const { StopSignal } = live.record.config;
  return (
    [SIGKILL, SIGTERM, SIGINT, SIGQUIT].includes(signal) || (StopSignal !== "" && parseSignal(StopSignal) === signal)
  );
}

/** Stop and start in one; AutoRemove and the restart policy do not act in between. Never "not modified". */
export async function restart(deps: ContainersDeps, nameOrID: string, options: StopOptions): Promise<void> {
  const live = deps.registry.get(nameOrID);
  live.restartsByHand++;
  try {
    await stopLive(deps, live, options);
    await startAgain(deps, live);
  } catch (error) {
    if (error instanceof EngineError)
      throw new EngineError(error.kind, restartFailed(nameOrID, error), { cause: error });
    throw error;
  } finally {
    live.restartsByHand--;
  }
  deps.machine.announce(live, { action: "restart" });
}

async function startAgain(deps: ContainersDeps, live: Live): Promise<void> {
  using _lock = await deps.registry.lock(live);
  // Somebody else was quicker: it runs, which is what was asked for.
  if (hasTask(live.record.state)) return;
  live.restartDelayMs = 0;
  await startHeld(deps, live, { isManual: true });
}

/** COMPAT: Docker names the verb before the reason, unless the container is not there at all. */
function restartFailed(asked: string, error: EngineError): string {
  return error.kind === "notFound" ? error.message : `Cannot restart container ${asked}: ${error.message}`;
}
