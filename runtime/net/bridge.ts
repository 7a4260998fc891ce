// Bridges in the host's network namespace: made with an address of our own choosing and marked as ours, or adopted as the
// administrator made them.
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import { type Address, formatAddress } from "./address.ts";
import type { LinkAddress, RouteClient } from "./route.ts";

export interface BridgeSpec {
  name: string;
  mac: string;
  mtu: number;
  /** The gateways, with the length of their subnets. A bridge that exists gains those it lacks. */
  addresses: readonly { address: Address; prefixLength: number }[];
}

export interface Bridge {
  index: number;
  /** Made by us, now or by an earlier daemon. */
  isOurs: boolean;
}

/** Written as the link's alias (`ip -d link` shows it), so that a later daemon knows what it may delete. */
const MARK = "berth bridge";

/** Makes sure of the bridge: it exists, has these addresses and is up. Another kind of link of that name is EEXIST. */
export function ensureBridge(routes: RouteClient, spec: BridgeSpec): Bridge {
  const before = routes.link(spec.name);
  if (before !== null && before.kind !== "bridge") {
    throw new SyscallError(`add bridge ${spec.name}`, E.EEXIST, { kind: before.kind });
  }
  if (before === null) routes.addBridge(spec.name, { mac: spec.mac, mtu: spec.mtu });
  const link = before ?? routes.link(spec.name);
  if (link === null) throw new SyscallError(`add bridge ${spec.name}`, E.ENODEV);
  try {
    if (before === null) routes.setAlias(link.index, MARK);
    const present = new Set(addressesOf(routes.addresses(), link.index));
    for (const { address, prefixLength } of spec.addresses) {
      if (!present.has(`${formatAddress(address)}/${prefixLength}`))
        routes.addAddress(link.index, address, prefixLength);
    }
    if (!link.isUp) routes.setUp(link.index);
  } catch (error) {
    if (before === null) routes.deleteLink(link.index);
    throw error;
  }
  return { index: link.index, isOurs: before === null || before.alias === MARK };
}

/** The addresses of an existing bridge as `10.1.0.1/16`; null when there is no such bridge. */
export function bridgeAddresses(routes: RouteClient, name: string): string[] | null {
  const link = routes.link(name);
  if (link === null || link.kind !== "bridge") return null;
  return addressesOf(routes.addresses(), link.index);
}

function addressesOf(addresses: LinkAddress[], linkIndex: number): string[] {
  return addresses
    .filter((found) => found.linkIndex === linkIndex)
    .map(({ address, prefixLength }) => `${formatAddress(address)}/${prefixLength}`);
}

/** Deletes a bridge of ours. One that we adopted, or that is gone, is left alone. */
export function removeBridge(routes: RouteClient, name: string): void {
  const link = routes.link(name);
  if (link !== null && link.kind === "bridge" && link.alias === MARK) routes.deleteLink(link.index);
}
