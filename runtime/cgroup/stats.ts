// Counters of a cgroup, both versions, in the units of the Engine API. Every file may be missing (a controller that is not
// mounted, an older kernel): what it would have told is then zero or null.
import type { CgroupStats } from "../mod.ts";
import { readControl } from "./files.ts";

/** Values at and above this are v1's way to say "no limit": LONG_MAX rounded down to a page of 4 to 64 KiB. */
const UNLIMITED_V1 = 0x7fff_ffff_ffff_0000;
/** USER_HZ is 100 on x86-64 and aarch64. */
const NS_PER_TICK = 10_000_000;

/** `directory` answers where a controller's files of this cgroup lie; null where it is not mounted. */
export function readStatsV1(directory: (controller: string) => string | null): CgroupStats {
  const read = (controller: string, file: string): string => {
    const path = directory(controller);
    return path === null ? "" : (readControl(`${path}/${controller}.${file}`) ?? "");
  };
  const times = parseKeyed(read("cpuacct", "stat"));
  const cpu = parseKeyed(read("cpu", "stat"));
  const perCpu = read("cpuacct", "usage_percpu").trim();
  const throttle = parseBlockIO(read("blkio", "throttle.io_service_bytes_recursive"));
  return {
    cpuTotalNs: number(read("cpuacct", "usage")),
    cpuKernelNs: (times["system"] ?? 0) * NS_PER_TICK,
    cpuUserNs: (times["user"] ?? 0) * NS_PER_TICK,
    perCpuNs: perCpu === "" ? null : perCpu.split(/\s+/).map(Number),
    throttling: {
      periods: cpu["nr_periods"] ?? 0,
      throttledPeriods: cpu["nr_throttled"] ?? 0,
      throttledTimeNs: cpu["throttled_time"] ?? 0,
    },
    memoryUsage: number(read("memory", "usage_in_bytes")),
    memoryMaxUsage: number(read("memory", "max_usage_in_bytes")),
    memoryLimit: parseLimit(read("memory", "limit_in_bytes")),
    memoryFailCount: number(read("memory", "failcnt")),
    memoryStats: parseKeyed(read("memory", "stat")),
    pidsCurrent: number(read("pids", "current")),
    pidsLimit: parseLimit(read("pids", "max")),
    blockIO: throttle.length > 0 ? throttle : parseBlockIO(read("blkio", "bfq.io_service_bytes_recursive")),
  };
}

export function readStatsV2(directory: string): CgroupStats {
  const read = (file: string): string => readControl(`${directory}/${file}`) ?? "";
  const cpu = parseKeyed(read("cpu.stat"));
  const peak = read("memory.peak");
  return {
    cpuTotalNs: (cpu["usage_usec"] ?? 0) * 1000,
    cpuKernelNs: (cpu["system_usec"] ?? 0) * 1000,
    cpuUserNs: (cpu["user_usec"] ?? 0) * 1000,
    perCpuNs: null,
    throttling: {
      periods: cpu["nr_periods"] ?? 0,
      throttledPeriods: cpu["nr_throttled"] ?? 0,
      throttledTimeNs: (cpu["throttled_usec"] ?? 0) * 1000,
    },
    memoryUsage: number(read("memory.current")),
    memoryMaxUsage: peak === "" ? null : number(peak),
    memoryLimit: parseLimit(read("memory.max")),
    memoryFailCount: parseKeyed(read("memory.events"))["oom"] ?? 0,
    memoryStats: parseKeyed(read("memory.stat")),
    pidsCurrent: number(read("pids.current")),
    pidsLimit: parseLimit(read("pids.max")),
    blockIO: parseIOStat(read("io.stat")),
  };
}

/** Lines of `key value`. Lines of another form are passed over. */
export function parseKeyed(text: string): Record<string, number> {
  const values: Record<string, number> = {};
  for (const line of text.split("\n")) {
    const space = line.indexOf(" ");
    const value = space > 0 ? Number(line.slice(space + 1)) : NaN;
    if (Number.isFinite(value)) values[line.slice(0, space)] = value;
  }
  return values;
}

/** `max`, v1's huge number and "" mean no limit. */
export function parseLimit(text: string): number | null {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed === "max") return null;
  const value = Number(trimmed);
  return value >= UNLIMITED_V1 || !Number.isFinite(value) ? null : value;
}

/** v1: `8:0 Read 4096` lines, and a `Total 4096` without a device, which is left out. */
export function parseBlockIO(text: string): CgroupStats["blockIO"] {
  return [...text.matchAll(/^(\d+):(\d+) (\w+) (\d+)$/gm)].map(([, major, minor, op, bytes]) => ({
    major: Number(major),
    minor: Number(minor),
    op: op ?? "",
    bytes: Number(bytes),
  }));
}

/** v2: `8:0 rbytes=4096 wbytes=0 rios=1 …` lines. */
export function parseIOStat(text: string): CgroupStats["blockIO"] {
  return [...text.matchAll(/^(\d+):(\d+) (.*)$/gm)].flatMap(([, major, minor, rest = ""]) =>
    [
      ["read", "rbytes"],
      ["write", "wbytes"],
    ].flatMap(([op = "", key]) => {
      const bytes = new RegExp(`\\b${key}=(\\d+)`).exec(rest)?.[1];
      return bytes === undefined ? [] : [{ major: Number(major), minor: Number(minor), op, bytes: Number(bytes) }];
    }),
  );
}

function number(text: string): number {
  const value = Number(text.trim());
  return Number.isFinite(value) ? value : 0;
}
