// Links, addresses and routes of one network namespace by rtnetlink: one method per use, named for what it does. A
// refusal is a SyscallError that names the operation. See rtnetlink(7), linux/if_link.h, linux/if_addr.h.
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import type { DirectKind } from "./direct.ts";
import { AF } from "../sys/socket.ts";
import {
  type Address,
  addressBytes,
  addressFromBytes,
  formatAddress,
  formatMAC,
  formatSubnet,
  lastAddress,
  parseMAC,
  type Subnet,
  subnetOf,
} from "./address.ts";
import {
  attributeText,
  attributeU32,
  type Message,
  type MessageWriter,
  NetlinkSocket,
  NLM_F,
  parseAttributes,
} from "./netlink.ts";

const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
} as const;
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  PROTINFO: 12,
  LINKINFO: 18,
  IFALIAS: 20,
  NET_NS_FD: 28,
} as const;
const IFLA_INFO = { KIND: 1, DATA: 2 } as const;
const IFLA_BRPORT = { MODE: 4, ISOLATED: 33 } as const;
const VETH_INFO_PEER = 1;
const IFLA_VLAN_ID = 1;
const IFLA_MACVLAN_MODE = 1;
const IFLA_IPVLAN = { MODE: 1, FLAGS: 2 } as const;
const MACVLAN_MODE = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
const IPVLAN_MODE = { l2: 0, l3: 1, l3s: 2 } as const;
const IPVLAN_FLAG = { bridge: 0, private: 1, vepa: 2 } as const;
const IFA = { ADDRESS: 1, LOCAL: 2, BROADCAST: 4 } as const;
const IFA_F_NODAD = 0x02;
const RTA = { DST: 1, OIF: 4, GATEWAY: 5, TABLE: 15 } as const;
const RT_TABLE_MAIN = 254,
  RTPROT_BOOT = 3,
  RT_SCOPE_UNIVERSE = 0,
  RT_SCOPE_LINK = 253,
  RTN_UNICAST = 1;
const AF_BRIDGE = 7;
const IFF_UP = 1;
/** struct ifinfomsg: u8 family | u8 pad | u16 type | i32 index | u32 flags | u32 change. */
const IFINFO_BYTES = 16;
const IFADDR_BYTES = 8;
const RTMSG_BYTES = 12;

export interface Link {
  index: number;
  name: string;
  isUp: boolean;
  /** `bridge`, `veth`; "" for hardware. */
  kind: string;
  mac: string;
  mtu: number;
  /** Index of the bridge it is a port of; 0: none. */
  master: number;
  alias: string;
}

export interface LinkAddress {
  linkIndex: number;
  address: Address;
  prefixLength: number;
}

export interface Route {
  /** null: the default route. */
  destination: Subnet | null;
  gateway: Address | null;
  linkIndex: number;
}

export interface VethRequest {
  /** The host's end: up, and a port of the bridge. */
  name: string;
  master: number;
  mtu: number;
  /** The container's end, made inside its namespace at once: nothing is moved, and nothing of it is left in the host. */
  peer: { name: string; netns: Fd; mac: string };
}

export class RouteClient implements Disposable {
  readonly #netlink: NetlinkSocket;

  /** Takes ownership of a NETLINK_ROUTE socket opened in the namespace that is meant. */
  constructor(socket: Fd) {
    this.#netlink = new NetlinkSocket(socket);
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }

