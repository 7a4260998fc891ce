// Limits to file writes: what cgroup.ts writes where, in which order, for cgroup v1 and v2. Pure. The names and units are
// those of the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
import type { OciResources, OciThrottle } from "../bundle.ts";

/** Values for one control file, each written by a write(2) of its own. */
export interface CgroupWrite {
  controller: string;
  file: string;
  values: readonly string[];
  /** Written where `file` does not exist: kernels name some limits differently, with a scale of their own. */
  otherwise?: { file: string; values: readonly string[] };
  /** Where neither exists: what to tell the user. Without it the limit was asked for and its absence is an error. */
  ifMissing?: string;
}

export interface ResourcePlan {
  writes: CgroupWrite[];
  /** What was asked for and has no meaning on this cgroup version. */
  warnings: string[];
}

/** The memory limits in force, for the order of an update; null: unlimited. */
export interface MemoryInForce {
  limit: number | null;
  /** Memory and swap together. */
  total: number | null;
}

const UNLIMITED: MemoryInForce = { limit: null, total: null };

// COMPAT: the words the Docker CLI shows on create and update.
const NO_SWAP_LIMIT =
  "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.";
const NO_SWAPPINESS =
  "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.";
const NO_OOM_KILL_DISABLE = "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
const NO_REALTIME = "cgroup v2 has no real-time CPU limits. CPU real-time runtime and period discarded.";
const NO_WEIGHT = "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.";
const NO_WEIGHT_DEVICE =
  "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.";

/** Absent limits are left as they are. Device rules are not here: see devices.ts. */
export function planResources(
  resources: OciResources,
  version: 1 | 2,
  inForce: MemoryInForce = UNLIMITED,
): ResourcePlan {
  return version === 1 ? planV1(resources, inForce) : planV2(resources, inForce);
}

function planV1(resources: OciResources, inForce: MemoryInForce): ResourcePlan {
  const writes: CgroupWrite[] = [];
  const { memory = {}, cpu = {}, blockIO = {} } = resources;
  const limit = single("memory", "memory.limit_in_bytes", given(memory.limit));
  const total = single("memory", "memory.memsw.limit_in_bytes", given(memory.swap), NO_SWAP_LIMIT);
  // WHY: the kernel keeps limit <= total at every moment, so what grows is written from the top, what shrinks from below.
  writes.push(...(growsTotal(given(memory.swap), inForce.total) ? [...total, ...limit] : [...limit, ...total]));
  writes.push(
    ...single("memory", "memory.soft_limit_in_bytes", given(memory.reservation)),
    ...single("memory", "memory.swappiness", memory.swappiness, NO_SWAPPINESS),
    ...single("memory", "memory.oom_control", memory.disableOOMKiller ? 1 : undefined, NO_OOM_KILL_DISABLE),
    ...single("cpu", "cpu.shares", given(cpu.shares)),
    ...single("cpu", "cpu.rt_period_us", given(cpu.realtimePeriod)),
    ...single("cpu", "cpu.rt_runtime_us", given(cpu.realtimeRuntime)),
    ...single("cpu", "cpu.cfs_period_us", given(cpu.period)),
    ...single("cpu", "cpu.cfs_quota_us", given(cpu.quota)),
    ...single("cpuset", "cpuset.cpus", given(cpu.cpus)),
    ...single("cpuset", "cpuset.mems", given(cpu.mems)),
    ...single("pids", "pids.max", resources.pids && countOrMax(resources.pids.limit)),
  );
  if (blockIO.weight) {
    const values = [String(blockIO.weight)];
    const otherwise = { file: "blkio.bfq.weight", values };
    writes.push({ controller: "blkio", file: "blkio.weight", values, otherwise, ifMissing: NO_WEIGHT });
  }
  if (blockIO.weightDevice?.length) {
    const values = blockIO.weightDevice.map((device) => `${device.major}:${device.minor} ${device.weight}`);
    const otherwise = { file: "blkio.bfq.weight_device", values };
    writes.push({ controller: "blkio", file: "blkio.weight_device", values, otherwise, ifMissing: NO_WEIGHT_DEVICE });
  }
  for (const [name, rules] of throttles(resources)) {
    const values = rules.map((rule) => `${rule.major}:${rule.minor} ${rule.rate}`);
    writes.push({ controller: "blkio", file: `blkio.throttle.${THROTTLE_V1[name]}`, values });
  }
  return { writes, warnings: [] };
}

/** One value for one file, or nothing where none is asked for. */
function single(
  controller: string,
  file: string,
  value: number | string | undefined,
  ifMissing?: string,
): CgroupWrite[] {
  if (value === undefined) return [];
  return [{ controller, file, values: [String(value)], ...(ifMissing === undefined ? {} : { ifMissing }) }];
}

/** Zero and "" mean "not asked for" in the Engine API and in the runtime-spec alike. */
function given<Value extends number | string>(value: Value | undefined): Value | undefined {
  return value === 0 || value === "" ? undefined : value;
}

function growsTotal(wanted: number | undefined, inForce: number | null): boolean {
  if (wanted === undefined || inForce === null) return false;
  return wanted < 0 || wanted > inForce;
}

