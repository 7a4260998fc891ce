// The default bridge's record, brought up to date with the daemon's flags at each start. COMPAT: which flag decides what, and
// what is tried when none does, is as under dockerd.
import {
  contains,
  type Family,
  formatAddress,
  formatSubnet,
  type HostNetwork,
  overlaps,
  parseAddress,
  parseCIDR,
  type Subnet,
} from "../../../runtime/mod.ts";
import type { Config } from "../../config.ts";
import { invalid } from "../../errors.ts";
import type { NetworkRecord } from "../mod.ts";
import { defaultBridgeOptions, networkSubnets } from "./bridge_options.ts";
import { choosePool, type DefaultPool, localPrefix } from "./ipam.ts";
import { automatic } from "./new_network.ts";

export interface DefaultBridgeContext {
  host: Pick<HostNetwork, "routedSubnets" | "bridgeAddresses">;
  config: Config;
  pools: readonly DefaultPool[];
  /** Where this host's own IPv6 prefix comes from. */
  seed: Uint8Array;
}

type Pool = NetworkRecord["ipam"]["config"][number];

/** The pool's auxiliary address that containers take as their gateway. COMPAT: shown by inspect under this name. */
export const DEFAULT_GATEWAY = { 4: "DefaultGatewayIPv4", 6: "DefaultGatewayIPv6" } as const;

export function settleDefaultBridge(
  context: DefaultBridgeContext,
  record: NetworkRecord,
  all: readonly NetworkRecord[],
): NetworkRecord {
  const { config } = context;
  const interfaceName = config.bridge === "" ? "docker0" : config.bridge;
  const { enablesIPv6, fixedCIDR, fixedCIDR6, gateway, gateway6 } = config.defaultBridge;
  const before = networkSubnets(record);
  const taken = [
    ...context.host
      .routedSubnets()
      .filter((route) => route.interfaceName !== interfaceName)
      .map(({ subnet }) => subnet),
    ...all.filter(({ id }) => id !== record.id).flatMap((other) => networkSubnets(other).map(({ subnet }) => subnet)),
  ];
  const keep = (family: Family): Pool | null => {
    const index = before.findIndex(({ subnet }) => subnet.family === family);
    const subnet = before[index]?.subnet;
    const pool = record.ipam.config[index];
    if (subnet === undefined || pool === undefined || taken.some((other) => overlaps(other, subnet))) return null;
    return { ...pool, ipRange: "", auxiliaryAddresses: {} };
  };
  const present = (context.host.bridgeAddresses(interfaceName) ?? []).find((text) => !text.includes(":")) ?? "";
  const given = config.bip !== "" ? config.bip : present;
  const v4 = given !== "" ? fromAddress("bip", given) : (keep(4) ?? automatic(choosePool(context.pools, 4, taken)));
  const pools = [withGateway(withRange(v4, "fixed-cidr", fixedCIDR), 4, gateway)];
  if (enablesIPv6) {
    const { bip6 } = config.defaultBridge;
    const v6 = bip6 !== "" ? fromAddress("bip6", bip6) : fixedCIDR6 !== "" ? fromSubnet(fixedCIDR6) : keep(6);
    const own = context.pools.filter(({ base }) => base.includes(":"));
    const pool = v6 ?? automatic(choosePool([...own, localPrefix(context.seed)], 6, taken));
    pools.push(withGateway(withRange(pool, "fixed-cidr-v6", bip6 === "" ? "" : fixedCIDR6), 6, gateway6));
  }
  return {
    ...record,
    enableIPv6: enablesIPv6,
    options: defaultBridgeOptions(interfaceName, config.mtu, config.defaultBridge),
    ipam: { ...record.ipam, config: pools },
  };
}

function fromAddress(flag: string, text: string): Pool {
  const parsed = parseCIDR(text);
  const isV6 = flag === "bip6";
  if (parsed === null || parsed.address.value === parsed.subnet.value || (parsed.address.family === 6) !== isV6) {
    throw invalid(`${flag}: not an address of a subnet: ${JSON.stringify(text)}`);
  }
  return { ...automatic(parsed.subnet), gateway: formatAddress(parsed.address) };
}

function fromSubnet(text: string): Pool {
  const subnet = parseCIDR(text)?.subnet;
  if (subnet?.family !== 6) throw invalid(`fixed-cidr-v6: not an IPv6 subnet: ${JSON.stringify(text)}`);
  return automatic(subnet);
}

function withRange(pool: Pool, flag: string, text: string): Pool {
  if (text === "") return pool;
  const range = parseCIDR(text)?.subnet;
  if (range === undefined || !isWithin(pool, range)) {
    throw invalid(`${flag}: ${text} is no part of the default bridge's subnet ${pool.subnet}`);
  }
  return { ...pool, ipRange: formatSubnet(range) };
}

function isWithin(pool: Pool, range: Subnet): boolean {
  const subnet = parseCIDR(pool.subnet)?.subnet;
  return subnet !== undefined && range.prefixLength >= subnet.prefixLength && contains(subnet, range);
}

function withGateway(pool: Pool, family: Family, text: string): Pool {
  if (text === "") return pool;
  const address = parseAddress(text),
    subnet = parseCIDR(pool.subnet)?.subnet;
  if (address === null || subnet === undefined || !contains(subnet, address)) {
    throw invalid(`default gateway ${text} is no address of the default bridge's subnet ${pool.subnet}`);
  }
  return { ...pool, auxiliaryAddresses: { [DEFAULT_GATEWAY[family]]: text } };
}
