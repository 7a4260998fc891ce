// One endpoint of a container that starts or runs: its addresses, its name inside, its published ports, and its plug.
// Called by sandbox.ts at start and by connect.ts while a container runs.
import {
  type Address,
  type DirectKind,
  type Family,
  type Fd,
  formatAddress,
  localMAC,
  parseAddress,
  SyscallError,
} from "../../../runtime/mod.ts";
import { conflict, EngineError, forbidden, internal } from "../../errors.ts";
import type { ContainerRecord, EndpointRecord } from "../containers/container.ts";
import { newID } from "../ids.ts";
import {
  type Attachment,
  gatewayEndpoint,
  isNATable,
  type LiveNetwork,
  portTarget,
  takeAddress,
} from "./attachments.ts";
import type { NetworkRecord } from "../mod.ts";
import { DEFAULT_GATEWAY } from "./default_bridge.ts";
import { dnsNames, endpointSysctls } from "./endpoint.ts";
import { parsePortRequests } from "./ports.ts";
import type { SandboxDeps } from "./sandbox.ts";

/** One more endpoint, with its addresses and the name of its interface. */
export function takeEndpoint(
  deps: SandboxDeps,
  attachment: Attachment,
  container: ContainerRecord,
  network: LiveNetwork,
  planned: EndpointRecord,
): EndpointRecord {
  const { record: net, bridge } = network;
  if (net.isConfigOnly === true) throw forbidden("cannot create endpoint on configuration-only network");
  const endpoint: EndpointRecord = {
    ...planned,
    networkID: net.id,
    networkName: net.name,
    endpointID: newID(deps.random),
    interfaceName: freeInterface(attachment, planned, bridge?.options.interfacePrefix ?? "eth"),
    macAddress:
      planned.settings.MacAddress === "" ? localMAC(deps.random(6)) : planned.settings.MacAddress.toLowerCase(),
    dnsNames: dnsNames(container, planned.settings, net),
  };
  attachment.endpoints.push({ record: endpoint, network });
  const gateways = hasWayOut(network) ? net.ipam.config.map(containersGateway) : [];
  if (net.enableIPv4) {
    const { address, prefixLength } = takeAddress(network, 4, planned.settings.IPAMConfig?.IPv4Address ?? "");
    endpoint.ipAddress = formatAddress(address);
    endpoint.ipPrefixLength = prefixLength;
    endpoint.gateway = gateways.find((gateway) => !gateway.includes(":")) ?? "";
  }
  if (net.enableIPv6) {
    const { address, prefixLength } = takeAddress(network, 6, planned.settings.IPAMConfig?.IPv6Address ?? "");
    endpoint.ip6Address = formatAddress(address);
    endpoint.ip6PrefixLength = prefixLength;
    endpoint.gateway6 = gateways.find((gateway) => gateway.includes(":")) ?? "";
  }
  return endpoint;
}

function isL3(link: DirectKind): boolean {
  return link.kind === "ipvlan" && link.mode !== "l2";
}

/** COMPAT: the default bridge's pool may name another gateway than the bridge itself. */
function containersGateway({ gateway, auxiliaryAddresses }: NetworkRecord["ipam"]["config"][number]): string {
  return auxiliaryAddresses[DEFAULT_GATEWAY[4]] ?? auxiliaryAddresses[DEFAULT_GATEWAY[6]] ?? gateway;
}

function hasWayOut(network: LiveNetwork): boolean {
  if (network.record.isInternal) return false;
  const { bridge, parent } = network;
  // An l3 ipvlan asks nobody: its default route is the link itself.
  return parent === null ? bridge?.options.hasNoGateway === false : !isL3(parent.options.link);
}

const FAMILIES: readonly Family[] = [4, 6];
const INTERFACE_NAME_OPTION = "com.docker.network.endpoint.ifname";

function freeInterface(attachment: Attachment, planned: EndpointRecord, prefix: string): string {
  const wanted = planned.settings.DriverOpts[INTERFACE_NAME_OPTION] ?? "";
  const used = new Set(attachment.endpoints.map(({ record }) => record.interfaceName));
  if (used.has(wanted)) throw conflict(`interface name ${JSON.stringify(wanted)} is in use in this container`);
  if (wanted !== "") return wanted;
  for (let index = 0; ; index++) {
    if (!used.has(`${prefix}${index}`)) return `${prefix}${index}`;
  }
}

