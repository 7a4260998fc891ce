// resolv.conf(5): the host's read, as it is at the moment, and the text of a container's. COMPAT: the lines and their order,
// comments included, are Docker's: scripts read the upstream servers from there.
import { readFileSync, statSync } from "node:fs";
import { type Address, isLoopback, parseAddress, RESOLVER_ADDRESS } from "../../../runtime/mod.ts";

export interface ResolvConf {
  servers: string[];
  search: string[];
  options: string[];
  /** Whole lines that are passed on: `sortlist …`. */
  others: string[];
}

/** What resolv.conf(5) does not know is passed over; the last `search` or `domain` counts. */
export function parseResolvConf(text: string): ResolvConf {
  const conf: ResolvConf = { servers: [], search: [], options: [], others: [] };
  for (const line of text.split("\n")) {
    const bare = line.replace(/[#;].*$/, "").trim();
    const [key, ...words] = bare.split(/\s+/);
    if (key === "nameserver" && words[0] !== undefined) conf.servers.push(words[0]);
    else if (key === "search" || key === "domain") conf.search = words;
    else if (key === "options") conf.options.push(...words);
    else if (key === "sortlist") conf.others.push(bare);
  }
  return conf;
}

/** `fe80::1%eth0` names an interface of the host. */
export function scopeOf(server: string): { address: Address | null; scope: string } {
  const [address = "", scope = ""] = server.split("%");
  return { address: parseAddress(address), scope };
}

export interface HostResolvPaths {
  resolvConf: string;
  /** Where systemd-resolved keeps the real servers, when resolv.conf names only its own stub. */
  resolvedConf: string;
}

export interface HostResolvConf {
  path: string;
  conf: ResolvConf;
}

const RESOLVED_STUB = "127.0.0.53";
/** Real ones have some hundred bytes; glibc reads three servers and six domains of it. */
const MAX_BYTES = 64 << 10;

/** The host's file, read again whenever it has changed: laptops and VPNs change theirs all day. */
export function createHostResolvConf(paths: HostResolvPaths): () => HostResolvConf {
  const main = cachedFile(paths.resolvConf),
    resolved = cachedFile(paths.resolvedConf);
  return () => {
    const conf = main();
    if (conf.servers.length === 1 && conf.servers[0] === RESOLVED_STUB) {
      const real = resolved();
      if (real.servers.length > 0) return { path: paths.resolvedConf, conf: real };
    }
    return { path: paths.resolvConf, conf };
  };
}

function cachedFile(path: string): () => ResolvConf {
  let stamp = "";
  let conf = parseResolvConf("");
  return () => {
    try {
      const { mtimeMs, ctimeMs, size, ino } = statSync(path);
      const now = `${mtimeMs} ${ctimeMs} ${size} ${ino}`;
      if (now !== stamp) conf = parseResolvConf(size > MAX_BYTES ? "" : readFileSync(path, "utf8"));
      stamp = now;
    } catch {
      // No such file now: no servers. The next query looks again.
      stamp = "";
      conf = parseResolvConf("");
    }
    return conf;
  };
}

export interface ResolvConfRules {
  /** From the container or, where that says nothing, from the daemon; empty: the host's. */
  dns: readonly string[];
  dnsSearch: readonly string[];
  dnsOptions: readonly string[];
  /** The container has a resolver of its own: it alone is named, and asks the others. */
  isInternal: boolean;
  /** Servers on the host's loopback cannot be reached from the container's. */
  dropsLoopback: boolean;
  hasIPv6: boolean;
  /** Used when none is left; empty: then there is none. */
  fallback: readonly string[];
}

/** COMPAT: what Docker writes when the host's own servers are all on its loopback. */
export const PUBLIC_SERVERS = ["8.8.8.8", "8.8.4.4"] as const;
export const PUBLIC_SERVERS_V6 = ["2001:4860:4860::8888", "2001:4860:4860::8844"] as const;

export function resolvConfText({ path, conf: host }: HostResolvConf, rules: ResolvConfRules): string {
  const search = rules.dnsSearch.length > 0 ? rules.dnsSearch.filter((domain) => domain !== ".") : host.search;
  const { options, ndotsFrom } = optionsOf(host, rules);
  const lines = serversOf(host, rules).map((server) => `nameserver ${server}`);
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  if (options.length > 0) lines.push(`options ${options.join(" ")}`);
  const overrides = [
    ...(rules.dns.length > 0 ? ["nameservers"] : []),
    ...(rules.dnsSearch.length > 0 ? ["search"] : []),
    ...(rules.dnsOptions.length > 0 ? ["options"] : []),
  ];
  const kind = rules.isInternal ? " (internal resolver)" : rules.dropsLoopback ? " (legacy)" : "";
  lines.push(...host.others, "", `# Based on host file: '${path}'${kind}`);
  if (rules.isInternal) {
    const external = rules.dns.length > 0 ? rules.dns : host.servers.map((server) => `host(${server})`);
    lines.push(`# ExtServers: [${external.join(" ")}]`);
  }
  lines.push(`# Overrides: [${overrides.join(" ")}]`);
  if (ndotsFrom !== "") lines.push(`# Option ndots from: ${ndotsFrom}`);
  return lines.map((line) => `${line}\n`).join("");
}

function serversOf(host: ResolvConf, rules: ResolvConfRules): readonly string[] {
  if (rules.isInternal) return [RESOLVER_ADDRESS];
  const usable = rules.dns.length > 0 ? rules.dns : host.servers.filter((server) => canReach(server, rules));
  return usable.length > 0 ? usable : rules.fallback;
}

function optionsOf(host: ResolvConf, rules: ResolvConfRules): { options: readonly string[]; ndotsFrom: string } {
  const isOverridden = rules.dnsOptions.length > 0;
  const options = isOverridden ? rules.dnsOptions : host.options;
  if (!rules.isInternal) return { options, ndotsFrom: "" };
  if (options.some((option) => option.startsWith("ndots:"))) {
    return { options, ndotsFrom: isOverridden ? "override" : "host" };
  }
  // A name without a dot is a container's, before it is one of a search domain.
  return { options: [...options, "ndots:0"], ndotsFrom: "internal" };
}

function canReach(server: string, rules: ResolvConfRules): boolean {
  const { address, scope } = scopeOf(server);
  if (scope !== "") return !rules.dropsLoopback;
  if (address === null) return false;
  if (rules.dropsLoopback && isLoopback(address)) return false;
  return address.family === 4 || rules.hasIPv6 || !rules.dropsLoopback;
}
