// When the engine starts: database rows against what still runs. Containers whose shim lives are taken up again, with
// their streams, networks and health checks; those that ended meanwhile are dealt with as if they ended now; then restart
// policies act. Directories that belong to no row are dropped.
import { existsSync, readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Task, TaskRecord } from "../../../runtime/mod.ts";
import { STARTS_AT_ONCE } from "../../limits.ts";
import { bringUp } from "./bring_up.ts";
import { bundleOfRunning } from "./bundle_of.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainersDeps } from "./deps.ts";
import { errorText } from "./error_text.ts";
import { containerDir, stateDir } from "./paths.ts";
import { type Live, newLive } from "./registry.ts";
import { abandon, openStdio, watch } from "./start.ts";
import { hasTask } from "./state.ts";
import { cgroupsPath } from "./to_bundle.ts";

/** Two steps: `load` is quick and lets lists answer; `regain` brings back what runs. Policies act in the background. */
export async function load(deps: ContainersDeps): Promise<void> {
  const { records, damaged } = await deps.store.all();
  for (const record of records) deps.registry.add(newLive(record));
  for (const { id, problem } of damaged) {
    deps.log.error("a container's row cannot be read; it is kept as it is, and not served", { container: id, problem });
  }
  const unreadable = new Set(damaged.map(({ id }) => id));
  await endStrays(deps, new Map(records.map((record) => [record.id, record])), unreadable);
  await finishRemovals(deps);
  dropStrays(deps, new Set([...records.map(({ id }) => id as string), ...damaged.map(({ id }) => id)]));
}

export async function regain(deps: ContainersDeps): Promise<void> {
  const all = [...deps.registry.all()];
  // Together, so that one that is slow to answer does not hold up the rest.
  await eachOf(
    all.filter(({ record }) => hasTask(record.state)),
    STARTS_AT_ONCE,
    (live) => regainOne(deps, live),
  );
  deps.mounts.settle();
  // What stopped containers still have to deliver. Those that run were begun with their streams.
  for (const live of all) if (!live.run) deps.logDelivery.begin(live, null);
  deps.inBackground(bringUp(deps, all));
}

async function regainOne(deps: ContainersDeps, live: Live): Promise<void> {
  using _lock = await deps.registry.lock(live);
  const { record } = live;
  if (!hasTask(record.state)) return;
  const { state } = record;
  let task: Task | null = null;
  const lost = async (error: string): Promise<void> => {
    await endUnseen(deps, state.task, task);
    const finishedAt = deps.clock.nowText();
    const exit = { exitCode: LOST, finishedAt, startedAt: state.startedAt, oomKilled: false, error };
    await deps.machine.record(live, { type: "exited", exit });
  };
  // The exec root does not outlive the machine.
  if (!existsSync(stateDir(deps.config(), record.id))) {
    deps.log.info("a container has ended with the machine", { container: live.id });
    return await lost("");
  }
  try {
    task = await deps.runtime.regain(state.task);
    const bundle = await bundleAgain(deps, record);
    // Addresses and ports are taken first, so that nobody else gets them.
    await regainNetworks(deps, record, task);
    deps.mounts.regain(record);
    await matchPause(deps, live, task);
    const { stdio, log } = openStdio(deps, live, task);
    watch(deps, live, { task, stdio, log, bundle, startedAtMs: Date.parse(state.startedAt) });
  } catch (error) {
    deps.log.error("a running container could not be taken up again: it is ended", { container: live.id, error });
    await lost(errorText(error));
  }
}

async function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items];
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

/** COMPAT: what Docker shows of a container whose end nobody saw. */
const LOST = 255;

/** A workload that works is worth more than its ports. */
async function regainNetworks(deps: ContainersDeps, record: ContainerRecord, task: Task): Promise<void> {
  try {
    await deps.networking.regain(record, task.pid);
  } catch (error) {
    deps.log.error("the networks of a running container could not be taken up again", { container: record.id, error });
  }
}

/** A daemon that was killed between the freezer and the row: the freezer is right. A frozen process would not even die. */
async function matchPause(deps: ContainersDeps, live: Live, task: Task): Promise<void> {
  const isFrozen = task.cgroup.isFrozen();
  if (isFrozen === (live.record.state.status === "paused")) return;
  await deps.machine.record(live, { type: isFrozen ? "paused" : "unpaused" });
}

/** INVARIANT: what the row calls down does not run: a second one would be started beside it. */
async function endUnseen(deps: ContainersDeps, record: TaskRecord, task: Task | null): Promise<void> {
  try {
    if (task) await abandon(task);
    else await deps.runtime.endStrays(new Map([[record.id, record.cgroupPath]]));
  } catch (error) {
    deps.log.error("cannot end a container that nobody watches", { container: record.id, error });
  }
}

async function bundleAgain(deps: ContainersDeps, record: ContainerRecord) {
  const directory = containerDir(deps.config(), record.id);
  const rootfs = deps.snapshots.rootfs(record.id, await deps.images.rootfsLayers(record.imageID));
  const files = {
    hostname: `${directory}/hostname`,
    hosts: `${directory}/hosts`,
    resolvConf: `${directory}/resolv.conf`,
  };
  // An exec session takes nothing from the mounts, and what they come from may have gone.
  return bundleOfRunning(deps, record, { rootfs, files, mounts: [], hostname: undefined });
}

/** A state directory without a run in its row: launched by a daemon that was killed before it could write that down. */
async function endStrays(
  deps: ContainersDeps,
  records: ReadonlyMap<string, ContainerRecord>,
  unreadable: ReadonlySet<string>,
): Promise<void> {
  const { cgroupParent, execRoot } = deps.config();
  const strays = new Map<string, string>();
  for (const id of namesIn(`${execRoot}/containers`)) {
    const record = records.get(id);
    if ((record && hasTask(record.state)) || unreadable.has(id)) continue;
    strays.set(id, cgroupsPath(record?.hostConfig.CgroupParent || cgroupParent, id));
  }
  if (strays.size === 0) return;
  deps.log.warn("containers that a killed daemon had just launched are ended", {
    containers: [...strays.keys()].join(","),
  });
  try {
    await deps.runtime.endStrays(strays);
  } catch (error) {
    // Their files stay, so that the next start tries again; all other containers are worth more than these.
    deps.log.error("containers that nobody knows could not all be ended", { error });
    return;
  }
  for (const id of strays.keys()) await rm(stateDir(deps.config(), id), { recursive: true, force: true });
}

/** A row without its directory: a crash has cut its removal short. */
async function finishRemovals(deps: ContainersDeps): Promise<void> {
  for (const { record } of [...deps.registry.all()].filter(({ record }) => !hasTask(record.state))) {
    if (existsSync(containerDir(deps.config(), record.id))) continue;
    const live = deps.registry.get(record.id);
    deps.log.warn("the removal of a container is finished", { container: record.id });
    try {
      if (record.hostConfig.AutoRemove) await deps.mounts.removeAnonymous(record);
      await deps.machine.drop(live);
    } catch (error) {
      deps.log.error("cannot finish the removal of a container", { container: record.id, error });
    }
  }
}

/** What a crash between a directory and its row has left. */
function dropStrays(deps: ContainersDeps, known: ReadonlySet<string>): void {
  const { dataRoot } = deps.config();
  for (const name of namesIn(`${dataRoot}/containers`)) {
    if (known.has(name)) continue;
    deps.log.warn("a directory that belongs to no container is dropped", { path: `${dataRoot}/containers/${name}` });
    deps.inBackground(deps.discard(`${dataRoot}/containers/${name}`));
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}
