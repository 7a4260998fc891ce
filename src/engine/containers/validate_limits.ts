// Limits as create and update check them: what is refused, and what this kernel cannot do and is dropped with a warning.
// Pure; the texts are Docker's.
import type { HostFacts } from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";
import type { Resources } from "../../schema/host_config.ts";

const MIN_MEMORY_BYTES = 6 << 20;
const MIN_CFS_PERIOD_US = 1_000;
const MAX_CFS_PERIOD_US = 1_000_000;

export type LimitFacts = Pick<
  HostFacts,
  | "cgroupVersion"
  | "controllers"
  | "cpus"
  | "cpuList"
  | "memoryNodes"
  | "hasSwapAccounting"
  | "hasRealtimeGroups"
  | "hasIOWeight"
>;

/** The limits that can be kept, and a warning for each that cannot. `isUpdate`: what is zero is left as it is. */
export function validateLimits<R extends Resources>(
  given: R,
  facts: LimitFacts,
  isUpdate = false,
): { limits: R; warnings: string[] } {
  const limits = { ...given };
  const warnings: string[] = [];
  checkMemory(limits, facts, warnings, isUpdate);
  checkCPU(limits, facts, warnings);
  checkRealtime(limits, facts);
  dropWindowsLimits(limits, warnings);
  checkCpuset(limits, facts, warnings);
  if (limits.PidsLimit !== null && limits.PidsLimit > 0 && !facts.controllers.has("pids")) {
    warnings.push(
      "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
    );
    limits.PidsLimit = null;
  }
  checkBlockIO(limits, facts, warnings);
  return { limits, warnings };
}

