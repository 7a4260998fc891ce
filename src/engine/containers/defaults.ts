// What a container gets that its request left out: from the image, and from the engine. Pure.
import type { ContainerConfig, HealthConfig } from "../../schema/container.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import { invalid } from "../../errors.ts";
import type { ImageConfig } from "../mod.ts";
import { shortID } from "../ids.ts";

export const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Masked and read-only paths of every container that asks for nothing else. */
export const MASKED_PATHS = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
] as const;
export const READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"] as const;

/** The request's configuration with what the image says where the request is silent. */
export function mergeImageConfig(config: ContainerConfig, image: ImageConfig): ContainerConfig {
  const { entrypoint, cmd } = mergeCommand(config, image);
  return {
    ...config,
    User: config.User || (image.User ?? ""),
    ExposedPorts: mergeKeys(image.ExposedPorts, config.ExposedPorts),
    Env: withPath(mergeEnv(config.Env, image.Env ?? [])),
    Cmd: cmd,
    Entrypoint: entrypoint,
    Healthcheck: mergeHealth(config.Healthcheck, image.Healthcheck),
    Volumes: mergeKeys(image.Volumes, config.Volumes),
    WorkingDir: cleanPath(config.WorkingDir || (image.WorkingDir ?? "")),
    Labels: { ...image.Labels, ...config.Labels },
    StopSignal: config.StopSignal || (image.StopSignal ?? ""),
    Shell: config.Shell.length > 0 ? config.Shell : (image.Shell ?? []),
    OnBuild: [],
  };
}

/** A given entrypoint drops the image's command; an entrypoint of one empty word means none at all. */
function mergeCommand(
  config: ContainerConfig,
  image: ImageConfig,
): { entrypoint: string[] | null; cmd: string[] | null } {
  let entrypoint = config.Entrypoint;
  let cmd = config.Cmd;
  if (entrypoint === null || entrypoint.length === 0) {
    if (cmd === null || cmd.length === 0) cmd = image.Cmd ?? null;
    if (entrypoint === null) entrypoint = image.Entrypoint ?? null;
  }
  if (entrypoint?.length === 1 && entrypoint[0] === "") entrypoint = null;
  return { entrypoint, cmd };
}

/** Sets, as Go writes them: only the keys say something. */
function mergeKeys(
  image: Record<string, object> | undefined,
  own: Record<string, object>,
): Record<string, Record<string, unknown>> {
  return Object.fromEntries([...Object.keys(image ?? {}), ...Object.keys(own)].map((key) => [key, {}]));
}

/** argv[0] and the rest. */
export function commandOf(config: ContainerConfig): { path: string; args: string[] } {
  const [path, ...args] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  if (path === undefined) throw invalid("no command specified");
  return { path, args };
}

function mergeEnv(own: readonly string[], image: readonly string[]): string[] {
  const keys = new Set(own.map(envKey));
  return [...own, ...image.filter((entry) => !keys.has(envKey(entry)))];
}

function withPath(env: string[]): string[] {
  return env.some((entry) => envKey(entry) === "PATH") ? env : [...env, DEFAULT_PATH];
}

export function envKey(entry: string): string {
  const at = entry.indexOf("=");
  return at < 0 ? entry : entry.slice(0, at);
}

function mergeHealth(own: HealthConfig | null, image: ImageConfig["Healthcheck"]): HealthConfig | null {
  if (own === null && image === undefined) return null;
  return {
    Test: own?.Test.length ? own.Test : (image?.Test ?? []),
    Interval: own?.Interval || (image?.Interval ?? 0),
    Timeout: own?.Timeout || (image?.Timeout ?? 0),
    Retries: own?.Retries || (image?.Retries ?? 0),
    StartPeriod: own?.StartPeriod || (image?.StartPeriod ?? 0),
    StartInterval: own?.StartInterval || (image?.StartInterval ?? 0),
  };
}

/** `/a//b/../c/` to `/a/c`; "" stays. */
function cleanPath(path: string): string {
  if (!path.startsWith("/")) return path;
  const kept: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") kept.pop();
    else if (part !== "" && part !== ".") kept.push(part);
  }
  return `/${kept.join("/")}`;
}

export interface EngineDefaults {
  cgroupVersion: 1 | 2;
  shmSizeBytes: number;
  logDriver: string;
  logOptions: Readonly<Record<string, string>>;
  usesInit: boolean;
  runtime: string;
  /** Those that exist here beyond MASKED_PATHS. */
  maskedPaths: readonly string[];
  ipcMode: string;
  /** "": by the version of cgroups. */
  cgroupnsMode: string;
}

/** The host configuration as inspect shows it: every default filled in. */
export function fillHostConfig(given: HostConfig, defaults: EngineDefaults): HostConfig {
  const logType = given.LogConfig.Type || defaults.logDriver;
  const isDefaultLog = logType === defaults.logDriver;
  return {
    ...given,
    NetworkMode: given.NetworkMode === "" || given.NetworkMode === "default" ? "bridge" : given.NetworkMode,
    ShmSize: given.ShmSize || defaults.shmSizeBytes,
    IpcMode: given.IpcMode || defaults.ipcMode,
    CgroupnsMode: given.CgroupnsMode || cgroupnsMode(given, defaults),
    RestartPolicy: { ...given.RestartPolicy, Name: given.RestartPolicy.Name || "no" },
    LogConfig: {
      Type: logType,
      Config: isDefaultLog ? { ...defaults.logOptions, ...given.LogConfig.Config } : given.LogConfig.Config,
    },
    Runtime: given.Runtime || defaults.runtime,
    ConsoleSize: given.ConsoleSize.length === 2 ? given.ConsoleSize : [0, 0],
    Init: given.Init ?? (defaults.usesInit ? true : null),
    MemorySwap: given.MemorySwap === 0 && given.Memory > 0 ? given.Memory * 2 : given.MemorySwap,
    MemorySwappiness: given.MemorySwappiness === -1 ? null : given.MemorySwappiness,
    OomKillDisable: given.OomKillDisable ?? (defaults.cgroupVersion === 1 ? false : null),
    PidsLimit: given.PidsLimit === null || given.PidsLimit <= 0 ? null : given.PidsLimit,
    MaskedPaths: given.Privileged ? null : (given.MaskedPaths ?? [...MASKED_PATHS, ...defaults.maskedPaths]),
    ReadonlyPaths: given.Privileged ? null : (given.ReadonlyPaths ?? [...READONLY_PATHS]),
  };
}

/** COMPAT: privileged containers see the whole hierarchy where it is of version 1. */
function cgroupnsMode({ Privileged }: HostConfig, { cgroupVersion, cgroupnsMode: chosen }: EngineDefaults): string {
  if (Privileged && cgroupVersion === 1) return "host";
  return chosen || (cgroupVersion === 2 ? "private" : "host");
}

/** The name of the machine inside: as asked, or the short ID, or the host's own on the host's network. */
export function hostnameOf(config: ContainerConfig, hostConfig: HostConfig, id: string, hostName: string): string {
  if (config.Hostname !== "") return config.Hostname;
  if (hostConfig.NetworkMode === "host" || hostConfig.UTSMode === "host") return hostName;
  if (hostConfig.NetworkMode.startsWith("container:")) return "";
  return shortID(id);
}
