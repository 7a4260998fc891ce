// src/api/container_view.ts and container_network_view.ts: states to flags and texts, ports, endpoints, versions.
import { describe, expect, test } from "bun:test";
import { endpoint, networkSettings, portList, portMap } from "../../../src/api/container_network_view.ts";
import {
  commandText,
  inspectView,
  mountView,
  stateView,
  statusText,
  summaryView,
} from "../../../src/api/container_view.ts";
import type { ContainerRecord, EndpointRecord } from "../../../src/engine/containers/container.ts";
import type { Exit, State } from "../../../src/engine/containers/state.ts";
import { FAKE_ID, fakeRecord, runningSince } from "../../support/fake_engine.ts";

const NOW = new Date("2026-01-02T04:00:00Z");
const NEVER = "0001-01-01T00:00:00Z";
const at = (minor: number) => ({ major: 1, minor });
const networkID = (name: string) => `id of ${name}`;
const context = (minor: number) => ({
  version: at(minor),
  now: NOW,
  config: { dataRoot: "/data", storageDriver: "overlay2" },
  networkID,
  containerName: (id: string) => id,
});
const inspect = (record: ContainerRecord, minor: number) =>
  inspectView(
    { record, logPath: "/log", execIDs: [], health: null, sizes: null, apparmor: "" },
    context(minor),
  ) as Record<string, Record<string, unknown>>;

const exit: Exit = {
  exitCode: 3,
  startedAt: "2026-01-02T03:00:00Z",
  finishedAt: "2026-01-02T03:55:00Z",
  oomKilled: true,
  error: "",
};
const running = runningSince("2026-01-02T03:59:55Z");
if (running.status !== "running") throw new Error("runningSince gives a running state");

describe("states", () => {
  const table: [State, string, Record<string, unknown>][] = [
    [
      { status: "created" },
      "Created",
      { Status: "created", Running: false, ExitCode: 0, StartedAt: NEVER, FinishedAt: NEVER },
    ],
    [{ status: "created", error: "no such file", exitCode: 127 }, "Created", { ExitCode: 127, Error: "no such file" }],
    [running, "Up 5 seconds", { Status: "running", Running: true, Pid: 4711, FinishedAt: NEVER }],
    [
      { ...running, status: "paused" },
      "Up 5 seconds (Paused)",
      { Status: "paused", Running: true, Paused: true, Pid: 4711 },
    ],
    [
      { status: "restarting", exit, nextAttemptAt: "2026-01-02T04:01:00Z" },
      "Restarting (3) 5 minutes ago",
      { Status: "restarting", Running: true, Restarting: true, Pid: 0, ExitCode: 3 },
    ],
    [
      { status: "exited", exit },
      "Exited (3) 5 minutes ago",
      {
        Status: "exited",
        Running: false,
        OOMKilled: true,
        ExitCode: 3,
        StartedAt: exit.startedAt,
        FinishedAt: exit.finishedAt,
      },
    ],
    [{ status: "exited", exit: { ...exit, error: "broken" } }, "Exited (3) 5 minutes ago", { Error: "broken" }],
    [{ status: "removing", exit: null }, "Removal In Progress", { Status: "removing", Running: false }],
    [{ status: "dead", exit, error: "busy" }, "Dead", { Status: "dead", Dead: true, Error: "busy", ExitCode: 3 }],
  ];
  for (const [state, text, flags] of table) {
    test(`${state.status} shows as "${text}"`, () => {
      expect(statusText(state, NOW)).toBe(text);
      expect(stateView(state)).toMatchObject(flags);
    });
  }
});

