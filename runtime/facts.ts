// What this kernel and this machine offer, read from /proc and /sys once at start. The parsers are pure; a file that is not
// there means that the feature is not there.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { ownUnifiedPath, USED_V1, USED_V2 } from "./cgroup/place.ts";
import type { HostFacts } from "./mod.ts";
import { hostArch } from "./sys/arch.ts";

export function readHostFacts(): HostFacts {
  const cgroups = findControllers(readOr("/proc/self/mountinfo", ""), (mount) =>
    readOr(`${mount}/cgroup.controllers`, ""),
  );
  const cpuList = readOr("/sys/devices/system/cpu/online", "0").trim();
  const allowed = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readOr("/proc/self/status", ""))?.[1] ?? cpuList;
  return {
    kernelVersion: release(),
    arch: hostArch(),
    cgroupVersion: cgroups.version,
    controllers: cgroups.controllers,
    cpus: parseCpuList(allowed).length || 1,
    cpuList,
    // A kernel without NUMA has the one node 0 and no directory for it.
    memoryNodes: readOr("/sys/devices/system/node/online", "0").trim(),
    memoryBytes: Number(/^MemTotal:\s*(\d+) kB$/m.exec(readOr("/proc/meminfo", ""))?.[1] ?? 0) * 1024,
    hasSeccomp: readOr("/proc/sys/kernel/seccomp/actions_avail", "").includes("errno"),
    // Without securityfs nobody can tell which profiles are loaded, or load one.
    hasAppArmor:
      readOr("/sys/module/apparmor/parameters/enabled", "").startsWith("Y") &&
      existsSync("/sys/kernel/security/apparmor"),
    hasUserNamespaces:
      existsSync("/proc/self/ns/user") && Number(readOr("/proc/sys/user/max_user_namespaces", "0")) > 0,
    hasSwapAccounting: hasSwapAccounting(cgroups),
    hasRealtimeGroups: hasRealtimeGroups(cgroups),
    hasIOWeight: hasIOWeight(cgroups),
    hasIPv6: existsSync("/proc/net/if_inet6"),
  };
}

interface Cgroups {
  version: 1 | 2;
  controllers: ReadonlyMap<string, string>;
}

/**
 * The cgroup mounts among the lines of /proc/self/mountinfo. A hybrid machine (v1 controllers beside a unified mount that
 * has none) counts as v1. `readControllers` gives cgroup.controllers of the unified mount.
 *
 *   35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
 */
export function findControllers(mountinfo: string, readControllers: (mount: string) => string): Cgroups {
  const v1 = new Map<string, string>();
  let unified: string | null = null;
  for (const line of mountinfo.split("\n")) {
    const [left = "", right = ""] = line.split(" - ");
    const mount = unescapeMount(left.split(" ")[4] ?? "");
    const [type, , options = ""] = right.split(" ");
    if (type === "cgroup2") unified ??= mount;
    if (type !== "cgroup") continue;
    for (const option of options.split(",")) {
      // The same hierarchy may be mounted more than once; the first is the machine's own.
      if ((USED_V1 as readonly string[]).includes(option) && !v1.has(option)) v1.set(option, mount);
    }
  }
  if (v1.size > 0 || unified === null) return { version: 1, controllers: v1 };
  const available = readControllers(unified).split(/\s+/);
  const mount = unified;
  return {
    version: 2,
    controllers: new Map(USED_V2.filter((name) => available.includes(name)).map((name) => [name, mount])),
  };
}

/** mountinfo writes space, tab, newline and backslash as octal. */
export function unescapeMount(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

/** `0-2,5` to its numbers; parts of another form are passed over. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(",")
    .flatMap((part) => {
      const match = /^(\d+)(?:-(\d+))?$/.exec(part);
      if (!match) return [];
      const first = Number(match[1]),
        last = Number(match[2] ?? match[1]);
      return Array.from({ length: Math.max(last - first + 1, 0) }, (_, index) => first + index);
    });
}

function hasSwapAccounting({ version, controllers }: Cgroups): boolean {
  const mount = controllers.get("memory");
  if (mount === undefined) return false;
  if (version === 1) return existsSync(`${mount}/memory.memsw.limit_in_bytes`);
  // The root cgroup has no limits of its own, so one with the memory controller is looked at: ours, or a first-level one.
  const own = ownUnifiedPath(readOr("/proc/self/cgroup", "")) ?? "/";
  const children = readdirSync(mount, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `/${entry.name}`);
  for (const path of [own, ...children]) {
    if (existsSync(`${mount}${path}/memory.max`)) return existsSync(`${mount}${path}/memory.swap.max`);
  }
  return !/\bswapaccount=0\b/.test(readOr("/proc/cmdline", ""));
}

function hasRealtimeGroups({ version, controllers }: Cgroups): boolean {
  const mount = controllers.get("cpu");
  return version === 1 && mount !== undefined && existsSync(`${mount}/cpu.rt_runtime_us`);
}

/** The root cgroup has no weight of its own, so any below it is looked at; where there is none, whether BFQ is loaded. */
function hasIOWeight({ version, controllers }: Cgroups): boolean {
  const mount = controllers.get(version === 1 ? "blkio" : "io");
  if (mount === undefined) return false;
  const files = version === 1 ? ["blkio.weight", "blkio.bfq.weight"] : ["io.weight", "io.bfq.weight"];
  const isInControl = (directory: string): boolean =>
    version === 1 || readOr(`${directory}/cgroup.controllers`, "").split(/\s+/).includes("io");
  const child = readdirSync(mount, { withFileTypes: true }).find(
    (entry) => entry.isDirectory() && isInControl(`${mount}/${entry.name}`),
  );
  if (child) return files.some((file) => existsSync(`${mount}/${child.name}/${file}`));
  return schedulers().some((text) => /\bbfq\b/.test(text)) || existsSync(`${mount}/io.cost.qos`);
}

/** What each disk can be run by: `[none] mq-deadline bfq`. */
function schedulers(): string[] {
  if (!existsSync("/sys/block")) return [];
  return readdirSync("/sys/block").map((disk) => readOr(`/sys/block/${disk}/queue/scheduler`, ""));
}

function readOr(path: string, absent: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return absent;
  }
}
