// Our record of a network to what the API shows: list and inspect.
import type { ContainerRecord } from "../engine/containers/container.ts";
import type { NetworkRecord } from "../engine/mod.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";
import { endpointsOf } from "./container_network_view.ts";

/** An item of the list. COMPAT: below 1.52 it has an empty `Containers`, which scripts index into. */
export function summaryView(network: NetworkRecord, version: ApiVersion): object {
  return { ...common(network, version), ...(isAtLeast(version, 52) ? {} : { Containers: {} }) };
}

/** `containers`: all there are; shown are those that are up and on this network. */
export function inspectView(
  network: NetworkRecord,
  containers: Iterable<ContainerRecord>,
  version: ApiVersion,
): object {
  return { ...common(network, version), Containers: endpoints(network, containers) };
}

function common(network: NetworkRecord, version: ApiVersion): object {
  return {
    Name: network.name,
    Id: network.id,
    Created: network.createdAt,
    Scope: network.scope,
    Driver: network.driver,
    ...(isAtLeast(version, 48) ? { EnableIPv4: network.enableIPv4 } : {}),
    EnableIPv6: network.enableIPv6,
    IPAM: {
      Driver: network.ipam.driver,
      Options: network.ipam.options,
      Config: network.ipam.config.map((pool) => ({
        Subnet: pool.subnet,
        ...(pool.ipRange === "" ? {} : { IPRange: pool.ipRange }),
        ...(pool.gateway === "" ? {} : { Gateway: pool.gateway }),
        ...(Object.keys(pool.auxiliaryAddresses).length > 0 ? { AuxiliaryAddresses: pool.auxiliaryAddresses } : {}),
      })),
    },
    Internal: network.isInternal,
    Attachable: network.isAttachable,
    Ingress: network.isIngress,
    ConfigFrom: { Network: network.configFrom ?? "" },
    ConfigOnly: network.isConfigOnly ?? false,
    Options: network.options,
    Labels: network.labels,
  };
}

function endpoints(network: NetworkRecord, containers: Iterable<ContainerRecord>): object {
  const shown: Record<string, object> = {};
  const networkID = (name: string): string => (name === network.name ? network.id : "");
  for (const record of containers) {
    const { id, name, state } = record;
    if (state.status !== "running" && state.status !== "paused") continue;
    for (const endpoint of endpointsOf(record, networkID)) {
      if (endpoint.networkID !== network.id) continue;
      shown[id] = {
        Name: name,
        EndpointID: endpoint.endpointID,
        MacAddress: endpoint.macAddress,
        IPv4Address: withPrefix(endpoint.ipAddress, endpoint.ipPrefixLength),
        IPv6Address: withPrefix(endpoint.ip6Address, endpoint.ip6PrefixLength),
      };
    }
  }
  return shown;
}

function withPrefix(address: string, length: number): string {
  return address === "" ? "" : `${address}/${length}`;
}
