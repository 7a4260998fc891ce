// What follows the end of a container's process 1, in the order that clients rely on: its output is in the log and with
// the clients; the restart is decided; networks and volumes are let go; the state is written; `die`; waiters wake; with
// AutoRemove it is removed.
import { readdirSync, rmdirSync, rmSync, unlinkSync } from "node:fs";
import { type ExitReport, toTimeText } from "../../../runtime/mod.ts";
import { EXIT_DRAIN_MS, FORCED_DRAIN_MS } from "../../limits.ts";
import { NO_ADDRESSES } from "../networks/endpoint.ts";
import type { EndpointRecord } from "./container.ts";
import type { ContainersDeps } from "./deps.ts";
import { stateDir } from "./paths.ts";
import type { RestartPolicy } from "../../schema/host_config.ts";
import type { Live, Run } from "./registry.ts";
import { removeHeld } from "./remove.ts";
import { delayBeforeRestart } from "./restart_policy.ts";
import { type Exit, exitOf, hasTask } from "./state.ts";
import { announceVolumes } from "./volume_events.ts";

export type StartAgain = (deps: ContainersDeps, live: Live, how: { isManual: boolean }) => Promise<void>;

export async function whenExited(
  deps: ContainersDeps,
  live: Live,
  run: Run,
  report: ExitReport,
  startAgain: StartAgain,
): Promise<void> {
  run.stopWatching();
  // Whatever shares its namespaces or cgroup must end with it, or its output never ends.
  if (live.record.hostConfig.PidMode !== "") await killRest(deps, live, run);
  await drained(deps, live, run);
  using _lock = await deps.registry.lock(live);
  const { state } = live.record;
  if (live.run !== run || !hasTask(state)) return;
  const finishedAt =
    report.exitedAtNano === undefined ? report.exitedAt.toISOString() : toTimeText(report.exitedAtNano);
  const exit: Exit = {
    exitCode: report.exitCode,
    finishedAt: laterOf(finishedAt, state.startedAt),
    startedAt: state.startedAt,
    oomKilled: report.oomKilled,
    error: "",
    ...(live.health ? { health: live.health } : {}),
  };
  const ranMs = Math.max(0, report.exitedAt.getTime() - Date.parse(state.startedAt));
  const delayMs =
    live.restartsByHand > 0
      ? null
      : delayBeforeRestart(run.isEndedForHealth ? ALWAYS : live.record.hostConfig.RestartPolicy, {
          exitCode: report.exitCode,
          ranMs,
          restartCount: live.record.restartCount,
          lastDelayMs: live.restartDelayMs,
          wasStopped: state.stopRequested || live.record.hasBeenManuallyStopped,
        });
  await release(deps, live);
  live.run = null;
  live.clearing = clear(deps, live, run);
  deps.inBackground(live.clearing);
  await record(deps, live, exit, delayMs, ranMs);
  // Both may change while it is called.
  const waiters = [...live.onExit];
  live.onExit.clear();
  for (const wake of waiters) wake(exit);
  if (delayMs !== null) planRestart(deps, live, delayMs, startAgain);
  else if (live.record.hostConfig.AutoRemove && live.restartsByHand === 0)
    await removeHeld(deps, live, { volumes: true });
}

/** The shim has seen the end; the daemon notes the start once it has heard of it, which may be after a short command's end. */
function laterOf(finishedAt: string, startedAt: string): string {
  return finishedAt < startedAt ? startedAt : finishedAt;
}

/** A failure must not keep the container from being down: its output is waited for within a bound. */
async function killRest(deps: ContainersDeps, live: Live, run: Run): Promise<void> {
  try {
    await run.task.cgroup.kill();
  } catch (error) {
    deps.log.error("cannot end what a container has left running", { container: live.id, error });
  }
}

/** Every byte is delivered, or a client that does not read has had its time: it goes on being served, but is not waited for. */
async function drained(deps: ContainersDeps, live: Live, run: Run): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  // WHY less when it is to go: its log goes with it, and nobody is to wait for a client that does not read.
  const cancel = deps.clock.after(live.isForcedOut ? FORCED_DRAIN_MS : EXIT_DRAIN_MS, resolve);
  await Promise.race([run.stdio.drained, late]);
  cancel();
}

/** The label that asks for a restart of what stays unhealthy asks for it whatever the policy. */
const ALWAYS: RestartPolicy = { Name: "always", MaximumRetryCount: 0 };

