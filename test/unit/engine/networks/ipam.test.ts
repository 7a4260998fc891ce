// Pools of addresses: order, exhaustion, ranges, and the default pools.
import { describe, expect, test } from "bun:test";
import { formatAddress, formatSubnet, parseAddress, parseCIDR } from "../../../../runtime/mod.ts";
import {
  choosePool,
  createPool,
  defaultGateway,
  DOCKER_POOLS,
  localPrefix,
  requireWithin,
} from "../../../../src/engine/networks/ipam.ts";

const address = (text: string) => parseAddress(text) ?? { family: 4 as const, value: 0n };
const subnet = (text: string) => parseCIDR(text)?.subnet ?? { family: 4 as const, value: 0n, prefixLength: 0 };
const pool = (text: string, options: { range?: string; reserved?: string[] } = {}) =>
  createPool({
    subnet: subnet(text),
    range: options.range === undefined ? null : subnet(options.range),
    reserved: (options.reserved ?? []).map(address),
  });
const take = (from: ReturnType<typeof pool>, count: number) =>
  Array.from({ length: count }, () => {
    const found = from.allocate();
    return found === null ? null : formatAddress(found);
  });

describe("a pool", () => {
  test("hands out addresses in order, after the gateway", () => {
    expect(take(pool("172.17.0.0/16", { reserved: ["172.17.0.1"] }), 2)).toEqual(["172.17.0.2", "172.17.0.3"]);
  });

  test("gives a freed address out again only after all others", () => {
    const small = pool("10.0.0.0/29", { reserved: ["10.0.0.1"] });
    expect(take(small, 2)).toEqual(["10.0.0.2", "10.0.0.3"]);
    small.release(address("10.0.0.2"));
    expect(take(small, 4)).toEqual(["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]);
  });

  test("is exhausted before its broadcast address", () => {
    const small = pool("10.0.0.0/30", { reserved: ["10.0.0.1"] });
    expect(take(small, 2)).toEqual(["10.0.0.2", null]);
    small.release(address("10.0.0.2"));
    expect(take(small, 2)).toEqual(["10.0.0.2", null]);
  });

  test("keeps to its range, and lets any address of the subnet be asked for", () => {
    const ranged = pool("10.9.0.0/16", { range: "10.9.1.0/30", reserved: ["10.9.0.1"] });
    expect(take(ranged, 5)).toEqual(["10.9.1.0", "10.9.1.1", "10.9.1.2", "10.9.1.3", null]);
    ranged.take(address("10.9.200.7"));
    expect(() => ranged.take(address("10.9.200.7"))).toThrow("Address already in use");
    expect(() => ranged.take(address("10.9.0.1"))).toThrow("Address already in use");
  });

  test("of IPv6 has no broadcast address, and does not walk its width", () => {
    const wide = pool("fd00::/64", { reserved: ["fd00::1"] });
    expect(take(wide, 2)).toEqual(["fd00::2", "fd00::3"]);
  });
});

test("the gateway is the first address of the range or subnet", () => {
  expect(formatAddress(defaultGateway(subnet("10.1.0.0/24"), null))).toBe("10.1.0.1");
  expect(formatAddress(defaultGateway(subnet("10.9.0.0/16"), subnet("10.9.1.0/24")))).toBe("10.9.1.0");
});

describe("the default pools", () => {
  const choose = (...taken: string[]) => formatSubnet(choosePool(DOCKER_POOLS, 4, taken.map(subnet)));

  test("begin at 172.17.0.0/16 and skip what is taken", () => {
    expect(choose()).toBe("172.17.0.0/16");
    expect(choose("172.17.0.0/16")).toBe("172.18.0.0/16");
    expect(choose("172.17.5.0/24", "172.18.0.0/15")).toBe("172.20.0.0/16");
  });

  test("go on with pieces of 192.168.0.0/16, past one that lies across", () => {
    expect(choose("172.16.0.0/12")).toBe("192.168.0.0/20");
    expect(choose("172.16.0.0/12", "192.168.0.0/19", "192.168.33.0/24")).toBe("192.168.48.0/20");
  });

  test("are exhausted with the words of either Docker", () => {
    expect(() => choose("172.16.0.0/12", "192.168.0.0/16")).toThrow(
      "all predefined address pools have been fully subnetted",
    );
    expect(() => choose("0.0.0.0/0")).toThrow(
      "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
    );
  });
});

test("a host's own IPv6 prefix is a ULA that stays the same", () => {
  const seed = Uint8Array.of(0x12, 0x34, 0x56, 0x78, 0x9a);
  expect(formatSubnet(choosePool([localPrefix(seed)], 6, []))).toBe("fd12:3456:789a::/64");
  expect(formatSubnet(choosePool([localPrefix(seed)], 6, [subnet("fd12:3456:789a::/64")]))).toBe(
    "fd12:3456:789a:1::/64",
  );
});

test("an address outside every subnet is refused with Docker's words", () => {
  expect(() => requireWithin([subnet("10.0.0.0/24")], address("10.0.1.1"))).toThrow(
    "no configured subnet contains IP address 10.0.1.1",
  );
});
