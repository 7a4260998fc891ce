// Network settings of a container to endpoints; every fault told at once.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import type { NetworkRecord } from "../../../../src/engine/mod.ts";
import { connectFaults, networkMode, planEndpoints } from "../../../../src/engine/networks/endpoint.ts";
import { ContainerConfig } from "../../../../src/schema/container.ts";
import { HostConfig } from "../../../../src/schema/host_config.ts";
import { EndpointSettings, NetworkingConfig } from "../../../../src/schema/network.ts";

const network = (name: string, more: Partial<NetworkRecord> = {}): NetworkRecord => ({
  id: name.repeat(64).slice(0, 64),
  name,
  createdAt: "",
  driver: "bridge",
  scope: "local",
  enableIPv4: true,
  enableIPv6: false,
  isInternal: false,
  isAttachable: false,
  isIngress: false,
  ipam: { driver: "default", options: null, config: [] },
  options: {},
  labels: {},
  ...more,
});
const known = [network("bridge"), network("n1")];
const plan = (host: object, endpoints: Record<string, object> = {}, config: object = {}) =>
  planEndpoints(
    v.parse(HostConfig, host),
    v.parse(ContainerConfig, config),
    v.parse(NetworkingConfig, { EndpointsConfig: endpoints }),
    (name) => known.find((record) => record.name === name || record.id === name) ?? null,
  );
const settings = (input: object) => v.parse(EndpointSettings, input);

test("network modes", () => {
  expect(networkMode("")).toEqual({ kind: "network", name: "bridge" });
  expect(networkMode("default")).toEqual({ kind: "network", name: "bridge" });
  expect(networkMode("container:x")).toEqual({ kind: "container", of: "x" });
  expect(networkMode("n1")).toEqual({ kind: "network", name: "n1" });
});

describe("a plan", () => {
  test("takes `default` for the default bridge, in the mode and in the keys", () => {
    for (const mode of ["", "default", "bridge"]) {
      expect(plan({ NetworkMode: mode }, { default: {} })).toMatchObject([
        { networkName: "bridge", networkID: known[0]?.id, ipAddress: "" },
      ]);
    }
  });

  test("has no endpoint for host, none and another container", () => {
    for (const mode of ["host", "none", "container:x"]) expect(plan({ NetworkMode: mode })).toEqual([]);
    expect(plan({ NetworkMode: "host" }, { host: {} })).toEqual([]);
  });

  test("begins with the mode's network, then by priority and name", () => {
    const names = plan({ NetworkMode: "n1" }, { zz: {}, aa: {}, mm: { GwPriority: 5 } }).map(
      ({ networkName }) => networkName,
    );
    expect(names).toEqual(["n1", "mm", "aa", "zz"]);
  });

  test("does not ask that a network exists yet", () => {
    expect(plan({ NetworkMode: "later" })).toMatchObject([{ networkName: "later", networkID: "" }]);
  });

  test("gives the container's MAC address to the mode's network", () => {
    const made = plan(
      { NetworkMode: "n1" },
      { other: { MacAddress: "02:00:00:00:00:02" } },
      { MacAddress: "02:00:00:00:00:01" },
    );
    expect(made.map((endpoint) => endpoint.settings.MacAddress)).toEqual(["02:00:00:00:00:01", "02:00:00:00:00:02"]);
  });

  test("tells every fault at once, in Docker's words", () => {
    expect(() =>
      plan({ NetworkMode: "bridge" }, { bridge: { IPAMConfig: { IPv4Address: "1.2.3" }, Aliases: ["a"] } }),
    ).toThrow(
      "invalid endpoint settings:\nuser-specified IP address is supported on user-defined networks only\n" +
        "network-scoped aliases are only supported for user-defined networks\ninvalid IPv4 address: 1.2.3",
    );
    expect(() =>
      plan({ NetworkMode: "n1" }, { n1: { MacAddress: "x", IPAMConfig: { IPv6Address: "10.0.0.1" } } }),
    ).toThrow("invalid IPv6 address: 10.0.0.1\ninvalid MAC address: x");
  });

  test("refuses networks beside none and host", () => {
    expect(() => plan({ NetworkMode: "none" }, { n1: {} })).toThrow("with one of the networks in private (none) mode");
    expect(() => plan({ NetworkMode: "n1" }, { none: {} })).toThrow("with one of the networks in private (none) mode");
    expect(() => plan({ NetworkMode: "container:x" }, { n1: {} })).toThrow("cannot be connected to any other network");
  });

  test("refuses ports, hosts and servers that cannot be", () => {
    expect(() => plan({ PortBindings: { "x/tcp": [] } })).toThrow('invalid port specification: "x/tcp"');
    expect(() => plan({ ExtraHosts: ["db"] })).toThrow("bad format for add-host");
    expect(() => plan({ Dns: ["dns.example"] })).toThrow("dns.example is not an IP address");
  });
});

test("a static address needs a subnet that the user chose and that holds it", () => {
  const wish = settings({ IPAMConfig: { IPv4Address: "10.2.0.9" } });
  const subnets = [{ family: 4 as const, value: 0x0a010000n, prefixLength: 16 }];
  const automatic = network("n2", { ipam: { driver: "default", options: null, config: [], isAutomatic: true } });
  expect(connectFaults(wish, network("n2"), subnets)).toEqual(["no configured subnet contains IP address 10.2.0.9"]);
  expect(connectFaults(wish, automatic, subnets)).toEqual([
    "user-specified IP address is supported only when connecting to networks with user configured subnets",
  ]);
  expect(connectFaults(settings({ IPAMConfig: { IPv4Address: "10.1.0.9" } }), network("n2"), subnets)).toEqual([]);
});