describe("ports", () => {
  const settings = { IPAMConfig: null, Links: [], MacAddress: "", Aliases: [], DriverOpts: {}, GwPriority: 0 };
  const bridge: EndpointRecord = {
    networkID: "n1",
    networkName: "bridge",
    endpointID: "e1",
    settings,
    interfaceName: "eth0",
    macAddress: "02:42:ac:11:00:02",
    ipAddress: "172.17.0.2",
    ipPrefixLength: 16,
    gateway: "172.17.0.1",
    ip6Address: "",
    ip6PrefixLength: 0,
    gateway6: "",
    dnsNames: [],
  };
  const mine: EndpointRecord = {
    ...bridge,
    networkName: "mine",
    settings: { ...settings, Aliases: ["db"] },
    dnsNames: ["web", "db"],
  };
  const published = [
    { port: 80, protocol: "tcp" as const, hostIP: "0.0.0.0", hostPort: 8080 },
    { port: 80, protocol: "tcp" as const, hostIP: "::", hostPort: 8080 },
  ];
  const record = fakeRecord(
    { state: running, endpoints: [bridge], publishedPorts: published },
    {
      ExposedPorts: { "80/tcp": {}, "53/udp": {}, "9": {} },
      HostConfig: { PortBindings: { "80/tcp": [{ HostPort: "8080" }] } },
    },
  );

  test("each binding is an entry, and what is exposed only has none", () => {
    expect(portList(record)).toEqual([
      { PrivatePort: 9, Type: "tcp" },
      { PrivatePort: 53, Type: "udp" },
      { IP: "0.0.0.0", PrivatePort: 80, PublicPort: 8080, Type: "tcp" },
      { IP: "::", PrivatePort: 80, PublicPort: 8080, Type: "tcp" },
    ]);
    expect(portMap(record)).toEqual({
      "53/udp": null,
      "80/tcp": [
        { HostIp: "0.0.0.0", HostPort: "8080" },
        { HostIp: "::", HostPort: "8080" },
      ],
      "9/tcp": null,
    });
  });

  test("there are none while it does not run, and none on the host's network", () => {
    for (const change of [{ state: { status: "created" } as State }, { endpoints: [] }]) {
      expect(portList({ ...record, ...change })).toEqual([]);
      expect(portMap({ ...record, ...change })).toEqual({});
    }
  });

  test("the top-level addresses are the default bridge's, and gone from 1.52", () => {
    expect(networkSettings(record, at(51), networkID)).toMatchObject({
      IPAddress: "172.17.0.2",
      Gateway: "172.17.0.1",
      MacAddress: "02:42:ac:11:00:02",
    });
    expect(networkSettings({ ...record, endpoints: [mine] }, at(51), networkID)).toMatchObject({
      IPAddress: "",
      Networks: { mine: { IPAddress: "172.17.0.2" } },
    });
    expect(networkSettings(record, at(52), networkID)).not.toHaveProperty("IPAddress");
  });

  test("host and none are shown as networks, with an endpoint while the container runs", () => {
    const host = fakeRecord({ state: running }, { HostConfig: { NetworkMode: "host" } });
    expect(networkSettings(host, at(50), networkID)).toMatchObject({
      Networks: {
        host: { NetworkID: "id of host", EndpointID: expect.stringMatching(/^[0-9a-f]{64}$/), IPAddress: "" },
      },
    });
    const none = fakeRecord({}, { HostConfig: { NetworkMode: "none" } });
    expect(networkSettings(none, at(50), networkID)).toMatchObject({
      Networks: { none: { NetworkID: "id of none", EndpointID: "" } },
    });
    const shared = fakeRecord({ state: running }, { HostConfig: { NetworkMode: "container:x" } });
    expect(networkSettings(shared, at(50), networkID)).toMatchObject({ Networks: {} });
  });

  test("fields of an endpoint come with their versions", () => {
    expect(endpoint(record, mine, at(43))).not.toHaveProperty("DNSNames");
    expect(endpoint(record, mine, at(44))).toMatchObject({
      DNSNames: ["web", "db"],
      Aliases: ["db", FAKE_ID.slice(0, 12), ""],
    });
    expect(endpoint(record, mine, at(45))).toMatchObject({ Aliases: ["db"] });
    expect(endpoint(record, mine, at(47))).not.toHaveProperty("GwPriority");
    expect(endpoint(record, bridge, at(48))).toMatchObject({
      GwPriority: 0,
      Aliases: null,
      Links: null,
      DriverOpts: null,
    });
  });

  test("a list leaves out names and aliases", () => {
    const view = summaryView(
      { record: { ...record, endpoints: [mine] }, imageNow: null, health: null, sizes: null },
      context(50),
    );
    expect(view).toMatchObject({
      NetworkSettings: { Networks: { mine: { Aliases: null, DNSNames: null, IPAddress: "172.17.0.2" } } },
    });
  });
});

