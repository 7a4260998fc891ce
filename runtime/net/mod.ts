// The host's network as the engine sees it: bridges, sandboxes, published ports and the packet filter, by netlink alone.
// The engine decides; this does, synchronously and in well under a millisecond a call.
import { readFileSync, writeFileSync } from "node:fs";
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import { Fd } from "../sys/fd.ts";
import { O, openPath, statusOf } from "../sys/file.ts";
import { AF, openSocket, SOCK } from "../sys/socket.ts";
import type { Address, Subnet } from "./address.ts";
import { type Bridge, bridgeAddresses, type BridgeSpec, ensureBridge, removeBridge } from "./bridge.ts";
import { type FirewallState, firewallTable, type Protocol, userTable } from "./firewall.ts";
import { type DirectPlug, ensureParent, type Parent, plugDirect, removeParent } from "./direct.ts";
import { watchTables } from "./firewall_watch.ts";
import { forgetDatagrams } from "./conntrack.ts";
import { NETLINK, NetlinkSocket } from "./netlink.ts";
import { createSandbox, createSandboxOwnedBy, netnsOf, plug, type Plug, routesIn, unplug } from "./netns.ts";
import { NftablesClient } from "./nftables.ts";
import { type PortReservation, reservePort } from "./ports.ts";
import { RouteClient } from "./route.ts";
import { createSpare } from "./spare.ts";

export type { Address, Family, Subnet } from "./address.ts";
export {
  bitsOf,
  contains,
  formatAddress,
  formatSubnet,
  isLoopback,
  isUnspecified,
  lastAddress,
  localMAC,
  overlaps,
  parseAddress,
  parseCIDR,
  parseMAC,
  subnetOf,
} from "./address.ts";
export type { BridgeRules, FirewallState, PortRule, Protocol } from "./firewall.ts";
export type { DirectKind } from "./direct.ts";
export type { PortReservation } from "./ports.ts";

export interface HostNetwork extends Disposable {
  /** A namespace with nothing but its loopback, which is up. It lives as long as a descriptor or process holds it. */
  createSandbox(owner?: Fd | null): Fd;
  /** The namespace of a running process. Throws ENOENT when it has ended. */
  sandboxOf(pid: number): Fd;
  /** INVARIANT: this, unplug and setDefaultRoute refuse the host's own namespace (EINVAL), whoever took it for a sandbox. */
  plug(request: Plug): void;
  /** The same on a link of the host, by macvlan or ipvlan. */
  plugDirect(request: DirectPlug): void;
  /** Takes an interface out of a sandbox that lives on. One that dies takes its own along, at a hundredth of the cost. */
  unplug(sandbox: Fd, interfaceName: string): void;
  /** Sets or, with null, drops the default route of a family. */
  setDefaultRoute(sandbox: Fd, interfaceName: string, family: 4 | 6, gateway: Address | null): void;

  /** The link that macvlan and ipvlan stand on; `eth0.10` is made where it is missing. Throws ENODEV. */
  ensureParent(name: string): Parent;
  /** Deletes such a link if we made it. */
  removeParent(name: string): void;
  ensureBridge(spec: BridgeSpec): Bridge;
  /** Addresses of a bridge that exists, as `10.1.0.1/16`; null when there is none. */
  bridgeAddresses(name: string): string[] | null;
  /** Deletes a bridge that we made. */
  removeBridge(name: string): void;
  /** Subnets that the host's main routing table leads to, with the name of the interface. No default routes. */
  routedSubnets(): { subnet: Subnet; interfaceName: string }[];

  /** Index of a link of the host; 0: there is none of that name. */
  interfaceIndex(name: string): number;

  /** Calls `onLost` when another program has deleted something of our table, or the administrator's. Throws without such notices. */
  watchFirewall(own: string, administrators: string, onLost: () => void): Disposable;
  /** Forgets the UDP flows that a container at this address answered. */
  forgetDatagrams(target: Address): void;
  /** Makes our table say this, in one transaction. */
  applyFirewall(table: string, state: FirewallState): void;
  /** Makes the administrator's table, unless it is there. */
  ensureUserTable(table: string): void;
  removeFirewall(table: string): void;
  /** Removes the administrator's table when nobody has put a rule in it. */
  removeEmptyUserTable(table: string): void;

  /** Throws SyscallError: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT. */
  reservePort(protocol: Protocol, hostIP: Address, port: number): PortReservation;
  /** First and last port that the kernel gives out by itself. */
  ephemeralPorts(): { first: number; last: number };
  readSysctl(name: string): string | null;
  /** `net/ipv4/ip_forward`. Throws when it cannot be written. */
  writeSysctl(name: string, value: string): void;
}

