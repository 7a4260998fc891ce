// Health checks: a probe at each interval while the container runs. The verdict is kept in memory; it never stops or
// restarts a container.
import { errorText } from "./error_text.ts";
import type { ContainersDeps } from "./deps.ts";
import type { Live } from "./registry.ts";

export interface ProbeResult {
  Start: string;
  End: string;
  ExitCode: number;
  Output: string;
}

/** As inspect shows it. */
export interface HealthReport {
  status: "starting" | "healthy" | "unhealthy";
  failingStreak: number;
  log: ProbeResult[];
}

const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5_000;
const DEFAULT_RETRIES = 3;
const RESULTS_KEPT = 5;
const OUTPUT_BYTES = 4096;
/** Clients pass nanoseconds. */
const NS_PER_MS = 1e6;

interface Check {
  command: string[];
  intervalMs: number;
  timeoutMs: number;
  startPeriodMs: number;
  startIntervalMs: number;
  retries: number;
}

/** What to run, or null: no health check. */
export function healthCheck(config: Live["record"]["config"]): Check | null {
  const health = config.Healthcheck;
  const [kind, ...rest] = health?.Test ?? [];
  if (!health || kind === undefined || kind === "NONE") return null;
  const shell = config.Shell.length > 0 ? config.Shell : ["/bin/sh", "-c"];
  const command = kind === "CMD" ? rest : kind === "CMD-SHELL" ? [...shell, ...rest] : null;
  if (command === null || command.length === 0) return null;
  return {
    command,
    intervalMs: health.Interval / NS_PER_MS || DEFAULT_INTERVAL_MS,
    timeoutMs: health.Timeout / NS_PER_MS || DEFAULT_TIMEOUT_MS,
    startPeriodMs: health.StartPeriod / NS_PER_MS,
    startIntervalMs: health.StartInterval / NS_PER_MS || DEFAULT_START_INTERVAL_MS,
    retries: health.Retries || DEFAULT_RETRIES,
  };
}

/** Probes until the returned function is called. Without a health check there is nothing to call off. */
export function startProbing(deps: ContainersDeps, live: Live): () => void {
  const check = healthCheck(live.record.config);
  if (check === null) {
    live.health = null;
    return () => {};
  }
  const startedMs = deps.clock.now().getTime();
  let report: HealthReport = { status: "starting", failingStreak: 0, log: [] };
  live.health = report;
  let isOver = false;
  let isStarting = check.startPeriodMs > 0;
  let cancel = (): void => {};
  const isInStartPeriod = (): boolean => isStarting && deps.clock.now().getTime() - startedMs < check.startPeriodMs;
  const plan = (): void => {
    if (isOver) return;
    cancel = deps.clock.after(isInStartPeriod() ? check.startIntervalMs : check.intervalMs, () =>
      deps.inBackground(probe()),
    );
  };
  const probe = async (): Promise<void> => {
    // While it is paused nothing can answer.
    if (live.record.state.status !== "running") return plan();
    const result = await runProbe(deps, live.id, check);
    if (isOver) return;
    const before = report.status;
    report = judge(report, result, { retries: check.retries, counts: !isInStartPeriod() });
    if (result.ExitCode === 0) isStarting = false;
    live.health = report;
    // COMPAT: compose waits for this event; it comes on a change only.
    if (report.status !== before) deps.machine.announce(live, { action: `health_status: ${report.status}` });
    plan();
  };
  plan();
  return () => {
    isOver = true;
    cancel();
    // COMPAT: what Docker shows of a container that is down.
    live.health = { ...report, status: "unhealthy" };
  };
}

/** What is shown of a container's health. COMPAT: one that is paused counts as unhealthy, for it answers no probe. */
export function healthOf({ health, record }: Pick<Live, "health" | "record">): HealthReport | null {
  return health !== null && record.state.status === "paused" ? { ...health, status: "unhealthy" } : health;
}

/** The report after one more result. Pure. A failure that does not count is logged all the same. */
export function judge(
  report: HealthReport,
  result: ProbeResult,
  how: { retries: number; counts: boolean },
): HealthReport {
  const log = [...report.log, result].slice(-RESULTS_KEPT);
  if (result.ExitCode === 0) return { status: "healthy", failingStreak: 0, log };
  if (!how.counts) return { ...report, log };
  const failingStreak = report.failingStreak + 1;
  return { status: failingStreak >= how.retries ? "unhealthy" : report.status, failingStreak, log };
}

async function runProbe(deps: ContainersDeps, id: string, check: Check): Promise<ProbeResult> {
  const Start = deps.clock.now().toISOString();
  const { exitCode, output } = await deps
    .probe(id, check.command, { timeoutMs: check.timeoutMs, outputBytes: OUTPUT_BYTES })
    .catch((error: unknown) => ({ exitCode: -1, output: errorText(error) }));
  return { Start, End: deps.clock.now().toISOString(), ExitCode: exitCode, Output: output };
}