test("an argument with a space is quoted, and no other", () => {
  expect(commandText({ path: "sh", args: ["-c", "echo hi", "it's"] })).toBe("sh -c 'echo hi' it's");
  expect(commandText({ path: "sh", args: [] })).toBe("sh");
});

test("mounts show their name and driver only when they have one", () => {
  const mount = {
    type: "bind" as const,
    name: "",
    source: "/a",
    destination: "/b",
    driver: "",
    mode: "ro",
    isWritable: false,
    propagation: "rprivate",
    isAnonymous: false,
    options: [],
    subpath: "",
  };
  expect(mountView(mount)).toEqual({
    Type: "bind",
    Source: "/a",
    Destination: "/b",
    Mode: "ro",
    RW: false,
    Propagation: "rprivate",
  });
  expect(mountView({ ...mount, type: "volume", name: "v", driver: "local" })).toMatchObject({
    Name: "v",
    Driver: "local",
  });
});

test("optional parts of the configuration show when they say something", () => {
  const plain = inspect(fakeRecord(), 50)["Config"];
  for (const field of ["Healthcheck", "StopSignal", "StopTimeout", "Shell", "ExposedPorts", "MacAddress"])
    expect(plain).not.toHaveProperty(field);
  const full = fakeRecord(
    {},
    {
      StopSignal: "SIGINT",
      StopTimeout: 0,
      Shell: ["sh"],
      MacAddress: "02:00:00:00:00:01",
      Healthcheck: { Test: ["CMD", "true"], Interval: 1_000_000_000 },
    },
  );
  expect(inspect(full, 50)["Config"]).toMatchObject({
    StopSignal: "SIGINT",
    StopTimeout: 0,
    Shell: ["sh"],
    MacAddress: "02:00:00:00:00:01",
    Healthcheck: { Test: ["CMD", "true"], Interval: 1_000_000_000 },
  });
  expect(inspect(full, 52)["Config"]).not.toHaveProperty("MacAddress");
});

test("limits that are not set stay out, and those that are set stay in", () => {
  const plain = inspect(fakeRecord(), 50)["HostConfig"];
  for (const field of ["MemorySwappiness", "Mounts", "Init", "Tmpfs", "KernelMemory"])
    expect(plain).not.toHaveProperty(field);
  expect(plain).toMatchObject({ OomKillDisable: false, Binds: [], Memory: 0 });
  const set = fakeRecord(
    {},
    { HostConfig: { MemorySwappiness: 0, Init: true, Tmpfs: { "/t": "" }, OomKillDisable: true } },
  );
  expect(inspect(set, 50)["HostConfig"]).toMatchObject({
    MemorySwappiness: 0,
    Init: true,
    Tmpfs: { "/t": "" },
    OomKillDisable: true,
  });
});

test("annotations show in lists from 1.46", () => {
  const record = fakeRecord({}, { HostConfig: { Annotations: { a: "b" } } });
  const view = (minor: number) =>
    summaryView({ record, imageNow: null, health: null, sizes: null }, context(minor)) as {
      HostConfig: object;
    };
  expect(view(45).HostConfig).toEqual({ NetworkMode: "bridge" });
  expect(view(46).HostConfig).toEqual({ NetworkMode: "bridge", Annotations: { a: "b" } });
});

test("a health check shows in inspect, in the status text and, from 1.52, in lists", () => {
  const health = { status: "unhealthy" as const, failingStreak: 3, log: [] };
  const sick = fakeRecord({ state: running });
  const inspected = inspectView(
    { record: sick, logPath: "", execIDs: [], health, sizes: null, apparmor: "" },
    context(50),
  );
  expect(inspected).toMatchObject({ State: { Health: { Status: "unhealthy", FailingStreak: 3, Log: [] } } });
  const listed = (minor: number) => summaryView({ record: sick, imageNow: null, health, sizes: null }, context(minor));
  expect(listed(50)).toMatchObject({ Status: "Up 5 seconds (unhealthy)" });
  expect(listed(50)).not.toHaveProperty("Health");
  expect(listed(52)).toMatchObject({ Health: { Status: "unhealthy", FailingStreak: 3 } });
  expect(statusText(running, NOW, { ...health, status: "starting" })).toBe("Up 5 seconds (health: starting)");
});