/** Works in the network namespace that the calling process is in now. */
export function openHostNetwork(): HostNetwork {
  const routes = new RouteClient(openSocket(AF.NETLINK, SOCK.RAW, NETLINK.ROUTE));
  const sandboxes = createSpare(createSandbox);
  const own = ownNamespace();
  const refuseOwn = (sandbox: Fd): void => {
    if (statusOf(sandbox).inode === own)
      throw new SyscallError("change a sandbox", E.EINVAL, { why: "it is the host's" });
  };
  let conntrack: NetlinkSocket | null = null;
  let nftables: NftablesClient | null = null;
  const filter = (): NftablesClient =>
    (nftables ??= new NftablesClient(openSocket(AF.NETLINK, SOCK.RAW, NETLINK.NETFILTER)));
  return {
    createSandbox: (owner) => (owner ? createSandboxOwnedBy(owner) : sandboxes.take()),
    sandboxOf: netnsOf,
    plug(request) {
      refuseOwn(request.netns);
      plug(routes, request);
    },
    plugDirect(request) {
      refuseOwn(request.netns);
      plugDirect(routes, request);
    },
    unplug(sandbox, interfaceName) {
      refuseOwn(sandbox);
      unplug(sandbox, interfaceName);
    },
    setDefaultRoute(sandbox, interfaceName, family, gateway) {
      refuseOwn(sandbox);
      using inside = routesIn(sandbox);
      const link = inside.link(interfaceName);
      if (link === null) throw new SyscallError(`get link ${interfaceName}`, E.ENODEV);
      if (gateway === null) inside.deleteDefaultRoute(family);
      else inside.setDefaultRoute(gateway, link.index);
    },
    ensureParent: (name) => ensureParent(routes, name),
    removeParent: (name) => removeParent(routes, name),
    ensureBridge: (spec) => ensureBridge(routes, spec),
    bridgeAddresses: (name) => bridgeAddresses(routes, name),
    removeBridge: (name) => removeBridge(routes, name),
    routedSubnets() {
      const names = new Map(routes.links().map((link) => [link.index, link.name]));
      return routes
        .routes()
        .flatMap(({ destination, linkIndex }) =>
          destination === null || destination.prefixLength === 0
            ? []
            : [{ subnet: destination, interfaceName: names.get(linkIndex) ?? "" }],
        );
    },
    watchFirewall: (own, kept, onLost) => watchTables({ own, kept, isOurs: (port) => port === nftables?.port }, onLost),
    forgetDatagrams(target) {
      conntrack ??= new NetlinkSocket(openSocket(AF.NETLINK, SOCK.RAW, NETLINK.NETFILTER));
      forgetDatagrams(conntrack, target);
    },
    interfaceIndex: (name) => routes.link(name)?.index ?? 0,
    applyFirewall: (table, state) => filter().replaceTable(firewallTable(table, state)),
    ensureUserTable: (table) => void filter().createTable(userTable(table)),
    removeFirewall: (table) => filter().removeTable(table),
    removeEmptyUserTable(table) {
      if (filter().countRules(table) === 0) filter().removeTable(table);
    },
    reservePort,
    ephemeralPorts,
    readSysctl,
    writeSysctl: (name, value) => writeFileSync(`/proc/sys/${name}`, value),
    [Symbol.dispose]() {
      sandboxes[Symbol.dispose]();
      routes[Symbol.dispose]();
      nftables?.[Symbol.dispose]();
      conntrack?.[Symbol.dispose]();
    },
  };
}

function ownNamespace(): bigint {
  using netns = openPath("/proc/thread-self/ns/net", O.RDONLY);
  return statusOf(netns).inode;
}

function readSysctl(name: string): string | null {
  try {
    return readFileSync(`/proc/sys/${name}`, "utf8").trim();
  } catch {
    return null;
  }
}

/** The range that a kernel without an answer would use (IANA's dynamic ports). */
const DYNAMIC_PORTS = { first: 49_153, last: 65_535 } as const;

function ephemeralPorts(): { first: number; last: number } {
  const found = /^(\d+)\s+(\d+)$/.exec(readSysctl("net/ipv4/ip_local_port_range") ?? "");
  const first = Number(found?.[1]),
    last = Number(found?.[2]);
  return first > 0 && last >= first && last <= 65_535 ? { first, last } : DYNAMIC_PORTS;
}
