// Routes of the engine itself: ping, version, info, disk usage, auth. Each reply is held against the description.
import { describe, expect, test } from "bun:test";
import { unauthorized } from "../../src/errors.ts";
import { FACTS, testAPI, type TestAPIOptions } from "../support/api.ts";
import { fakeEngine, fakeRecord, runningSince } from "../support/fake_engine.ts";
import { fakeImage, fakeImages, fakeVolumes } from "../support/fake_objects.ts";

const volume = {
  name: "v1",
  driver: "local",
  scope: "local",
  createdAt: "2026-01-01T00:00:00Z",
  mountpoint: "/v/v1/_data",
  labels: {},
  options: {},
  isAnonymous: false,
};

function api(options: TestAPIOptions = {}, config = {}) {
  const records = [fakeRecord(), fakeRecord({ name: "up", state: runningSince("2026-01-02T03:00:00Z") })];
  return testAPI(
    fakeEngine({
      config,
      records,
      containers: { list: async () => records.map((record) => ({ record, sizes: { rwBytes: 10, rootFsBytes: 110 } })) },
      images: {
        ...fakeImages([fakeImage()]),
        list: async () => [
          { image: fakeImage(), sharedSizeBytes: 1_000_000, containers: 1 },
          {
            image: fakeImage({ id: `sha256:${"77".repeat(32)}`, tags: [], sizeBytes: 2_000_000 }),
            sharedSizeBytes: 1_000_000,
            containers: 0,
          },
        ],
        totals: async () => ({ count: 2, layersBytes: 5_000_000 }),
      },
      volumes: fakeVolumes([volume]),
      events: { listeners: () => 3 },
    }),
    options,
  );
}

test("ping says OK and what kind of engine this is", async () => {
  const reply = await api().call("GET", "/_ping");
  expect([reply.status, reply.text, reply.headers.get("content-type")]).toEqual([
    200,
    "OK",
    "text/plain; charset=utf-8",
  ]);
  expect(reply.headers.get("cache-control")).toBe("no-cache, no-store, must-revalidate");
  expect([reply.headers.get("pragma"), reply.headers.get("builder-version"), reply.headers.get("swarm")]).toEqual([
    "no-cache",
    "1",
    "inactive",
  ]);
  const head = await api().call("HEAD", "/v1.50/_ping");
  expect([head.status, head.text, head.headers.get("swarm")]).toEqual([200, "", "inactive"]);
});

test("version tells everything twice: the CLI prints the details of the Engine component", async () => {
  const { body } = await api().call("GET", "/version");
  expect(body).toMatchObject({
    Version: "0.1.0",
    ApiVersion: "1.55",
    MinAPIVersion: "1.24",
    Os: "linux",
    Arch: "amd64",
    Platform: { Name: "berth" },
  });
  expect((body as { Components: object[] }).Components).toEqual([
    {
      Name: "Engine",
      Version: "0.1.0",
      Details: {
        ApiVersion: "1.55",
        Arch: "amd64",
        BuildTime: "2026-01-01T00:00:00Z",
        Experimental: "false",
        GitCommit: "0123456",
        GoVersion: "bun 1.4.5",
        KernelVersion: "6.18.0",
        MinAPIVersion: "1.24",
        Os: "linux",
      },
    },
  ]);
});

describe("info", () => {
  test("counts containers, names the machine, and warns of nothing where nothing is missing", async () => {
    const { body } = await api().call("GET", "/info");
    expect(body).toMatchObject({
      ID: expect.any(String),
      Containers: 2,
      ContainersRunning: 1,
      ContainersPaused: 0,
      ContainersStopped: 1,
      Images: 2,
      NEventsListener: 3,
      Driver: "overlay2",
      CgroupVersion: "2",
      Architecture: "x86_64",
      OSType: "linux",
      NCPU: 2,
      MemTotal: 4 << 30,
      Warnings: [],
      IndexServerAddress: "https://index.docker.io/v1/",
      FirewallBackend: { Driver: "nftables" },
      Swarm: { LocalNodeState: "inactive", ControlAvailable: false, RemoteManagers: null },
      SystemTime: "2026-01-02T04:00:00.000Z",
    });
  });

  test("a limit that the kernel lacks is false and a warning", async () => {
    const limits = { ...FACTS.limits, swap: false, oomKillDisable: false };
    const { body } = await api({
      facts: { limits, cgroupVersion: 1, isIPv4Forwarding: false, warnings: ["WARNING: ours"] },
    }).call("GET", "/info");
    expect(body).toMatchObject({
      SwapLimit: false,
      Warnings: [
        "WARNING: No swap limit support",
        "WARNING: No oom kill disable support",
        "WARNING: IPv4 forwarding is disabled",
        "WARNING: ours",
      ],
    });
  });

  test("has the fields of the version that is asked", async () => {
    const old = (await api().call("GET", "/v1.41/info")).body as Record<string, unknown>;
    expect(old).toMatchObject({ KernelMemory: false, RuncCommit: { ID: "0123456", Expected: "0123456" } });
    expect(old).not.toHaveProperty("FirewallBackend");
    expect(old).not.toHaveProperty("DiscoveredDevices");
    expect((await api().call("GET", "/v1.50/info")).body).toMatchObject({ DiscoveredDevices: [] });
  });

  test("tells registries and pools as configured", async () => {
    const config = {
      insecureRegistries: ["10.0.0.0/8", "reg.local:5000"],
      registryMirrors: ["https://mirror.local"],
      labels: ["a=b"],
      defaultAddressPools: [{ base: "10.10.0.0/16", size: 24 }],
      managesFirewall: false,
    };
    const { body } = await api({}, config).call("GET", "/info");
    expect(body).toMatchObject({
      Labels: ["a=b"],
      DefaultAddressPools: [{ Base: "10.10.0.0/16", Size: 24 }],
      RegistryConfig: {
        InsecureRegistryCIDRs: ["::1/128", "127.0.0.0/8", "10.0.0.0/8"],
        IndexConfigs: {
          "docker.io": { Name: "docker.io", Mirrors: ["https://mirror.local/"], Secure: true, Official: true },
          "reg.local:5000": { Name: "reg.local:5000", Mirrors: [], Secure: false, Official: false },
        },
        Mirrors: ["https://mirror.local/"],
      },
    });
    expect(body).not.toHaveProperty("FirewallBackend");
  });
});

