// What the machine's CPUs have spent, from /proc/stat: what a container's share of them is told against. See proc_stat(5).
import { readFileSync } from "node:fs";

/** USER_HZ is 100 on x86-64 and aarch64. */
const NS_PER_TICK = 10_000_000;
/** COMPAT: user to softirq are summed up; stolen time and guests' time, which user time holds already, are not. */
const SUMMED_FIELDS = 7;

export function readCpuTimes(path = "/proc/stat"): { totalNs: number; onlineCpus: number } {
  return parseCpuTimes(readFileSync(path, "latin1"));
}

/** `cpu  1 2 3 …` for all of them, then `cpu0 1 2 3 …` for each that is online. */
export function parseCpuTimes(text: string): { totalNs: number; onlineCpus: number } {
  const all = /^cpu +([\d ]+)$/m.exec(text)?.[1] ?? "";
  const ticks = all
    .split(" ")
    .slice(0, SUMMED_FIELDS)
    .reduce((sum, field) => sum + Number(field), 0);
  return { totalNs: ticks * NS_PER_TICK, onlineCpus: text.match(/^cpu\d+ /gm)?.length ?? 0 };
}
