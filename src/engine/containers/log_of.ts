// A container's log: its options from the record, and the log opened for a run.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { LogOptions, Logs, LogWriter } from "../../../runtime/mod.ts";
import type { ContainerRecord } from "./container.ts";
import { toLogOptions } from "./logs.ts";
import { containerDir, type Roots } from "./paths.ts";

interface Deps {
  config(): Roots;
  logs: Logs;
}

/** null: the driver keeps nothing. */
export function logOptionsOf(deps: Pick<Deps, "config">, record: ContainerRecord): LogOptions | null {
  const { Type, Config } = record.hostConfig.LogConfig;
  return toLogOptions(record.id, containerDir(deps.config(), record.id), { type: Type, options: Config });
}

export function openLog(deps: Deps, record: ContainerRecord): LogWriter | null {
  const options = logOptionsOf(deps, record);
  if (options === null) return null;
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o710 });
  return deps.logs.open(options);
}
