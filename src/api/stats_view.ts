// One sample of a container's counters as the Engine API shows it. COMPAT: Go leaves out numbers that are zero where the
// field says so, and writes null for lists that a cgroup version does not have; clients tell "unknown" by that.
import type { BlockCounter, CgroupStats } from "../../runtime/mod.ts";
import type { StatsFrame, StatsSample } from "../engine/mod.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";

const NEVER = "0001-01-01T00:00:00Z";
/** What v2 calls "max" and Go the largest number: JavaScript has none such. */
const NO_LIMIT = "18446744073709551615";

/** One line of JSON, with its newline. */
export function statsText({ id, name, sample, previous }: StatsFrame, version: ApiVersion): string {
  const document = {
    name: `/${name}`,
    id,
    ...(isAtLeast(version, 52) ? { os_type: "linux" } : {}),
    read: sample?.readAt ?? NEVER,
    preread: previous?.readAt ?? NEVER,
    pids_stats: pidsStats(sample),
    blkio_stats: blockStats(sample?.counters ?? null),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpuStats(sample),
    precpu_stats: cpuStats(previous),
    memory_stats: memoryStats(sample),
    ...networks(sample),
  };
  // Numbers beyond what JSON.stringify writes to the last digit come as `"#123"`. No name here holds such a thing.
  return `${JSON.stringify(document).replaceAll(/"#(\d+)"/g, "$1")}\n`;
}

function exact(value: number): number | string {
  return Number.isSafeInteger(value) ? value : `#${BigInt(value)}`;
}

/** Without those that are zero. */
function present(values: Readonly<Record<string, number | undefined>>): Record<string, number | string> {
  const kept: Record<string, number | string> = {};
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== 0) kept[name] = exact(value);
  }
  return kept;
}

function pidsStats(sample: StatsSample | null): object {
  if (sample === null) return {};
  const { version, pidsCurrent, pidsLimit } = sample.counters;
  const unlimited = version === 2 ? { limit: `#${NO_LIMIT}` } : {};
  return { ...present({ current: pidsCurrent, limit: pidsLimit ?? 0 }), ...(pidsLimit === null ? unlimited : {}) };
}

/** The files of v1 that tell of queues and times went with the scheduler that counted them. */
function blockStats(counters: CgroupStats | null): object {
  const rest = counters?.version === 1 ? [] : null;
  return {
    io_service_bytes_recursive: counters === null ? null : blockEntries(counters.blockBytes, counters.version),
    io_serviced_recursive: counters?.blockOperations?.map(blockEntry) ?? rest,
    io_queue_recursive: rest,
    io_service_time_recursive: rest,
    io_wait_time_recursive: rest,
    io_merged_recursive: rest,
    io_time_recursive: rest,
    sectors_recursive: rest,
  };
}

function blockEntries(counters: readonly BlockCounter[], version: 1 | 2): object[] | null {
  return version === 2 && counters.length === 0 ? null : counters.map(blockEntry);
}

function blockEntry({ major, minor, op, value }: BlockCounter): object {
  return { major, minor, op, value: exact(value) };
}

function cpuStats(sample: StatsSample | null): object {
  const counters = sample?.counters;
  const throttling = counters?.throttling;
  return {
    cpu_usage: {
      total_usage: exact(counters?.cpuTotalNs ?? 0),
      ...(counters?.perCpuNs ? { percpu_usage: counters.perCpuNs.map(exact) } : {}),
      usage_in_kernelmode: exact(counters?.cpuKernelNs ?? 0),
      usage_in_usermode: exact(counters?.cpuUserNs ?? 0),
    },
    ...present({ system_cpu_usage: sample?.systemCpuNs, online_cpus: sample?.onlineCpus }),
    throttling_data: {
      periods: throttling?.periods ?? 0,
      throttled_periods: throttling?.throttledPeriods ?? 0,
      throttled_time: exact(throttling?.throttledTimeNs ?? 0),
    },
  };
}

function memoryStats(sample: StatsSample | null): object {
  if (sample === null) return {};
  const { counters } = sample;
  const { usage, max_usage, failcnt, limit } = {
    usage: counters.memoryUsage,
    max_usage: counters.version === 1 ? (counters.memoryMaxUsage ?? 0) : 0,
    failcnt: counters.memoryFailCount,
    limit: sample.memoryLimitBytes,
  };
  return {
    ...present({ usage, max_usage }),
    stats: counters.version === 1 ? memoryMapV1(counters.memoryStats) : memoryMapV2(counters.memoryStats),
    ...present({ failcnt, limit }),
  };
}

/** COMPAT: these names and no others, each of them always there, in Go's order of keys. */
const MEMORY_V1 = [
  "active_anon",
  "active_file",
  "cache",
  "dirty",
  "inactive_anon",
  "inactive_file",
  "mapped_file",
  "pgfault",
  "pgmajfault",
  "pgpgin",
  "pgpgout",
  "rss",
  "rss_huge",
  "unevictable",
  "writeback",
];
const MEMORY_V1_LIMITS = ["hierarchical_memory_limit", "hierarchical_memsw_limit"];
const MEMORY_V2 = [
  "active_anon",
  "active_file",
  "anon",
  "anon_thp",
  "file",
  "file_dirty",
  "file_mapped",
  "file_writeback",
  "inactive_anon",
  "inactive_file",
  "kernel_stack",
  "pgactivate",
  "pgdeactivate",
  "pgfault",
  "pglazyfree",
  "pglazyfreed",
  "pgmajfault",
  "pgrefill",
  "pgscan",
  "pgsteal",
  "shmem",
  "slab",
  "slab_reclaimable",
  "slab_unreclaimable",
  "sock",
  "thp_collapse_alloc",
  "thp_fault_alloc",
  "unevictable",
  "workingset_activate",
  "workingset_nodereclaim",
  "workingset_refault",
];

type MemoryMap = Record<string, number | string>;

function memoryMapV1(values: Readonly<Record<string, number>>): MemoryMap {
  const names = [...MEMORY_V1, ...MEMORY_V1_LIMITS, ...MEMORY_V1.map((name) => `total_${name}`)].toSorted();
  return Object.fromEntries(names.map((name) => [name, exact(values[name] ?? 0)]));
}

function memoryMapV2(values: Readonly<Record<string, number>>): MemoryMap {
  // Since Linux 5.9 the kernel counts these apart.
  const either = (name: string): number => (values[`${name}_anon`] ?? 0) + (values[`${name}_file`] ?? 0);
  return Object.fromEntries(
    MEMORY_V2.map((name) => [name, exact(values[name] ?? (name.startsWith("workingset_") ? either(name) : 0))]),
  );
}

function networks(sample: StatsSample | null): object {
  if (sample === null || sample.interfaces.size === 0) return {};
  const shown = Array.from(sample.interfaces, ([name, counters]) => [
    name,
    {
      rx_bytes: exact(counters.rxBytes),
      rx_packets: exact(counters.rxPackets),
      rx_errors: exact(counters.rxErrors),
      rx_dropped: exact(counters.rxDropped),
      tx_bytes: exact(counters.txBytes),
      tx_packets: exact(counters.txPackets),
      tx_errors: exact(counters.txErrors),
      tx_dropped: exact(counters.txDropped),
    },
  ]);
  return { networks: Object.fromEntries(shown) };
}
