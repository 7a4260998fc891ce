// A network from its request: pools, names, bridges, defaults; and how networks are looked up.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { type FirewallState, parseCIDR, type Subnet } from "../../../../runtime/mod.ts";
import { isKind } from "../../../../src/errors.ts";
import { type BridgeOptions, bridgeOptions } from "../../../../src/engine/networks/bridge_options.ts";
import { DOCKER_POOLS } from "../../../../src/engine/networks/ipam.ts";
import { filterNetworks, findNetworkRecord } from "../../../../src/engine/networks/lookup.ts";
import { newNetwork } from "../../../../src/engine/networks/new_network.ts";
import { predefinedRecord } from "../../../../src/engine/networks/predefined.ts";
import { createRules, tableName } from "../../../../src/engine/networks/rules.ts";
import type { NetworkRecord } from "../../../../src/engine/mod.ts";
import { NetworkCreate } from "../../../../src/schema/network.ts";

let counter = 0;
const random = (count: number) => new Uint8Array(count).fill(0xa0 + (counter++ % 16));
const now = new Date("2026-01-02T03:04:05Z");
const subnets = (...texts: string[]): Subnet[] => texts.flatMap((text) => parseCIDR(text)?.subnet ?? []);
const make = (body: object, existing: NetworkRecord[] = [], routed: Subnet[] = []) =>
  newNetwork(v.parse(NetworkCreate, body), {
    existing,
    routed: routed.map((subnet) => ({ subnet, interfaceName: "tun0" })),
    pools: DOCKER_POOLS,
    defaultOptions: { macvlan: { a: "b" } },
    seed: Uint8Array.of(1, 2, 3, 4, 5),
    hasIPv6: true,
    random,
    now,
  });
const pool = (config: object) => ({ Name: "n", IPAM: { Config: [config] } });
const failure = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return error;
  }
  return null;
};

