// An endpoint: one container on one network, first as planned at create, then with its addresses at start. Pure.
import { contains, formatAddress, parseAddress, parseMAC, type Subnet } from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";
import type { ContainerConfig } from "../../schema/container.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import type { EndpointSettings, NetworkingConfig } from "../../schema/network.ts";
import type { ContainerRecord, EndpointRecord } from "../containers/container.ts";
import { shortID } from "../ids.ts";
import type { NetworkRecord } from "../mod.ts";
import { parseExtraHost } from "./files.ts";
import { parsePortRequests } from "./ports.ts";
import { invalidLines } from "./predefined.ts";

/** How a container is joined to the network world, as HostConfig.NetworkMode says. */
export type NetworkMode =
  | { kind: "host" | "none" }
  | { kind: "container"; of: string }
  /** `bridge`, or what the user calls one of the other networks. */
  | { kind: "network"; name: string };

/** COMPAT: `default` and "" are what clients send for the default bridge. */
export function networkMode(mode: string): NetworkMode {
  if (mode === "" || mode === "default") return { kind: "network", name: "bridge" };
  if (mode === "host" || mode === "none") return { kind: mode };
  if (mode.startsWith("container:")) return { kind: "container", of: mode.slice("container:".length) };
  return { kind: "network", name: mode };
}

export const NO_SETTINGS: EndpointSettings = {
  IPAMConfig: null,
  Links: [],
  MacAddress: "",
  Aliases: [],
  DriverOpts: {},
  GwPriority: 0,
};

/** What the plan asks of the networks that exist; a name that is none yet is looked up again at start. */
export type FindNetwork = (nameOrID: string) => NetworkRecord | null;

