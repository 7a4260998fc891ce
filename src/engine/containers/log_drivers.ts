// The log drivers by name: which options each takes and in whose words a wrong one is refused (at create), and what the
// runtime needs to send to a remote one. Pure, but for syslog-address, whose socket must be there as under Docker.
import { existsSync } from "node:fs";
import type { RetryPolicy, SinkTarget } from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";
import { parseSize } from "../size_text.ts";

export type LogOpts = Readonly<Record<string, string>>;

const ATTRIBUTE_OPTIONS = ["labels", "labels-regex", "env", "env-regex", "tag"];
const FILE_OPTIONS = ["max-size", "max-file", "compress"];
/** Any driver's. */
const COMMON_OPTIONS = ["mode", "max-buffer-size"];
/** Of the local log that remote drivers are delivered from. */
const CACHE_OPTIONS = ["cache-disabled", ...FILE_OPTIONS.map((name) => `cache-${name}`)];

const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  "json-file": [...FILE_OPTIONS, ...ATTRIBUTE_OPTIONS],
  local: [...FILE_OPTIONS, ...ATTRIBUTE_OPTIONS],
  syslog: [
    ...ATTRIBUTE_OPTIONS,
    "syslog-address",
    "syslog-facility",
    "syslog-format",
    "syslog-tls-ca-cert",
    "syslog-tls-cert",
    "syslog-tls-key",
    "syslog-tls-skip-verify",
  ],
  journald: ATTRIBUTE_OPTIONS,
  gelf: [
    ...ATTRIBUTE_OPTIONS,
    "gelf-address",
    "gelf-compression-level",
    "gelf-compression-type",
    "gelf-tcp-max-reconnect",
    "gelf-tcp-reconnect-delay",
  ],
  fluentd: [
    ...ATTRIBUTE_OPTIONS,
    "fluentd-address",
    "fluentd-async",
    "fluentd-async-reconnect-interval",
    "fluentd-buffer-limit",
    "fluentd-max-retries",
    "fluentd-request-ack",
    "fluentd-retry-wait",
    "fluentd-sub-second-precision",
    "fluentd-write-timeout",
  ],
};

/** In the order `docker info` shows. */
export const LOG_DRIVERS: readonly string[] = [...Object.keys(OPTIONS), "none"].sort();

/** Refuses a driver or an option that is not known. The values are checked by toSinkTarget and logs.ts. */
export function checkOptionNames(type: string, options: LogOpts): void {
  const known = OPTIONS[type];
  if (!known) throw invalid(`logger: no log driver named '${type}' is registered`);
  for (const name of Object.keys(options)) {
    if (known.includes(name) || COMMON_OPTIONS.includes(name) || CACHE_OPTIONS.includes(name)) continue;
    // COMPAT: as Docker's drivers each say it.
    if (type === "local") throw invalid(`unknown log opt '${name}' for log driver local`);
    const quoted = type === "gelf" ? `"${name}"` : `'${name}'`;
    throw invalid(`unknown log opt ${quoted} for ${type} log driver`);
  }
}

const FACILITIES = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split(" ");

/** Where a remote driver sends to; null for drivers that keep the log themselves. Throws invalid. */
export function toSinkTarget(type: string, options: LogOpts): SinkTarget | null {
  if (type === "journald") return { kind: "journald", path: "/run/systemd/journal/socket" };
  if (type === "syslog") return syslogTarget(options);
  if (type === "gelf") return gelfTarget(options);
  return type === "fluentd" ? fluentdTarget(options) : null;
}

function syslogTarget(options: LogOpts): SinkTarget {
  const format = options["syslog-format"] ?? "";
  if (format !== "" && format !== "rfc3164" && format !== "rfc5424" && format !== "rfc5424micro")
    throw invalid("Invalid syslog format");
  const address = options["syslog-address"] ?? "";
  const protocol = schemeOf(address);
  if (address !== "" && !["udp", "tcp", "tcp+tls", "unix", "unixgram"].includes(protocol))
    throw invalid(`unsupported scheme: '${protocol}'`);
  const transport = address === "" ? null : parseAddress("please provide syslog-address", address, 514);
  if (transport?.path && !existsSync(transport.path))
    throw invalid(`stat ${transport.path}: no such file or directory`);
  return {
    kind: "syslog",
    transport,
    format,
    facility: parseFacility(options["syslog-facility"] ?? "daemon"),
    tls: {
      caFile: options["syslog-tls-ca-cert"] ?? "",
      certFile: options["syslog-tls-cert"] ?? "",
      keyFile: options["syslog-tls-key"] ?? "",
      // COMPAT: Docker asks only whether it is there and not empty.
      skipsVerify: (options["syslog-tls-skip-verify"] ?? "") !== "",
    },
  };
}