describe("disk usage", () => {
  test("up to 1.51 is lists of objects with their sizes", async () => {
    const { body } = await api().call("GET", "/v1.51/system/df");
    expect(body).toMatchObject({
      LayersSize: 5_000_000,
      Images: [{ Containers: 1, SharedSize: 1_000_000 }, { Containers: 0 }],
      Containers: [{ SizeRw: 10 }, { SizeRw: 10 }],
      Volumes: [{ Name: "v1", UsageData: { Size: 1000, RefCount: 1 } }],
      BuildCache: [],
    });
    expect(body).not.toHaveProperty("ImageUsage");
    expect((await api().call("GET", "/v1.41/system/df")).body).toHaveProperty("BuilderSize", 0);
  });

  test("from 1.53 is sums, with the objects when asked", async () => {
    expect((await api().call("GET", "/system/df")).body).toEqual({
      ImageUsage: { ActiveCount: 1, TotalCount: 2, Reclaimable: 2_000_000, TotalSize: 5_000_000 },
      ContainerUsage: { ActiveCount: 1, TotalCount: 2, Reclaimable: 10, TotalSize: 20 },
      VolumeUsage: { ActiveCount: 1, TotalCount: 1, Reclaimable: 0, TotalSize: 1000 },
      BuildCacheUsage: { ActiveCount: 0, TotalCount: 0, Reclaimable: 0, TotalSize: 0 },
    });
    const verbose = (await api().call("GET", "/system/df?verbose=1&type=volume")).body;
    expect(verbose).toEqual({
      VolumeUsage: expect.objectContaining({ Items: [expect.objectContaining({ Name: "v1" })] }),
    });
    const both = (await api().call("GET", "/v1.52/system/df")).body;
    expect(both).toHaveProperty("LayersSize");
    expect(both).toHaveProperty("ImageUsage");
  });

  test("measures just the kinds that are asked for, and once for all who ask at the same time", async () => {
    let walks = 0;
    const volumes = { ...fakeVolumes([volume]), usage: async () => (walks++, { sizeBytes: 1, refCount: 0 }) };
    const only = testAPI(fakeEngine({ volumes }));
    await Promise.all([only.call("GET", "/system/df?type=volume"), only.call("GET", "/system/df?type=volume")]);
    expect(walks).toBe(1);
    await only.call("GET", "/system/df?type=volume");
    expect(walks).toBe(2);
    expect((await api().call("GET", "/system/df?type=cheese")).body).toEqual({
      message: "unknown object type: cheese",
    });
  });
});

describe("auth", () => {
  const login = { username: "u", password: "p", serveraddress: "reg.example.com" };

  test("asks the registry", async () => {
    const asked: unknown[] = [];
    const checkAuth = async (server: string, credentials: object) => (
      asked.push([server, credentials]),
      { status: "Login Succeeded", identityToken: "t" }
    );
    const reply = await api({ checkAuth }).call("POST", "/auth", { json: login });
    expect(reply.body).toEqual({ Status: "Login Succeeded", IdentityToken: "t" });
    expect(asked).toEqual([
      ["reg.example.com", { username: "u", password: "p", identityToken: "", registryToken: "" }],
    ]);
  });

  test("wrong credentials are a 401 with the registry's words", async () => {
    const reply = await api({ checkAuth: () => Promise.reject(unauthorized("unauthorized: wrong password")) }).call(
      "POST",
      "/auth",
      { json: login },
    );
    expect([reply.status, reply.body]).toEqual([401, { message: "unauthorized: wrong password" }]);
  });

  test("none at all are a 400", async () => {
    expect(
      (await api({ checkAuth: () => Promise.reject(new Error("asked")) }).call("POST", "/auth", { json: {} })).status,
    ).toBe(400);
  });
});
