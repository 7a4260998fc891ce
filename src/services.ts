// The composition root: opens what is on disk and builds every service by plain calls. Nothing else builds a service.
// daemon.ts loads it once the socket is open, so that nobody waits for it who only wants to know whether we are there.
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import {
  APPARMOR_PATHS,
  DEFAULT_APPARMOR_PROFILE,
  loadDefaultProfile,
  canOverlay,
  copyUp,
  createCopySnapshotter,
  createDNSPlane,
  createLayerPool,
  createLogs,
  createOverlaySnapshotter,
  createStdioPlane,
  createWallClock,
  defaultSeccompProfile,
  type HostFacts,
  hostMountsBelow,
  type LayerPool,
  mountOnHost,
  openHostNetwork,
  openQuotas,
  openRuntime,
  openTrash,
  type Quotas,
  type Runtime,
  type Snapshotter,
  toTimeText,
  type Trash,
  unmountOnHost,
} from "../runtime/mod.ts";
import { cgroupParent } from "../runtime/cgroup/place.ts";
import { grantRealtime } from "../runtime/cgroup/realtime.ts";
import { type App, createApi } from "./api/app.ts";
import { type Config, ConfigError, type IDMaps } from "./config.ts";
import { containerStore } from "./db/containers.ts";
import { fact } from "./db/facts.ts";
import { imageRows } from "./db/images.ts";
import { networkStore } from "./db/networks.ts";
import { type OpenedDb, openDb } from "./db/open.ts";
import { volumeStore } from "./db/volumes.ts";
import type { Clock } from "./engine/containers/deps.ts";
import { createAppArmor } from "./engine/containers/apparmor.ts";
import { type CdiRegistry, createCdiRegistry } from "./engine/cdi/registry.ts";
import { createLogDelivery } from "./engine/containers/log_delivery.ts";
import { LOG_DRIVERS } from "./engine/containers/log_drivers.ts";
import { validateLogConfig } from "./engine/containers/logs.ts";
import { linkHosts } from "./engine/containers/links.ts";
import { createMachine } from "./engine/containers/machine.ts";
import { readMachinery } from "./engine/containers/machinery.ts";
import { createContainerMounts, imagesOf } from "./engine/containers/mounts.ts";
import { containerDir } from "./engine/containers/paths.ts";
import { createRegistry as createContainerRegistry } from "./engine/containers/registry.ts";
import { type ContainerService, createContainers } from "./engine/containers/service.ts";
import { hasTask } from "./engine/containers/state.ts";
import { createEvents, type EventService } from "./engine/events.ts";
import { createExecSessions } from "./engine/exec.ts";
import { newID } from "./engine/ids.ts";
import { createImages } from "./engine/images.ts";
import type { Engine, RegistryCredentials } from "./engine/mod.ts";
import { HOST_FILES } from "./engine/networks/container_files.ts";
import { createNetworks, type NetworksService } from "./engine/networks/networks.ts";
import { createSystem } from "./engine/system.ts";
import { createPlugins } from "./engine/plugins.ts";
import { createLocalDriver } from "./engine/volumes/local.ts";
import { createVolumes } from "./engine/volumes/service.ts";
import { inspectDistribution } from "./image/distribution.ts";
import { openImageStore } from "./image/open_store.ts";
import { hostPlatform } from "./image/platform.ts";
import { createPull } from "./image/pull.ts";
import { createPush } from "./image/push.ts";
import { createRegistry } from "./image/registry.ts";
import { searchImages } from "./image/search.ts";
import { openRemoteFile } from "./image/remote_file.ts";
import { LAYER_WORKERS, WORKER_IDLE_MS } from "./limits.ts";
import type { Log } from "./log.ts";
import { BUILD_TIME, COMMIT, VERSION } from "./version.ts";
import { spawnLayerWorker } from "./workers.ts";

/** Everything that is built, and what the daemon itself does with it. */
export interface House {
  engine: Engine;
  app: App;
  containers: ContainerService;
  networks: NetworksService;
  events: EventService;
  background: Background;
  config: () => Config;
  setConfig(next: Config): void;
  hostName: string;
}