function parseFacility(text: string): number {
  const local = /^local([0-7])$/.exec(text)?.[1];
  const facility =
    local !== undefined ? 16 + Number(local) : /^\d{1,2}$/.test(text) ? Number(text) : FACILITIES.indexOf(text);
  if (facility < 0 || facility > 23) throw invalid("invalid syslog facility");
  return facility;
}

function gelfTarget(options: LogOpts): SinkTarget {
  const address = options["gelf-address"] ?? "";
  if (address === "") throw invalid("gelf-address is a required parameter");
  const protocol = schemeOf(address);
  if (protocol === "" && /^[^a-z/][^/]*:/i.test(address))
    throw invalid(`parse ${JSON.stringify(address)}: first path segment in URL cannot contain colon`);
  if (protocol !== "udp" && protocol !== "tcp") throw invalid("gelf: endpoint needs to be TCP or UDP");
  const transport = parseAddress("gelf: please provide gelf-address", address, null);
  const compression = options["gelf-compression-type"] ?? "gzip";
  if (compression !== "gzip" && compression !== "zlib" && compression !== "none")
    throw invalid(`unknown value "${compression}" for log opt "gelf-compression-type" for gelf log driver`);
  for (const name of ["gelf-compression-type", "gelf-compression-level"]) {
    if (transport.protocol === "tcp" && options[name] !== undefined)
      throw invalid("compression is only supported on UDP");
  }
  for (const name of ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"]) {
    if (transport.protocol === "udp" && options[name] !== undefined) throw invalid(`"${name}" is only valid for TCP`);
    positiveNumber(name, options[name]);
  }
  const text = options["gelf-compression-level"] ?? "1";
  const level = /^-?\d$/.test(text) ? Number(text) : NaN;
  if (!(level >= -1)) throw invalid(`unknown value "${text}" for log opt "gelf-compression-level" for gelf log driver`);
  return { kind: "gelf", transport, compression, level };
}

function fluentdTarget(options: LogOpts): SinkTarget {
  const transport = fluentdAddress(options["fluentd-address"] || "localhost");
  const isOn = (name: string): boolean => parseBoolean(options[name] ?? "false");
  // Output waits in the local log for as long as it takes, in both ways; what they say must still be said right.
  isOn("fluentd-async");
  const limit = options["fluentd-buffer-limit"];
  if (limit !== undefined && (parseSize(limit) ?? -1) < 0) throw invalid(`invalid size: '${limit}'`);
  const timeoutMs = durationMs(
    options["fluentd-write-timeout"],
    (why) => `invalid value for fluentd-write-timeout: value must be a duration: ${why}`,
  );
  if (timeoutMs !== null && timeoutMs < 0)
    throw invalid("invalid value for fluentd-write-timeout: value must be a duration that is non-negative");
  const again = options["fluentd-async-reconnect-interval"];
  const reconnectMs = durationMs(again, (why) => `invalid value for fluentd-async-reconnect-interval: ${why}`);
  if (reconnectMs !== null && reconnectMs !== 0 && (reconnectMs < 100 || reconnectMs > 10_000))
    throw invalid(
      `invalid value for fluentd-async-reconnect-interval: value ("${again}") must be between 100ms and 10s`,
    );
  fluentdRetry(options);
  return {
    kind: "fluentd",
    transport,
    isSubSecond: isOn("fluentd-sub-second-precision"),
    wantsAck: isOn("fluentd-request-ack"),
    timeoutMs: timeoutMs === null ? null : Math.min(timeoutMs, MAX_TIMEOUT_MS) || null,
    reconnectMs: reconnectMs || null,
  };
}

