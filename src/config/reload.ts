// SIGHUP: what a newly read configuration changes in a running daemon. Pure; the daemon takes `applied` as its Config.
import type { Config } from "./types.ts";

/** Fields that take effect at once, with the names the log and the `reload` event use. */
const RELOADABLE = {
  isDebug: "debug",
  logLevel: "log-level",
  labels: "labels",
  isLiveRestore: "live-restore",
  maxConcurrentDownloads: "max-concurrent-downloads",
  maxConcurrentUploads: "max-concurrent-uploads",
  maxDownloadAttempts: "max-download-attempts",
  registryMirrors: "registry-mirrors",
  insecureRegistries: "insecure-registries",
  shutdownTimeoutSec: "shutdown-timeout",
  defaultShmSizeBytes: "default-shm-size",
  defaultStopTimeoutSec: "default-stop-timeout",
  defaultRuntime: "default-runtime",
} as const satisfies Partial<Record<keyof Config, string>>;

export interface Reload {
  /** The running configuration with the reloadable fields of the new one. */
  applied: Config;
  /** Names of what has changed now. */
  changed: string[];
  /** Fields that differ and keep their value until the next start. */
  needRestart: (keyof Config)[];
}

export function planReload(running: Config, wanted: Config): Reload {
  const differs = (field: keyof Config): boolean => JSON.stringify(running[field]) !== JSON.stringify(wanted[field]);
  const applied: Config = { ...running };
  const changed: string[] = [];
  const take = <Field extends keyof typeof RELOADABLE>(field: Field): void => {
    if (!differs(field)) return;
    applied[field] = wanted[field];
    changed.push(RELOADABLE[field]);
  };
  const fields = Object.keys(RELOADABLE) as (keyof typeof RELOADABLE)[];
  fields.forEach(take);
  const all = Object.keys(running) as (keyof Config)[];
  return { applied, changed, needRestart: all.filter((field) => !(field in RELOADABLE) && differs(field)) };
}