export interface BuildDeps {
  log: Log;
  now: () => Date;
}

/** What must be closed goes onto `undo`, in the order in which it was opened. */
export async function build(initial: Config, { log, now }: BuildDeps, undo: AsyncDisposableStack): Promise<House> {
  let current = initial;
  const config = (): Config => current;
  const setConfig = (next: Config): void => {
    // Under a service manager that has delegated a subtree to us, containers belong there.
    const parent = cgroupParent(facts, next.cgroupParent, next.isCgroupParentExplicit);
    current = { ...next, cgroupParent: parent };
  };
  const { dataRoot, execRoot } = initial;
  checkLogDefaults(initial);
  makeDirectories(dataRoot, execRoot);
  const random = (count: number): Uint8Array => randomBytes(count);
  const newEngineID = (): string => newID(random);
  const clock = realClock(now);
  const background = createBackground(log);

  const { db, relaxed } = undo.use<OpenedDb>(await openDb(`file:${dataRoot}/berth.db`));
  const id = await fact(db, "engine-id", newEngineID);
  const runtime = openRuntime({ imageDir: `${dataRoot}/tmp` });
  const { facts } = runtime;
  setConfig(initial);
  if (initial.idMaps) checkMapping(runtime, `${dataRoot}/tmp`, initial.idMaps);
  grantBudget(current, facts);
  const machinery = readMachinery({
    facts,
    defaultSeccompProfile: defaultSeccompProfile(),
    seccompProfile: initial.seccompProfile,
  });
  const trash = await openTrash({
    directory: `${dataRoot}/trash`,
    onError: (path, error) => log.warn("cannot delete from the trash", { path, error }),
  });
  const pool = createLayerPool({ spawn: spawnLayerWorker, size: LAYER_WORKERS, idleMs: WORKER_IDLE_MS });
  undo.defer(() => pool.close());
  const quotas = openQuotas(dataRoot);
  const snapshots = await openSnapshots(initial, trash, pool, quotas);
  const stdio = createStdioPlane((error) => log.error("a stream of a container has failed", { error }));
  undo.defer(() => stdio.close());
  const events = createEvents({ now });
  const registry = createContainerRegistry();
  const store = containerStore(db, relaxed);
  const cdi = createCdiRegistry();
  const apparmor = createAppArmor({
    isSupported: facts.hasAppArmor,
    defaultProfile: DEFAULT_APPARMOR_PROFILE,
    load: () => loadDefaultProfile(APPARMOR_PATHS),
    log,
  });
  const machine = createMachine({ store, registry, events, log });

  const host = hostPlatform(process.arch);
  const imageStore = await openImageStore({
    dataRoot,
    rows: imageRows(db),
    pool,
    trash,
    log,
    now,
    randomBytes: random,
  });
  const remote = createRegistry({
    fetch: globalThis.fetch,
    now: Date.now,
    log,
    settings: config,
  });
  const images = createImages({
    store: imageStore,
    pull: createPull({
      registry: remote,
      store: imageStore,
      host,
      bounds: config,
      now: () => now().getTime(),
      sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    }),
    events,
    *usedBy() {
      for (const { record } of registry.all()) {
        const isRunning = hasTask(record.state);
        for (const imageID of imagesOf(record)) yield { containerID: record.id, imageID, isRunning };
      }
    },
    host,
    push: createPush({
      registry: remote,
      store: imageStore,
      maxConcurrentUploads: () => config().maxConcurrentUploads,
      now: () => now().getTime(),
      sleep: (ms, signal) => sleep(ms, undefined, { signal }),
    }),
    layerPool: pool,
    openRemoteFile: (address, signal) => openRemoteFile(globalThis.fetch, address, signal),
    now,
  });
  const plugins = createPlugins({
    sockets: [`${execRoot}/plugins`, "/run/docker/plugins"],
    files: ["/etc/docker/plugins", "/usr/lib/docker/plugins"],
  });
  const volumes = await createVolumes({
    root: `${dataRoot}/volumes`,
    local: createLocalDriver({
      root: `${dataRoot}/volumes`,
      discard: trash.discard,
      quotas,
      mount: mountOnHost,
      unmount: unmountOnHost,
      mountsBelow: hostMountsBelow,
      resolveHost: async (name) => (await lookup(name)).address,
    }),
    plugins,
    rows: volumeStore(db),
    events,
    log,
    now,
    newID: newEngineID,
    usersOf: (name) =>
      [...registry.all()]
        .filter(({ record }) => record.mounts.some((mount) => mount.name === name))
        .map((live) => live.id),
  });
  const dns = createDNSPlane({
    random,
    onError: (error) => log.error("a container's resolver has failed", { error }),
  });
  undo.defer(() => dns.close());
  const networks = createNetworks({
    store: networkStore(db),
    host: openHostNetwork(),
    dns,
    events,
    config,
    containers: () => containers,
    filesDir: (containerID) => containerDir(initial, containerID),
    hostFiles: HOST_FILES,
    linkHosts: (record) => linkHosts({ registry }, record),
    hasIPv6: facts.hasIPv6,
    random,
    now,
    log,
  });
  const exec = createExecSessions({ registry, machine, runtime, stdio, clock, random });
  const logs = createLogs({
    nowNano: createWallClock(),
    onProblem: (path, error) => log.error("a container's log cannot be written", { path, error }),
  });
  const containers: ContainerService = createContainers({
    config,
    machinery,
    runtime,
    store,
    registry,
    machine,
    events,
    images,
    layerPool: pool,
    snapshots,
    discard: trash.discard,
    networking: networks.networking,
    apparmor,
    cdi,
    mounts: createContainerMounts({ volumes, images, copyUp }),
    stdio,
    logs,
    logDelivery: createLogDelivery({ config, machinery, logs, log, pause: sleep }),
    probe: exec.probe,
    clock,
    random,
    log,
    inBackground: background.add,
    execIDs: exec.runningIn,
    imageBytes: (imageID) => imageStore.byID(imageID)?.sizeBytes ?? 0,
    processes: {
      root: "/proc",
      userName: namesIn("/etc/passwd"),
      groupName: namesIn("/etc/group"),
      now,
      memoryBytes: facts.memoryBytes,
    },
  });
  const engine: Engine = {
    get config() {
      return current;
    },
    runtime,
    id,
    containers,
    exec,
    images,
    networks: networks.networks,
    volumes,
    events,
  };
  const app = createApi(engine, {
    log,
    now,
    facts: createSystem(systemFacts(config, facts, cdi)).facts,
    checkAuth: async (server: string, credentials: RegistryCredentials, signal: AbortSignal) => {
      const { identityToken } = await remote.checkCredentials(server, credentials, signal);
      return { status: "Login Succeeded", identityToken };
    },
    searchImages: (...search) => searchImages(remote, ...search),
    inspectDistribution: async (name, credentials, signal) => {
      const { descriptor, platforms } = await inspectDistribution(remote, name, credentials, signal);
      return {
        Descriptor: descriptor,
        Platforms: platforms.map(({ variant, ...each }) => (variant === "" ? each : { ...each, variant })),
      };
    },
  });
  undo.defer(() => trash.emptied());
  return {
    engine,
    app,
    containers,
    networks,
    events,
    background,
    config,
    setConfig,
    hostName: machinery.hostName,
  };
}

