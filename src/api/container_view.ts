// Our record of a container to what the API shows: inspect and list. Shapes that changed between versions differ here and
// nowhere else.
import { join } from "node:path";
import type { Config } from "../config.ts";
import type { ContainerRecord, MountPoint } from "../engine/containers/container.ts";
import type { HealthReport } from "../engine/containers/health.ts";
import { shownMounts } from "../engine/containers/mounts.ts";
import type { Exit, State } from "../engine/containers/state.ts";
import type { ContainerSizes } from "../engine/mod.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";
import { endpoint, endpointsOf, type NetworkID, networkSettings, portList } from "./container_network_view.ts";
import { humanDuration, since } from "./human_time.ts";

const NEVER = "0001-01-01T00:00:00Z";

export interface ViewContext {
  version: ApiVersion;
  config: Pick<Config, "dataRoot" | "storageDriver">;
  now: Date;
  networkID: NetworkID;
}

interface InspectContext extends ViewContext {
  /** Of a container by its ID; the ID itself once it has gone. */
  containerName: (id: string) => string;
}

/** What inspect shows beyond the record. */
export interface InspectFacts {
  record: ContainerRecord;
  logPath: string;
  execIDs: string[];
  /** null: no health check. */
  health: HealthReport | null;
  sizes: ContainerSizes | null;
  /** Its profile while it runs; "": the kernel has no AppArmor. */
  apparmor: string;
}

export function inspectView(
  { record, logPath, execIDs, health, sizes, apparmor }: InspectFacts,
  context: InspectContext,
): object {
  return {
    Id: record.id,
    Created: record.createdAt,
    Path: record.path,
    Args: record.args,
    State: { ...stateView(record.state), ...healthView(health) },
    Image: record.imageID,
    ...filePaths(record, context.config.dataRoot),
    LogPath: logPath,
    Name: `/${record.name}`,
    RestartCount: record.restartCount,
    Driver: context.config.storageDriver,
    Platform: record.platform.split("/")[0] || "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: record.hasBeenStartedBefore ? apparmor : "",
    ExecIDs: execIDs.length > 0 ? execIDs : null,
    HostConfig: hostConfigView(record, context),
    ...storageView(record, context),
    ...sizesView(sizes),
    Mounts: shownMounts(record).map(mountView),
    Config: configView(record, context.version),
    NetworkSettings: networkSettings(record, context.version, context.networkID),
  };
}

/** The files that the engine binds over /etc; they exist from the first start on. */
function filePaths(record: ContainerRecord, dataRoot: string): object {
  const at = (name: string): string =>
    record.hasBeenStartedBefore ? join(dataRoot, "containers", record.id, name) : "";
  return { ResolvConfPath: at("resolv.conf"), HostnamePath: at("hostname"), HostsPath: at("hosts") };
}

/** From 1.52 `Storage` says it; before, `GraphDriver` with the directories. */
function storageView(record: ContainerRecord, { config, version }: ViewContext): object {
  if (isAtLeast(version, 52)) return { Storage: { RootFS: { Snapshot: { Name: config.storageDriver } } } };
  const directory = join(config.dataRoot, "containers", record.id);
  const pid = pidOf(record.state);
  return {
    GraphDriver: {
      Name: config.storageDriver,
      Data: {
        // The root file system is mounted in the container's own namespace, and can be seen through its process.
        ...(pid > 0 ? { MergedDir: `/proc/${pid}/root` } : {}),
        UpperDir: join(directory, "upper"),
        WorkDir: join(directory, "work"),
      },
    },
  };
}

function sizesView(sizes: ContainerSizes | null): object {
  return sizes === null ? {} : { SizeRw: sizes.rwBytes, SizeRootFs: sizes.rootFsBytes };
}

// ---- state