async function release(deps: ContainersDeps, live: Live): Promise<void> {
  try {
    await deps.networking.leave(live.record);
  } catch (error) {
    deps.log.error("cannot let go of a container's networks", { container: live.id, error });
  }
  try {
    await deps.mounts.leave(live.record, live.id);
  } catch (error) {
    deps.log.error("cannot let go of a container's volumes", { container: live.id, error });
  }
  announceVolumes(deps, live.record, "unmount");
}

function record(deps: ContainersDeps, live: Live, exit: Exit, delayMs: number | null, ranMs: number): Promise<void> {
  const event =
    delayMs === null
      ? { type: "exited" as const, exit }
      : {
          type: "restartPlanned" as const,
          exit,
          nextAttemptAt: new Date(deps.clock.now().getTime() + delayMs).toISOString(),
        };
  return deps.machine.record(live, event, {
    patch: { endpoints: live.record.endpoints.map(withoutAddresses), publishedPorts: [] },
    announce: {
      action: "die",
      attributes: { exitCode: String(exit.exitCode), execDuration: String(Math.floor(ranMs / 1000)) },
    },
  });
}

/** What an endpoint keeps while its container is down: what was asked for. */
function withoutAddresses(endpoint: EndpointRecord): EndpointRecord {
  return { ...endpoint, ...NO_ADDRESSES };
}

/** Not in anybody's way: waiters are answered first. A start of the same container waits for it. */
async function clear(deps: ContainersDeps, live: Live, run: Run): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
  try {
    await run.task.cgroup.remove();
  } catch (error) {
    deps.log.error("cannot remove a container's cgroup", { container: live.id, path: run.task.cgroup.path, error });
  }
  // The log has everything, and clients what they have not read yet: the shim is dismissed. INVARIANT: before its files go,
  // since it is by them that the next daemon would find it (restore.ts).
  await run.stdio.logged;
  run.task[Symbol.dispose]();
  removeStateDir(stateDir(deps.config(), live.id));
  // A slow client is served to its end; nobody waits for it.
  void run.stdio.drained.then(() => {
    run.stdio.close();
    run.log?.close();
  });
}

/** A few files, by their names. WHY: that is a tenth of what a recursive removal takes, which is for what else may lie there. */
function removeStateDir(directory: string): void {
  try {
    for (const name of readdirSync(directory)) unlinkSync(`${directory}/${name}`);
    rmdirSync(directory);
  } catch {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** When the engine starts: what is left of the pause that another daemon had begun. False: it is over, and the start is due. */
export function resumeRestart(deps: ContainersDeps, live: Live, startAgain: StartAgain): boolean {
  const { state } = live.record;
  if (state.status !== "restarting") return false;
  const dueMs = Date.parse(state.nextAttemptAt);
  const wholeMs = Math.max(0, dueMs - Date.parse(state.exit.finishedAt));
  const leftMs = Math.min(wholeMs, Math.max(0, dueMs - deps.clock.now().getTime()));
  if (leftMs > 0) planRestart(deps, live, leftMs, startAgain);
  // The next pause is longer than this one was.
  live.restartDelayMs = wholeMs;
  return leftMs > 0;
}

/** After the pause, unless somebody stops, removes or starts it meanwhile. */
function planRestart(deps: ContainersDeps, live: Live, delayMs: number, startAgain: StartAgain): void {
  live.restartDelayMs = delayMs;
  const cancel = deps.clock.after(delayMs, () => {
    live.pendingRestart = null;
    deps.inBackground(restart(deps, live, startAgain));
  });
  live.pendingRestart = { cancel };
}

async function restart(deps: ContainersDeps, live: Live, startAgain: StartAgain): Promise<void> {
  if (deps.registry.byID(live.id) !== live) return;
  using _lock = await deps.registry.lock(live);
  if (live.record.state.status !== "restarting") return;
  try {
    await startAgain(deps, live, { isManual: false });
  } catch (error) {
    deps.log.warn("a container could not be restarted by its policy", { container: live.id, error });
  }
}

/** Under the lock. The pause ends here, and the container is down as after a stop. */
export async function cancelRestart(deps: ContainersDeps, live: Live, isManual = true): Promise<void> {
  live.pendingRestart?.cancel();
  live.pendingRestart = null;
  const patch = isManual ? { hasBeenManuallyStopped: true } : {};
  await deps.machine.record(live, { type: "restartCancelled" }, { patch });
  wakeWaiters(live);
}

/** Those who wait for the end of a container that is down for good. */
export function wakeWaiters(live: Live): void {
  const exit = exitOf(live.record.state);
  if (!exit) return;
  const waiters = [...live.onExit];
  live.onExit.clear();
  for (const wake of waiters) wake(exit);
}