  /** null when there is none of this name. */
  link(name: string): Link | null {
    try {
      const answer = this.#netlink.request(`get link ${name}`, RTM.GETLINK, 0, (w) => {
        linkHeader(w).attribute(IFLA.IFNAME, name);
      });
      return answer[0] === undefined ? null : toLink(answer[0]);
    } catch (error) {
      if (error instanceof SyscallError && error.errno === E.ENODEV) return null;
      throw error;
    }
  }

  links(): Link[] {
    return this.#netlink
      .dump("list links", RTM.GETLINK, (w) => void linkHeader(w))
      .map(toLink)
      .filter((link) => link !== null);
  }

  addBridge(name: string, options: { mac: string; mtu: number }): void {
    this.#netlink.request(`add bridge ${name}`, RTM.NEWLINK, NLM_F.CREATE | NLM_F.EXCL, (w) => {
      linkHeader(w).attribute(IFLA.IFNAME, name).attribute32(IFLA.MTU, options.mtu);
      w.attribute(IFLA.ADDRESS, macBytes(options.mac));
      w.nest(IFLA.LINKINFO, () => w.attribute(IFLA_INFO.KIND, "bridge"));
    });
  }

  addVeth(request: VethRequest): void {
    const { peer } = request;
    this.#netlink.request(`add veth ${request.name}`, RTM.NEWLINK, NLM_F.CREATE | NLM_F.EXCL, (w) => {
      linkHeader(w, 0, IFF_UP, IFF_UP).attribute(IFLA.IFNAME, request.name).attribute32(IFLA.MTU, request.mtu);
      w.attribute32(IFLA.MASTER, request.master);
      w.nest(IFLA.LINKINFO, () => {
        w.attribute(IFLA_INFO.KIND, "veth");
        w.nest(IFLA_INFO.DATA, () =>
          w.nest(VETH_INFO_PEER, () => {
            linkHeader(w).attribute(IFLA.IFNAME, peer.name).attribute32(IFLA.MTU, request.mtu);
            w.attribute32(IFLA.NET_NS_FD, peer.netns.number).attribute(IFLA.ADDRESS, macBytes(peer.mac));
          }),
        );
      });
    });
  }

  /** A macvlan or ipvlan on a link of this namespace, made inside another one at once. */
  addDirect(request: { name: string; parent: number; netns: Fd; mac: string | null; link: DirectKind }): void {
    const { link } = request;
    this.#netlink.request(`add ${link.kind} ${request.name}`, RTM.NEWLINK, NLM_F.CREATE | NLM_F.EXCL, (w) => {
      linkHeader(w).attribute(IFLA.IFNAME, request.name).attribute32(IFLA.LINK, request.parent);
      w.attribute32(IFLA.NET_NS_FD, request.netns.number);
      if (request.mac !== null) w.attribute(IFLA.ADDRESS, macBytes(request.mac));
      w.nest(IFLA.LINKINFO, () => {
        w.attribute(IFLA_INFO.KIND, link.kind);
        w.nest(IFLA_INFO.DATA, () => {
          if (link.kind === "macvlan") w.attribute32(IFLA_MACVLAN_MODE, MACVLAN_MODE[link.mode]);
          else {
            w.attribute(IFLA_IPVLAN.MODE, Uint8Array.of(IPVLAN_MODE[link.mode], 0));
            w.attribute(IFLA_IPVLAN.FLAGS, Uint8Array.of(IPVLAN_FLAG[link.flag], 0));
          }
        });
      });
    });
  }

  addVLAN(name: string, parent: number, vlan: number): void {
    this.#netlink.request(`add vlan ${name}`, RTM.NEWLINK, NLM_F.CREATE | NLM_F.EXCL, (w) => {
      linkHeader(w).attribute(IFLA.IFNAME, name).attribute32(IFLA.LINK, parent);
      w.nest(IFLA.LINKINFO, () => {
        w.attribute(IFLA_INFO.KIND, "vlan");
        w.nest(IFLA_INFO.DATA, () => w.attribute(IFLA_VLAN_ID, Uint8Array.of(vlan & 0xff, vlan >> 8)));
      });
    });
  }

  setUp(index: number): void {
    this.#netlink.request(`set link ${index} up`, RTM.NEWLINK, 0, (w) => void linkHeader(w, index, IFF_UP, IFF_UP));
  }

  setAlias(index: number, alias: string): void {
    this.#netlink.request(`set alias of link ${index}`, RTM.NEWLINK, 0, (w) => {
      linkHeader(w, index).attribute(IFLA.IFALIAS, new TextEncoder().encode(alias));
    });
  }

  /** hairpin: a frame may go out by the port it came in; isolated: it may not go to another isolated port. */
  setBridgePort(index: number, options: { hairpin: boolean; isolated: boolean }): void {
    this.#netlink.request(`set bridge port ${index}`, RTM.SETLINK, 0, (w) => {
      linkHeader(w, index, 0, 0, AF_BRIDGE);
      w.nest(IFLA.PROTINFO, () => {
        w.attribute8(IFLA_BRPORT.MODE, Number(options.hairpin)).attribute8(
          IFLA_BRPORT.ISOLATED,
          Number(options.isolated),
        );
      });
    });
  }

  deleteLink(index: number): void {
    this.#netlink.request(`delete link ${index}`, RTM.DELLINK, 0, (w) => void linkHeader(w, index));
  }

  addresses(): LinkAddress[] {
    return this.#netlink
      .dump("list addresses", RTM.GETADDR, (w) => w.u32(0).u32(0))
      .map(toLinkAddress)
      .filter((found) => found !== null);
  }

  /** IPv6 without duplicate address detection: the engine hands each address out once, and nobody waits a second for it. */
  addAddress(linkIndex: number, address: Address, prefixLength: number): void {
    this.#netlink.request(
      `add address ${formatAddress(address)}/${prefixLength}`,
      RTM.NEWADDR,
      NLM_F.CREATE | NLM_F.EXCL,
      (w) => {
        const bytes = addressBytes(address);
        w.u8(familyNumber(address))
          .u8(prefixLength)
          .u8(address.family === 6 ? IFA_F_NODAD : 0)
          .u8(0)
          .u32(linkIndex);
        w.attribute(IFA.LOCAL, bytes).attribute(IFA.ADDRESS, bytes);
        if (address.family === 4 && prefixLength < 31) {
          w.attribute(IFA.BROADCAST, addressBytes(lastAddress(subnetOf(address, prefixLength))));
        }
      },
    );
  }

  deleteAddress(linkIndex: number, address: Address, prefixLength: number): void {
    this.#netlink.request(`delete address ${formatAddress(address)}/${prefixLength}`, RTM.DELADDR, 0, (w) => {
      w.u8(familyNumber(address)).u8(prefixLength).u8(0).u8(0).u32(linkIndex);
      w.attribute(IFA.LOCAL, addressBytes(address)).attribute(IFA.ADDRESS, addressBytes(address));
    });
  }

  /** Unicast routes of the main table. */
  routes(): Route[] {
    return this.#netlink
      .dump("list routes", RTM.GETROUTE, (w) => w.u32(0).u32(0).u32(0))
      .map(toRoute)
      .filter((route) => route !== null);
  }

  /** A default route by a gateway, taking the place of one that is there. */
  setDefaultRoute(gateway: Address, linkIndex: number): void {
    this.#netlink.request(
      `set default route by ${formatAddress(gateway)}`,
      RTM.NEWROUTE,
      NLM_F.CREATE | NLM_F.REPLACE,
      (w) => {
        routeHeader(w, familyNumber(gateway), 0, RT_SCOPE_UNIVERSE);
        w.attribute(RTA.GATEWAY, addressBytes(gateway)).attribute32(RTA.OIF, linkIndex);
      },
    );
  }

  /** A default route by the link itself, for links without neighbours. */
  setDefaultLinkRoute(family: 4 | 6, linkIndex: number): void {
    this.#netlink.request("set default route by link", RTM.NEWROUTE, NLM_F.CREATE | NLM_F.REPLACE, (w) => {
      routeHeader(w, family === 4 ? AF.INET : AF.INET6, 0, family === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE);
      w.attribute32(RTA.OIF, linkIndex);
    });
  }

  /** The default route of a family; none is fine. */
  deleteDefaultRoute(family: 4 | 6): void {
    try {
      this.#netlink.request("delete default route", RTM.DELROUTE, 0, (w) => {
        routeHeader(w, family === 4 ? AF.INET : AF.INET6, 0, RT_SCOPE_UNIVERSE);
      });
    } catch (error) {
      if (!(error instanceof SyscallError && error.errno === E.ESRCH)) throw error;
    }
  }

  /** A subnet that is on the link itself. */
  addLinkRoute(destination: Subnet, linkIndex: number): void {
    this.#netlink.request(`add route ${formatSubnet(destination)}`, RTM.NEWROUTE, NLM_F.CREATE | NLM_F.REPLACE, (w) => {
      routeHeader(w, familyNumber(destination), destination.prefixLength, RT_SCOPE_LINK);
      w.attribute(RTA.DST, addressBytes(destination)).attribute32(RTA.OIF, linkIndex);
    });
  }
}

