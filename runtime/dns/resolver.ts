// What a container's resolver says to one query: the answer of its own networks, or that of an upstream server, or why not.
// It knows names and messages; sockets are its callers'. COMPAT: which code is given when is what Docker's resolver does.
import { type Address, addressBytes, formatAddress, parseAddress } from "../net/address.ts";
import {
  type Answer,
  CLASS_IN,
  encodeAnswer,
  encodeName,
  encodeRefusal,
  fit,
  MESSAGE_BYTES_MAX,
  parseQuery,
  type Query,
  RCODE,
  reversedAddress,
  TYPE,
} from "./message.ts";

export type Transport = "udp" | "tcp";

/** A server to ask for what is not ours. */
export interface UpstreamServer {
  address: Address;
  /** Index of the host's interface that a link-local address is on; 0: none. */
  scopeID: number;
  /** Whose network it is asked from: the host's own servers may be on its loopback. */
  from: "host" | "container";
}

/** What one container may know, asked anew for every query: names come and go while it runs. */
export interface NameSource {
  /** Every address of a name on the container's networks; null: no such name there. Lower case. */
  addressesOf(name: string): readonly Address[] | null;
  /** The name of an address on the container's networks. */
  nameOf(address: Address): string | null;
  /** In the order to try; []: none is known. null: this container is to reach nothing outside. */
  upstreams(): readonly UpstreamServer[] | null;
  /** The user wants names without a dot to be tried with the search domains, so they are not asked of anybody as they are. */
  keepsSingleLabels: boolean;
}

export interface Forwarder {
  /** The reply under the query's own ID; null when no server gave one; "busy" when too many are being waited for. */
  forward(
    queryBytes: Uint8Array,
    query: Query,
    transport: Transport,
    servers: readonly UpstreamServer[],
  ): Promise<Uint8Array | null | "busy">;
}

/** COMPAT: what Docker tells. Answers are only cached by resolvers inside the container, if there are any. */
const TTL_SEC = 600;

/**
 * The reply to send, at once where no server is asked; null: none. `random` gives a number in [0, 1), to shuffle addresses by.
 */
export function resolve(
  queryBytes: Uint8Array,
  transport: Transport,
  names: NameSource,
  forwarder: Forwarder,
  random: () => number,
): Uint8Array | null | Promise<Uint8Array | null> {
  const query = parseQuery(queryBytes);
  if (query === null) return null;
  if (!("name" in query)) return encodeRefusal(queryBytes, query.rcode);
  const maxBytes = transport === "udp" ? query.udpBytes : MESSAGE_BYTES_MAX;
  const own = query.class === CLASS_IN ? ownAnswers(query, names, random) : null;
  if (own !== null) return encodeAnswer(queryBytes, query, own, { rcode: RCODE.NOERROR, maxBytes });
  const fail = (rcode: number): Uint8Array => encodeAnswer(queryBytes, query, [], { rcode, maxBytes });
  const upstreams = names.upstreams();
  if (upstreams === null || upstreams.length === 0) return fail(RCODE.SERVFAIL);
  return forwarder.forward(queryBytes, query, transport, upstreams).then((reply) => {
    if (reply === "busy") return fail(RCODE.REFUSED);
    return reply === null ? fail(RCODE.SERVFAIL) : fit(reply, query.questionEnd, maxBytes);
  });
}

/** The answers of the container's networks, [] for a name that has none of the type asked for; null: not theirs to give. */
function ownAnswers(query: Query, names: NameSource, random: () => number): Answer[] | null {
  if (query.type === TYPE.PTR) {
    const text = reversedAddress(query.name);
    const address = text === null ? null : parseAddress(text);
    const name = address === null ? null : names.nameOf(address);
    const data = name === null ? null : encodeName(name);
    if (data !== null) return [{ type: TYPE.PTR, ttlSec: TTL_SEC, data }];
  }
  const found = query.name === "" ? null : names.addressesOf(query.name);
  if (found === null) {
    const isAddress = query.type === TYPE.A || query.type === TYPE.AAAA;
    return isAddress && names.keepsSingleLabels && query.name !== "" && !query.name.includes(".") ? [] : null;
  }
  const family = query.type === TYPE.A ? 4 : query.type === TYPE.AAAA ? 6 : null;
  const unique = new Map(
    found.filter((address) => address.family === family).map((address) => [formatAddress(address), address]),
  );
  return shuffle([...unique.values()], random).map((address) => ({
    type: query.type,
    ttlSec: TTL_SEC,
    data: addressBytes(address),
  }));
}

/** Fisher and Yates. */
function shuffle<Item>(items: Item[], random: () => number): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    const [a, b] = [items[last], items[other]];
    if (a !== undefined && b !== undefined) [items[last], items[other]] = [b, a];
  }
  return items;
}
