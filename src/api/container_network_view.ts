// The network side of inspect and list: endpoints, ports, and the top-level fields that clients below 1.52 read.
import { createHash } from "node:crypto";
import type { ContainerRecord, EndpointRecord, PublishedPort } from "../engine/containers/container.ts";
import { emptyEndpoint, NO_SETTINGS } from "../engine/networks/endpoint.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";

interface PortSummary {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

/** `80/tcp` to where it is published; null: exposed only. Empty while the container does not run, as under Docker. */
export function portMap(record: ContainerRecord): Record<string, { HostIp: string; HostPort: string }[] | null> {
  const ports: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  if (!hasOwnNetwork(record)) return ports;
  for (const port of exposedPorts(record)) ports[port] = null;
  for (const { hostIP, hostPort, port, protocol } of record.publishedPorts) {
    (ports[`${port}/${protocol}`] ??= []).push({ HostIp: hostIP, HostPort: hostPort === 0 ? "" : String(hostPort) });
  }
  return ports;
}

/** One entry for each binding, and one without PublicPort for what is exposed only. */
export function portList(record: ContainerRecord): PortSummary[] {
  if (!hasOwnNetwork(record)) return [];
  const published = record.publishedPorts.map(toPortSummary);
  const isPublished = new Set(record.publishedPorts.map(({ port, protocol }) => `${port}/${protocol}`));
  const exposed = exposedPorts(record)
    .filter((port) => !isPublished.has(port))
    .map((port): PortSummary => {
      const [number = "", protocol = "tcp"] = port.split("/");
      return { PrivatePort: Number(number), Type: protocol };
    });
  return [...published, ...exposed].sort((a, b) => a.PrivatePort - b.PrivatePort || a.Type.localeCompare(b.Type));
}

function toPortSummary({ hostIP, hostPort, port, protocol }: PublishedPort): PortSummary {
  // A port that is reached at the container's own address alone has none on the host.
  if (hostPort === 0) return { PrivatePort: port, Type: protocol };
  return { IP: hostIP, PrivatePort: port, PublicPort: hostPort, Type: protocol };
}

function hasOwnNetwork(record: ContainerRecord): boolean {
  const { status } = record.state;
  return (status === "running" || status === "paused") && record.endpoints.length > 0;
}

/** `port/protocol` of everything exposed or published, in one spelling. */
function exposedPorts(record: ContainerRecord): string[] {
  const given = [...Object.keys(record.config.ExposedPorts), ...Object.keys(record.hostConfig.PortBindings)];
  return [...new Set(given.map((port) => (port.includes("/") ? port : `${port}/tcp`)))].sort();
}

/** The ID that the name of a network stands for. */
export type NetworkID = (name: string) => string;

/** COMPAT: `host` and `none` count as networks of a container too, though nothing is plugged in there. */
export function endpointsOf(record: ContainerRecord, networkID: NetworkID): EndpointRecord[] {
  const { endpoints, hostConfig, id, state } = record;
  const name = hostConfig.NetworkMode;
  if (endpoints.length > 0 || (name !== "host" && name !== "none")) return endpoints;
  const isOn = state.status === "running" || state.status === "paused";
  const endpointID = isOn ? createHash("sha256").update(`${id} ${name}`).digest("hex") : "";
  return [{ ...emptyEndpoint(networkID(name), name, NO_SETTINGS), endpointID }];
}

export function networkSettings(record: ContainerRecord, version: ApiVersion, networkID: NetworkID): object {
  const networks = Object.fromEntries(
    endpointsOf(record, networkID).map((each) => [each.networkName, endpoint(record, each, version)]),
  );
  const isOn = record.state.status === "running" || record.state.status === "paused";
  // The sandbox has no file of its own: the container's first process is where its network namespace can be entered.
  const SandboxID = isOn ? record.id : "";
  const SandboxKey =
    record.state.status === "running" || record.state.status === "paused"
      ? `/proc/${record.state.task.pid}/ns/net`
      : "";
  const Ports = portMap(record);
  if (isAtLeast(version, 52)) return { SandboxID, SandboxKey, Ports, Networks: networks };
  return {
    Bridge: "",
    SandboxID,
    SandboxKey,
    Ports,
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    ...defaultAddresses(record.endpoints.find((each) => each.networkName === "bridge")),
    Networks: networks,
  };
}

/** COMPAT: the addresses on the default bridge alone, which is what these fields have meant since user networks exist. */
function defaultAddresses(on: EndpointRecord | undefined): object {
  return {
    EndpointID: on?.endpointID ?? "",
    Gateway: on?.gateway ?? "",
    GlobalIPv6Address: on?.ip6Address ?? "",
    GlobalIPv6PrefixLen: on?.ip6PrefixLength ?? 0,
    IPAddress: on?.ipAddress ?? "",
    IPPrefixLen: on?.ipPrefixLength ?? 0,
    IPv6Gateway: on?.gateway6 ?? "",
    MacAddress: on?.macAddress ?? "",
  };
}

/** One attachment, with both what was asked for and what it got. */
export function endpoint(record: ContainerRecord, on: EndpointRecord, version: ApiVersion): object {
  const { settings } = on;
  return {
    IPAMConfig: settings.IPAMConfig,
    Links: orNull(settings.Links),
    Aliases: orNull(aliases(record, on, version)),
    MacAddress: on.macAddress,
    DriverOpts: Object.keys(settings.DriverOpts).length > 0 ? settings.DriverOpts : null,
    ...(isAtLeast(version, 48) ? { GwPriority: settings.GwPriority } : {}),
    NetworkID: on.networkID,
    EndpointID: on.endpointID,
    Gateway: on.gateway,
    IPAddress: on.ipAddress,
    IPPrefixLen: on.ipPrefixLength,
    IPv6Gateway: on.gateway6,
    GlobalIPv6Address: on.ip6Address,
    GlobalIPv6PrefixLen: on.ip6PrefixLength,
    ...(isAtLeast(version, 44) ? { DNSNames: orNull(on.dnsNames) } : {}),
  };
}

/** COMPAT: below 1.45 the short ID and the hostname were listed among the aliases on user-defined networks. */
function aliases(record: ContainerRecord, on: EndpointRecord, version: ApiVersion): string[] {
  const given = on.settings.Aliases;
  if (isAtLeast(version, 45) || ["bridge", "host", "none"].includes(on.networkName)) return given;
  return [...new Set([...given, record.id.slice(0, 12), record.config.Hostname])];
}

function orNull<T>(items: T[]): T[] | null {
  return items.length > 0 ? items : null;
}
