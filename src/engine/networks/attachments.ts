// What is attached to what now: networks with their pools and bridges, and the containers that run on them. Held in memory
// alone; rebuilt at boot from the rows and from the containers that still run.
import {
  type Address,
  bitsOf,
  type Family,
  type FirewallState,
  formatAddress,
  isLoopback,
  parseAddress,
  type PortRule,
} from "../../../runtime/mod.ts";
import { internal } from "../../errors.ts";
import type { EndpointRecord, PublishedPort } from "../containers/container.ts";
import type { NetworkRecord } from "../mod.ts";
import { type BridgeOptions, bridgeRules } from "./bridge_options.ts";
import type { DirectOptions } from "./direct_options.ts";
import { type AddressPool, requireWithin } from "./ipam.ts";
import type { HeldPort } from "./ports.ts";

export interface LiveNetwork {
  record: NetworkRecord;
  pools: AddressPool[];
  /** null: the driver has none (host, null), or it could not be made. */
  bridge: { index: number; options: BridgeOptions } | null;
  /** For macvlan and ipvlan: the link of the host that it stands on. null: another driver, or no such link. */
  parent: { index: number; options: DirectOptions } | null;
}

/** A container that runs, as the networks know it. */
export interface Attachment {
  containerID: string;
  containerName: string;
  endpoints: { record: EndpointRecord; network: LiveNetwork }[];
  ports: HeldPort[];
  /** The network by whose endpoint the ports are reached. */
  portsNetworkID: string;
  /** Told to event listeners as connected, so also as disconnected at the end. */
  announced: NetworkRecord[];
  /** Its names at 127.0.0.11; null: it has none, being on the default bridge alone. */
  resolver: Disposable | null;
}

/** Takes one address of a family: the wanted one, or the next free one. Throws Docker's words. */
export function takeAddress(
  network: LiveNetwork,
  family: Family,
  wanted: string,
): { address: Address; prefixLength: number } {
  const pools = network.pools.filter((pool) => pool.subnet.family === family);
  const address = wanted === "" ? null : parseAddress(wanted);
  if (address !== null) {
    const subnet = requireWithin(
      pools.map((pool) => pool.subnet),
      address,
    );
    pools.find((pool) => pool.subnet === subnet)?.take(address);
    return { address, prefixLength: subnet.prefixLength };
  }
  for (const pool of pools) {
    const free = pool.allocate();
    if (free !== null) return { address: free, prefixLength: pool.subnet.prefixLength };
  }
  const { name, id } = network.record;
  throw internal(`no available IPv${family} addresses on this network's address pools: ${name} (${id})`);
}

export function releaseAddresses(network: LiveNetwork, endpoint: EndpointRecord): void {
  for (const text of [endpoint.ipAddress, endpoint.ip6Address]) {
    const address = parseAddress(text);
    if (address === null) continue;
    network.pools.find((pool) => pool.subnet.family === address.family)?.release(address);
  }
}

/** The endpoint that carries the default route of a family: the highest priority, then the first by name. */
export function gatewayEndpoint(attachment: Attachment, family: Family): Attachment["endpoints"][number] | null {
  const candidates = attachment.endpoints.filter(
    ({ record }) => (family === 4 ? record.gateway : record.gateway6) !== "",
  );
  const [best] = candidates.sort(
    (a, b) =>
      b.record.settings.GwPriority - a.record.settings.GwPriority ||
      (a.record.networkName < b.record.networkName ? -1 : 1),
  );
  return best ?? null;
}

/** Where a connection to a published port goes inside the container: the same family if it has it. null: nowhere. */
export function portTarget(attachment: Attachment, family: Family): Address | null {
  const endpoint = attachment.endpoints.find(({ record }) => record.networkID === attachment.portsNetworkID)?.record;
  if (endpoint === undefined) return null;
  const v4 = parseAddress(endpoint.ipAddress),
    v6 = parseAddress(endpoint.ip6Address);
  return family === 4 ? (v4 ?? v6) : (v6 ?? v4);
}

/** Whether NAT can carry this port; what it cannot, the proxy does. */
export function isNATable(port: HeldPort, target: Address, leavesIPv6: boolean): boolean {
  if (leavesIPv6 && target.family === 6) return false;
  return port.hostIP.family === target.family && !(port.hostIP.family === 6 && isLoopback(port.hostIP));
}

export function publishedPorts(attachment: Attachment): PublishedPort[] {
  return attachment.ports.map(({ port, protocol, hostIP, hostPort }) => ({
    port,
    protocol,
    hostIP: formatAddress(hostIP),
    hostPort,
  }));
}

/** Everything the packet filter is to know, of all networks and all containers at once. */
export function firewallState(
  networks: Iterable<LiveNetwork>,
  attachments: Iterable<Attachment>,
  settings: Omit<FirewallState, "bridges" | "ports">,
): FirewallState {
  const bridges = [...networks].filter((network) => network.bridge !== null).map(({ record }) => bridgeRules(record));
  const ports: PortRule[] = [];
  for (const attachment of attachments) {
    for (const held of attachment.ports) {
      const target = portTarget(attachment, held.hostIP.family);
      if (target === null || !isNATable(held, target, settings.leavesIPv6)) continue;
      const { protocol, hostIP, hostPort, port } = held;
      ports.push({ protocol, hostIP, hostPort, target, targetPort: port, owner: attachment.containerName });
    }
  }
  // Those for one address before those for all: the first that matches decides.
  ports.sort((a, b) => hostBits(b) - hostBits(a));
  return { ...settings, bridges, ports };
}

function hostBits(port: PortRule): number {
  return port.hostIP.value === 0n ? 0 : bitsOf(port.hostIP.family);
}
