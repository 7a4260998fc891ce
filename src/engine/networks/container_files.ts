// Which texts a container's hosts, hostname and resolv.conf get: by its network mode, its settings and the daemon's.
import type { Config } from "../../config.ts";
import { internal } from "../../errors.ts";
import type { ContainerRecord, EndpointRecord } from "../containers/container.ts";
import { networkMode } from "./endpoint.ts";
import {
  HOST_GATEWAY,
  hostNames,
  type HostsEntry,
  hostsText,
  hostsWith,
  parseExtraHost,
  parseResolvConf,
  PUBLIC_SERVERS,
  PUBLIC_SERVERS_V6,
  readText,
  resolvConfText,
  type SandboxFiles,
  writeFiles,
} from "./files.ts";

export interface HostFiles {
  hosts: string;
  resolvConf: string;
  /** Where systemd-resolved keeps the real servers, when resolv.conf names only its own stub. */
  resolvedConf: string;
}

export const HOST_FILES: HostFiles = {
  hosts: "/etc/hosts",
  resolvConf: "/etc/resolv.conf",
  resolvedConf: "/run/systemd/resolve/resolv.conf",
};

export interface ContainerFilesDeps {
  config(): Config;
  hostFiles: HostFiles;
  linkHosts(record: ContainerRecord): HostsEntry[];
  /** What `host-gateway` stands for; "" when there is no default bridge. */
  hostGateway(): string;
}

export function writeContainerFiles(
  deps: ContainerFilesDeps,
  record: ContainerRecord,
  endpoints: readonly EndpointRecord[],
  directory: string,
): SandboxFiles {
  const isHost = networkMode(record.hostConfig.NetworkMode).kind === "host";
  const hostHosts = isHost ? readText(deps.hostFiles.hosts) : null;
  const resolvConf = resolvConfOf(deps, record, endpoints, isHost);
  const asked = record.hostConfig.ExtraHosts.map((text): HostsEntry => {
    const { name, address } = parseExtraHost(text);
    return { names: name, address: address === HOST_GATEWAY ? requireGateway(deps) : address };
  });
  const extra = [...asked, ...deps.linkHosts(record)];
  const hosts = isHost ? hostsWith(hostHosts ?? "", extra) : hostsText(extra, ownEntries(record, endpoints));
  return writeFiles(directory, { hostname: `${record.config.Hostname}\n`, hosts, resolvConf });
}

function requireGateway(deps: ContainerFilesDeps): string {
  const gateway = deps.hostGateway();
  if (gateway === "") throw internal("unable to derive the IP value for host-gateway");
  return gateway;
}

/** The container's own names, at each of its addresses. */
export function ownEntries(record: ContainerRecord, endpoints: readonly EndpointRecord[]): HostsEntry[] {
  const names = hostNames(record.config.Hostname, record.config.Domainname);
  if (names === "") return [];
  return endpoints
    .flatMap(({ ipAddress, ip6Address }) => [ipAddress, ip6Address])
    .filter((address) => address !== "")
    .map((address) => ({ address, names }));
}

const RESOLVED_STUB = "127.0.0.53";

function resolvConfOf(
  deps: ContainerFilesDeps,
  record: ContainerRecord,
  endpoints: readonly EndpointRecord[],
  isHost: boolean,
): string {
  const { hostConfig } = record;
  const config = deps.config();
  const orDefault = (own: readonly string[], daemon: readonly string[]) => (own.length > 0 ? own : daemon);
  const rules = {
    dns: orDefault(hostConfig.Dns, config.dns),
    dnsSearch: orDefault(hostConfig.DnsSearch, config.dnsSearch),
    dnsOptions: orDefault(hostConfig.DnsOptions, config.dnsOptions),
  };
  const text = readText(deps.hostFiles.resolvConf) ?? "";
  if (isHost && Object.values(rules).every((list) => list.length === 0)) return text;
  let host = parseResolvConf(text);
  if (!isHost && host.servers.length === 1 && host.servers[0] === RESOLVED_STUB) {
    const real = readText(deps.hostFiles.resolvedConf);
    if (real !== null) host = parseResolvConf(real);
  }
  const hasIPv6 = endpoints.some(({ ip6Address }) => ip6Address !== "");
  const fallback = isHost || endpoints.length === 0 ? [] : [...PUBLIC_SERVERS, ...(hasIPv6 ? PUBLIC_SERVERS_V6 : [])];
  return resolvConfText(host, { ...rules, dropsLoopback: !isHost, hasIPv6, fallback });
}
