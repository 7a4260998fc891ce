// What the host's packet filter should say, as a pure function of the bridges and published ports. One table of our own;
// other tables on the machine are never read or touched.
//
//   nat prerouting, output   packets for a published port of this host → dnat → the container
//   nat postrouting          out of a bridge's subnet to elsewhere: as the host; loopback and hairpin clients: as the bridge
//   raw prerouting           127.0.0.0/8 from a bridge: dropped, since route_localnet lets it in
//   forward                  established: accepted; to a bridge: from itself, or led there by a DNAT rule; else dropped
//
// A container's own address and a port bound to 127.0.0.1 are unreachable from outside by construction: only what a DNAT
// rule has led to a bridge is let in, and for 127.0.0.0/8 those rules are only walked for packets this host itself sends.
// The administrator's rules live in a table of their own (`userTable`), whose forward chain is asked before ours, and
// which we make once and never change: what it drops stays dropped.
import { type Address, type Family, isUnspecified, type Subnet, subnetOf } from "./address.ts";
import { bitsOf, contains, formatAddress, formatSubnet } from "./address.ts";
import { IPPROTO } from "../sys/socket.ts";
import {
  accept,
  type Chain,
  destinationIn,
  destinationIsLocal,
  destinationPort,
  dnat,
  drop,
  goBack,
  goTo,
  input,
  inputNot,
  isDNATed,
  isEstablished,
  jump,
  marked,
  masquerade,
  ofFamily,
  ofProtocol,
  output,
  outputNot,
  type Rule,
  rule,
  sourceIn,
  type Table,
} from "./nft_rule.ts";

export interface BridgeRules {
  /** The bridge's interface. */
  name: string;
  subnets: Subnet[];
  /** No way out and none in. */
  isInternal: boolean;
  /** Containers on it may talk to each other. (On the wire that is a matter of the bridge's ports: see plug.) */
  allowsTraffic: boolean;
  /** Families whose packets leave as the host's. */
  masquerades: readonly Family[];
  /** Families of which every port of its containers may be reached, published or not. */
  unprotected: readonly Family[];
  /** Families in which containers are reached at their own addresses: published ports, and by ping. */
  routed: readonly Family[];
  /** From here published ports answer at the containers' own addresses. */
  trustedInterfaces: readonly string[];
}

export type Protocol = "tcp" | "udp" | "sctp";

export interface PortRule {
  protocol: Protocol;
  /** 0.0.0.0 or ::: every address of this host. */
  hostIP: Address;
  /** 0: at the container's own address alone. */
  hostPort: number;
  target: Address;
  targetPort: number;
  /** Whose it is, for the reader of `nft list ruleset`. */
  owner: string;
}

export interface FirewallState {
  bridges: readonly BridgeRules[];
  ports: readonly PortRule[];
  /** The administrator writes the rules for IPv6: ours pass its packets over. */
  leavesIPv6: boolean;
  /** Published ports answer at the containers' own addresses too. */
  allowsDirectRouting: boolean;
  /** Packets with this mark may reach every container. */
  acceptMark: { mark: number; mask: number } | null;
}

const PRIORITY = { RAW: -300, DSTNAT: -100, BEFORE_FILTER: -10, FILTER: 0, SRCNAT: 100 } as const;
const LOOPBACK: Readonly<Record<Family, Subnet>> = {
  4: { family: 4, value: 127n << 24n, prefixLength: 8 },
  6: { family: 6, value: 1n, prefixLength: 128 },
};

export function firewallTable(name: string, state: FirewallState): Table {
  return {
    name,
    chains: [
      rawPrerouting(state),
      natPrerouting(),
      natOutput(),
      { name: "published", hook: null, rules: state.ports.filter(({ hostPort }) => hostPort !== 0).map(publish) },
      natPostrouting(state),
      forward(state),
      ...state.bridges.map((bridge) => intoBridge(bridge, state)),
    ],
  };
}

/** The administrator's: a forward chain that runs before ours. */
export function userTable(name: string): Table {
  return {
    name,
    chains: [
      { name: "forward", hook: { type: "filter", hook: "forward", priority: PRIORITY.BEFORE_FILTER }, rules: [] },
    ],
  };
}

/** A rule in user space for what one chain per bridge is called. */
function bridgeChain(bridge: string): string {
  return `to-${bridge}`;
}

function rawPrerouting(state: FirewallState): Chain {
  const loopback = LOOPBACK[4];
  return {
    name: "raw-prerouting",
    hook: { type: "filter", hook: "prerouting", priority: PRIORITY.RAW },
    rules: state.bridges.flatMap((bridge) => [
      rule(`${bridge.name}: not to loopback`, ...input(bridge.name), ...destinationIn(loopback), drop()),
      rule(`${bridge.name}: not from loopback`, ...input(bridge.name), ...sourceIn(loopback), drop()),
    ]),
  };
}

function natPrerouting(): Chain {
  return {
    name: "nat-prerouting",
    hook: { type: "nat", hook: "prerouting", priority: PRIORITY.DSTNAT },
    rules: [
      rule("loopback is not for others", ...destinationIn(LOOPBACK[4]), goBack()),
      rule("published ports", ...destinationIsLocal(), jump("published")),
    ],
  };
}