function systemFacts(config: () => Config, facts: HostFacts, cdi: CdiRegistry): Parameters<typeof createSystem>[0] {
  return {
    config,
    facts,
    cdi,
    build: { version: VERSION, commit: COMMIT, buildTime: BUILD_TIME },
    networkDrivers: ["bridge", "host", "ipvlan", "macvlan", "null"],
    logDrivers: [...LOG_DRIVERS],
  };
}

function grantBudget({ cgroupParent: parent, realtimePeriodUs, realtimeRuntimeUs }: Config, facts: HostFacts): void {
  if (realtimePeriodUs === 0 && realtimeRuntimeUs === 0) return;
  if (!facts.hasRealtimeGroups) {
    // COMPAT: dockerd's words.
    throw new ConfigError("daemon-scoped cpu-rt-period and cpu-rt-runtime are not supported by this kernel");
  }
  grantRealtime(facts, parent, { periodUs: realtimePeriodUs, runtimeUs: realtimeRuntimeUs });
}

/** COMPAT: dockerd does not start with a default log driver or option that no container could have. */
function checkLogDefaults({ defaultLogDriver, defaultLogOptions }: Config): void {
  try {
    validateLogConfig(defaultLogDriver, defaultLogOptions);
  } catch (error) {
    throw new ConfigError(`failed to set log opts: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Containers must not run unmapped where they were to be mapped: a machine that cannot do it starts none. */
function checkMapping(runtime: Runtime, directory: string, maps: IDMaps): void {
  try {
    runtime.checkMapping(directory, maps);
  } catch (error) {
    throw new ConfigError(
      "userns-remap: this machine cannot show layers through a user namespace (Linux 5.19, and a file system with idmapped " +
        `mounts): ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function makeDirectories(dataRoot: string, execRoot: string): void {
  mkdirSync(dataRoot, { recursive: true, mode: 0o710 });
  for (const name of ["containers", "volumes", "tmp", "layers", "blobs/sha256", "ingest"]) {
    mkdirSync(`${dataRoot}/${name}`, { recursive: true, mode: 0o710 });
  }
  mkdirSync(`${execRoot}/containers`, { recursive: true, mode: 0o711 });
}

async function openSnapshots(
  config: Config,
  trash: Trash,
  pool: LayerPool,
  quotas: Quotas | null,
): Promise<Snapshotter> {
  const directory = `${config.dataRoot}/containers`;
  const isCopy =
    config.storageDriver === "copy" ||
    config.storageDriver === "vfs" ||
    (config.storageDriver === "" && !(await canOverlay(`${config.dataRoot}/tmp`)));
  if (!isCopy) return createOverlaySnapshotter(directory, trash, quotas);
  return createCopySnapshotter(directory, trash, (request) => pool.run("copy", request));
}

// ---- small parts that belong to nobody else

interface Background {
  add: (work: Promise<unknown>) => void;
  ended(timeoutMs: number): Promise<void>;
}

function createBackground(log: Log): Background {
  const running = new Set<Promise<void>>();
  return {
    add(work) {
      const watched = work
        .then(
          () => {},
          (error: unknown) => log.error("work in the background has failed", { error }),
        )
        .finally(() => running.delete(watched));
      running.add(watched);
    },
    async ended(timeoutMs) {
      const late = sleep(timeoutMs, undefined, { ref: false });
      await Promise.race([Promise.all(running), late]);
    },
  };
}

function realClock(now: () => Date): Clock {
  const nowNano = createWallClock();
  return {
    now,
    nowText: () => toTimeText(nowNano()),
    after(delayMs, work) {
      const timer = setTimeout(work, Math.min(delayMs, LONGEST_TIMER_MS));
      return () => clearTimeout(timer);
    },
  };
}

/** Beyond 2^31 ms setTimeout fires at once. */
const LONGEST_TIMER_MS = 0x7fffffff;

/** The host's own names of users or groups, read once they are asked for. */
function namesIn(file: "/etc/passwd" | "/etc/group"): (id: number) => string {
  let names: Map<number, string> | null = null;
  return (id) => {
    names ??= new Map(
      // An empty machine has no such file.
      (existsSync(file) ? readFileSync(file, "utf8") : "")
        .split("\n")
        .map((line) => line.split(":"))
        .map(([name = "", , number = ""]) => [Number(number), name] as const)
        .reverse(),
    );
    return names.get(id) ?? String(id);
  };
}
