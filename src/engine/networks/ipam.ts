// Address management: which subnet a network gets, and which address a container on it. Pure and in memory: what is in use
// is known from the networks and from the containers that run, so nothing is stored and nothing can disagree.
import {
  type Address,
  contains,
  type Family,
  formatAddress,
  lastAddress,
  overlaps,
  parseCIDR,
  type Subnet,
} from "../../../runtime/mod.ts";
import { forbidden, internal, invalid } from "../../errors.ts";

/** Hands out the addresses of one subnet. */
export interface AddressPool {
  readonly subnet: Subnet;
  /** The next free address after the one handed out last, so that a freed one rests as long as possible. null: none is left. */
  allocate(): Address | null;
  /** Takes this very address. Throws Docker's words when it is in use. */
  take(address: Address): void;
  release(address: Address): void;
}

export interface PoolOptions {
  subnet: Subnet;
  /** The part that addresses are handed out from; null: all of it. */
  range: Subnet | null;
  /** Never handed out: the gateway, auxiliary addresses. */
  reserved: Address[];
}

export function createPool(options: PoolOptions): AddressPool {
  const { subnet } = options;
  const within = options.range ?? subnet;
  const inUse = new Set<bigint>(options.reserved.map((address) => address.value));
  const [first, last] = usable(subnet, within);
  let next = first;
  return {
    subnet,
    allocate() {
      const size = last - first + 1n;
      // At most one step per address in use, and one more finds a free one.
      for (let step = 0n; step < size && step <= BigInt(inUse.size); step++) {
        const value = next;
        next = next === last ? first : next + 1n;
        if (inUse.has(value)) continue;
        inUse.add(value);
        return { family: subnet.family, value };
      }
      return null;
    },
    take(address) {
      // COMPAT: the words and status of Docker's address manager.
      if (inUse.has(address.value)) throw forbidden("Address already in use");
      inUse.add(address.value);
    },
    release(address) {
      inUse.delete(address.value);
    },
  };
}

/** First and last address to hand out: not the subnet's own, and for IPv4 not its broadcast address. */
function usable(subnet: Subnet, within: Subnet): [first: bigint, last: bigint] {
  const first =
    within.value === subnet.value && subnet.prefixLength < lengthOf(subnet.family) - 1
      ? within.value + 1n
      : within.value;
  const end = lastAddress(within).value;
  const hasBroadcast = subnet.family === 4 && subnet.prefixLength < 31 && end === lastAddress(subnet).value;
  return [first, hasBroadcast ? end - 1n : end];
}

function lengthOf(family: Family): number {
  return family === 4 ? 32 : 128;
}

/** The gateway that a network gets unless it names one: the first address of the range or subnet. */
export function defaultGateway(subnet: Subnet, range: Subnet | null): Address {
  return { family: subnet.family, value: usable(subnet, range ?? subnet)[0] };
}

export interface DefaultPool {
  base: string;
  size: number;
}

/** What Docker takes networks from unless told otherwise. */
export const DOCKER_POOLS: readonly DefaultPool[] = [
  ...Array.from({ length: 15 }, (_, index) => ({ base: `172.${17 + index}.0.0/16`, size: 16 })),
  { base: "192.168.0.0/16", size: 20 },
];

/** Candidates looked at before giving up: a pool cut into a million pieces that are all taken is a mistake, not a plan. */
const MAX_CANDIDATES = 65_536;

/** The first piece of the default pools that collides with none of `taken`. */
export function choosePool(
  pools: readonly DefaultPool[],
  family: Family,
  taken: readonly Subnet[],
  /** What a host's route that is in the way is called; null: it is another network. */
  routeName: (subnet: Subnet) => string | null = () => null,
): Subnet {
  const inTheWay = new Set<string>();
  let left = MAX_CANDIDATES;
  for (const { base, size } of pools) {
    const whole = parseCIDR(base)?.subnet;
    if (whole === undefined || whole.family !== family || size < whole.prefixLength) continue;
    const step = 1n << BigInt(lengthOf(family) - size);
    const end = lastAddress(whole).value;
    for (let value = whole.value; value <= end && left > 0; left--) {
      const candidate: Subnet = { family, value, prefixLength: size };
      const collision = taken.find((subnet) => overlaps(candidate, subnet));
      if (collision === undefined) return candidate;
      const route = routeName(collision);
      if (route !== null && inTheWay.size < ROUTES_NAMED) inTheWay.add(route);
      // Past the whole of what it collides with, in whole steps.
      const after = lastAddress(collision).value + 1n;
      const steps = after > value ? (after - value + step - 1n) / step : 1n;
      value += steps * step;
    }
  }
  // COMPAT: the text of 29.x and of 28.x in one, since people search for either.
  throw internal(
    "all predefined address pools have been fully subnetted: could not find an available, non-overlapping " +
      `IPv${family} address pool among the defaults to assign to the network` +
      (inTheWay.size === 0
        ? ""
        : ` (routes of this host are in the way: ${[...inTheWay].join(", ")}; --default-address-pool names other pools)`),
  );
}

/** In one message. */
const ROUTES_NAMED = 5;

/** A /64 for a network, out of a prefix that stays the same on this host (RFC 4193). `seed` is at least five random bytes. */
export function localPrefix(seed: Uint8Array): DefaultPool {
  const groups = [
    0xfd00 | (seed[0] ?? 0),
    ((seed[1] ?? 0) << 8) | (seed[2] ?? 0),
    ((seed[3] ?? 0) << 8) | (seed[4] ?? 0),
  ];
  return { base: `${groups.map((group) => group.toString(16)).join(":")}::/48`, size: 64 };
}

/** The subnet that an address belongs to, or Docker's words. */
export function requireWithin(subnets: readonly Subnet[], address: Address): Subnet {
  const found = subnets.find((subnet) => contains(subnet, address));
  if (found === undefined) throw invalid(`no configured subnet contains IP address ${formatAddress(address)}`);
  return found;
}
