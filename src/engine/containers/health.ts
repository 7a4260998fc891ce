// Health checks as data: what to run and how often, what a result makes of the verdict, and how it is kept. Pure, but for
// the small file that lets the next daemon go on where this one stopped. The probes themselves are probing.ts.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import * as v from "valibot";
import type { Live } from "./registry.ts";

const ProbeResult = v.object({ Start: v.string(), End: v.string(), ExitCode: v.number(), Output: v.string() });
export type ProbeResult = v.InferOutput<typeof ProbeResult>;

/** As inspect shows it. */
export const HealthReport = v.object({
  status: v.picklist(["starting", "healthy", "unhealthy"]),
  failingStreak: v.pipe(v.number(), v.integer()),
  log: v.array(ProbeResult),
});
export type HealthReport = v.InferOutput<typeof HealthReport>;

const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5_000;
const DEFAULT_RETRIES = 3;
const RESULTS_KEPT = 5;
/** Clients pass nanoseconds. */
const NS_PER_MS = 1e6;

/** The extension: a container that stays unhealthy is restarted; see docs/HEALTH.md. */
const RESTART_LABEL = "berth.health.restart";

export interface Check {
  command: string[];
  intervalMs: number;
  timeoutMs: number;
  startPeriodMs: number;
  startIntervalMs: number;
  retries: number;
  /** Restart it after so many failures in a row; null: never. */
  restartAfter: number | null;
}

/** What to run, or null: no health check. */
export function healthCheck(config: Live["record"]["config"]): Check | null {
  const health = config.Healthcheck;
  const [kind, ...rest] = health?.Test ?? [];
  if (!health || kind === undefined || kind === "NONE") return null;
  const shell = config.Shell.length > 0 ? config.Shell : ["/bin/sh", "-c"];
  const command = kind === "CMD" ? rest : kind === "CMD-SHELL" ? [...shell, ...rest] : null;
  if (command === null || command.length === 0) return null;
  const retries = health.Retries || DEFAULT_RETRIES;
  return {
    command,
    intervalMs: health.Interval / NS_PER_MS || DEFAULT_INTERVAL_MS,
    timeoutMs: health.Timeout / NS_PER_MS || DEFAULT_TIMEOUT_MS,
    startPeriodMs: health.StartPeriod / NS_PER_MS,
    startIntervalMs: health.StartInterval / NS_PER_MS || DEFAULT_START_INTERVAL_MS,
    retries,
    restartAfter: restartAfter(config.Labels[RESTART_LABEL] ?? "", retries),
  };
}

/** `true`: as soon as it is unhealthy; a number: after so many failures in a row, never before it is unhealthy. */
function restartAfter(label: string, retries: number): number | null {
  if (label === "true") return retries;
  return /^[1-9]\d{0,5}$/.test(label) ? Math.max(Number(label), retries) : null;
}

/** At the start of a run. COMPAT: the results of the run before stay in the log. */
export function freshReport(before: HealthReport | null): HealthReport {
  return { status: "starting", failingStreak: 0, log: before?.log ?? [] };
}

/** The report after one more result. Pure. */
export function judge(
  report: HealthReport,
  result: ProbeResult,
  how: { retries: number; isInStartPeriod: boolean },
): HealthReport {
  const log = [...report.log, result].slice(-RESULTS_KEPT);
  if (result.ExitCode === 0) return { status: "healthy", failingStreak: 0, log };
  // Once it has been healthy, the start period is over; a failure that does not count is logged all the same.
  if (how.isInStartPeriod && report.status === "starting") return { ...report, log };
  const failingStreak = report.failingStreak + 1;
  return { status: failingStreak >= how.retries ? "unhealthy" : report.status, failingStreak, log };
}

/** COMPAT: as Go prints a duration: `500ms`, `1.5s`, `1m0s`, `1h0m0s`. */
export function durationText(ms: number): string {
  if (ms < 1) return `${ms * 1000}µs`;
  if (ms < 1000) return `${ms}ms`;
  const seconds = ms / 1000;
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = `${Number((seconds % 60).toFixed(9))}s`;
  return hours > 0 ? `${hours}h${minutes}m${rest}` : minutes > 0 ? `${minutes}m${rest}` : rest;
}

/** What the daemon before this one knew of a container that has gone on running; null: nothing that can be read. */
export function readReport(path: string): HealthReport | null {
  try {
    const parsed = v.safeParse(HealthReport, JSON.parse(readFileSync(path, "utf8")));
    return parsed.success ? parsed.output : null;
  } catch {
    return null;
  }
}

/** Whole or not at all. The file lies in the exec root: it is worth something for as long as the container runs. */
export function writeReport(path: string, report: HealthReport): void {
  writeFileSync(`${path}.new`, JSON.stringify(report));
  renameSync(`${path}.new`, path);
}
