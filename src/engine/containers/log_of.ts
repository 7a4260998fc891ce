// A container's log: its options from the record, and the log opened for a run.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { LogOptions, LogReader, Logs, LogWriter } from "../../../runtime/mod.ts";
import type { ContainerRecord } from "./container.ts";
import { attributesOf } from "./log_attributes.ts";
import { isReadable, type LogConfig, logPath, toLogOptions } from "./logs.ts";
import { containerDir, type Roots } from "./paths.ts";

interface Deps {
  config(): Roots;
  logs: Logs;
  machinery: { hostName: string };
}

export function logConfigOf(record: ContainerRecord): LogConfig {
  const { Type, Config } = record.hostConfig.LogConfig;
  return { type: Type, options: Config };
}

/** null: the driver keeps nothing. */
function logOptionsOf(deps: Deps, record: ContainerRecord): LogOptions | null {
  const config = logConfigOf(record);
  const attributes = attributesOf(record, deps.machinery.hostName, config.options);
  return toLogOptions(record.id, containerDir(deps.config(), record.id), config, attributes);
}

/** LogPath of inspect. */
export function logPathOf(deps: Pick<Deps, "config">, record: ContainerRecord): string {
  return logPath(record.id, containerDir(deps.config(), record.id), record.hostConfig.LogConfig.Type);
}

export function openLog(deps: Deps, record: ContainerRecord): LogWriter | null {
  const options = logOptionsOf(deps, record);
  if (options === null) return null;
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o710 });
  return deps.logs.open(options);
}

/** For the delivery to a remote driver, whoever else may read. */
export function logReaderOf(deps: Deps, record: ContainerRecord, writer: LogWriter | null): LogReader | null {
  const options = logOptionsOf(deps, record);
  return options && deps.logs.reader(options, writer);
}

/** For clients; null: the driver keeps no log that can be read. */
export function readableLogOf(deps: Deps, record: ContainerRecord, writer: LogWriter | null): LogReader | null {
  return isReadable(logConfigOf(record)) ? logReaderOf(deps, record, writer) : null;
}
