// The Containers service: the verbs of this folder behind the interface that routes call. Built in daemon.ts.
import { isKind } from "../../errors.ts";
import { oneAtATime } from "../locks.ts";
import type { ContainerSizes, Containers, Filters } from "../mod.ts";
import { commit } from "./commit.ts";
import type { ContainerRecord } from "./container.ts";
import { create } from "./create.ts";
import type { ContainersDeps } from "./deps.ts";
import { changesOf, exportFiles } from "./layers.ts";
import { copyIn, copyOut, statPath } from "./files.ts";
import { list } from "./list.ts";
import { logPathOf } from "./log_of.ts";
import type { RecordPatch } from "./machine.ts";
import { pause, resize, unpause } from "./pause.ts";
import { prune } from "./prune.ts";
import type { ProcSource } from "./ps/process.ts";
import type { Live } from "./registry.ts";
import { attach, logs } from "./read.ts";
import { removeLink } from "./link_changes.ts";
import { remove } from "./remove.ts";
import { rename } from "./rename.ts";
import { load, regain } from "./restore.ts";
import { start } from "./start.ts";
import { createStats } from "./stats.ts";
import { hasTask, isRestarting, isUp, notRunning } from "./state.ts";
import { kill, restart, stop, stopLive } from "./stop.ts";
import { topTable } from "./top.ts";
import { update } from "./update.ts";
import { wait } from "./wait.ts";

export interface ContainerServiceDeps extends ContainersDeps {
  execIDs(containerID: string): string[];
  /** Bytes of an image's layers. */
  imageBytes(imageID: string): number;
  processes: ProcSource;
}

export interface ContainerService extends Containers {
  /** Under the container's lock: for networks, which change what a container is attached to. */
  change(nameOrID: string, work: (record: ContainerRecord) => Promise<RecordPatch>): Promise<void>;
  /** Those with a process, paused ones included. */
  running(): ContainerRecord[];
  /** Reads the rows: from here on lists answer. */
  load(): Promise<void>;
  /** Takes up what still runs, then lets restart policies act in the background. */
  regain(): Promise<void>;
  /** Ends all containers, each with its own time-out, none beyond `timeoutMs`. For a shutdown without live restore. */
  stopAll(timeoutMs: number): Promise<void>;
  /** Lets go of everything without ending anything. */
  close(): void;
}