/** The endpoints of a new container, without addresses. Throws Docker's 400 for every fault at once. */
export function planEndpoints(
  hostConfig: HostConfig,
  config: ContainerConfig,
  networking: NetworkingConfig,
  find: FindNetwork,
): EndpointRecord[] {
  // Nothing is taken yet, but nonsense is refused before anything is made.
  parsePortRequests(hostConfig.PortBindings, Object.keys(config.ExposedPorts), hostConfig.PublishAllPorts);
  for (const entry of hostConfig.ExtraHosts) parseExtraHost(entry);
  for (const server of hostConfig.Dns) {
    if (parseAddress(server) === null) throw invalid(`${server} is not an IP address`);
  }
  if (config.MacAddress !== "" && parseMAC(config.MacAddress) === null) {
    throw invalid(`invalid MAC address: ${config.MacAddress}`);
  }
  const mode = networkMode(hostConfig.NetworkMode);
  const wanted = new Map<string, EndpointSettings>();
  for (const [key, settings] of Object.entries(networking.EndpointsConfig)) {
    wanted.set(key === "default" || key === "" ? "bridge" : key, settings);
  }
  if (mode.kind !== "network") {
    const others = [...wanted.keys()].filter((name) => name !== hostConfig.NetworkMode);
    if (others.length === 0) return [];
    throw invalid(
      mode.kind === "none"
        ? "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        : "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  }
  const first = wanted.get(mode.name) ?? NO_SETTINGS;
  wanted.delete(mode.name);
  const all: [string, EndpointSettings][] = [[mode.name, first], ...[...wanted].sort(byPriority)];
  const faults = all.flatMap(([name, settings]) => {
    if (name === "host" || name === "none") {
      throw invalid(
        name === "none"
          ? "container cannot be connected to multiple networks with one of the networks in private (none) mode"
          : "container cannot be disconnected from host network or connected to host network",
      );
    }
    const lines = settingsFaults(settings, name, find(name));
    return lines.length === 0
      ? []
      : [`invalid config for network ${name}: invalid endpoint settings:\n${lines.join("\n")}`];
  });
  if (faults.length > 0) throw invalidLines(faults);
  return all.map(([name, settings], index) => {
    const network = find(name);
    // COMPAT: the container-wide address is that of the network the mode names.
    const mac = settings.MacAddress !== "" ? settings.MacAddress : index === 0 ? config.MacAddress : "";
    return emptyEndpoint(network?.id ?? "", network?.name ?? name, { ...settings, MacAddress: mac });
  });
}

/** Highest gateway priority first, then by name. */
function byPriority(a: [string, EndpointSettings], b: [string, EndpointSettings]): number {
  return b[1].GwPriority - a[1].GwPriority || (a[0] < b[0] ? -1 : 1);
}

export function emptyEndpoint(networkID: string, networkName: string, settings: EndpointSettings): EndpointRecord {
  return {
    networkID,
    networkName,
    settings,
    interfaceName: "",
    dnsNames: [],
    ...NO_ADDRESSES,
  };
}

/** What an endpoint has only while its container runs. */
export const NO_ADDRESSES = {
  endpointID: "",
  macAddress: "",
  ipAddress: "",
  ipPrefixLength: 0,
  gateway: "",
  ip6Address: "",
  ip6PrefixLength: 0,
  gateway6: "",
} as const;

/** Faults in one endpoint's settings, in Docker's words; none: []. `network` is null when it does not exist yet. */
function settingsFaults(settings: EndpointSettings, name: string, network: NetworkRecord | null): string[] {
  const faults: string[] = [];
  const isUserDefined = name !== "bridge" && network?.name !== "bridge";
  const v4 = settings.IPAMConfig?.IPv4Address ?? "",
    v6 = settings.IPAMConfig?.IPv6Address ?? "";
  if ((v4 !== "" || v6 !== "") && !isUserDefined) {
    faults.push("user-specified IP address is supported on user-defined networks only");
  }
  if (settings.Aliases.length > 0 && !isUserDefined) {
    faults.push("network-scoped aliases are only supported for user-defined networks");
  }
  if (v4 !== "" && parseAddress(v4)?.family !== 4) faults.push(`invalid IPv4 address: ${v4}`);
  if (v6 !== "" && parseAddress(v6)?.family !== 6) faults.push(`invalid IPv6 address: ${v6}`);
  for (const address of settings.IPAMConfig?.LinkLocalIPs ?? []) {
    if (parseAddress(address) === null) faults.push(`invalid link-local IP address: ${address}`);
  }
  try {
    endpointSysctls(settings.DriverOpts, "");
  } catch (error) {
    faults.push(error instanceof Error ? error.message : String(error));
  }
  if (settings.MacAddress !== "" && parseMAC(settings.MacAddress) === null) {
    faults.push(`invalid MAC address: ${settings.MacAddress}`);
  }
  return faults;
}

const SYSCTLS_OPTION = "com.docker.network.endpoint.sysctls";

/**
 * The kernel settings of an endpoint's own interface, as files below /proc/sys: `net.ipv4.conf.IFNAME.log_martians=1,…`.
 * COMPAT: IFNAME stands for the interface, in small letters too, since the CLI makes it so; only settings of interfaces are
 * taken. Throws `invalid`.
 */
export function endpointSysctls(
  options: Readonly<Record<string, string>>,
  interfaceName: string,
): { path: string; text: string }[] {
  const given = options[SYSCTLS_OPTION] ?? "";
  return given
    .split(",")
    .filter((entry) => entry !== "")
    .map((entry) => {
      const [, family, kind, name, value] =
        /^net\.(ipv4|ipv6|mpls)\.(conf|neigh)\.IFNAME\.([a-z0-9_]+)=(.+)$/i.exec(entry) ?? [];
      if (family === undefined || kind === undefined || name === undefined || value === undefined) {
        throw invalid(`invalid endpoint sysctl ${JSON.stringify(entry)}: net.ipv4.conf.IFNAME.NAME=VALUE is needed`);
      }
      return { path: `/proc/sys/net/${family}/${kind}/${interfaceName}/${name}`, text: value };
    });
}

/** The same at connect time, when the network is there: addresses must lie in subnets that the user chose. */
export function connectFaults(
  settings: EndpointSettings,
  network: NetworkRecord,
  subnets: readonly Subnet[],
): string[] {
  const faults = settingsFaults(settings, network.name, network);
  for (const text of [settings.IPAMConfig?.IPv4Address ?? "", settings.IPAMConfig?.IPv6Address ?? ""]) {
    const address = parseAddress(text);
    if (address === null || network.name === "bridge") continue;
    if (network.ipam.isAutomatic) {
      faults.push(
        "user-specified IP address is supported only when connecting to networks with user configured subnets",
      );
    } else if (!subnets.some((subnet) => contains(subnet, address)))
      faults.push(`no configured subnet contains IP address ${formatAddress(address)}`);
  }
  return faults;
}

/** The names that a container answers to on a network. COMPAT: none on the default bridge. */
export function dnsNames(record: ContainerRecord, settings: EndpointSettings, network: NetworkRecord): string[] {
  if (network.name === "bridge") return [];
  return [...new Set([record.name, ...settings.Aliases, shortID(record.id), record.config.Hostname])].filter(Boolean);
}
