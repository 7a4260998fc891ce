// A create request to a network's record: everything checked before anything is made. Pure, but for the ID.
import {
  contains,
  formatAddress,
  formatSubnet,
  overlaps,
  parseAddress,
  parseCIDR,
  type Subnet,
} from "../../../runtime/mod.ts";
import { conflict, forbidden, invalid, notFound } from "../../errors.ts";
import type { NetworkCreate } from "../../schema/network.ts";
import { newID, type RandomBytes } from "../ids.ts";
import type { NetworkRecord } from "../mod.ts";
import { bridgeOptions, networkSubnets } from "./bridge_options.ts";
import { checkParent, isDirect } from "./direct_options.ts";
import { choosePool, defaultGateway, type DefaultPool, localPrefix } from "./ipam.ts";
import { invalidLines, isPredefined } from "./predefined.ts";

/** COMPAT: what an engine outside a swarm says to everything of a swarm. */
const NO_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node ' +
  "to swarm and try again.";

export interface NewNetworkContext {
  existing: readonly NetworkRecord[];
  /** Subnets the host itself routes somewhere. */
  routed: readonly { subnet: Subnet; interfaceName: string }[];
  pools: readonly DefaultPool[];
  /** The daemon's, by driver, for options that the request does not give. */
  defaultOptions: Readonly<Record<string, Record<string, string>>>;
  /** Random bytes that stay the same on this host: where its own IPv6 prefix comes from. */
  seed: Uint8Array;
  hasIPv6: boolean;
  random: RandomBytes;
  now: Date;
}

export function newNetwork(asked: NetworkCreate, context: NewNetworkContext): NetworkRecord {
  const request = withConfiguration(asked, context.existing);
  const name = request.Name;
  if (name.trim() === "") throw invalid("invalid name: name is empty");
  if (isPredefined(name)) throw forbidden(`operation is not permitted on predefined ${name} network `);
  if (context.existing.some((network) => network.name === name))
    throw conflict(`network with name ${name} already exists`);
  const driver = request.Driver === "" || request.Driver === "default" ? "bridge" : request.Driver;
  checkDriver(driver, request);
  if (request.IPAM !== null && request.IPAM.Driver !== "default" && request.IPAM.Driver !== "") {
    throw notFound(`ipam driver ${JSON.stringify(request.IPAM.Driver)} not found`);
  }
  const enableIPv4 = request.EnableIPv4 ?? true,
    enableIPv6 = request.EnableIPv6 ?? false;
  if (!enableIPv4 && !enableIPv6) throw invalid("IPv4 or IPv6 must be enabled");
  if (enableIPv6 && !context.hasIPv6)
    throw invalid("cannot enable IPv6 on the network: this host's kernel has no IPv6");
  const config = request.ConfigOnly
    ? (request.IPAM?.Config ?? []).map((pool) => ({ ...toPoolConfig(pool), gateway: pool.Gateway }))
    : resolvePools(request, { enableIPv4, enableIPv6 }, context);
  const record: NetworkRecord = {
    id: newID(context.random),
    name,
    createdAt: context.now.toISOString(),
    // COMPAT: a set of settings is shown with the driver that does nothing.
    driver: request.ConfigOnly ? "null" : driver,
    scope: "local",
    enableIPv4,
    enableIPv6,
    isInternal: request.Internal,
    isAttachable: request.Attachable,
    isIngress: false,
    ipam: {
      driver: "default",
      options: request.IPAM?.Options ?? {},
      config,
      isAutomatic: (request.IPAM?.Config ?? []).every((pool) => pool.Subnet === ""),
    },
    options: { ...context.defaultOptions[driver], ...request.Options },
    labels: request.Labels,
    ...(request.ConfigOnly ? { isConfigOnly: true } : {}),
    ...(asked.ConfigFrom === null || asked.ConfigFrom.Network === "" ? {} : { configFrom: asked.ConfigFrom.Network }),
  };
  if (isDirect(record)) checkParent(record, context.existing);
  else if (!request.ConfigOnly) checkBridgeName(record, context.existing);
  return record;
}