/** Holds the ports the container publishes, at the endpoint its default route goes by. */
export function takePorts(deps: SandboxDeps, attachment: Attachment, record: ContainerRecord): void {
  const requests = parsePortRequests(
    record.hostConfig.PortBindings,
    Object.keys(record.config.ExposedPorts),
    record.hostConfig.PublishAllPorts,
  );
  const gateway = gatewayEndpoint(attachment, 4) ?? gatewayEndpoint(attachment, 6);
  // COMPAT: what stands on a link of the host is reached there, and publishes nothing.
  if (requests.length === 0 || gateway === null || gateway.network.parent !== null) return;
  attachment.portsNetworkID = gateway.record.networkID;
  const { options } = gateway.network.bridge ?? { options: null };
  const hostBinding = options?.hostBinding ?? { family: 4, value: 0n };
  const isRouted = (family: Family): boolean => options?.modes[family] === "routed";
  const bound = FAMILIES.filter((family) => !isRouted(family));
  const hasAddress = { 4: gateway.record.ipAddress !== "", 6: gateway.record.ip6Address !== "" };
  const routed = FAMILIES.filter((family) => isRouted(family) && hasAddress[family]);
  for (const request of requests) {
    try {
      attachment.ports.push(...deps.ports.hold(request, hostBinding, bound));
      for (const family of routed) attachment.ports.push(deps.ports.route(request, family));
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      // COMPAT: people search for this sentence.
      throw new EngineError(
        error.kind,
        `driver failed programming external connectivity on endpoint ${record.name} (${gateway.record.endpointID}): ` +
          error.message,
        { cause: error },
      );
    }
  }
  serveByProxy(deps, attachment);
}

/** Connections that NAT does not carry: the reservation's own socket does. */
export function serveByProxy(deps: SandboxDeps, attachment: Attachment): void {
  const { managesFirewall, managesFirewallIPv6 } = deps.config();
  for (const held of attachment.ports) {
    const target = portTarget(attachment, held.hostIP.family);
    if (target === null || held.hostPort === 0) continue;
    // [::1] cannot be translated at all, so every IPv6 socket is served; NAT takes what it can before that.
    const isLeftToNAT = managesFirewall && isNATable(held, target, !managesFirewallIPv6) && held.hostIP.family === 4;
    if (!isLeftToNAT) held.reservation.serve({ host: formatAddress(target), port: held.port });
  }
}

/** RFC 3927, and RFC 4291 2.5.6. COMPAT: these addresses come beside the network's own, and no other endpoint is asked. */
const LINK_LOCAL_PREFIX: Readonly<Record<Family, number>> = { 4: 16, 6: 64 };

const EEXIST = "EEXIST";
const NAME_TRIES = 4;

function hasFamily(record: EndpointRecord, family: Family): boolean {
  return (family === 4 ? record.ipAddress : record.ip6Address) !== "";
}

export function plugEndpoint(
  deps: SandboxDeps,
  attachment: Attachment,
  endpoint: Attachment["endpoints"][number],
  netns: Fd,
): void {
  const { record, network } = endpoint;
  const { bridge, parent } = network;
  const addresses = [
    { text: record.ipAddress, prefixLength: record.ipPrefixLength },
    { text: record.ip6Address, prefixLength: record.ip6PrefixLength },
    ...(record.settings.IPAMConfig?.LinkLocalIPs ?? []).map((text) => ({ text, prefixLength: null })),
  ].flatMap(({ text, prefixLength }) => {
    const address = parseAddress(text);
    return address === null ? [] : [{ address, prefixLength: prefixLength ?? LINK_LOCAL_PREFIX[address.family] }];
  });
  const gateways = [
    gatewayEndpoint(attachment, 4) === endpoint ? parseAddress(record.gateway) : null,
    gatewayEndpoint(attachment, 6) === endpoint ? parseAddress(record.gateway6) : null,
  ].filter((address): address is Address => address !== null);
  const sysctls = endpointSysctls(record.settings.DriverOpts, record.interfaceName);
  if (parent !== null) {
    const { link } = parent.options;
    const hasNone = (family: Family): boolean => gatewayEndpoint(attachment, family) === null;
    deps.host.plugDirect({
      netns,
      interfaceName: record.interfaceName,
      mac: link.kind === "macvlan" ? record.macAddress : null,
      parentIndex: parent.index,
      link,
      addresses,
      gateways,
      linkRoutes:
        isL3(link) && !network.record.isInternal ? FAMILIES.filter(hasNone).filter((f) => hasFamily(record, f)) : [],
      sysctls,
    });
    return;
  }
  if (bridge === null) throw internal(`network ${record.networkName} has no bridge: see the engine's log`);
  for (let attempt = 1; ; attempt++) {
    try {
      deps.host.plug({
        netns,
        interfaceName: record.interfaceName,
        mac: record.macAddress,
        mtu: bridge.options.mtu,
        addresses,
        hostName: `veth${deps.random(4).toHex().slice(0, 7)}`,
        bridgeIndex: bridge.index,
        gateways,
        // Bridged packets pass the packet filter only where br_netfilter is loaded; a published port then comes back
        // through the very port its packet came from.
        isHairpin: deps.host.readSysctl("net/bridge/bridge-nf-call-iptables") === "1",
        isIsolated: !bridge.options.allowsTraffic,
        sysctls,
      });
      return;
    } catch (error) {
      // The random name is in use: try another.
      if (!(error instanceof SyscallError && error.code === EEXIST) || attempt === NAME_TRIES) throw error;
    }
  }
}