function fluentdAddress(address: string) {
  const refuse = (why: string): Error => invalid(`invalid fluentd-address (${address}): ${why}`);
  const full = address.includes("://") ? address : `tcp://${address}`;
  const protocol = schemeOf(full);
  if (!["tcp", "tls", "unix"].includes(protocol)) throw refuse(`unsupported scheme: '${protocol}'`);
  const rest = full.slice(protocol.length + "://".length);
  if (protocol === "unix") {
    if (rest === "") throw refuse("path is empty");
    return { protocol, path: rest, host: "", port: 0 };
  }
  if (rest.includes("/")) throw refuse("should not contain a path element");
  const badPort = /^(?:\[[^\]]*\]|[^:]*)(:(?!\d*$).*)$/.exec(rest)?.[1];
  if (badPort !== undefined)
    throw refuse(`parse ${JSON.stringify(full)}: invalid port ${JSON.stringify(badPort)} after host`);
  return parseAddress("please provide fluentd-address", full, 24224);
}

/** How a driver's options say that a batch is tried again: an empty object where they say nothing. Throws invalid. */
export function retryOf(type: string, options: LogOpts): Partial<RetryPolicy> {
  if (type === "fluentd") return fluentdRetry(options);
  if (type !== "gelf") return {};
  const tries = positiveNumber("gelf-tcp-max-reconnect", options["gelf-tcp-max-reconnect"]);
  const delay = positiveNumber("gelf-tcp-reconnect-delay", options["gelf-tcp-reconnect-delay"]);
  if (tries === null && delay === null) return {};
  // COMPAT: Docker waits a second each time where only the number of tries is given.
  return { firstWaitMs: Math.max(LEAST_WAIT_MS, (delay ?? 1) * 1000), growth: 1, maxRetries: tries };
}

function fluentdRetry(options: LogOpts): Partial<RetryPolicy> {
  const waitMs = durationMs(options["fluentd-retry-wait"], (why) => why);
  const text = options["fluentd-max-retries"];
  if (text !== undefined && text !== "" && !/^\d{1,10}$/.test(text))
    throw invalid(`strconv.ParseUint: parsing "${text}": invalid syntax`);
  return {
    ...(waitMs !== null && { firstWaitMs: Math.min(Math.max(LEAST_WAIT_MS, waitMs), MAX_TIMEOUT_MS) }),
    ...(text && { maxRetries: Number(text) }),
  };
}

/** A receiver that refuses at once must not keep a processor busy. */
const LEAST_WAIT_MS = 100;
const MAX_TIMEOUT_MS = 3_600_000;

const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["µs", 1e-3],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

/** A duration as Go writes it; null where none is given. `refusal`: the message around Go's words. */
function durationMs(text: string | undefined, refusal: (why: string) => string): number | null {
  if (text === undefined || text === "") return null;
  if (/^[+-]?0$/.test(text)) return 0;
  const [, sign, rest = ""] = /^([+-]?)(.*)$/s.exec(text) ?? [];
  if (/^[\d.]*\d$/.test(rest)) throw invalid(refusal(`time: missing unit in duration "${text}"`));
  if (!/^((\d+(\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))+$/.test(rest))
    throw invalid(refusal(`time: invalid duration "${text}"`));
  const sum = [...rest.matchAll(/([\d.]+)([a-zµ]+)/g)].reduce(
    (all, [, number = "", unit = ""]) => all + Number(number) * (UNITS_MS.get(unit) ?? 0),
    0,
  );
  return sign === "-" ? -sum : sum;
}

/** "" where there is none. */
function schemeOf(address: string): string {
  return /^([a-z][a-z0-9+.-]*):\/\//.exec(address)?.[1] ?? "";
}

/** `proto://host:port` or `unix:///path`. `port`: where none is given; null asks for one. `asking`: for the message. */
function parseAddress(asking: string, address: string, port: number | null) {
  const protocol = schemeOf(address);
  const rest = address.slice(protocol.length + "://".length);
  if (protocol.startsWith("unix")) return { protocol, path: rest, host: "", port: 0 };
  const [, host, given] = /^(\[[^\]]+\]|[^:/]*)(?::(\d{1,5}))?\/?$/.exec(rest) ?? [];
  const number = given === undefined ? port : Number(given);
  if (host === undefined || number === null || number > 65535) throw invalid(`${asking} as proto://host:port`);
  return { protocol, path: "", host: host.replace(/^\[|\]$/g, "") || "localhost", port: number };
}

function positiveNumber(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^\+?\d{1,9}$/.test(text)) throw invalid(`"${name}" must be a positive integer`);
  return Number(text);
}

export function parseBoolean(text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  throw invalid(`strconv.ParseBool: parsing "${text}": invalid syntax`);
}
