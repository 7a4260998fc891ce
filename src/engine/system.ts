// What is true of this machine and this build, as /version and /info tell it. Read fresh on each call where it can change;
// api/system_view.ts gives it the API's shape and adds what the services count.
import { existsSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { hostname } from "node:os";
import process from "node:process";
import type { HostFacts } from "../../runtime/mod.ts";
import type { Config } from "../config.ts";
import type { CdiRegistry } from "./cdi/registry.ts";

export interface SystemDeps {
  config: () => Config;
  facts: HostFacts;
  cdi: CdiRegistry;
  /** src/version.ts. */
  build: { version: string; commit: string; buildTime: string };
  networkDrivers: string[];
  logDrivers: string[];
}

export interface SystemFacts {
  /** A plain semantic version: clients compare it. */
  engineVersion: string;
  gitCommit: string;
  /** RFC 3339, or "" for a build from source. */
  buildTime: string;
  /** What runs us, where Docker names its Go: `bun1.4.5`. */
  builtWith: string;
  hostname: string;
  kernelVersion: string;
  /** From os-release: `Debian GNU/Linux 12 (bookworm)` and `12`. */
  operatingSystem: string;
  osVersion: string;
  arch: "x64" | "arm64";
  cpus: number;
  memoryBytes: number;
  cgroupVersion: 1 | 2;
  cgroupDriver: "cgroupfs";
  limits: LimitSupport;
  isIPv4Forwarding: boolean;
  securityOptions: string[];
  /** Rows of `docker info` under the storage driver. */
  storageStatus: [name: string, value: string][];
  networkDrivers: string[];
  logDrivers: string[];
  openFiles: number;
  proxies: { http: string; https: string; no: string };
  /** By their full names. */
  cdiDevices: string[];
  /** Whole sentences, beyond those about limits. */
  warnings: string[];
}

/** Which limits this kernel can enforce here. */
interface LimitSupport {
  memory: boolean;
  swap: boolean;
  cpuPeriod: boolean;
  cpuQuota: boolean;
  cpuShares: boolean;
  cpuSet: boolean;
  pids: boolean;
  oomKillDisable: boolean;
}

export interface System {
  facts: () => Promise<SystemFacts>;
}

export function createSystem(deps: SystemDeps): System {
  return { facts: () => readFacts(deps) };
}

async function readFacts({ config, facts, cdi, build, networkDrivers, logDrivers }: SystemDeps): Promise<SystemFacts> {
  const current = config();
  const { devices, problems } = cdi.discover(current.cdiSpecDirs);
  const release = parseOSRelease(readOr("/etc/os-release", "") || readOr("/usr/lib/os-release", ""));
  return {
    engineVersion: build.version,
    gitCommit: build.commit,
    buildTime: build.buildTime,
    builtWith: runtimeName(process.versions),
    hostname: hostname(),
    kernelVersion: facts.kernelVersion,
    operatingSystem: describeSystem(release, existsSync("/.dockerenv")),
    osVersion: release["VERSION_ID"] ?? "",
    arch: facts.arch,
    cpus: facts.cpus,
    memoryBytes: facts.memoryBytes,
    cgroupVersion: facts.cgroupVersion,
    cgroupDriver: "cgroupfs",
    limits: limitSupport(facts),
    isIPv4Forwarding: readOr("/proc/sys/net/ipv4/ip_forward", "0").trim() === "1",
    securityOptions: securityOptions(facts, current),
    storageStatus: storageStatus(current),
    networkDrivers,
    logDrivers,
    openFiles: (await readdir("/proc/self/fd")).length,
    proxies: hidePasswords(current.proxies),
    cdiDevices: [...devices.keys()],
    warnings: [
      ...openAPIWarnings(current),
      ...problems.map(({ path, message }) => `CDI: Error associated with spec file ${path}: ${message}`),
    ],
  };
}

/** COMPAT: dockerd says so too when it runs in a container itself. */
function describeSystem(release: Record<string, string>, isContainer: boolean): string {
  const name = release["PRETTY_NAME"] || release["NAME"] || "Linux";
  return isContainer ? `${name} (containerized)` : name;
}

function limitSupport({ controllers, cgroupVersion, hasSwapAccounting }: HostFacts): LimitSupport {
  const hasCPU = controllers.has("cpu"),
    hasMemory = controllers.has("memory");
  return {
    memory: hasMemory,
    swap: hasMemory && hasSwapAccounting,
    cpuPeriod: hasCPU,
    cpuQuota: hasCPU,
    cpuShares: hasCPU,
    cpuSet: controllers.has("cpuset"),
    pids: controllers.has("pids"),
    oomKillDisable: hasMemory && cgroupVersion === 1,
  };
}

function securityOptions(facts: HostFacts, config: Config): string[] {
  const options: string[] = [];
  if (facts.hasAppArmor) options.push("name=apparmor");
  if (facts.hasSeccomp) options.push(`name=seccomp,profile=${config.seccompProfile}`);
  if (config.idMaps) options.push("name=userns");
  options.push("name=cgroupns");
  if (config.noNewPrivileges) options.push("name=no-new-privileges");
  return options;
}

/** COMPAT: Docker's words, which `docker info` prints as they are. */
function openAPIWarnings({ hosts, tls }: Config): string[] {
  if (tls.verifies) return [];
  return hosts
    .filter((host) => host.startsWith("tcp://"))
    .map(
      (host) =>
        `WARNING: API is accessible on ${host.replace("tcp://", tls.isOn ? "https://" : "http://")} without ` +
        "client certificates. Access to the remote API is equivalent to root access on the host.",
    );
}

function storageStatus(config: Config): [string, string][] {
  if (config.storageDriver !== "overlay2") return [];
  return [
    ["Backing Filesystem", fileSystemOf(config.dataRoot)],
    ["Supports d_type", "true"],
    ["Native Overlay Diff", "true"],
  ];
}

/** The type of the file system that holds a path: that of the longest mount point above it. */
function fileSystemOf(path: string): string {
  return findFileSystem(readOr("/proc/self/mountinfo", ""), path) ?? "unknown";
}

export function findFileSystem(mountinfo: string, path: string): string | null {
  let best: { mount: string; type: string } | null = null;
  for (const line of mountinfo.split("\n")) {
    const [left = "", right = ""] = line.split(" - ");
    const mount = left.split(" ")[4] ?? "";
    const isAbove = mount === "/" || path === mount || path.startsWith(`${mount}/`);
    // Of two mounts on one point the later one is seen.
    if (mount !== "" && isAbove && mount.length >= (best?.mount.length ?? 0))
      best = { mount, type: right.split(" ")[0] ?? "" };
  }
  // COMPAT: Docker calls the ext family by one name.
  return best === null ? null : /^ext[234]$/.test(best.type) ? "extfs" : best.type;
}

/** COMPAT: as Docker, the user and password of a proxy's URL are not for everybody who may call /info. */
function hidePasswords(proxies: Config["proxies"]): Config["proxies"] {
  const hide = (text: string): string => text.replace(/^([a-z]+:\/\/)[^@/]*@/i, "$1xxxxx:xxxxx@");
  return { http: hide(proxies.http), https: hide(proxies.https), no: proxies.no };
}

/** os-release(5): shell assignments, quoted where they need it. */
export function parseOSRelease(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split("\n").flatMap((line) => {
      const match = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line.trim());
      if (!match) return [];
      const [, key = "", value = ""] = match;
      const quoted = /^(["'])(.*)\1$/.exec(value);
      return [[key, (quoted?.[2] ?? value).replace(/\\([$"`\\])/g, "$1")]];
    }),
  );
}

function readOr(path: string, absent: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return absent;
  }
}

function runtimeName({ bun, deno, node }: Record<string, string | undefined>): string {
  if (bun !== undefined) return `bun${bun}`;
  return deno === undefined ? `node${node}` : `deno${deno}`;
}
