// Starting a container, by hand or by its restart policy: acquire in order; on any throw the stack undoes in reverse.
// The walk is drawn in docs/ARCHITECTURE.md. What follows a failure is start_failure.ts, what follows the exit exited.ts.
import { mkdirSync, rmSync } from "node:fs";
import type { LogWriter, Stdio, Task } from "../../../runtime/mod.ts";
import { bundleOf, usesInit } from "./bundle_of.ts";
import type { ContainersDeps } from "./deps.ts";
import { wakeWaiters, whenExited } from "./exited.ts";
import { startProbing } from "./probing.ts";
import { endUnhealthy } from "./health_restart.ts";
import { tellLinking } from "./link_changes.ts";
import { openLog } from "./log_of.ts";
import { checkSources } from "./mount_sources.ts";
import { containerDir, stateDir } from "./paths.ts";
import type { Live, Run } from "./registry.ts";
import { removeHeld } from "./remove.ts";
import { networkDonor } from "./sharing.ts";
import { toStartFailure } from "./start_failure.ts";
import { next } from "./state.ts";
import { openUserNamespace } from "./user_namespace.ts";
import { announceVolumes } from "./volume_events.ts";

export async function start(deps: ContainersDeps, nameOrID: string): Promise<"started" | "already-running"> {
  const live = deps.registry.get(nameOrID);
  using _lock = await deps.registry.lock(live);
  const { state } = live.record;
  // COMPAT: a container that waits for its next restart counts as running.
  if (state.status === "running" || state.status === "restarting") return "already-running";
  live.restartDelayMs = 0;
  await startHeld(deps, live, { isManual: true });
  return "started";
}

/** Under the container's lock. Throws what the user is to see; the container then shows why. */
export async function startHeld(deps: ContainersDeps, live: Live, how: { isManual: boolean }): Promise<void> {
  next(live.record.state, { type: "start" }, live.record);
  // What the last run left must be gone, its cgroup above all: the next one has the same path.
  await live.clearing;
  try {
    await launch(deps, live, how.isManual);
  } catch (cause) {
    const { error, exitCode } = toStartFailure(cause);
    const at = deps.clock.nowText();
    await deps.machine.record(live, { type: "startFailed", error: error.message, exitCode, at });
    live.slot.release();
    // A policy's restart that fails is the end. Whoever waits since before a first start goes on waiting, as under Docker.
    if (!how.isManual) wakeWaiters(live);
    if (live.record.hostConfig.AutoRemove) await removeHeld(deps, live, { volumes: true });
    throw error;
  }
}

async function launch(deps: ContainersDeps, live: Live, isManual: boolean): Promise<void> {
  const { record } = live;
  const roots = deps.config();
  await using undo = new AsyncDisposableStack();
  const layers = await deps.images.rootfsLayers(record.imageID);
  const rootfs = deps.snapshots.rootfs(record.id, layers);
  const donor = networkDonor(deps, record);
  using userns = openUserNamespace(deps, record);
  const joined = undo.use(await deps.networking.join(record, donor, containerDir(roots, record.id), userns));
  const entered = undo.use(await deps.mounts.enter(record, record.id));
  checkSources(entered.mounts, deps.runtime.facts);
  await deps.apparmor.prepare(record.hostConfig);
  const bundle = bundleOf(deps, record, {
    rootfs,
    files: joined.files,
    mounts: await deps.mounts.toOci(entered.mounts, rootfs, userns !== null),
    hostname: donor?.record.config.Hostname,
  });
  announceVolumes(deps, record, "mount");
  undo.defer(() => announceVolumes(deps, record, "unmount"));
  const directory = stateDir(roots, record.id);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  undo.defer(() => rmSync(directory, { recursive: true, force: true }));
  const task = await deps.runtime.launch({
    bundle,
    stateDir: directory,
    hasStdin: record.config.OpenStdin,
    netns: joined.netns,
    userns,
    user: record.config.User,
    groupAdd: [...record.hostConfig.GroupAdd, ...bundle.spec.process.user.additionalGids.map(String)],
    hasInit: usesInit(record.hostConfig) && roots.initPath === "",
  });
  undo.defer(() => abandon(task));
  const { stdio, log } = openStdio(deps, live, task);
  undo.defer(() => endStreams({ task, stdio, log }));
  const startedAt = deps.clock.nowText();
  await deps.machine.apply(
    live,
    { type: "started", task: task.record, startedAt },
    {
      patch: {
        endpoints: joined.endpoints,
        publishedPorts: joined.publishedPorts,
        hasBeenStartedBefore: true,
        ...(isManual ? { hasBeenManuallyStopped: false, restartCount: 0 } : { restartCount: record.restartCount + 1 }),
      },
      announce: { action: "start" },
    },
  );
  undo.move();
  // First of all: whatever happens from here on, its end is seen.
  watch(deps, live, { task, stdio, log, bundle, startedAtMs: Date.parse(startedAt) });
  entered.keep();
  joined.keep();
  tellLinking(deps, live);
  await joined[Symbol.asyncDispose]();
}

type Started = Omit<Run, "probing" | "stopWatching" | "isEndedForHealth">;

/** The run is known: from here on its end is waited for. Also after a restart of the daemon. */
export function watch(deps: ContainersDeps, live: Live, started: Started): void {
  const { task } = started;
  const stopOom = watchOom(deps, live, task);
  let stopEnding = (): void => {};
  const probing = startProbing(deps, live, started.startedAtMs, (report) => {
    stopEnding = endUnhealthy(deps, live, run, report);
  });
  const run: Run = {
    ...started,
    probing,
    stopWatching: () => {
      stopOom();
      probing.stop();
      stopEnding();
    },
    isEndedForHealth: false,
  };
  live.run = run;
  task.exited
    .then((report) => whenExited(deps, live, run, report, startHeld))
    .catch((error: unknown) => {
      deps.log.error("an exit was not dealt with to its end", { container: live.id, error });
    });
}

/** A machine without a descriptor left for it goes without the event, not without the container. */
function watchOom(deps: ContainersDeps, live: Live, task: Task): () => void {
  try {
    return task.cgroup.watchOom(() => deps.machine.announce(live, { action: "oom" }));
  } catch (error) {
    deps.log.warn("cannot watch a container for OOM kills", { container: live.id, error });
    return () => {};
  }
}

/** Opens the streams and hands them to those who attached before the start, before the first byte is read. */
export function openStdio(deps: ContainersDeps, live: Live, task: Task): { stdio: Stdio; log: LogWriter | null } {
  const { record } = live;
  const log = openLog(deps, record);
  const stdio = deps.stdio.open(
    { streams: task.streams, exited: task.exited },
    {
      log,
      journalPath: `${stateDir(deps.config(), record.id)}/journal`,
      isTTY: record.config.Tty,
      dropStdin: () => task.dropStdin(),
    },
  );
  live.slot.bind(stdio);
  if (log) deps.logDelivery.begin(live, { log, ended: stdio.logged });
  return { stdio, log };
}

/** It runs, but its streams or its row cannot be had: it must not run on unknown. */
export async function abandon(task: Task): Promise<void> {
  await task.cgroup.kill();
  await task.exited;
  await task.cgroup.remove();
  task[Symbol.dispose]();
}

/** Those who have attached hear of the end. */
async function endStreams({ task, stdio, log }: Pick<Run, "task" | "stdio" | "log">): Promise<void> {
  await task.cgroup.kill();
  await stdio.logged;
  stdio.close();
  log?.close();
}