function natOutput(): Chain {
  return {
    name: "nat-output",
    hook: { type: "nat", hook: "output", priority: PRIORITY.DSTNAT },
    rules: [
      // WHY: the kernel has no route_localnet for IPv6; the proxy behind the port's own socket serves ::1.
      rule("::1 is served by proxy", ...destinationIn(LOOPBACK[6]), goBack()),
      rule("published ports", ...destinationIsLocal(), jump("published")),
    ],
  };
}

function publish(port: PortRule): Rule {
  const host = isUnspecified(port.hostIP) ? [] : [subnetOf(port.hostIP, bitsOf(port.hostIP.family))];
  return rule(
    `${port.owner}: ${formatAddress(port.hostIP)} ${port.hostPort}/${port.protocol}`,
    ...(host[0] === undefined ? ofFamily(port.target.family) : destinationIn(host[0])),
    ...destinationPort(protocolNumber(port.protocol), port.hostPort),
    ...dnat(port.target, port.targetPort),
  );
}

function protocolNumber(protocol: Protocol): number {
  return protocol === "tcp" ? IPPROTO.TCP : protocol === "udp" ? IPPROTO.UDP : IPPROTO.SCTP;
}

function natPostrouting(state: FirewallState): Chain {
  return {
    name: "nat-postrouting",
    hook: { type: "nat", hook: "postrouting", priority: PRIORITY.SRCNAT },
    rules: state.bridges
      .filter((bridge) => !bridge.isInternal)
      .flatMap((bridge) => [
        rule(`${bridge.name}: clients on loopback`, ...output(bridge.name), ...sourceIn(LOOPBACK[4]), masquerade()),
        ...bridge.subnets.flatMap((subnet) => [
          // A client on the bridge itself: without this the answer would go straight to it and be nobody's.
          rule(`${bridge.name}: hairpin`, ...output(bridge.name), ...sourceIn(subnet), ...isDNATed(), masquerade()),
          ...(bridge.masquerades.includes(subnet.family)
            ? [
                rule(
                  `${bridge.name}: ${formatSubnet(subnet)} leaves`,
                  ...sourceIn(subnet),
                  ...outputNot(bridge.name),
                  masquerade(),
                ),
              ]
            : []),
        ]),
      ]),
  };
}

function forward(state: FirewallState): Chain {
  const internal = state.bridges.filter((bridge) => bridge.isInternal);
  return {
    name: "forward",
    hook: { type: "filter", hook: "forward", priority: PRIORITY.FILTER },
    rules: [
      ...(state.leavesIPv6 ? [rule("IPv6 is not ours", ...ofFamily(6), goBack())] : []),
      rule("established", ...isEstablished(), accept()),
      ...internal.map((bridge) =>
        rule(`${bridge.name} is internal`, ...input(bridge.name), ...outputNot(bridge.name), drop()),
      ),
      ...state.bridges.map((bridge) =>
        rule(`to ${bridge.name}`, ...output(bridge.name), goTo(bridgeChain(bridge.name))),
      ),
    ],
  };
}

function intoBridge(bridge: BridgeRules, state: FirewallState): Chain {
  const fromOthers = bridge.isInternal
    ? [rule("internal", ...inputNot(bridge.name), drop())]
    : [...openFamilies(bridge, state), ...state.ports.flatMap((port) => reachDirectly(port, bridge, state))];
  return {
    name: bridgeChain(bridge.name),
    hook: null,
    rules: [
      ...fromOthers,
      rule("published ports", ...isDNATed(), accept()),
      ...(bridge.allowsTraffic ? [rule("among themselves", ...input(bridge.name), accept())] : []),
      rule("nothing else", drop()),
    ],
  };
}

function openFamilies(bridge: BridgeRules, { acceptMark }: FirewallState): Rule[] {
  const outside = inputNot(bridge.name);
  return [
    ...(acceptMark === null ? [] : [rule("marked", ...outside, ...marked(acceptMark.mark, acceptMark.mask), accept())]),
    ...bridge.unprotected.map((family) => rule("unprotected", ...outside, ...ofFamily(family), accept())),
    ...bridge.routed.map((family) =>
      rule("routed: ping", ...outside, ...ofFamily(family), ...ofProtocol(family === 4 ? ICMP : ICMPV6), accept()),
    ),
  ];
}

const ICMP = 1,
  ICMPV6 = 58;

/** A published port at the container's own address, for whom that is meant. */
function reachDirectly(port: PortRule, bridge: BridgeRules, state: FirewallState): Rule[] {
  const { target } = port;
  if (!bridge.subnets.some((subnet) => contains(subnet, target))) return [];
  const isOpen = state.allowsDirectRouting || bridge.routed.includes(target.family);
  const sources = isOpen ? [inputNot(bridge.name)] : bridge.trustedInterfaces.map((name) => input(name));
  return sources.map((from) =>
    rule(
      `${port.owner}: ${port.targetPort}/${port.protocol}`,
      ...from,
      ...destinationIn(subnetOf(target, bitsOf(target.family))),
      ...destinationPort(protocolNumber(port.protocol), port.targetPort),
      accept(),
    ),
  );
}
