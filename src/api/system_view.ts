// GET /version and GET /info.
import type { Config } from "../config.ts";
import type { Engine } from "../engine/mod.ts";
import type { SystemFacts } from "../engine/system.ts";
import { RUNTIMES } from "../runtimes.ts";
import { API_VERSION, MIN_API_VERSION } from "../http/version.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";

const GO_ARCH = { x64: "amd64", arm64: "arm64" } as const;
const MACHINE = { x64: "x86_64", arm64: "aarch64" } as const;
/** COMPAT: the CLI stores the credentials of the default registry under this key, old as it is. */
const INDEX_SERVER = "https://index.docker.io/v1/";
const INDEX_NAME = "docker.io";
/** The init that is generated into each container; clients know this name. */
const BUILT_IN_INIT = "docker-init";

export function versionView(facts: SystemFacts, config: Pick<Config, "isExperimental">): object {
  const engine = {
    ApiVersion: API_VERSION,
    Arch: GO_ARCH[facts.arch],
    BuildTime: facts.buildTime,
    GitCommit: facts.gitCommit,
    GoVersion: facts.builtWith,
    KernelVersion: facts.kernelVersion,
    MinAPIVersion: MIN_API_VERSION,
    Os: "linux",
  };
  return {
    Platform: { Name: "berth" },
    // COMPAT: `docker version` prints these details, all of them strings, and not the fields below.
    Components: [
      {
        Name: "Engine",
        Version: facts.engineVersion,
        Details: { ...engine, Experimental: String(config.isExperimental) },
      },
    ],
    Version: facts.engineVersion,
    ...engine,
    ...(config.isExperimental ? { Experimental: true } : {}),
  };
}

export interface InfoFacts {
  engine: Pick<Engine, "config" | "containers" | "events" | "id">;
  facts: SystemFacts;
  images: number;
  now: Date;
}

export function infoView({ engine, facts, images, now }: InfoFacts, version: ApiVersion): object {
  const { config } = engine;
  return {
    ID: engine.id,
    ...containerCounts(engine),
    Images: images,
    Driver: config.storageDriver,
    DriverStatus: facts.storageStatus,
    Plugins: { Volume: ["local"], Network: facts.networkDrivers, Authorization: null, Log: facts.logDrivers },
    ...limitFlags(facts, version),
    IPv4Forwarding: facts.isIPv4Forwarding,
    Debug: config.isDebug,
    NFd: facts.openFiles,
    OomKillDisable: facts.limits.oomKillDisable,
    NGoroutines: 0,
    SystemTime: now.toISOString(),
    LoggingDriver: config.defaultLogDriver,
    CgroupDriver: facts.cgroupDriver,
    CgroupVersion: String(facts.cgroupVersion),
    NEventsListener: engine.events.listeners(),
    ...machine(facts),
    ...registry(config),
    GenericResources: null,
    DockerRootDir: config.dataRoot,
    HttpProxy: facts.proxies.http,
    HttpsProxy: facts.proxies.https,
    NoProxy: facts.proxies.no,
    Labels: config.labels,
    ExperimentalBuild: config.isExperimental,
    ServerVersion: facts.engineVersion,
    ...runtime(facts, config, version),
    Swarm: {
      NodeID: "",
      NodeAddr: "",
      LocalNodeState: "inactive",
      ControlAvailable: false,
      Error: "",
      RemoteManagers: null,
    },
    LiveRestoreEnabled: config.isLiveRestore,
    Isolation: "",
    SecurityOptions: facts.securityOptions,
    ProductLicense: "",
    DefaultAddressPools: config.defaultAddressPools.map(({ base, size }) => ({ Base: base, Size: size })),
    ...(isAtLeast(version, 49) && config.managesFirewall ? { FirewallBackend: { Driver: "nftables" } } : {}),
    CDISpecDirs: config.cdiSpecDirs,
    ...(isAtLeast(version, 50) ? { DiscoveredDevices: facts.cdiDevices.map((ID) => ({ Source: "cdi", ID })) } : {}),
    Warnings: warnings(facts),
  };
}

