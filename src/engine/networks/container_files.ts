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
  readText,
  type SandboxFiles,
  writeFiles,
} from "./files.ts";
import {
  type HostResolvConf,
  type HostResolvPaths,
  parseResolvConf,
  PUBLIC_SERVERS,
  PUBLIC_SERVERS_V6,
  resolvConfText,
  type ResolvConfRules,
} from "./resolv_conf.ts";

export interface HostFiles extends HostResolvPaths {
  hosts: string;
}

export const HOST_FILES: HostFiles = {
  hosts: "/etc/hosts",
  resolvConf: "/etc/resolv.conf",
  resolvedConf: "/run/systemd/resolve/resolv.conf",
};

export interface ContainerFilesDeps {
  config(): Config;
  hostFiles: HostFiles;
  hostResolvConf(): HostResolvConf;
  linkHosts(record: ContainerRecord): HostsEntry[];
  /** What `host-gateway` stands for; [] when there is no default bridge. */
  hostGateways(): readonly string[];
}

export function writeContainerFiles(
  deps: ContainerFilesDeps,
  record: ContainerRecord,
  endpoints: readonly EndpointRecord[],
  directory: string,
  hasResolver: boolean,
): SandboxFiles {
  const isHost = networkMode(record.hostConfig.NetworkMode).kind === "host";
  const hostHosts = isHost ? readText(deps.hostFiles.hosts) : null;
  const resolvConf = resolvConfOf(deps, record, endpoints, hasResolver);
  const asked = record.hostConfig.ExtraHosts.flatMap((text): HostsEntry[] => {
    const { name, address } = parseExtraHost(text);
    const addresses = address === HOST_GATEWAY ? requireGateways(deps) : [address];
    return addresses.map((each) => ({ names: name, address: each }));
  });
  const extra = [...asked, ...deps.linkHosts(record)];
  const hosts = isHost ? hostsWith(hostHosts ?? "", extra) : hostsText(extra, ownEntries(record, endpoints));
  return writeFiles(directory, { hostname: `${record.config.Hostname}\n`, hosts, resolvConf });
}

function requireGateways(deps: ContainerFilesDeps): readonly string[] {
  const gateways = deps.hostGateways();
  if (gateways.length === 0) throw internal("unable to derive the IP value for host-gateway");
  return gateways;
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

/** What a container asks for, or else the daemon: one answer for its file and for its resolver. */
export function dnsSettings(
  { dns, dnsSearch, dnsOptions }: Pick<Config, "dns" | "dnsSearch" | "dnsOptions">,
  { hostConfig }: Pick<ContainerRecord, "hostConfig">,
): Pick<ResolvConfRules, "dns" | "dnsSearch" | "dnsOptions"> {
  const orDefault = (own: readonly string[], daemon: readonly string[]) => (own.length > 0 ? own : daemon);
  return {
    dns: orDefault(hostConfig.Dns, dns),
    dnsSearch: orDefault(hostConfig.DnsSearch, dnsSearch),
    dnsOptions: orDefault(hostConfig.DnsOptions, dnsOptions),
  };
}

export function resolvConfOf(
  deps: ContainerFilesDeps,
  record: ContainerRecord,
  endpoints: readonly EndpointRecord[],
  isInternal: boolean,
): string {
  const isHost = networkMode(record.hostConfig.NetworkMode).kind === "host";
  const settings = dnsSettings(deps.config(), record);
  const hasIPv6 = endpoints.some(({ ip6Address }) => ip6Address !== "");
  const fallback = isHost || endpoints.length === 0 ? [] : [...PUBLIC_SERVERS, ...(hasIPv6 ? PUBLIC_SERVERS_V6 : [])];
  if (!isHost) {
    return resolvConfText(deps.hostResolvConf(), { ...settings, isInternal, dropsLoopback: true, hasIPv6, fallback });
  }
  const { resolvConf: path } = deps.hostFiles;
  const text = readText(path) ?? "";
  if (Object.values(settings).every((list) => list.length === 0)) return text;
  const rules = { ...settings, isInternal: false, dropsLoopback: false, hasIPv6, fallback };
  return resolvConfText({ path, conf: parseResolvConf(text) }, rules);
}
