// Routes of networks on a fake service: statuses and shapes by version. Each reply is held against the description.
import { expect, test } from "bun:test";
import type { Networks } from "../../src/engine/mod.ts";
import { testAPI } from "../support/api.ts";
import { FAKE_ID, fakeEngine, fakeRecord, runningSince } from "../support/fake_engine.ts";
import { fakeNetwork, fakeNetworks } from "../support/fake_objects.ts";

const endpoint = {
  networkID: fakeNetwork().id,
  networkName: "bridge",
  endpointID: "e".repeat(64),
  interfaceName: "eth0",
  settings: { IPAMConfig: null, Links: [], MacAddress: "", Aliases: [], DriverOpts: {}, GwPriority: 0 },
  macAddress: "02:42:ac:11:00:02",
  ipAddress: "172.17.0.2",
  ipPrefixLength: 16,
  gateway: "172.17.0.1",
  ip6Address: "",
  ip6PrefixLength: 0,
  gateway6: "",
  dnsNames: [],
};
const up = fakeRecord({ state: runningSince("2026-01-01T00:00:00Z"), endpoints: [endpoint] });
const down = fakeRecord({ id: "d".repeat(64) as typeof FAKE_ID, name: "down", endpoints: [endpoint] });

const api = (change: Partial<Networks> = {}) =>
  testAPI(fakeEngine({ records: [up, down], networks: { ...fakeNetworks([fakeNetwork()]), ...change } }));

test("inspect shows the network and the containers that are up on it", async () => {
  expect((await api().call("GET", "/networks/bridge")).body).toEqual({
    Name: "bridge",
    Id: "1".repeat(64),
    Created: "2026-01-01T00:00:00.123456789Z",
    Scope: "local",
    Driver: "bridge",
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: "default", Options: null, Config: [{ Subnet: "172.17.0.0/16", Gateway: "172.17.0.1" }] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: {
      [FAKE_ID]: {
        Name: "web",
        EndpointID: "e".repeat(64),
        MacAddress: "02:42:ac:11:00:02",
        IPv4Address: "172.17.0.2/16",
        IPv6Address: "",
      },
    },
    Options: { "com.docker.network.bridge.name": "docker0" },
    Labels: {},
  });
  expect((await api().call("GET", "/v1.47/networks/bridge")).body).not.toHaveProperty("EnableIPv4");
});

test("inspect finds nothing in the swarm scope, and an unknown name is a 404", async () => {
  expect((await api().call("GET", "/networks/bridge?scope=local")).status).toBe(200);
  expect((await api().call("GET", "/networks/bridge?scope=swarm")).body).toEqual({
    message: "network bridge not found",
  });
  expect((await api().call("GET", "/networks/nope")).status).toBe(404);
});

test("list has no containers, and below 1.52 an empty map of them", async () => {
  const [modern] = (await api().call("GET", "/networks")).body as [object];
  expect(modern).not.toHaveProperty("Containers");
  const [old] = (await api().call("GET", "/v1.50/networks/")).body as [object];
  expect(old).toMatchObject({ Name: "bridge", Containers: {} });
  expect((await api().call("GET", '/networks?filters={"color":["red"]}')).status).toBe(400);
});

test("create answers 201 with an empty warning", async () => {
  const reply = await api().call("POST", "/networks/create", {
    json: {
      Name: "n1",
      Driver: "bridge",
      IPAM: { Driver: "default", Config: [{ Subnet: "10.1.0.0/24" }] },
      Labels: null,
    },
  });
  expect([reply.status, reply.body]).toEqual([201, { Id: expect.stringMatching(/^[0-9a-f]{64}$/), Warning: "" }]);
  expect((await api().call("POST", "/networks/create", { json: { Name: "bridge" } })).status).toBe(409);
  expect((await api().call("POST", "/networks/create", { json: { Name: 7 } })).status).toBe(400);
});

test("an overlay network needs a swarm: 403 with the words of one", async () => {
  const { status, body } = await api().call("POST", "/networks/create", { json: { Name: "o", Driver: "overlay" } });
  expect(status).toBe(403);
  expect((body as { message: string }).message).toStartWith("This node is not a swarm manager.");
});

test("connect and disconnect pass the container and settings on", async () => {
  const asked: unknown[] = [];
  const networks = api({
    connect: async (...all) => void asked.push(all),
    disconnect: async (...all) => void asked.push(all),
  });
  const connected = await networks.call("POST", "/networks/bridge/connect", {
    json: { Container: "web", EndpointConfig: { Aliases: ["a1"], IPAMConfig: { IPv4Address: "10.1.0.5" } } },
  });
  expect([connected.status, connected.text]).toEqual([200, ""]);
  await networks.call("POST", "/networks/bridge/disconnect", { json: { Container: "web", Force: true } });
  expect(asked).toMatchObject([
    ["bridge", "web", { Aliases: ["a1"], IPAMConfig: { IPv4Address: "10.1.0.5" } }],
    ["bridge", "web", true],
  ]);
});

test("remove answers 204, a predefined network 403; prune null where nothing went", async () => {
  const networks = api();
  await networks.call("POST", "/networks/create", { json: { Name: "n1" } });
  expect((await networks.call("DELETE", "/networks/n1")).status).toBe(204);
  expect((await networks.call("DELETE", "/networks/bridge")).status).toBe(403);
  expect((await networks.call("POST", "/networks/prune")).body).toEqual({ NetworksDeleted: null });
  expect((await api({ prune: async () => ["n1"] }).call("POST", "/networks/prune")).body).toEqual({
    NetworksDeleted: ["n1"],
  });
});