export function createContainers(deps: ContainerServiceDeps): ContainerService {
  const { registry } = deps;
  const stats = createStats(deps);
  const sizes = async (live: Live): Promise<ContainerSizes> => {
    const rwBytes = await deps.snapshots.usage(live.id);
    return { rwBytes, rootFsBytes: rwBytes + deps.imageBytes(live.record.imageID) };
  };
  return {
    create: (request) => create(deps, request),
    start: (nameOrID) => start(deps, nameOrID),
    stop: (nameOrID, options) => stop(deps, nameOrID, options),
    restart: (nameOrID, options) => restart(deps, nameOrID, options),
    kill: (nameOrID, signal) => kill(deps, nameOrID, signal),
    pause: (nameOrID) => pause(deps, nameOrID),
    unpause: (nameOrID) => unpause(deps, nameOrID),
    rename: (nameOrID, newName) => rename(deps, nameOrID, newName),
    resize: async (nameOrID, rows, columns) => resize(deps, nameOrID, rows, columns),
    remove: (nameOrID, options) => (options.link ? removeLink(deps, nameOrID) : remove(deps, nameOrID, options, kill)),
    update: (nameOrID, change) => update(deps, nameOrID, change),
    prune: oneAtATime("a prune operation", (filters: Filters) => prune(deps, filters)),
    wait: async (nameOrID, condition, signal) => wait(deps, nameOrID, condition, signal),
    attach: async (nameOrID, options) => attach(deps, nameOrID, options),
    logs: async (nameOrID, query, signal) => logs(deps, nameOrID, query, signal),
    commit: (nameOrID, request, signal) => commit(deps, nameOrID, request, signal),
    async top(nameOrID, psArgs) {
      const live = registry.get(nameOrID);
      if (live.record.state.status === "restarting") throw isRestarting(live.record);
      if (!isUp(live.record.state) || !live.run) throw notRunning(live.record);
      const table = topTable(live.run.task.cgroup.pids(), psArgs, deps.processes);
      deps.machine.announce(live, { action: "top" });
      return table;
    },
    statsNow: (nameOrID) => stats.once(registry.get(nameOrID)),
    stats: async (nameOrID, signal) => stats.pair(registry.get(nameOrID), signal),
    followStats: (nameOrID, signal) => stats.follow(registry.get(nameOrID), signal),
    statPath: (nameOrID, path) => statPath(deps, nameOrID, path),
    copyOut: (nameOrID, path) => copyOut(deps, nameOrID, path),
    changes: (nameOrID) => changesOf(deps, nameOrID),
    exportFiles: (nameOrID) => exportFiles(deps, nameOrID),
    copyIn: (nameOrID, path, archive, options, signal) => copyIn(deps, nameOrID, path, archive, options, signal),
    get: (nameOrID) => registry.get(nameOrID).record,
    async list(options) {
      const found = list(deps, options);
      // WHY apart: a promise for each costs more than the rest of a list.
      if (!options.size) return found.map(({ record }) => ({ record, sizes: null }));
      return Promise.all(found.map(async (live) => ({ record: live.record, sizes: await sizes(live) })));
    },
    sizes: (nameOrID) => sizes(registry.get(nameOrID)),
    *all() {
      for (const live of registry.all()) yield live.record;
    },
    execIDs: (id) => deps.execIDs(id),
    logPath: (id) => logPathOf(deps, registry.get(id).record),
    health: (id) => registry.byID(id)?.health ?? null,
    async change(nameOrID, work) {
      const live = registry.get(nameOrID);
      using _lock = await registry.lock(live);
      await deps.machine.edit(live, await work(live.record));
    },
    running: () => [...registry.all()].map((live) => live.record).filter(({ state }) => hasTask(state)),
    load: () => load(deps),
    regain: () => regain(deps),
    stopAll: (timeoutMs) => stopAll(deps, timeoutMs),
    close() {
      stats.close();
      close(deps);
    },
  };
}

async function stopAll(deps: ContainersDeps, timeoutMs: number): Promise<void> {
  const limitSec = Math.max(0, timeoutMs / 1000);
  // What a request or a policy was just starting is found in the second round.
  for (let round = 0; round < 3; round++) {
    const running = [...deps.registry.all()].filter((live) => isUp(live.record.state));
    if (running.length === 0) return;
    await Promise.all(running.map((live) => stopWithEngine(deps, live, limitSec)));
  }
}

/** COMPAT: the end of the engine is no manual stop: `unless-stopped` comes back with it. */
async function stopWithEngine(deps: ContainersDeps, live: Live, limitSec: number): Promise<void> {
  const own = live.record.config.StopTimeout ?? deps.config().defaultStopTimeoutSec;
  const timeoutSec = own < 0 ? limitSec : Math.min(own, limitSec);
  try {
    await stopLive(deps, live, { signal: null, timeoutSec }, false);
    // Its end is dealt with under the lock, to the last row and, with AutoRemove, to its removal.
    if (deps.registry.byID(live.id) === live) (await deps.registry.lock(live))[Symbol.dispose]();
  } catch (error) {
    if (isKind(error, "notFound")) return;
    deps.log.warn("a container could not be stopped", { container: live.id, error });
  }
}

function close(deps: ContainersDeps): void {
  deps.logDelivery.close();
  for (const live of deps.registry.all()) {
    live.pendingRestart?.cancel();
    live.pendingRestart = null;
    if (!live.run) continue;
    live.run.stopWatching();
    live.run.stdio.close();
    live.run.log?.close();
    live.run.task[Symbol.dispose]();
    live.run = null;
  }
}
