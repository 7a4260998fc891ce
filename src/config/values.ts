// The values of flags and daemon.json keys: one checked reader for each kind. All pure; each throws ConfigError with the
// reason alone, and the caller adds which flag or key it was. The words are dockerd's where people search for them.
import { isIP } from "node:net";
import { ConfigError } from "./error.ts";
import { ULIMIT_NAMES } from "../ulimit_names.ts";

/** Go's strconv.ParseBool. */
export function parseBool(text: string): boolean {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  throw new ConfigError(`strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}

export function parseInteger(text: string): number {
  const value = Number(text);
  if (!/^[+-]?\d+$/.test(text))
    throw new ConfigError(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  if (!Number.isSafeInteger(value))
    throw new ConfigError(`strconv.ParseInt: parsing ${JSON.stringify(text)}: value out of range`);
  return value;
}

/** `64m`, `1.5GiB`, `67108864`: powers of 1024, as docker's --memory reads them. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kKmMgGtTpP]?)(?:[iI]?[bB])?$/.exec(text.trim());
  if (!match) throw new ConfigError(`invalid size: '${text}'`);
  return Math.floor(Number(match[1]) * 1024 ** " kmgtp".indexOf((match[2] || " ").toLowerCase()));
}

const DEFAULT_PORT = { plain: 2375, tls: 2376 };

/** An address to listen on in its full form. `defaults.socket` stands for `unix://` and for "". */
export function parseHost(text: string, defaults: { socket: string; isTLS: boolean }): string {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed === "unix://") return `unix://${defaults.socket}`;
  const [, scheme = "tcp", rest = ""] = /^(?:([a-z]+):\/\/)?(.*)$/.exec(trimmed) ?? [];
  if (scheme === "unix") return `unix://${rest}`;
  if (scheme === "fd") return `fd://${rest}`;
  if (scheme !== "tcp") throw new ConfigError(`invalid bind address format: ${text}`);
  return parseTCPHost(text, rest, defaults.isTLS);
}

function parseTCPHost(text: string, rest: string, isTLS: boolean): string {
  const match = /^(\[[0-9a-fA-F:.%a-z]*\]|[^:/[\]]*)(?::(\d*))?$/.exec(rest);
  if (!match) throw new ConfigError(`invalid bind address format: ${text}`);
  // COMPAT: an address without a host is this machine's loopback for dockerd, not every interface.
  const host = match[1] || "localhost";
  const port = match[2] ? Number(match[2]) : isTLS ? DEFAULT_PORT.tls : DEFAULT_PORT.plain;
  if (port > 65535) throw new ConfigError(`invalid bind address format: ${text}`);
  if (host.startsWith("[") && isIP(host.slice(1, -1)) !== 6)
    throw new ConfigError(`invalid bind address format: ${text}`);
  return `tcp://${host}:${port}`;
}

export function parseIPAddress(text: string): string {
  if (isIP(text.trim()) === 0) throw new ConfigError(`IP address is not correctly formatted: ${text}`);
  return text.trim();
}

/** `0x1/0x3` or `7`: a packet's mark, and which of its bits count. "" is none. */
export function parseMark(text: string): { mark: number; mask: number } | null {
  if (text === "") return null;
  const found = /^(0x[0-9a-f]{1,8}|\d{1,10})(?:\/(0x[0-9a-f]{1,8}|\d{1,10}))?$/i.exec(text);
  const mark = Number(found?.[1]),
    mask = Number(found?.[2] ?? 0xffffffff);
  if (!(mark <= 0xffffffff && mask <= 0xffffffff)) throw new ConfigError(`invalid firewall mark: ${text}`);
  return { mark, mask };
}

/** `172.17.0.1/16`, an address within its network. */
export function parseCIDR(text: string): string {
  const [address = "", prefix = "", ...more] = text.trim().split("/");
  const family = isIP(address);
  const bits = /^\d{1,3}$/.test(prefix) ? Number(prefix) : NaN;
  if (more.length > 0 || family === 0 || !(bits <= (family === 4 ? 32 : 128))) {
    throw new ConfigError(`invalid CIDR address: ${text}`);
  }
  return `${address}/${bits}`;
}

export function parseLogLevel(text: string): "debug" | "info" | "warn" | "error" | "fatal" {
  switch (text.toLowerCase()) {
    case "debug":
    case "trace":
      return "debug";
    case "info":
      return "info";
    case "warn":
    case "warning":
      return "warn";
    case "error":
      return "error";
    case "fatal":
    case "panic":
      return "fatal";
    default:
      throw new ConfigError(`invalid logging level: ${text}`);
  }
}

/** `key=value`; the key is needed, the value may be empty. */
export function parsePair(text: string): [key: string, value: string] {
  const at = text.indexOf("=");
  if (at < 0) return [text, ""];
  if (at === 0) throw new ConfigError(`invalid option: ${text}`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** Daemon labels need a value, unlike those of containers, and one value each. */
export function checkLabels(labels: readonly string[]): string[] {
  const seen = new Map<string, string>();
  for (const label of labels) {
    const [key, value] = parsePair(label);
    if (!label.includes("=") || value === "") throw new ConfigError(`bad attribute format: ${label}`);
    const other = seen.get(key);
    if (other !== undefined && other !== value)
      throw new ConfigError(`conflict labels for ${key}=${value} and ${key}=${other}`);
    seen.set(key, value);
  }
  return [...seen].map(([key, value]) => `${key}=${value}`);
}

/** A registry mirror: a URL of scheme, host and nothing more. */
export function parseMirror(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null) throw new ConfigError(`invalid mirror: ${JSON.stringify(text)} is not a valid URI`);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ConfigError(
      `invalid mirror: unsupported scheme ${JSON.stringify(url.protocol.slice(0, -1))} in ${JSON.stringify(text)}`,
    );
  }
  if ((url.pathname !== "/" && url.pathname !== "") || url.search !== "" || url.hash !== "") {
    throw new ConfigError(`invalid mirror: path, query, or fragment at end of the URI ${JSON.stringify(text)}`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new ConfigError(
      `invalid mirror: username/password not allowed in URI ${JSON.stringify(`${url.protocol}//xxxxx@${url.host}/`)}`,
    );
  }
  return `${url.protocol}//${url.host}/`;
}

/** `http://user:password@proxy.example.com:3128`; without a scheme it is http, as in HTTP_PROXY. */
export function parseProxy(text: string): string {
  const full = text.includes("://") ? text : `http://${text}`;
  const url = URL.canParse(full) ? new URL(full) : null;
  // The password stands in it: it is not repeated.
  if (url === null) throw new ConfigError("invalid proxy: it is not a URL");
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new ConfigError(`invalid proxy: unsupported scheme ${JSON.stringify(url.protocol.slice(0, -1))}`);
  return text;
}

/** A host, host:port or CIDR that may be talked to without verified TLS. */
export function parseInsecureRegistry(text: string): string {
  const bare = text.trim().replace(/^https?:\/\//i, "");
  if (bare.includes("://")) throw new ConfigError(`insecure registry ${text} should not contain '://'`);
  if (bare.includes("/")) return parseCIDR(bare);
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(\d{1,5}))?$/.exec(bare);
  if (!match || Number(match[2] ?? 0) > 65535)
    throw new ConfigError(`insecure registry ${text} is not valid: invalid host ${JSON.stringify(bare)}`);
  return bare;
}

export interface Ulimit {
  soft: number;
  hard: number;
}

/** `nofile=1024:2048` or `nofile=1024`. */
export function parseUlimit(text: string): [name: string, limit: Ulimit] {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text.trim());
  if (!match) throw new ConfigError(`invalid ulimit argument: ${text}`);
  const soft = Number(match[2]);
  return checkUlimit(match[1] ?? "", soft, match[3] === undefined ? soft : Number(match[3]));
}

export function checkUlimit(name: string, soft: number, hard: number): [name: string, limit: Ulimit] {
  if (!ULIMIT_NAMES.includes(name)) throw new ConfigError(`invalid ulimit type: ${name}`);
  if (hard !== -1 && (soft > hard || soft === -1)) {
    throw new ConfigError(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return [name, { soft, hard }];
}

export interface AddressPool {
  base: string;
  size: number;
}

/** `base=10.10.0.0/16,size=24`. */
export function parseAddressPool(text: string): AddressPool {
  const fields = Object.fromEntries(text.split(",").map((field) => parsePair(field.trim())));
  for (const key of Object.keys(fields)) {
    if (key !== "base" && key !== "size") throw new ConfigError(`unexpected key '${key}' in '${text}'`);
  }
  return checkAddressPool(fields["base"] ?? "", parseInteger(fields["size"] ?? ""));
}

export function checkAddressPool(base: string, size: number): AddressPool {
  const cidr = parseCIDR(base);
  const bits = Number(cidr.split("/")[1]);
  if (size < bits || size > (isIP(cidr.split("/")[0] ?? "") === 4 ? 32 : 128)) {
    throw new ConfigError(`invalid default address pool: size ${size} does not fit base ${base}`);
  }
  return { base: cidr, size };
}

/** COMPAT: dockerd's names for the same thing are taken too, since existing configurations carry them. */
export function parseStorageDriver(text: string): string {
  if (["", "overlay2", "overlay", "overlayfs"].includes(text)) return "overlay2";
  if (["copy", "vfs", "native"].includes(text)) return "copy";
  throw new ConfigError(`driver not supported: ${text}: berth has overlay2 and copy`);
}

/** A name of a search domain; `.` means none. */
export function parseSearchDomain(text: string): string {
  const domain = text.trim();
  if (
    domain === "." ||
    /^(?=.{1,254}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/.test(
      domain,
    )
  ) {
    return domain;
  }
  throw new ConfigError(`${text} is not a valid domain`);
}