function planV2(resources: OciResources, inForce: MemoryInForce): ResourcePlan {
  const writes: CgroupWrite[] = [];
  const warnings: string[] = [];
  const { memory = {}, cpu = {}, blockIO = {} } = resources;
  const swap = given(memory.swap);
  writes.push(
    ...single("memory", "memory.max", bytesOrMax(given(memory.limit))),
    ...single("memory", "memory.swap.max", swap && swapAlone(swap, given(memory.limit), inForce), NO_SWAP_LIMIT),
    ...single("memory", "memory.low", bytesOrMax(given(memory.reservation))),
    ...single("cpu", "cpu.weight", cpu.shares ? weightFromShares(cpu.shares) : undefined),
    ...single("cpu", "cpu.max", cpuMax(given(cpu.quota), given(cpu.period))),
    ...single("cpuset", "cpuset.cpus", given(cpu.cpus)),
    ...single("cpuset", "cpuset.mems", given(cpu.mems)),
    ...single("pids", "pids.max", resources.pids && countOrMax(resources.pids.limit)),
  );
  if (memory.swappiness !== undefined) warnings.push(NO_SWAPPINESS);
  if (memory.disableOOMKiller) warnings.push(NO_OOM_KILL_DISABLE);
  if (cpu.realtimePeriod || cpu.realtimeRuntime) warnings.push(NO_REALTIME);
  if (blockIO.weight) writes.push(weightWrite("default", blockIO.weight, NO_WEIGHT));
  for (const { major, minor, weight } of blockIO.weightDevice ?? []) {
    writes.push(weightWrite(`${major}:${minor}`, weight, NO_WEIGHT_DEVICE));
  }
  const limits = throttles(resources).flatMap(([name, rules]) =>
    rules.map(({ major, minor, rate }) => `${major}:${minor} ${THROTTLE_V2[name]}=${rate || "max"}`),
  );
  if (limits.length > 0) writes.push({ controller: "io", file: "io.max", values: limits });
  return { writes, warnings };
}

/** io.bfq.weight exists where BFQ runs a disk, and takes Docker's range as it is; io.weight goes from 1 to 10000. */
function weightWrite(target: string, weight: number, ifMissing: string): CgroupWrite {
  const scaled = 1 + Math.floor(((weight - 10) * 9999) / 990);
  const otherwise = { file: "io.weight", values: [`${target} ${scaled}`] };
  return { controller: "io", file: "io.bfq.weight", values: [`${target} ${weight}`], otherwise, ifMissing };
}

/** v2 counts swap alone, Docker and v1 count memory and swap together. */
function swapAlone(total: number, limit: number | undefined, inForce: MemoryInForce): string {
  if (total < 0) return "max";
  const memory = limit ?? inForce.limit;
  if (memory === null || memory < 0) throw new RangeError("a swap limit needs a memory limit");
  if (total < memory) throw new RangeError(`a swap limit of ${total} bytes is below the memory limit of ${memory}`);
  return String(total - memory);
}

/**
 * CPU shares (2 to 262144, 1024 is normal) to a weight (1 to 10000, 100 is normal): the curve through these three points
 * that newer runc draws too, so that a container of the default shares competes evenly with everything else.
 */
export function weightFromShares(shares: number): number {
  const log = Math.log2(Math.min(Math.max(shares, 2), 262144));
  const exponent = (log * log + 125 * log) / 612 - 7 / 34;
  // Minus a hair, for 10 ** 2 must stay 100 where the sum above is 2.0000000000000004.
  return Math.min(Math.max(Math.ceil(10 ** exponent - 1e-6), 1), 10000);
}

/** cpu.max is `quota period`, and keeps its period where only the quota is written. */
function cpuMax(quota: number | undefined, period: number | undefined): string | undefined {
  if (quota === undefined && period === undefined) return undefined;
  const head = quota === undefined || quota < 0 ? "max" : String(quota);
  return period === undefined ? head : `${head} ${period}`;
}

const bytesOrMax = (bytes: number | undefined) => (bytes === undefined || bytes >= 0 ? bytes : "max");
const countOrMax = (count: number): string => (count <= 0 ? "max" : String(count));

type Throttle = "readBytes" | "writeBytes" | "readOps" | "writeOps";
const THROTTLE_V1: Record<Throttle, string> = {
  readBytes: "read_bps_device",
  writeBytes: "write_bps_device",
  readOps: "read_iops_device",
  writeOps: "write_iops_device",
};
const THROTTLE_V2: Record<Throttle, string> = {
  readBytes: "rbps",
  writeBytes: "wbps",
  readOps: "riops",
  writeOps: "wiops",
};

function throttles({ blockIO = {} }: OciResources): [Throttle, OciThrottle[]][] {
  const all: [Throttle, OciThrottle[] | undefined][] = [
    ["readBytes", blockIO.throttleReadBpsDevice],
    ["writeBytes", blockIO.throttleWriteBpsDevice],
    ["readOps", blockIO.throttleReadIOPSDevice],
    ["writeOps", blockIO.throttleWriteIOPSDevice],
  ];
  return all.flatMap(([name, rules]): [Throttle, OciThrottle[]][] => (rules?.length ? [[name, rules]] : []));
}
