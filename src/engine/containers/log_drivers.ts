// The log drivers by name: which options each takes and in whose words a wrong one is refused (at create), and what the
// runtime needs to send to a remote one. Pure, but for syslog-address, whose socket must be there as under Docker.
import { existsSync } from "node:fs";
import type { SinkTarget } from "../../../runtime/mod.ts";
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
    "fluentd-async-connect",
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
    throw invalid(`unknown log opt '${name}' for ${type} log driver`);
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
  const transport = address === "" ? null : parseAddress("syslog-address", address, 514);
  if (transport && !["udp", "tcp", "tcp+tls", "unix", "unixgram"].includes(transport.protocol))
    throw invalid(`syslog-address should be in form proto://address, got ${address}`);
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
  const transport = parseAddress("gelf-address", address, null);
  if (transport.protocol !== "udp" && transport.protocol !== "tcp")
    throw invalid("gelf: endpoint needs to be TCP or UDP");
  const compression = options["gelf-compression-type"] ?? "gzip";
  if (compression !== "gzip" && compression !== "zlib" && compression !== "none")
    throw invalid(`unknown value "${compression}" for "gelf-compression-type" log opt for gelf log driver`);
  for (const name of ["gelf-compression-type", "gelf-compression-level"]) {
    if (transport.protocol === "tcp" && options[name] !== undefined)
      throw invalid("compression is only supported on UDP");
  }
  for (const name of ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"]) {
    if (transport.protocol === "udp" && options[name] !== undefined)
      throw invalid(`${name.slice("gelf-".length)} is only valid for TCP`);
    wholeNumber(name, options[name], 0, 1 << 30);
  }
  const level = wholeNumber("gelf-compression-level", options["gelf-compression-level"], -1, 9) ?? 1;
  return { kind: "gelf", transport, compression, level };
}

function fluentdTarget(options: LogOpts): SinkTarget {
  const transport = parseAddress("fluentd-address", withScheme(options["fluentd-address"] ?? "localhost"), 24224);
  if (!["tcp", "tls", "unix"].includes(transport.protocol))
    throw invalid(`unsupported scheme: '${transport.protocol}'`);
  const isOn = (name: string): boolean => parseBoolean(options[name] ?? "false");
  if (options["fluentd-async"] !== undefined && options["fluentd-async-connect"] !== undefined)
    throw invalid("conflicting options: cannot specify both 'fluentd-async' and 'fluentd-async-connect'");
  // Output waits in the local log for as long as it takes, so that these change nothing; what they say must still be said right.
  for (const name of ["fluentd-async", "fluentd-async-connect"]) isOn(name);
  for (const name of ["fluentd-retry-wait", "fluentd-write-timeout", "fluentd-async-reconnect-interval"]) {
    const text = options[name] ?? "";
    if (text !== "" && !/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$|^0$/.test(text))
      throw invalid(`time: invalid duration "${text}"`);
  }
  wholeNumber("fluentd-max-retries", options["fluentd-max-retries"], 0, 2 ** 31);
  const limit = options["fluentd-buffer-limit"];
  if (limit !== undefined && parseSize(limit) === null) throw invalid(`invalid size: '${limit}'`);
  return {
    kind: "fluentd",
    transport,
    isSubSecond: isOn("fluentd-sub-second-precision"),
    wantsAck: isOn("fluentd-request-ack"),
  };
}

function withScheme(address: string): string {
  return address.includes("://") ? address : `tcp://${address}`;
}

/** `proto://host:port` or `unix:///path`. `port`: where none is given; null asks for one. */
function parseAddress(option: string, address: string, port: number | null) {
  const [, protocol, rest] = /^([a-z0-9+]+):\/\/(.+)$/.exec(address) ?? [];
  if (protocol === undefined || rest === undefined)
    throw invalid(`${option} should be in form proto://address, got ${address}`);
  if (protocol.startsWith("unix")) return { protocol, path: rest, host: "", port: 0 };
  const [, host, given] = /^(\[[^\]]+\]|[^:/]*)(?::(\d{1,5}))?\/?$/.exec(rest) ?? [];
  const number = given === undefined ? port : Number(given);
  if (host === undefined || number === null || number > 65535)
    throw invalid(`${option}: please provide ${option} as proto://host:port`);
  return { protocol, path: "", host: host.replace(/^\[|\]$/g, "") || "localhost", port: number };
}

function wholeNumber(name: string, text: string | undefined, least: number, most: number): number | null {
  if (text === undefined) return null;
  const value = /^-?\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (!(value >= least && value <= most)) throw invalid(`invalid value "${text}" for log opt "${name}"`);
  return value;
}

export function parseBoolean(text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  throw invalid(`strconv.ParseBool: parsing "${text}": invalid syntax`);
}