function containerCounts({ containers }: InfoFacts["engine"]): object {
  const counts = { Containers: 0, ContainersRunning: 0, ContainersPaused: 0, ContainersStopped: 0 };
  for (const { state } of containers.all()) {
    counts.Containers++;
    if (state.status === "paused") counts.ContainersPaused++;
    else if (state.status === "running" || state.status === "restarting") counts.ContainersRunning++;
    else counts.ContainersStopped++;
  }
  return counts;
}

/** COMPAT: the CLI warns about each that is false. */
function limitFlags({ limits }: SystemFacts, version: ApiVersion): object {
  return {
    MemoryLimit: limits.memory,
    SwapLimit: limits.swap,
    // Kernel memory has no limit of its own any more, in any kernel; the field went with 1.42.
    ...(isAtLeast(version, 42) ? {} : { KernelMemory: false, KernelMemoryTCP: false }),
    CpuCfsPeriod: limits.cpuPeriod,
    CpuCfsQuota: limits.cpuQuota,
    CPUShares: limits.cpuShares,
    CPUSet: limits.cpuSet,
    PidsLimit: limits.pids,
  };
}

function machine(facts: SystemFacts): object {
  return {
    KernelVersion: facts.kernelVersion,
    OperatingSystem: facts.operatingSystem,
    OSVersion: facts.osVersion,
    OSType: "linux",
    Architecture: MACHINE[facts.arch],
    NCPU: facts.cpus,
    MemTotal: facts.memoryBytes,
    Name: facts.hostname,
  };
}

function registry(config: Pick<Config, "insecureRegistries" | "registryMirrors">): object {
  const isRange = (entry: string): boolean => /^[0-9a-f.:]+\/\d+$/i.test(entry);
  const mirrors = config.registryMirrors.map((mirror) => (mirror.endsWith("/") ? mirror : `${mirror}/`));
  const insecure = config.insecureRegistries.filter((entry) => !isRange(entry));
  return {
    IndexServerAddress: INDEX_SERVER,
    RegistryConfig: {
      // Registries on this machine's loopback need no TLS, as under Docker.
      InsecureRegistryCIDRs: ["::1/128", "127.0.0.0/8", ...config.insecureRegistries.filter(isRange)],
      IndexConfigs: {
        [INDEX_NAME]: { Name: INDEX_NAME, Mirrors: mirrors, Secure: true, Official: true },
        ...Object.fromEntries(insecure.map((Name) => [Name, { Name, Mirrors: [], Secure: false, Official: false }])),
      },
      Mirrors: mirrors,
    },
  };
}

function runtime(facts: SystemFacts, config: Pick<Config, "defaultRuntime" | "initPath">, version: ApiVersion): object {
  // COMPAT: `Expected` went with 1.49.
  const commit = (ID: string): object => (isAtLeast(version, 49) ? { ID } : { ID, Expected: ID });
  return {
    Runtimes: Object.fromEntries(RUNTIMES.map((name) => [name, { path: name }])),
    DefaultRuntime: config.defaultRuntime,
    InitBinary: config.initPath || BUILT_IN_INIT,
    // One executable is all three.
    ContainerdCommit: commit(facts.gitCommit),
    RuncCommit: commit(facts.gitCommit),
    InitCommit: commit(facts.gitCommit),
  };
}

/** COMPAT: Docker's sentences; `docker info` prints them as they are. */
function warnings({ cgroupVersion, isIPv4Forwarding, limits, warnings: others }: SystemFacts): string[] {
  const missing: (readonly [isThere: boolean, sentence: string])[] = [
    [limits.memory, "WARNING: No memory limit support"],
    [limits.swap, "WARNING: No swap limit support"],
    // cgroup v2 has no such switch: nothing is missing there.
    [limits.oomKillDisable || cgroupVersion === 2, "WARNING: No oom kill disable support"],
    [limits.cpuPeriod, "WARNING: No cpu cfs period support"],
    [limits.cpuQuota, "WARNING: No cpu cfs quota support"],
    [limits.cpuShares, "WARNING: No cpu shares support"],
    [limits.cpuSet, "WARNING: No cpuset support"],
    [limits.pids, "WARNING: No pids limit support"],
    [isIPv4Forwarding, "WARNING: IPv4 forwarding is disabled"],
  ];
  return [...missing.filter(([isThere]) => !isThere).map(([, sentence]) => sentence), ...others];
}