function checkMemory(limits: Resources, facts: LimitFacts, warnings: string[], isUpdate: boolean): void {
  if (limits.Memory !== 0 && limits.Memory < MIN_MEMORY_BYTES) throw invalid("Minimum memory limit allowed is 6MB");
  const hasMemory = facts.controllers.has("memory");
  if (limits.Memory > 0 && !hasMemory) {
    warnings.push(
      "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    );
    limits.Memory = 0;
    limits.MemorySwap = -1;
  }
  if (limits.Memory > 0 && limits.MemorySwap !== -1 && !facts.hasSwapAccounting) {
    warnings.push(
      "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
    );
    limits.MemorySwap = -1;
  }
  if (limits.Memory > 0 && limits.MemorySwap > 0 && limits.MemorySwap < limits.Memory) {
    throw invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
  }
  if (limits.Memory === 0 && limits.MemorySwap > 0 && !isUpdate) {
    throw invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
  }
  const swappiness = limits.MemorySwappiness;
  if (swappiness !== null && swappiness !== -1) {
    if (swappiness < 0 || swappiness > 100) {
      throw invalid(`Invalid value: ${swappiness}, valid memory swappiness range is 0-100`);
    }
    if (facts.cgroupVersion === 2 || !hasMemory) {
      warnings.push(
        "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
      );
      limits.MemorySwappiness = null;
    }
  }
  checkReservation(limits, hasMemory, warnings);
  dropKernelMemory(limits, warnings);
  if (facts.cgroupVersion === 2 || !hasMemory) {
    if (limits.OomKillDisable) warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
    limits.OomKillDisable = null;
  }
  if (limits.OomKillDisable && limits.Memory === 0) {
    warnings.push(
      "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
    );
  }
}

function checkReservation(limits: Resources, hasMemory: boolean, warnings: string[]): void {
  if (limits.MemoryReservation === 0) return;
  if (limits.MemoryReservation < MIN_MEMORY_BYTES) throw invalid("Minimum memory reservation allowed is 6MB");
  if (limits.Memory > 0 && limits.Memory < limits.MemoryReservation) {
    throw invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
  }
  if (hasMemory) return;
  warnings.push(
    "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
  );
  limits.MemoryReservation = 0;
}

/** COMPAT: only clients below API 1.42 can still ask for these; kernels take neither limit since 5.4 (and TCP's since 6.13). */
function dropKernelMemory(limits: Resources, warnings: string[]): void {
  const discard = (what: string): void => {
    warnings.push(
      `Your kernel does not support ${what} limit capabilities or the cgroup is not mounted. Limitation discarded.`,
    );
  };
  if (limits.KernelMemory > 0) discard("kernel memory");
  if (limits.KernelMemoryTCP > 0) discard("kernel memory TCP");
  limits.KernelMemory = 0;
  limits.KernelMemoryTCP = 0;
}

function checkRealtime({ CpuRealtimePeriod, CpuRealtimeRuntime }: Resources, facts: LimitFacts): void {
  if (CpuRealtimePeriod === 0 && CpuRealtimeRuntime === 0) return;
  if (CpuRealtimePeriod < 0) throw invalid(`invalid CPU real-time period (${CpuRealtimePeriod}): it is negative`);
  if (!facts.hasRealtimeGroups) throw invalid("kernel does not support CPU real-time scheduler");
  if (CpuRealtimePeriod !== 0 && CpuRealtimeRuntime > CpuRealtimePeriod) {
    throw invalid("cpu real-time runtime cannot be higher than cpu real-time period");
  }
}

/** Limits of Windows containers. COMPAT: Docker's words for those it does not pass over in silence. */
function dropWindowsLimits(limits: Resources, warnings: string[]): void {
  if (limits.IOMaximumBandwidth !== 0 || limits.IOMaximumIOps !== 0) {
    throw invalid("Invalid QoS settings: linux does not support Maximum IO Bandwidth or Maximum IO IOps");
  }
  if (limits.CpuPercent > 0) warnings.push("linux does not support CPU percent. Percent discarded.");
  if (limits.CpuCount > 0) warnings.push("linux does not support CPU count. Count discarded.");
  limits.CpuPercent = 0;
  limits.CpuCount = 0;
}

function checkCPU(limits: Resources, facts: LimitFacts, warnings: string[]): void {
  if (limits.NanoCpus !== 0) {
    if (limits.CpuPeriod > 0) throw invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    if (limits.CpuQuota > 0) throw invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    if (!facts.controllers.has("cpu")) {
      throw invalid(
        "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
      );
    }
    if (limits.NanoCpus < 10_000_000 || limits.NanoCpus > facts.cpus * 1e9) {
      throw invalid(`range of CPUs is from 0.01 to ${facts.cpus}.00, as there are only ${facts.cpus} CPUs available`);
    }
  }
  if (limits.CpuShares < 0) {
    throw invalid(`invalid CPU shares (${limits.CpuShares}): value must be a positive integer`);
  }
  if (limits.CpuPeriod !== 0 && (limits.CpuPeriod < MIN_CFS_PERIOD_US || limits.CpuPeriod > MAX_CFS_PERIOD_US)) {
    throw invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
  }
  if (limits.CpuQuota > 0 && limits.CpuQuota < MIN_CFS_PERIOD_US) {
    throw invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  }
  if (facts.controllers.has("cpu")) return;
  if (limits.CpuShares > 0) {
    warnings.push("Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.");
    limits.CpuShares = 0;
  }
  if (limits.CpuPeriod !== 0 || limits.CpuQuota !== 0) {
    warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
    limits.CpuPeriod = 0;
    limits.CpuQuota = 0;
  }
}

function checkCpuset(limits: Resources, facts: LimitFacts, warnings: string[]): void {
  if (limits.CpusetCpus === "" && limits.CpusetMems === "") return;
  if (!facts.controllers.has("cpuset")) {
    warnings.push("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.");
    limits.CpusetCpus = "";
    limits.CpusetMems = "";
    return;
  }
  checkAvailable("CPUs", "cpus", limits.CpusetCpus, facts.cpuList);
  checkAvailable("memory nodes", "mems", limits.CpusetMems, facts.memoryNodes);
}

function checkAvailable(what: string, file: string, wanted: string, available: string): void {
  if (wanted === "") return;
  const asked = parseCpuList(wanted);
  if (asked === null) throw invalid(`Invalid value ${wanted} for cpuset ${file}`);
  const there = parseCpuList(available) ?? new Set();
  if ([...asked].every((number) => there.has(number))) return;
  throw invalid(`Requested ${what} are not available - requested ${wanted}, available: ${available}`);
}

/** More CPUs than any machine has; a list is a set of small numbers. */
const MAX_CPU = 8192;

/** `0-3,7` as the kernel writes it (cpuset(7), List format). null: not such a list. */
export function parseCpuList(text: string): Set<number> | null {
  const numbers = new Set<number>();
  for (const part of text.trim().split(",")) {
    const range = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (!range) return null;
    const first = Number(range[1]);
    const last = Number(range[2] ?? range[1]);
    if (last < first || last > MAX_CPU) return null;
    for (let number = first; number <= last; number++) numbers.add(number);
  }
  return numbers;
}

function checkBlockIO(limits: Resources, facts: LimitFacts, warnings: string[]): void {
  if (limits.BlkioWeight !== 0 && (limits.BlkioWeight < 10 || limits.BlkioWeight > 1000)) {
    throw invalid("Range of blkio weight is from 10 to 1000");
  }
  for (const device of limits.BlkioWeightDevice) {
    if (device.Weight !== 0 && (device.Weight < 10 || device.Weight > 1000)) {
      throw invalid("Range of blkio weight is from 10 to 1000");
    }
  }
  for (const [field] of THROTTLES) {
    for (const { Path, Rate } of limits[field]) {
      if (Rate < 0) throw invalid(`invalid rate for device ${Path}: ${Rate}`);
    }
  }
  const hasController = facts.controllers.has(facts.cgroupVersion === 2 ? "io" : "blkio");
  const hasWeight = hasController && facts.hasIOWeight;
  const drop = (isSet: boolean, what: string, clear: () => void): void => {
    if (!isSet) return;
    warnings.push(`Your kernel does not support ${what}`);
    clear();
  };
  drop(limits.BlkioWeight > 0 && !hasWeight, "Block I/O weight or the cgroup is not mounted. Weight discarded.", () => {
    limits.BlkioWeight = 0;
  });
  drop(
    limits.BlkioWeightDevice.length > 0 && !hasWeight,
    "Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
    () => {
      limits.BlkioWeightDevice = [];
    },
  );
  for (const [field, unit, direction] of THROTTLES) {
    const name = unit === "BPS" ? "BPS Block I/O" : "IOPS Block";
    const text = `${name} ${direction} limit or the cgroup is not mounted. Block I/O ${unit} ${direction} limit discarded.`;
    drop(limits[field].length > 0 && !hasController, text, () => {
      limits[field] = [];
    });
  }
}

const THROTTLES = [
  ["BlkioDeviceReadBps", "BPS", "read"],
  ["BlkioDeviceWriteBps", "BPS", "write"],
  ["BlkioDeviceReadIOps", "IOPS", "read"],
  ["BlkioDeviceWriteIOps", "IOPS", "write"],
] as const;
