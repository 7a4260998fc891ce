// Container logs: which driver and options a container gets (checked at create), where its log lies, and reading it for the
// API. The writing is the runtime's (runtime/log).
import { join } from "node:path";
import type { LogOptions, LogPiece, LogReader } from "../../../runtime/mod.ts";
import { invalid, notImplemented } from "../../errors.ts";
import { parseExpression } from "./log_attributes.ts";
import { checkOptionNames, type LogOpts, parseBoolean, retryOf, toSinkTarget } from "./log_drivers.ts";
import { parseSize } from "../size_text.ts";
import { parseTag } from "./log_tag.ts";
import type { LogQuery } from "../mod.ts";

/** HostConfig.LogConfig, its defaults filled in. */
export interface LogConfig {
  type: string;
  options: LogOpts;
}

/** Bounds for containers that set none: a log must not fill the disk. */
const DEFAULT_MAX_BYTES = 20_000_000;
const DEFAULT_MAX_FILES = 5;

/** Refuses what cannot work, in Docker's words, at create. */
export function validateLogConfig(type: string, options: LogOpts): void {
  if (type === "none") return;
  checkMode(options);
  checkOptionNames(type, options);
  if (options["tag"]) parseTag(options["tag"]);
  for (const name of ["labels-regex", "env-regex"]) parseExpression(options[name] ?? "");
  const isDisabled = options["cache-disabled"] ?? "";
  if (isDisabled !== "" && !isBoolean(isDisabled))
    throw invalid(`invalid value for option cache-disabled: ${isDisabled}`);
  if (!keepsFiles(type)) {
    toSinkTarget(type, options);
    retryOf(type, options);
  }
  toFileLimits({ type, options });
}

/** The log is the driver's own, not one that a remote driver is delivered from. */
function keepsFiles(type: string): type is "json-file" | "local" {
  return type === "json-file" || type === "local";
}

function isBoolean(text: string): boolean {
  try {
    parseBoolean(text);
    return true;
  } catch {
    return false;
  }
}

function checkMode(options: LogOpts): void {
  const mode = options["mode"] ?? "";
  if (mode !== "" && mode !== "blocking" && mode !== "non-blocking")
    throw invalid(`logger: logging mode not supported: ${mode}`);
  const size = options["max-buffer-size"];
  if (size === undefined) return;
  if (mode !== "non-blocking")
    throw invalid(`logger: max-buffer-size option is only supported with 'mode=non-blocking'`);
  if ((parseSize(size) ?? -1) < 0) throw invalid(`error parsing option max-buffer-size: invalid size: '${size}'`);
}

/** The part of LogOptions that the options decide. */
function toFileLimits({ options, type }: LogConfig): Pick<LogOptions, "maxSizeBytes" | "maxFiles" | "compresses"> {
  const prefix = keepsFiles(type) ? "" : "cache-";
  const size = options[`${prefix}max-size`];
  const files = options[`${prefix}max-file`];
  // COMPAT: Docker's -1 is no bound. `max-size` alone leaves one file, as there.
  const maxSizeBytes = size === undefined ? DEFAULT_MAX_BYTES : size === "-1" ? null : parseSize(size);
  if (size !== undefined && size !== "-1" && (maxSizeBytes === null || maxSizeBytes <= 0)) {
    throw invalid(parseSize(size) === null ? `invalid size: '${size}'` : "max-size must be a positive number");
  }
  const fallback = type === "json-file" && size !== undefined ? 1 : DEFAULT_MAX_FILES;
  const maxFiles = files === undefined ? fallback : /^[+-]?\d{1,9}$/.test(files) ? Number(files) : NaN;
  if (Number.isNaN(maxFiles)) throw invalid(`strconv.Atoi: parsing "${files}": invalid syntax`);
  if (maxFiles < 1) throw invalid("max-file cannot be less than 1");
  const compress = options[`${prefix}compress`];
  const compresses = compress === undefined ? type !== "json-file" && maxFiles > 1 : parseBoolean(compress);
  if (compresses && compress !== undefined && (maxFiles < 2 || maxSizeBytes === null)) {
    throw invalid("compress cannot be true when max-file is less than 2 or max-size is not set");
  }
  return { maxSizeBytes, maxFiles, compresses };
}

/**
 * What the runtime needs to write or read a container's log; null for driver `none`. `directory`: the container's own. A remote
 * driver has one too: it is delivered from there, and `docker logs` reads it.
 */
export function toLogOptions(
  id: string,
  directory: string,
  config: LogConfig,
  attributes: Readonly<Record<string, string>>,
): LogOptions | null {
  if (config.type === "none") return null;
  return {
    driver: config.type === "json-file" ? "json-file" : "local",
    path: logPath(id, directory, config.type) || join(directory, `${id}-cached.log`),
    ...toFileLimits(config),
    attributes: keepsFiles(config.type) ? attributes : {},
  };
}

/** Whether `docker logs` may read it. COMPAT: with cache-disabled a remote driver's container has no log to read. */
export function isReadable({ type, options }: LogConfig): boolean {
  if (type === "none") return false;
  return keepsFiles(type) || !parseBoolean(options["cache-disabled"] || "false");
}

/** As inspect shows it (LogPath). COMPAT: collectors find json-file logs by this name; other drivers show "". */
export function logPath(id: string, directory: string, type: string): string {
  if (type === "json-file") return join(directory, `${id}-json.log`);
  return type === "local" ? join(directory, `${id}-local.log`) : "";
}

/**
 * A container's log as the route sends it. Throws notImplemented when the driver keeps none. `ended` settles when the run
 * that goes on now is logged to its last byte (AttachSlot.ended). COMPAT: docker-py's `logs(stream=True)` and others give
 * their users one item for each frame, and Docker sends a frame for each record.
 */
export function readLogs(
  reader: LogReader | null,
  query: LogQuery,
  { ended, isFramed }: { ended: Promise<void>; isFramed: boolean },
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  if (!reader) throw notImplemented("configured logging driver does not support reading");
  const { details, follow, sinceNano, stderr, stdout, tail, timestamps, untilNano } = query;
  const followUntil = follow ? ended : null;
  return bytesOf(
    reader.read({ details, followUntil, isFramed, sinceNano, stderr, stdout, tail, timestamps, untilNano }, signal),
  );
}

async function* bytesOf(pieces: AsyncIterable<LogPiece>): AsyncIterable<Uint8Array> {
  for await (const { bytes } of pieces) yield bytes;
}