describe("a new network", () => {
  test("gets the first default pool that is free of networks and host routes", () => {
    const first = make({ Name: "one" }, [], subnets("172.17.0.0/16"));
    expect(first.ipam).toEqual({
      driver: "default",
      options: {},
      isAutomatic: true,
      config: [{ subnet: "172.18.0.0/16", ipRange: "", gateway: "172.18.0.1", auxiliaryAddresses: {} }],
    });
    expect(make({ Name: "two" }, [first], subnets("172.17.0.0/16")).ipam.config[0]?.subnet).toBe("172.19.0.0/16");
  });

  test("that finds every default pool routed elsewhere is told which routes are in the way, and the setting", () => {
    expect(() => make({ Name: "n" }, [], subnets("172.16.0.0/12", "192.168.0.0/16"))).toThrow(
      "(routes of this host are in the way: 172.16.0.0/12 on tun0, 192.168.0.0/16 on tun0; --default-address-pool names other pools)",
    );
  });

  test("takes the pool it is given, with the first address as gateway", () => {
    const made = make(pool({ Subnet: "10.9.0.0/16", IPRange: "10.9.1.0/24", AuxiliaryAddresses: { a: "10.9.0.2" } }));
    expect(made.ipam.config).toEqual([
      { subnet: "10.9.0.0/16", ipRange: "10.9.1.0/24", gateway: "10.9.1.0", auxiliaryAddresses: { a: "10.9.0.2" } },
    ]);
    expect(made.ipam.isAutomatic).toBe(false);
  });

  test("with IPv6 gets a prefix of this host's own, unless it brings one; without it one is passed over", () => {
    expect(make({ Name: "n", EnableIPv6: true }).ipam.config.map(({ subnet }) => subnet)).toEqual([
      "172.17.0.0/16",
      "fd01:203:405::/64",
    ]);
    const given = { Name: "n", IPAM: { Config: [{ Subnet: "fd00::/64" }] } };
    expect(make({ ...given, EnableIPv6: true }).ipam.config.map(({ gateway }) => gateway)).toEqual([
      "172.17.0.1",
      "fd00::1",
    ]);
    expect(make(given).ipam.config.map(({ subnet }) => subnet)).toEqual(["172.17.0.0/16"]);
  });

  test.each([
    [{ Subnet: "10.0.0.0" }, "invalid subnet 10.0.0.0: invalid CIDR block notation"],
    [{ Subnet: "10.0.0.5/24" }, "invalid subnet 10.0.0.5/24: it should be 10.0.0.0/24"],
    [{ Subnet: "10.0.0.0/31" }, "no room for a gateway and a container"],
    [{ Subnet: "10.0.0.0/24", IPRange: "x" }, "invalid ip-range x: invalid CIDR block notation"],
    [
      { Subnet: "10.0.0.0/24", IPRange: "10.0.1.0/28" },
      "invalid ip-range 10.0.1.0/28: parent subnet 10.0.0.0/24 doesn't contain ip-range",
    ],
    [{ Subnet: "10.0.0.0/24", IPRange: "fd00::/64" }, "invalid ip-range fd00::/64: parent subnet is an IPv4 block"],
    [{ Subnet: "10.0.0.0/24", Gateway: "10.0.0" }, "invalid gateway 10.0.0: invalid address"],
    [{ Subnet: "10.0.0.0/24", Gateway: "10.0.1.1" }, "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24"],
    [
      { Subnet: "10.0.0.0/24", AuxiliaryAddresses: { a: "fd00::1" } },
      "invalid auxiliary address a: parent subnet is an IPv4 block",
    ],
    [{ Gateway: "10.0.0.1" }, "invalid subnet : invalid CIDR block notation"],
  ])("refuses the pool %j", (config, message) => {
    expect(() => make(pool(config))).toThrow(message);
  });

  test("does not overlap another network, nor itself", () => {
    const other = make({ ...pool({ Subnet: "10.0.0.0/8" }), Name: "other" });
    expect(() => make(pool({ Subnet: "10.1.0.0/16" }), [other])).toThrow(
      "Pool overlaps with other one on this address space",
    );
    const twice = { Name: "n", IPAM: { Config: [{ Subnet: "10.1.0.0/16" }, { Subnet: "10.1.2.0/24" }] } };
    expect(() => make(twice)).toThrow("Pool overlaps with other one on this address space");
  });

  test.each([
    [{ Name: "" }, "invalid", "invalid name: name is empty"],
    [{ Name: "host" }, "forbidden", "operation is not permitted on predefined host network "],
    [{ Name: "n", Driver: "overlay" }, "forbidden", "This node is not a swarm manager."],
    [{ Name: "n", Driver: "host" }, "forbidden", 'only one instance of "host" network is allowed'],
    [{ Name: "n", Driver: "nope" }, "notFound", 'plugin "nope" not found'],
    [{ Name: "n", Driver: "macvlan" }, "invalid", "macvlan"],
    [{ Name: "n", EnableIPv4: false }, "invalid", "IPv4 or IPv6 must be enabled"],
    [{ Name: "n", Options: { "com.docker.network.bridge.name": "a/b" } }, "invalid", "invalid bridge name"],
    [{ Name: "n", Options: { "com.docker.network.bridge.enable_icc": "maybe" } }, "invalid", "enable_icc"],
    [{ Name: "n", Options: { "com.docker.network.driver.mtu": "12" } }, "invalid", "mtu"],
    [
      { Name: "n", Options: { "com.docker.network.bridge.gateway_mode_ipv4": "no" } },
      "invalid",
      "unknown gateway mode no",
    ],
    [
      { Name: "n", Options: { "com.docker.network.bridge.gateway_mode_ipv4": "isolated" } },
      "invalid",
      "internal network",
    ],
  ] as const)("refuses %j as %s", (body, kind, message) => {
    const error = failure(() => make(body));
    expect(isKind(error, kind)).toBe(true);
    expect(String(error)).toContain(message);
  });

  test("has a name and a bridge of its own", () => {
    const other = make({ Name: "n", Options: { "com.docker.network.bridge.name": "br9" } });
    expect(
      isKind(
        failure(() => make({ Name: "n" }, [other])),
        "conflict",
      ),
    ).toBe(true);
    expect(() => make({ Name: "m", Options: { "com.docker.network.bridge.name": "br9" } }, [other])).toThrow(
      "networks have same bridge name",
    );
  });
});