/** A request with the settings of the network that it takes them from. COMPAT: what may not be said together, in Docker's words. */
function withConfiguration(request: NetworkCreate, existing: readonly NetworkRecord[]): NetworkCreate {
  const from = request.ConfigFrom?.Network ?? "";
  if (request.ConfigOnly) {
    if (request.Ingress || request.Internal || request.Attachable || request.Scope !== "") {
      throw forbidden(
        "configuration network can only contain network specific fields. Network operator fields like " +
          "[ ingress | internal | attachable | scope ] are not supported.",
      );
    }
    if (from !== "") throw forbidden("a configuration network cannot depend on another configuration network");
  }
  if (from === "") return request;
  const { IPAM, EnableIPv6, Labels, Options } = request;
  if ((IPAM?.Config ?? []).length > 0 || EnableIPv6 === true || Object.keys({ ...Labels, ...Options }).length > 0) {
    throw forbidden("user supplied configurations are not supported if the network depends on a configuration network");
  }
  const source = existing.find(({ name }) => name === from);
  if (source === undefined) throw notFound(`network ${from} not found`);
  if (source.isConfigOnly !== true) throw forbidden(`configuration network "${from}" is not a configuration network`);
  return {
    ...request,
    EnableIPv4: source.enableIPv4,
    EnableIPv6: source.enableIPv6,
    Options: source.options,
    Labels: source.labels,
    IPAM: {
      Driver: "default",
      Options: source.ipam.options,
      Config: source.ipam.config.map((pool) => ({
        Subnet: pool.subnet,
        IPRange: pool.ipRange,
        Gateway: pool.gateway,
        AuxiliaryAddresses: pool.auxiliaryAddresses,
      })),
    },
  };
}

function checkDriver(driver: string, request: NetworkCreate): void {
  if (driver === "overlay" || request.Ingress || request.Scope === "swarm") throw forbidden(NO_SWARM);
  if (driver === "host" || driver === "null") throw forbidden(`only one instance of "${driver}" network is allowed`);
  if (driver !== "bridge" && driver !== "macvlan" && driver !== "ipvlan")
    throw notFound(`plugin ${JSON.stringify(driver)} not found`);
}

function checkBridgeName(record: NetworkRecord, existing: readonly NetworkRecord[]): void {
  const { interfaceName } = bridgeOptions(record);
  for (const other of existing) {
    if (other.driver !== "bridge" || bridgeOptions(other).interfaceName !== interfaceName) continue;
    throw forbidden(
      `cannot create network ${record.id} (${interfaceName}): conflicts with network ${other.id} (${interfaceName}): ` +
        "networks have same bridge name",
    );
  }
}

type PoolConfig = NetworkRecord["ipam"]["config"][number];

function resolvePools(
  request: NetworkCreate,
  families: { enableIPv4: boolean; enableIPv6: boolean },
  context: NewNetworkContext,
): PoolConfig[] {
  const given = request.IPAM?.Config ?? [];
  const pools = given.filter((pool) => pool.Subnet !== "");
  const faults = [
    ...given
      .filter((pool) => pool.Subnet === "" && (pool.IPRange !== "" || pool.Gateway !== ""))
      .map(() => "invalid subnet : invalid CIDR block notation"),
    ...pools.flatMap(poolFaults),
  ];
  if (faults.length > 0) throw invalidLines(["invalid network config:", ...faults]);
  const config = pools.map(toPoolConfig).filter((pool) => {
    // COMPAT: subnets of a family that is not turned on are passed over.
    const isV6 = pool.subnet.includes(":");
    return isV6 ? families.enableIPv6 : families.enableIPv4;
  });
  const used = context.existing
    .filter(({ isConfigOnly }) => isConfigOnly !== true)
    .flatMap((network) => networkSubnets(network).map(({ subnet }) => subnet));
  for (const [index, { subnet }] of networkSubnets({ ipam: { driver: "", options: null, config } }).entries()) {
    const own = networkSubnets({ ipam: { driver: "", options: null, config: config.slice(0, index) } });
    if ([...used, ...own.map((pool) => pool.subnet)].some((other) => overlaps(subnet, other))) {
      throw forbidden("invalid pool request: Pool overlaps with other one on this address space");
    }
  }
  const taken = [...used, ...context.routed.map(({ subnet }) => subnet)];
  const routeName = (subnet: Subnet): string | null => {
    const route = context.routed.find((one) => one.subnet === subnet);
    return route === undefined ? null : `${formatSubnet(subnet)} on ${route.interfaceName}`;
  };
  if (families.enableIPv4 && !config.some((pool) => !pool.subnet.includes(":"))) {
    config.unshift(automatic(choosePool(context.pools, 4, taken, routeName)));
  }
  if (families.enableIPv6 && !config.some((pool) => pool.subnet.includes(":"))) {
    const own = context.pools.filter((pool) => pool.base.includes(":"));
    config.push(automatic(choosePool([...own, localPrefix(context.seed)], 6, taken, routeName)));
  }
  return config;
}

