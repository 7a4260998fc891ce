// When a container that has ended comes back by itself. Pure: what ended and how, to what happens next.
import type { RestartPolicy } from "../../schema/host_config.ts";

/** The first pause, doubled each time up to the longest; a run of RESET_AFTER_MS starts it anew. */
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 60_000;
const RESET_AFTER_MS = 10_000;

export interface Ended {
  exitCode: number;
  /** How long it ran. */
  ranMs: number;
  /** Restarts by policy since the last manual start. */
  restartCount: number;
  /** The pause before the restart that led to this run; 0 when it was started by hand. */
  lastDelayMs: number;
  /** Stopped or killed by hand. */
  wasStopped: boolean;
}

/** The pause before the next try, or null: it stays down. */
export function delayBeforeRestart(policy: RestartPolicy, ended: Ended): number | null {
  if (ended.wasStopped || !wantsRestart(policy, ended)) return null;
  if (ended.lastDelayMs === 0 || ended.ranMs >= RESET_AFTER_MS) return FIRST_DELAY_MS;
  return Math.min(ended.lastDelayMs * 2, LONGEST_DELAY_MS);
}

function wantsRestart(policy: RestartPolicy, ended: Pick<Ended, "exitCode" | "restartCount">): boolean {
  switch (policy.Name) {
    case "always":
    case "unless-stopped":
      return true;
    case "on-failure":
      return ended.exitCode !== 0 && (policy.MaximumRetryCount === 0 || ended.restartCount < policy.MaximumRetryCount);
    default:
      return false;
  }
}

export interface FoundDown {
  /** Restarts by policy since the last manual start. */
  restartCount: number;
  hasBeenStartedBefore: boolean;
  hasBeenManuallyStopped: boolean;
  exitCode: number;
}

/** Whether a container that does not run is started when the engine starts. */
export function startsWithEngine(policy: RestartPolicy, found: FoundDown): boolean {
  if (!found.hasBeenStartedBefore) return false;
  switch (policy.Name) {
    case "always":
      return true;
    case "unless-stopped":
      return !found.hasBeenManuallyStopped;
    case "on-failure":
      return wantsRestart(policy, found) && !found.hasBeenManuallyStopped;
    default:
      return false;
  }
}