function familyNumber(address: Address): number {
  return address.family === 4 ? AF.INET : AF.INET6;
}

function linkHeader(w: MessageWriter, index = 0, flags = 0, change = 0, family = 0): MessageWriter {
  return w.u8(family).u8(0).u16(0).u32(index).u32(flags).u32(change);
}

function routeHeader(w: MessageWriter, family: number, prefixLength: number, scope: number): void {
  w.u8(family).u8(prefixLength).u8(0).u8(0).u8(RT_TABLE_MAIN).u8(RTPROT_BOOT).u8(scope).u8(RTN_UNICAST).u32(0);
}

function macBytes(text: string): Uint8Array {
  const bytes = parseMAC(text);
  if (bytes === null) throw new RangeError(`not a MAC address: ${text}`);
  return bytes;
}

/** null for an answer too short to be one: another kernel's extension, never ours to stumble on. */
export function toLink(message: Message): Link | null {
  const { payload } = message;
  if (payload.length < IFINFO_BYTES) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const attributes = parseAttributes(payload.subarray(IFINFO_BYTES));
  const info = attributes.get(IFLA.LINKINFO);
  const mac = attributes.get(IFLA.ADDRESS);
  return {
    index: view.getInt32(4, true),
    name: attributeText(attributes.get(IFLA.IFNAME)),
    isUp: (view.getUint32(8, true) & IFF_UP) !== 0,
    kind: info === undefined ? "" : attributeText(parseAttributes(info).get(IFLA_INFO.KIND)),
    mac: mac === undefined ? "" : formatMAC(mac),
    mtu: attributeU32(attributes.get(IFLA.MTU)) ?? 0,
    master: attributeU32(attributes.get(IFLA.MASTER)) ?? 0,
    alias: attributeText(attributes.get(IFLA.IFALIAS)),
  };
}