/** A pool that the engine chose. */
export function automatic(subnet: Subnet): PoolConfig {
  return {
    subnet: formatSubnet(subnet),
    ipRange: "",
    gateway: formatAddress(defaultGateway(subnet, null)),
    auxiliaryAddresses: {},
  };
}

type PoolRequest = NonNullable<NetworkCreate["IPAM"]>["Config"][number];

function toPoolConfig(pool: PoolRequest): PoolConfig {
  const subnet = parseCIDR(pool.Subnet)?.subnet;
  const range = pool.IPRange === "" ? null : (parseCIDR(pool.IPRange)?.subnet ?? null);
  return {
    subnet: pool.Subnet,
    ipRange: pool.IPRange,
    gateway: pool.Gateway !== "" || subnet === undefined ? pool.Gateway : formatAddress(defaultGateway(subnet, range)),
    auxiliaryAddresses: pool.AuxiliaryAddresses,
  };
}

/** COMPAT: Docker's sentences, one for each fault. */
function poolFaults(pool: PoolRequest): string[] {
  const parsed = parseCIDR(pool.Subnet);
  if (parsed === null) return [`invalid subnet ${pool.Subnet}: invalid CIDR block notation`];
  const { subnet, address } = parsed;
  const faults: string[] = [];
  if (address.value !== subnet.value)
    faults.push(`invalid subnet ${pool.Subnet}: it should be ${formatSubnet(subnet)}`);
  const tooSmall = subnet.family === 4 ? subnet.prefixLength > 30 : subnet.prefixLength > 126;
  if (tooSmall) faults.push(`invalid subnet ${pool.Subnet}: it has no room for a gateway and a container`);
  if (pool.IPRange !== "") faults.push(...rangeFaults(pool.IPRange, subnet));
  if (pool.Gateway !== "") faults.push(...addressFaults(`invalid gateway ${pool.Gateway}`, pool.Gateway, subnet));
  for (const [name, text] of Object.entries(pool.AuxiliaryAddresses)) {
    faults.push(...addressFaults(`invalid auxiliary address ${name}`, text, subnet));
  }
  return faults;
}

function rangeFaults(text: string, subnet: Subnet): string[] {
  const parsed = parseCIDR(text);
  if (parsed === null) return [`invalid ip-range ${text}: invalid CIDR block notation`];
  const range = parsed.subnet;
  if (range.family !== subnet.family)
    return [`invalid ip-range ${text}: parent subnet is an IPv${subnet.family} block`];
  if (parsed.address.value !== range.value) return [`invalid ip-range ${text}: it should be ${formatSubnet(range)}`];
  if (range.prefixLength < subnet.prefixLength || !contains(subnet, range)) {
    return [`invalid ip-range ${text}: parent subnet ${formatSubnet(subnet)} doesn't contain ip-range`];
  }
  return [];
}

function addressFaults(what: string, text: string, subnet: Subnet): string[] {
  const address = parseAddress(text);
  if (address === null) return [`${what}: invalid address`];
  if (address.family !== subnet.family) return [`${what}: parent subnet is an IPv${subnet.family} block`];
  if (!contains(subnet, address))
    return [`${what}: parent subnet ${formatSubnet(subnet)} doesn't contain this address`];
  return [];
}