/** COMPAT: the API's overlapping flags: a paused container is also Running, and so is one that waits for its restart. */
export function stateView(state: State): object {
  const exit = lastExit(state);
  const { status } = state;
  return {
    Status: status,
    Running: status === "running" || status === "paused" || status === "restarting",
    Paused: status === "paused",
    Restarting: status === "restarting",
    OOMKilled: exit?.oomKilled ?? false,
    Dead: status === "dead",
    Pid: pidOf(state),
    ExitCode: exit?.exitCode ?? (status === "created" ? state.exitCode : undefined) ?? 0,
    Error: errorOf(state),
    StartedAt: status === "running" || status === "paused" ? state.startedAt : exit?.startedAt || NEVER,
    FinishedAt: exit?.finishedAt || NEVER,
  };
}

/** COMPAT: absent, not empty, without a health check. */
function healthView(health: HealthReport | null): object {
  if (health === null) return {};
  return { Health: { Status: health.status, FailingStreak: health.failingStreak, Log: health.log } };
}

function lastExit(state: State): Exit | null {
  return "exit" in state ? state.exit : null;
}

function pidOf(state: State): number {
  return state.status === "running" || state.status === "paused" ? state.task.pid : 0;
}

function errorOf(state: State): string {
  if (state.status === "created" || state.status === "dead") return state.error ?? "";
  return lastExit(state)?.error ?? "";
}

function healthText(health: HealthReport | null): string {
  if (health === null) return "";
  return health.status === "starting" ? " (health: starting)" : ` (${health.status})`;
}

/** The `STATUS` column of `docker ps`. */
export function statusText(state: State, now: Date, health: HealthReport | null = null): string {
  const ago = (moment: string): string => humanDuration(since(moment, now));
  switch (state.status) {
    case "created":
      return "Created";
    case "running":
      return `Up ${ago(state.startedAt)}${healthText(health)}`;
    case "paused":
      return `Up ${ago(state.startedAt)} (Paused)`;
    case "restarting":
      return `Restarting (${state.exit.exitCode}) ${ago(state.exit.finishedAt)} ago`;
    case "exited":
      return `Exited (${state.exit.exitCode}) ${ago(state.exit.finishedAt)} ago`;
    case "removing":
      return "Removal In Progress";
    case "dead":
      return "Dead";
  }
}

// ---- configuration

/** As Go's API writes it: what is marked there as `omitempty` is absent when it says nothing. */
function configView(record: ContainerRecord, version: ApiVersion): object {
  const { config } = record;
  return {
    Hostname: config.Hostname,
    Domainname: config.Domainname,
    User: config.User,
    AttachStdin: config.AttachStdin,
    AttachStdout: config.AttachStdout,
    AttachStderr: config.AttachStderr,
    ...ifAny("ExposedPorts", config.ExposedPorts),
    Tty: config.Tty,
    OpenStdin: config.OpenStdin,
    StdinOnce: config.StdinOnce,
    Env: config.Env,
    Cmd: config.Cmd,
    ...(config.Healthcheck === null ? {} : { Healthcheck: healthcheckView(config.Healthcheck) }),
    ...(config.ArgsEscaped ? { ArgsEscaped: true } : {}),
    Image: config.Image,
    Volumes: Object.keys(config.Volumes).length > 0 ? config.Volumes : null,
    WorkingDir: config.WorkingDir,
    Entrypoint: config.Entrypoint,
    ...(config.NetworkDisabled ? { NetworkDisabled: true } : {}),
    ...(isAtLeast(version, 52) ? {} : ifText("MacAddress", legacyMacAddress(record))),
    OnBuild: config.OnBuild.length > 0 ? config.OnBuild : null,
    Labels: config.Labels,
    ...ifText("StopSignal", config.StopSignal),
    ...(config.StopTimeout === null ? {} : { StopTimeout: config.StopTimeout }),
    ...(config.Shell.length > 0 ? { Shell: config.Shell } : {}),
  };
}

/** Below 1.52 the container had one MAC address: what was asked of its main network stands in for it. */
function legacyMacAddress({ config, endpoints, hostConfig }: ContainerRecord): string {
  if (config.MacAddress !== "") return config.MacAddress;
  const main = hostConfig.NetworkMode === "default" ? "bridge" : hostConfig.NetworkMode;
  return (
    endpoints.find(({ networkID, networkName }) => networkName === main || networkID === main)?.settings.MacAddress ??
    ""
  );
}

