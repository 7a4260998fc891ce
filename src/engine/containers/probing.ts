// Probes at each interval while a container runs. A verdict never stops a container, unless its label asks for a restart
// (health.ts). One probe at a time: the next one is planned when the last one has ended.
import type { ContainersDeps } from "./deps.ts";
import { errorText } from "./error_text.ts";
import {
  type Check,
  freshReport,
  healthCheck,
  type HealthReport,
  judge,
  type ProbeResult,
  readReport,
  writeReport,
} from "./health.ts";
import { stateDir } from "./paths.ts";
import type { Live } from "./registry.ts";

const OUTPUT_BYTES = 4096;

/** The probes of one run of a container. */
export interface Probing {
  /** COMPAT: a paused container counts as unhealthy, and goes on doing so until a probe says otherwise. */
  pause(): void;
  resume(): void;
  /** For good: the run has ended, or the daemon ends. */
  stop(): void;
}

const NO_PROBING: Probing = { pause() {}, resume() {}, stop() {} };

/** `onRestartWanted`: it has stayed unhealthy, and its label asks for a restart. Called once. */
export function startProbing(
  deps: ContainersDeps,
  live: Live,
  startedAtMs: number,
  onRestartWanted: (report: HealthReport) => void,
): Probing {
  const check = healthCheck(live.record.config);
  if (check === null) {
    live.health = null;
    return NO_PROBING;
  }
  const path = `${stateDir(deps.config(), live.id)}/health.json`;
  // The file is there when the daemon was restarted in the middle of a run.
  live.health = readReport(path) ?? freshReport(live.health);
  const prober = new Prober(deps, live, live.health, { check, startedAtMs, path, onRestartWanted });
  if (live.record.state.status === "running") prober.resume();
  return prober;
}

interface ProberOptions {
  check: Check;
  startedAtMs: number;
  path: string;
  onRestartWanted: (report: HealthReport) => void;
}

class Prober implements Probing {
  /** Of the probe that is planned or runs; null while nothing may be probed. */
  #monitor: AbortController | null = null;
  #hasAskedForRestart = false;

  constructor(
    private readonly deps: ContainersDeps,
    private readonly live: Live,
    private report: HealthReport,
    private readonly options: ProberOptions,
  ) {}

  resume(): void {
    if (this.#monitor) return;
    this.#monitor = new AbortController();
    this.#plan(this.#monitor.signal);
  }

  pause(): void {
    if (!this.#end()) return;
    this.#show({ ...this.report, status: "unhealthy" });
    this.#keep();
  }

  stop(): void {
    // COMPAT: what Docker shows of a container that is down. Not kept: the daemon may be all that ends.
    if (this.#end()) this.#show({ ...this.report, status: "unhealthy" });
  }

  #end(): boolean {
    const monitor = this.#monitor;
    this.#monitor = null;
    monitor?.abort();
    return monitor !== null;
  }

  #plan(signal: AbortSignal): void {
    if (signal.aborted) return;
    const cancel = this.deps.clock.after(this.#delayMs(), () => {
      signal.removeEventListener("abort", cancel);
      this.deps.inBackground(this.#probe(signal));
    });
    signal.addEventListener("abort", cancel, { once: true });
  }

  #isInStartPeriod(atMs: number): boolean {
    return atMs - this.options.startedAtMs < this.options.check.startPeriodMs;
  }

  #delayMs(): number {
    const { intervalMs, startIntervalMs } = this.options.check;
    const nowMs = this.deps.clock.now().getTime();
    return this.report.status === "starting" && this.#isInStartPeriod(nowMs) ? startIntervalMs : intervalMs;
  }

  async #probe(signal: AbortSignal): Promise<void> {
    const started = this.deps.clock.now();
    const result = await runProbe(this.deps, this.live.id, this.options.check, signal);
    if (signal.aborted) return;
    const before = this.report.status;
    const { retries } = this.options.check;
    this.#show(judge(this.report, result, { retries, isInStartPeriod: this.#isInStartPeriod(started.getTime()) }));
    this.#keep();
    // COMPAT: compose waits for this event; it comes on a change only.
    if (this.report.status !== before) {
      this.deps.machine.announce(this.live, { action: `health_status: ${this.report.status}` });
    }
    this.#askForRestart();
    this.#plan(signal);
  }

  #askForRestart(): void {
    const { restartAfter } = this.options.check;
    if (restartAfter === null || this.#hasAskedForRestart) return;
    if (this.report.status !== "unhealthy" || this.report.failingStreak < restartAfter) return;
    this.#hasAskedForRestart = true;
    this.options.onRestartWanted(this.report);
  }

  #show(report: HealthReport): void {
    this.report = report;
    this.live.health = report;
  }

  #keep(): void {
    try {
      writeReport(this.options.path, this.report);
    } catch (error) {
      // The verdict is worth more than its copy.
      this.deps.log.warn("cannot keep a health report for the next start", { container: this.live.id, error });
    }
  }
}

async function runProbe(
  deps: ContainersDeps,
  id: string,
  { command, timeoutMs }: Check,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const Start = deps.clock.nowText();
  const { exitCode, output } = await deps
    .probe(id, command, { timeoutMs, outputBytes: OUTPUT_BYTES, signal })
    .catch((error: unknown) => ({ exitCode: -1, output: errorText(error) }));
  return { Start, End: deps.clock.nowText(), ExitCode: exitCode, Output: output };
}