export function toLinkAddress(message: Message): LinkAddress | null {
  const { payload } = message;
  if (payload.length < IFADDR_BYTES) return null;
  const attributes = parseAttributes(payload.subarray(IFADDR_BYTES));
  // For a point-to-point link ADDRESS is the other end; LOCAL is always ours. IPv6 has ADDRESS alone.
  const bytes = attributes.get(IFA.LOCAL) ?? attributes.get(IFA.ADDRESS);
  const address = bytes === undefined ? null : addressFromBytes(bytes);
  if (address === null) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return { linkIndex: view.getUint32(4, true), address, prefixLength: view.getUint8(1) };
}

export function toRoute(message: Message): Route | null {
  const { payload } = message;
  if (payload.length < RTMSG_BYTES) return null;
  const family = payload[0],
    prefixLength = payload[1] ?? 0,
    type = payload[7];
  if (type !== RTN_UNICAST || (family !== AF.INET && family !== AF.INET6)) return null;
  const attributes = parseAttributes(payload.subarray(RTMSG_BYTES));
  if ((attributeU32(attributes.get(RTA.TABLE)) ?? payload[4]) !== RT_TABLE_MAIN) return null;
  const destination = attributes.get(RTA.DST);
  const gateway = attributes.get(RTA.GATEWAY);
  const address = destination === undefined ? null : addressFromBytes(destination);
  return {
    destination: address === null ? null : subnetOf(address, prefixLength),
    gateway: gateway === undefined ? null : addressFromBytes(gateway),
    linkIndex: attributeU32(attributes.get(RTA.OIF)) ?? 0,
  };
}
