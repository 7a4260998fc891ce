// What a bridge network's record means for its bridge: the driver options read, and the rules for the packet filter made.
// Pure. COMPAT: the option names are Docker's; compose files and scripts use them.
import {
  type Address,
  type BridgeRules,
  type Family,
  parseAddress,
  parseCIDR,
  type Subnet,
} from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";
import { shortID } from "../ids.ts";
import type { NetworkRecord } from "../mod.ts";

const OPTION = {
  name: "com.docker.network.bridge.name",
  icc: "com.docker.network.bridge.enable_icc",
  masquerade: "com.docker.network.bridge.enable_ip_masquerade",
  hostBinding: "com.docker.network.bridge.host_binding_ipv4",
  gatewayMode4: "com.docker.network.bridge.gateway_mode_ipv4",
  gatewayMode6: "com.docker.network.bridge.gateway_mode_ipv6",
  inhibit: "com.docker.network.bridge.inhibit_ipv4",
  prefix: "com.docker.network.container_iface_prefix",
  mtu: "com.docker.network.driver.mtu",
  trusted: "com.docker.network.bridge.trusted_host_interfaces",
} as const;

/** nat: behind the host; nat-unprotected: that, with every port open; routed: at its own addresses; isolated: no gateway. */
type GatewayMode = "nat" | "nat-unprotected" | "routed" | "isolated";

export interface BridgeOptions {
  interfaceName: string;
  allowsTraffic: boolean;
  masquerades: boolean;
  /** Where a published port is bound that names no address. */
  hostBinding: Address;
  modes: Readonly<Record<Family, GatewayMode>>;
  /** Interfaces of the host from where published ports answer at the containers' own addresses. */
  trustedInterfaces: string[];
  /** The bridge itself has no address: the network ends at it. */
  hasNoGateway: boolean;
  /** `eth`. */
  interfacePrefix: string;
  mtu: number;
}

const ETHERNET_MTU = 1500;
const MTU_MIN = 68,
  MTU_MAX = 65_535;
const FAMILIES: readonly Family[] = [4, 6];
const ANY: Address = { family: 4, value: 0n };

/** Throws Docker's 400 for a value that cannot be, and our 501 for a mode we do not have. */
export function bridgeOptions(network: Pick<NetworkRecord, "id" | "options" | "isInternal">): BridgeOptions {
  const { options } = network;
  const given = options[OPTION.name] ?? "";
  if (given !== "" && !isInterfaceName(given)) throw invalid(`invalid bridge name: ${JSON.stringify(given)}`);
  const modes = {
    4: gatewayMode(options[OPTION.gatewayMode4] ?? "", network.isInternal),
    6: gatewayMode(options[OPTION.gatewayMode6] ?? "", network.isInternal),
  };
  const binding = options[OPTION.hostBinding] ?? "";
  const hostBinding = binding === "" ? ANY : parseAddress(binding);
  if (hostBinding === null) throw invalid(`invalid value for ${OPTION.hostBinding}: ${binding}`);
  return {
    interfaceName: given === "" ? `br-${shortID(network.id)}` : given,
    allowsTraffic: flag(options, OPTION.icc, true),
    masquerades: flag(options, OPTION.masquerade, true),
    hostBinding,
    modes,
    trustedInterfaces: trustedInterfaces(options[OPTION.trusted] ?? ""),
    hasNoGateway: flag(options, OPTION.inhibit, false) || modes[4] === "isolated" || modes[6] === "isolated",
    interfacePrefix: (options[OPTION.prefix] ?? "") === "" ? "eth" : interfacePrefix(options[OPTION.prefix] ?? ""),
    mtu: parseMTU(options[OPTION.mtu] ?? ""),
  };
}

function gatewayMode(mode: string, isInternal: boolean): GatewayMode {
  switch (mode) {
    case "":
      return "nat";
    case "nat":
    case "nat-unprotected":
    case "routed":
      return mode;
    case "isolated":
      if (!isInternal) throw invalid("gateway mode 'isolated' can only be used for an internal network");
      return mode;
    default:
      throw invalid(`unknown gateway mode ${mode}`);
  }
}

function trustedInterfaces(text: string): string[] {
  const names = text.split(":").filter((name) => name !== "");
  const wrong = names.find((name) => !isInterfaceName(name));
  if (wrong !== undefined) throw invalid(`invalid value for ${OPTION.trusted}: ${JSON.stringify(text)}`);
  return names;
}

function flag(options: Record<string, string>, key: string, otherwise: boolean): boolean {
  const text = options[key] ?? "";
  if (text === "") return otherwise;
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  throw invalid(`invalid value for ${key}: ${JSON.stringify(text)}`);
}

function parseMTU(text: string): number {
  if (text === "" || text === "0") return ETHERNET_MTU;
  const mtu = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (mtu < MTU_MIN || mtu > MTU_MAX) throw invalid(`invalid value for ${OPTION.mtu}: ${JSON.stringify(text)}`);
  return mtu;
}

function interfacePrefix(text: string): string {
  if (!isInterfaceName(`${text}00`)) throw invalid(`invalid value for ${OPTION.prefix}: ${JSON.stringify(text)}`);
  return text;
}

/** IFNAMSIZ is 16 with the NUL; the kernel refuses `/`, `:` and white space. */
function isInterfaceName(text: string): boolean {
  return /^[^\s/:]{1,15}$/.test(text) && text !== "." && text !== "..";
}

/** Inspect of the default bridge shows its settings in the driver's own words. */
export function defaultBridgeOptions(
  interfaceName: string,
  mtu: number,
  flags: { allowsTraffic: boolean; masquerades: boolean; bindingIP: string },
): Record<string, string> {
  return {
    "com.docker.network.bridge.default_bridge": "true",
    [OPTION.icc]: String(flags.allowsTraffic),
    [OPTION.masquerade]: String(flags.masquerades),
    [OPTION.hostBinding]: flags.bindingIP,
    [OPTION.name]: interfaceName,
    [OPTION.mtu]: String(mtu === 0 ? ETHERNET_MTU : mtu),
  };
}

export interface NetworkSubnet {
  subnet: Subnet;
  range: Subnet | null;
  gateway: Address;
  reserved: Address[];
}

/** The record's pools as numbers. A record is checked before it is stored, so one that does not parse is not ours. */
export function networkSubnets(network: Pick<NetworkRecord, "ipam">): NetworkSubnet[] {
  return network.ipam.config.flatMap((pool) => {
    const subnet = parseCIDR(pool.subnet)?.subnet,
      gateway = parseAddress(pool.gateway);
    if (subnet === undefined || gateway === null) return [];
    const auxiliary = Object.values(pool.auxiliaryAddresses)
      .map(parseAddress)
      .filter((address) => address !== null);
    return [{ subnet, gateway, range: parseCIDR(pool.ipRange)?.subnet ?? null, reserved: [gateway, ...auxiliary] }];
  });
}

export function bridgeRules(network: NetworkRecord): BridgeRules {
  const options = bridgeOptions(network);
  return {
    name: options.interfaceName,
    subnets: networkSubnets(network).map(({ subnet }) => subnet),
    isInternal: network.isInternal,
    allowsTraffic: options.allowsTraffic,
    masquerades: FAMILIES.filter((family) => options.masquerades && options.modes[family] !== "routed"),
    unprotected: FAMILIES.filter((family) => options.modes[family] === "nat-unprotected"),
    routed: FAMILIES.filter((family) => options.modes[family] === "routed"),
    trustedInterfaces: options.trustedInterfaces,
  };
}
