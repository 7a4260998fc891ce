// Interfaces that put a container on one of the host's own links, without a bridge: macvlan (its own MAC address) and ipvlan
// (the link's). Made directly inside the container's network namespace; they go with it. See linux/if_link.h, ip-link(8).
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import type { Address } from "./address.ts";
import { prepareInside } from "./netns.ts";
import type { RouteClient } from "./route.ts";

export type DirectKind =
  | { kind: "macvlan"; mode: "private" | "vepa" | "bridge" | "passthru" }
  | { kind: "ipvlan"; mode: "l2" | "l3" | "l3s"; flag: "bridge" | "private" | "vepa" };

export interface DirectPlug {
  netns: Fd;
  interfaceName: string;
  /** null: the link's own, which is all that ipvlan knows. */
  mac: string | null;
  parentIndex: number;
  link: DirectKind;
  addresses: readonly { address: Address; prefixLength: number }[];
  gateways: readonly Address[];
  /** Families whose default route is the link itself: an l3 link has no neighbours to ask. */
  linkRoutes: readonly (4 | 6)[];
  sysctls: readonly { path: string; text: string }[];
}

export function plugDirect(host: RouteClient, request: DirectPlug): void {
  const { netns, interfaceName } = request;
  host.addDirect({ name: interfaceName, parent: request.parentIndex, netns, mac: request.mac, link: request.link });
  prepareInside(netns, request, (inside, index) => {
    for (const family of request.linkRoutes) inside.setDefaultLinkRoute(family, index);
  });
}

export interface Parent {
  index: number;
  mtu: number;
}

/** Written as the link's alias, so that a later daemon knows what it may delete. */
const MARK = "berth parent";
const MAX_VLAN = 4094;

/**
 * Makes sure of the link that containers are to stand on: any of the host's, or `eth0.10`, which is made as VLAN 10 on eth0
 * where it is missing. Throws ENODEV for a name that is none and cannot be made.
 */
export function ensureParent(routes: RouteClient, name: string): Parent {
  const present = routes.link(name);
  if (present !== null) {
    if (!present.isUp) routes.setUp(present.index);
    return { index: present.index, mtu: present.mtu };
  }
  const [, lower = "", number = ""] = /^(.+)\.(\d{1,4})$/.exec(name) ?? [];
  const vlan = Number(number);
  const on = lower === "" ? null : routes.link(lower);
  if (on === null || vlan < 1 || vlan > MAX_VLAN) throw new SyscallError(`get link ${name}`, E.ENODEV);
  routes.addVLAN(name, on.index, vlan);
  const made = routes.link(name);
  if (made === null) throw new SyscallError(`get link ${name}`, E.ENODEV);
  routes.setAlias(made.index, MARK);
  routes.setUp(made.index);
  return { index: made.index, mtu: made.mtu };
}

/** Deletes a link that we made. Any other, or one that is gone, is left alone. */
export function removeParent(routes: RouteClient, name: string): void {
  const link = routes.link(name);
  if (link !== null && link.kind === "vlan" && link.alias === MARK) routes.deleteLink(link.index);
}
