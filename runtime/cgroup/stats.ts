// Counters of a cgroup, both versions, in the units of the Engine API. Every file may be missing (a controller that is not
// mounted, an older kernel): what it would have told is then zero or null.
import type { BlockCounter, CgroupStats } from "../mod.ts";
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
  const blockIO = (counter: string): BlockCounter[] => {
    // What no limit is set on is counted by the scheduler alone, where it is one that counts.
    const throttled = parseBlockIO(read("blkio", `throttle.${counter}_recursive`));
    return throttled.length > 0 ? throttled : parseBlockIO(read("blkio", `bfq.${counter}_recursive`));
  };
  return {
    version: 1,
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
    blockBytes: blockIO("io_service_bytes"),
    blockOperations: blockIO("io_serviced"),
  };
}

export function readStatsV2(directory: string): CgroupStats {
  const read = (file: string): string => readControl(`${directory}/${file}`) ?? "";
  const cpu = parseKeyed(read("cpu.stat"));
  const peak = read("memory.peak");
  return {
    version: 2,
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
    blockBytes: parseIOStat(read("io.stat")),
    blockOperations: null,
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
export function parseBlockIO(text: string): BlockCounter[] {
  return [...text.matchAll(/^(\d+):(\d+) (\w+) (\d+)$/gm)].map(([, major, minor, op, value]) => ({
    major: Number(major),
    minor: Number(minor),
    op: op ?? "",
    value: Number(value),
  }));
}

/** v2: `8:0 rbytes=4096 wbytes=0 rios=1 …` lines. */
export function parseIOStat(text: string): BlockCounter[] {
  return [...text.matchAll(/^(\d+):(\d+) (.*)$/gm)].flatMap(([, major, minor, rest = ""]) =>
    [
      ["read", "rbytes"],
      ["write", "wbytes"],
    ].flatMap(([op = "", key]) => {
      const value = new RegExp(`\\b${key}=(\\d+)`).exec(rest)?.[1];
      return value === undefined ? [] : [{ major: Number(major), minor: Number(minor), op, value: Number(value) }];
    }),
  );
}

function number(text: string): number {
  const value = Number(text.trim());
  return Number.isFinite(value) ? value : 0;
}