test("a bridge is named after its network, and has Docker's defaults", () => {
  const record = make({ Name: "n" });
  const expected: BridgeOptions = {
    interfaceName: `br-${record.id.slice(0, 12)}`,
    allowsTraffic: true,
    masquerades: true,
    hostBinding: { family: 4, value: 0n },
    modes: { 4: "nat", 6: "nat" },
    trustedInterfaces: [],
    hasNoGateway: false,
    interfacePrefix: "eth",
    mtu: 1500,
  };
  expect(bridgeOptions(record)).toEqual(expected);
});

describe("looking up", () => {
  const records = ["abc1", "abc2", "f00d"].map((id) => ({ ...make({ Name: `net-${id}`, Labels: { id } }), id }));

  test("goes by full ID, exact name, then prefix", () => {
    expect(findNetworkRecord(records, "abc1").name).toBe("net-abc1");
    expect(findNetworkRecord(records, "net-abc2").id).toBe("abc2");
    expect(findNetworkRecord(records, "f0").id).toBe("f00d");
    expect(() => findNetworkRecord(records, "abc")).toThrow(
      "network abc is ambiguous (2 matches found based on ID prefix)",
    );
    expect(() => findNetworkRecord(records, "")).toThrow("network  not found");
  });

  test("filters by name, ID, label, kind and use", () => {
    const all = [...records, predefinedRecord("none", random, now)];
    const names = (filters: Record<string, string[]>) =>
      filterNetworks(all, new Map(Object.entries(filters)), ({ id }) => id === "f00d").map(({ name }) => name);
    expect(names({ name: ["abc"] })).toEqual(["net-abc1", "net-abc2"]);
    expect(names({ label: ["id=f00d"] })).toEqual(["net-f00d"]);
    expect(names({ type: ["builtin"] })).toEqual(["none"]);
    expect(names({ driver: ["null"] })).toEqual(["none"]);
    expect(names({ dangling: ["true"] })).toEqual(["net-abc1", "net-abc2"]);
    expect(names({ scope: ["swarm"] })).toEqual([]);
    expect(() => names({ type: ["x"] })).toThrow("invalid filter 'type=[x]'");
  });
});

const NO_RULES: FirewallState = {
  bridges: [],
  ports: [],
  leavesIPv6: false,
  allowsDirectRouting: false,
  acceptMark: null,
};

describe("rules", () => {
  test("asked for together are one transaction, with the state of its moment", async () => {
    const applied: number[] = [];
    let ports = 0;
    const state = () => ({ ...NO_RULES, count: ports });
    const rules = createRules({ applyFirewall: () => void applied.push(ports) }, "t", () => true, state);
    const first = rules.sync();
    ports = 1;
    const second = rules.sync();
    ports = 2;
    await Promise.all([first, second]);
    expect(applied).toEqual([2]);
    await rules.sync();
    expect(applied.length).toBe(2);
  });

  test("that the kernel refuses are everybody's failure, and the next try is a new one", async () => {
    let isBroken = true;
    const applyFirewall = () => {
      if (isBroken) throw new Error("no");
    };
    const rules = createRules(
      { applyFirewall },
      "t",
      () => true,
      () => NO_RULES,
    );
    const outcomes = await Promise.allSettled([rules.sync(), rules.sync()]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    isBroken = false;
    await rules.sync();
  });

  test("live in a table of each daemon's own", () => {
    expect(tableName("docker0")).toBe("berth");
    expect(tableName("none")).toBe("berth");
    expect(tableName("br:7")).toBe("berth_br_7");
  });
});
