// The extension by label: a container that stays unhealthy is ended as a stop would end it, and comes back after the pause
// that a restart policy would make (exited.ts). It is told in an event of its own, since nothing else would say why.
import type { ContainersDeps } from "./deps.ts";
import type { HealthReport } from "./health.ts";
import type { Live, Run } from "./registry.ts";
import { parseSignal, SIGKILL } from "./signals.ts";

/** Returns what calls off the SIGKILL at the end of its time. */
export function endUnhealthy(deps: ContainersDeps, live: Live, run: Run, report: HealthReport): () => void {
  const { config, state } = live.record;
  // One that has been told to stop is ending already, and stays down.
  if (live.run !== run || state.status !== "running" || state.stopRequested) return () => {};
  run.isEndedForHealth = true;
  deps.machine.announce(live, {
    action: "health_restart",
    attributes: { failingStreak: String(report.failingStreak) },
  });
  send(deps, live, run, parseSignal(config.StopSignal || "SIGTERM"));
  const timeoutSec = config.StopTimeout ?? deps.config().defaultStopTimeoutSec;
  // Negative: a stop would wait for ever. It has been asked; there is no more to do.
  if (timeoutSec < 0) return () => {};
  return deps.clock.after(timeoutSec * 1000, () => send(deps, live, run, SIGKILL));
}

function send(deps: ContainersDeps, live: Live, run: Run, signal: number): void {
  deps.machine.announce(live, { action: "kill", attributes: { signal: String(signal) } });
  run.task.signal(signal);
}