function healthcheckView(check: NonNullable<ContainerRecord["config"]["Healthcheck"]>): object {
  const given = Object.entries(check).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value !== 0));
  return Object.fromEntries(given);
}

const OMITTED_WHEN_EMPTY: ReadonlySet<string> = new Set([
  "Annotations",
  "Init",
  "KernelMemory",
  "KernelMemoryTCP",
  "Mounts",
  "StorageOpt",
  "Sysctls",
  "Tmpfs",
]);

function hostConfigView(record: ContainerRecord, { containerName }: InspectContext): object {
  const { hostConfig } = record;
  const shown = Object.entries(hostConfig).filter(([name, value]) => !OMITTED_WHEN_EMPTY.has(name) || !isEmpty(value));
  const { MemorySwappiness, ...view } = Object.fromEntries(shown);
  const swappiness = MemorySwappiness === null ? {} : { MemorySwappiness };
  // COMPAT: as Docker names a link, by both containers.
  const Links = hostConfig.Links.map((text) => {
    const [id = "", alias = id] = text.split(":");
    return alias.startsWith("/") ? text : `/${containerName(id)}:/${record.name}/${alias}`;
  });
  return {
    ...view,
    ...swappiness,
    ...(Links.length === 0 ? {} : { Links }),
    OomKillDisable: hostConfig.OomKillDisable ?? false,
  };
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === 0) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function ifAny(name: string, value: Record<string, unknown>): object {
  return Object.keys(value).length > 0 ? { [name]: value } : {};
}

function ifText(name: string, value: string): object {
  return value === "" ? {} : { [name]: value };
}

export function mountView(mount: MountPoint): object {
  return {
    Type: mount.type,
    ...ifText("Name", mount.name),
    Source: mount.source,
    Destination: mount.destination,
    ...ifText("Driver", mount.driver),
    Mode: mount.mode,
    RW: mount.isWritable,
    Propagation: mount.propagation,
  };
}

// ---- list

/** What list shows beyond the record. */
export interface SummaryFacts {
  record: ContainerRecord;
  /** The ID that the image's name stands for now; null when it stands for none. */
  imageNow: string | null;
  /** null: no health check. */
  health: HealthReport | null;
  sizes: ContainerSizes | null;
}

export function summaryView({ imageNow, record, health, sizes }: SummaryFacts, context: ViewContext): object {
  const { now, version } = context;
  const networks = endpointsOf(record, context.networkID).map((each) => [
    each.networkName,
    summaryEndpoint(record, each, version),
  ]);
  return {
    Id: record.id,
    Names: [`/${record.name}`],
    // The name given at create, unless it means another image by now.
    Image: imageNow === null || imageNow === record.imageID ? record.image : record.imageID,
    ImageID: record.imageID,
    Command: commandText(record),
    Created: Math.floor(Date.parse(record.createdAt) / 1000),
    Ports: portList(record),
    ...sizesView(sizes),
    Labels: record.config.Labels,
    State: record.state.status,
    Status: statusText(record.state, now, health),
    HostConfig: {
      NetworkMode: record.hostConfig.NetworkMode,
      ...(isAtLeast(version, 46) ? ifAny("Annotations", record.hostConfig.Annotations) : {}),
    },
    ...(isAtLeast(version, 52)
      ? { Health: { Status: health?.status ?? "none", FailingStreak: health?.failingStreak ?? 0 } }
      : {}),
    NetworkSettings: { Networks: Object.fromEntries(networks) },
    Mounts: shownMounts(record).map(mountView),
  };
}

/** COMPAT: lists leave out names and aliases of an endpoint. */
function summaryEndpoint(
  record: ContainerRecord,
  on: ContainerRecord["endpoints"][number],
  version: ApiVersion,
): object {
  const full = endpoint(record, on, version);
  return { ...full, Aliases: null, Links: null, ...("DNSNames" in full ? { DNSNames: null } : {}) };
}

/** COMPAT: an argument with a space stands in single quotes, and nothing else is quoted. */
export function commandText({ args, path }: Pick<ContainerRecord, "args" | "path">): string {
  return [path, ...args.map((arg) => (arg.includes(" ") ? `'${arg}'` : arg))].join(" ");
}
