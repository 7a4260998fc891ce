// Routes of containers over a fake engine: what is asked of the engine, statuses, texts, and the views by API version.
import { describe, expect, test } from "bun:test";
import type { ContainerRecord } from "../../src/engine/containers/container.ts";
import type { Containers, CreateRequest } from "../../src/engine/mod.ts";
import { conflict, notFound } from "../../src/errors.ts";
import { testAPI } from "../support/api.ts";
import { FAKE_ID, fakeEngine, fakeRecord, runningSince } from "../support/fake_engine.ts";

const IMAGE_ID = `sha256:${"ab".repeat(32)}`;

/** An API whose engine has these methods; each call's arguments are kept by the method's name. */
function withCalls(methods: Partial<Containers>, records: ContainerRecord[] = [fakeRecord()]) {
  const calls: [string, ...unknown[]][] = [];
  const recorded = Object.fromEntries(
    Object.entries(methods).map(([name, method]) => [
      name,
      (...args: unknown[]) => {
        calls.push([name, ...args]);
        return (method as (...given: unknown[]) => unknown)(...args);
      },
    ]),
  );
  const images = { get: () => fakeImage() };
  return { calls, api: testAPI(fakeEngine({ records, containers: recorded, images })) };
}

function fakeImage() {
  return {
    id: IMAGE_ID,
    tags: [],
    repoDigests: [],
    createdAt: "",
    author: "",
    comment: "",
    architecture: "",
    variant: "",
    os: "",
    osVersion: "",
    config: {},
    diffIDs: [],
    history: [],
    sizeBytes: 0,
    lastTagTime: "",
    manifest: null,
    index: null,
  };
}

describe("create", () => {
  const create = { create: async () => ({ id: FAKE_ID, warnings: [] as string[] }) };

  test("answers 201 with the ID, and warnings that are never null", async () => {
    const { api, calls } = withCalls(create);
    const reply = await api.call("POST", "/v1.50/containers/create?name=web&platform=linux/arm64", {
      json: { Image: "busybox" },
    });
    expect(reply.status).toBe(201);
    expect(reply.text).toBe(`{"Id":"${FAKE_ID}","Warnings":[]}\n`);
    expect(calls[0]?.[1]).toMatchObject({ name: "web", platform: "linux/arm64", body: { Image: "busybox" } });
  });

  test("without a name there is none, and below 1.41 no platform", async () => {
    const { api, calls } = withCalls(create);
    await api.call("POST", "/v1.40/containers/create?platform=linux/arm64", { json: { Image: "busybox" } });
    expect(calls[0]?.[1] as CreateRequest).toMatchObject({ name: null, platform: "" });
  });

  test("without a body, or with nothing of a configuration in it, it is refused", async () => {
    const { api } = withCalls(create);
    for (const request of [{}, { json: {} }, { json: null }, { json: { HostConfig: { Memory: 1 } } }]) {
      const reply = await api.call("POST", "/containers/create", request);
      expect(reply).toMatchObject({
        status: 400,
        body: { message: "config cannot be empty in order to create a container" },
      });
    }
  });

  test("a wrong type names its field", async () => {
    const reply = await withCalls(create).api.call("POST", "/containers/create", {
      json: { Image: "a", HostConfig: { Memory: "x" } },
    });
    expect(reply).toMatchObject({
      status: 400,
      body: { message: 'invalid JSON: HostConfig.Memory: expected number but received "x"' },
    });
  });

  test("a missing image is the 404 on which the CLI pulls, with Docker's exact content type", async () => {
    const { api } = withCalls({ create: () => Promise.reject(notFound("No such image: alpine:latest")) });
    const reply = await api.call("POST", "/containers/create", { json: { Image: "alpine" } });
    expect(reply.status).toBe(404);
    expect(reply.headers.get("content-type")).toBe("application/json");
    expect(reply.text).toBe('{"message":"No such image: alpine:latest"}\n');
  });
});

describe("verbs", () => {
  const verbs: [request: string, methods: Partial<Containers>, status: number, call: unknown[]][] = [
    ["POST /containers/web/start", { start: async () => "started" }, 204, ["start", "web"]],
    ["POST /containers/web/start", { start: async () => "already-running" }, 304, ["start", "web"]],
    [
      "POST /containers/web/stop",
      { stop: async () => "stopped" },
      204,
      ["stop", "web", { signal: null, timeoutSec: null }],
    ],
    [
      "POST /containers/web/stop?t=3&signal=INT",
      { stop: async () => "already-stopped" },
      304,
      ["stop", "web", { signal: "INT", timeoutSec: 3 }],
    ],
    [
      "POST /v1.41/containers/web/stop?signal=INT",
      { stop: async () => "stopped" },
      204,
      ["stop", "web", { signal: null, timeoutSec: null }],
    ],
    [
      "POST /containers/web/restart?t=-1",
      { restart: async () => {} },
      204,
      ["restart", "web", { signal: null, timeoutSec: -1 }],
    ],
    ["POST /containers/web/kill", { kill: async () => {} }, 204, ["kill", "web", null]],
    ["POST /containers/web/kill?signal=HUP", { kill: async () => {} }, 204, ["kill", "web", "HUP"]],
    ["POST /containers/web/pause", { pause: async () => {} }, 204, ["pause", "web"]],
    ["POST /containers/web/unpause", { unpause: async () => {} }, 204, ["unpause", "web"]],
    ["POST /containers/web/rename?name=new", { rename: async () => {} }, 204, ["rename", "web", "new"]],
    ["POST /containers/web/resize?h=40&w=120", { resize: async () => {} }, 200, ["resize", "web", 40, 120]],
    [
      "DELETE /containers/web",
      { remove: async () => {} },
      204,
      ["remove", "web", { force: false, volumes: false, link: false }],
    ],
    [
      "DELETE /containers/web?force=1&v=2&link=true",
      { remove: async () => {} },
      204,
      ["remove", "web", { force: true, volumes: true, link: true }],
    ],
    ["POST /containers//a/b/start", { start: async () => "started" }, 204, ["start", "/a/b"]],
  ];
  for (const [request, methods, status, call] of verbs) {
    test(`${request} is ${status}`, async () => {
      const { api, calls } = withCalls(methods);
      const [method = "", path = ""] = request.split(" ");
      const reply = await api.call(method, path);
      expect(reply.status).toBe(status);
      expect(reply.text).toBe("");
      expect(calls).toEqual([call as [string, ...unknown[]]]);
    });
  }

  test("a start with a body is refused, unless it is an empty object", async () => {
    const { api } = withCalls({ start: async () => "started" });
    expect((await api.call("POST", "/containers/web/start", { json: {} })).status).toBe(204);
    expect(await api.call("POST", "/containers/web/start", { json: { HostConfig: {} } })).toMatchObject({
      status: 400,
      body: {
        message: "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
      },
    });
  });

  test("a refusal of the engine keeps its words", async () => {
    const message =
      'Conflict. The container name "/x" is already in use by container "1". ' +
      "You have to remove (or rename) <that> container to be able to reuse that name.";
    const { api } = withCalls({ rename: () => Promise.reject(conflict(message)) });
    const reply = await api.call("POST", "/containers/web/rename?name=x");
    expect(reply.status).toBe(409);
    expect(reply.text).toBe(`${JSON.stringify({ message })}\n`);
    expect(reply.text).toContain("<that>");
  });

  test("a bad number or size is refused before the engine is asked", async () => {
    const { api, calls } = withCalls({ stop: async () => "stopped", resize: async () => {} });
    expect((await api.call("POST", "/containers/web/stop?t=soon")).status).toBe(400);
    expect(await api.call("POST", "/containers/web/resize?w=80")).toMatchObject({
      status: 400,
      body: { message: 'invalid resize height "": invalid syntax' },
    });
    expect(calls).toEqual([]);
  });

  test("update passes what was given and answers warnings", async () => {
    const { api, calls } = withCalls({ update: async () => ["careful"] });
    const reply = await api.call("POST", "/containers/web/update", {
      json: { Memory: 1 << 28, RestartPolicy: { Name: "always" } },
    });
    expect(reply).toMatchObject({ status: 200, body: { Warnings: ["careful"] } });
    expect(calls[0]?.[2]).toMatchObject({ Memory: 1 << 28, RestartPolicy: { Name: "always", MaximumRetryCount: 0 } });
  });

  test("prune answers what went, and null for nothing", async () => {
    const { api, calls } = withCalls({ prune: async () => ({ deleted: [FAKE_ID], spaceReclaimed: 7 }) });
    const filters = encodeURIComponent('{"until":{"1h":true}}');
    expect((await api.call("POST", `/containers/prune?filters=${filters}`)).body).toEqual({
      ContainersDeleted: [FAKE_ID],
      SpaceReclaimed: 7,
    });
    expect(calls[0]?.[1]).toEqual(new Map([["until", ["1h"]]]));
    const none = withCalls({ prune: async () => ({ deleted: [], spaceReclaimed: 0 }) }).api;
    expect((await none.call("POST", "/containers/prune")).body).toEqual({ ContainersDeleted: null, SpaceReclaimed: 0 });
    expect(await none.call("POST", "/containers/prune?filters=%7B%22x%22%3A%5B%22y%22%5D%7D")).toMatchObject({
      status: 400,
      body: { message: "invalid filter 'x'" },
    });
  });
});

describe("list", () => {
  test("passes its options, in either form of filters", async () => {
    const { api, calls } = withCalls({ list: async () => [] });
    const filters = encodeURIComponent('{"label":["a=b"],"status":{"exited":true}}');
    const reply = await api.call("GET", `/containers/json?all=1&limit=5&size=1&filters=${filters}`);
    expect(reply.text).toBe("[]\n");
    expect(calls[0]?.[1]).toEqual({
      all: true,
      limit: 5,
      size: true,
      filters: new Map([
        ["label", ["a=b"]],
        ["status", ["exited"]],
      ]),
    });
  });

  test("malformed filters and limits are refused", async () => {
    const { api } = withCalls({ list: async () => [] });
    expect((await api.call("GET", "/containers/json?filters=nope")).status).toBe(400);
    expect((await api.call("GET", "/containers/json?limit=many")).status).toBe(400);
  });

  test("shows each container as scripts parse it", async () => {
    const { api } = withCalls({});
    const [summary] = (await api.call("GET", "/v1.50/containers/json")).body as Record<string, unknown>[];
    expect(summary).toMatchObject({
      Id: FAKE_ID,
      Names: ["/web"],
      Image: "busybox",
      ImageID: IMAGE_ID,
      Command: "sh",
      Created: 1767323045,
      Ports: [],
      State: "created",
      Status: "Created",
      HostConfig: { NetworkMode: "bridge" },
      NetworkSettings: { Networks: {} },
      Mounts: [],
    });
    expect(summary).not.toHaveProperty("Health");
    expect(summary).not.toHaveProperty("SizeRw");
  });

  test("sizes are shown when asked for, and from 1.52 the health", async () => {
    const { api } = withCalls({ list: async () => [{ record: fakeRecord(), sizes: { rwBytes: 1, rootFsBytes: 2 } }] });
    const [summary] = (await api.call("GET", "/containers/json?size=1")).body as Record<string, unknown>[];
    expect(summary).toMatchObject({ SizeRw: 1, SizeRootFs: 2, Health: { Status: "none", FailingStreak: 0 } });
  });

  test("a name that means another image by now gives way to the image's ID", async () => {
    const record = fakeRecord({ imageID: `sha256:${"99".repeat(32)}` });
    const [summary] = (await withCalls({}, [record]).api.call("GET", "/containers/json")).body as Record<
      string,
      unknown
    >[];
    expect(summary?.["Image"]).toBe(record.imageID);
  });
});

describe("inspect", () => {
  test("a missing container is Docker's 404", async () => {
    const reply = await withCalls({}).api.call("GET", "/containers/nope/json");
    expect(reply).toMatchObject({ status: 404, body: { message: "No such container: nope" } });
  });

  test("a created container has every field that clients use", async () => {
    const reply = await withCalls({}).api.call("GET", "/v1.50/containers/web/json");
    expect(reply.body).toMatchObject({
      Id: FAKE_ID,
      Name: "/web",
      Created: "2026-01-02T03:04:05.123456789Z",
      Path: "sh",
      Args: [],
      Image: IMAGE_ID,
      LogPath: `/var/lib/berth/containers/${FAKE_ID}/${FAKE_ID}-json.log`,
      HostnamePath: "",
      HostsPath: "",
      ResolvConfPath: "",
      RestartCount: 0,
      Driver: "overlay2",
      Platform: "linux",
      MountLabel: "",
      ProcessLabel: "",
      AppArmorProfile: "",
      ExecIDs: null,
      State: {
        Status: "created",
        Running: false,
        Paused: false,
        Restarting: false,
        OOMKilled: false,
        Dead: false,
        Pid: 0,
        ExitCode: 0,
        Error: "",
        StartedAt: "0001-01-01T00:00:00Z",
        FinishedAt: "0001-01-01T00:00:00Z",
      },
      GraphDriver: { Name: "overlay2", Data: { UpperDir: `/var/lib/berth/containers/${FAKE_ID}/upper` } },
      Mounts: [],
      NetworkSettings: { Bridge: "", Ports: {}, IPAddress: "", SandboxKey: "", Networks: {} },
    });
  });

  test("sizes are shown when asked for", async () => {
    const { api } = withCalls({ sizes: async () => ({ rwBytes: 10, rootFsBytes: 20 }) });
    expect((await api.call("GET", "/containers/web/json?size=1")).body).toMatchObject({ SizeRw: 10, SizeRootFs: 20 });
    expect((await api.call("GET", "/containers/web/json")).body).not.toHaveProperty("SizeRw");
  });

  test("a running one shows its files, process and exec sessions", async () => {
    const record = fakeRecord({ state: runningSince("2026-01-02T03:04:06Z"), hasBeenStartedBefore: true });
    const { api } = withCalls({ execIDs: () => ["e1"] }, [record]);
    expect((await api.call("GET", "/v1.51/containers/web/json")).body).toMatchObject({
      ExecIDs: ["e1"],
      HostsPath: `/var/lib/berth/containers/${FAKE_ID}/hosts`,
      State: { Status: "running", Running: true, Pid: 4711, StartedAt: "2026-01-02T03:04:06Z" },
      NetworkSettings: { SandboxKey: "/proc/4711/ns/net" },
      GraphDriver: { Data: { MergedDir: "/proc/4711/root" } },
    });
  });

  test("from 1.52 Storage replaces GraphDriver, and the addresses at top level are gone", async () => {
    const { api } = withCalls({});
    const newer = (await api.call("GET", "/v1.52/containers/web/json")).body as Record<string, object>;
    expect(newer).toMatchObject({ Storage: { RootFS: { Snapshot: { Name: "overlay2" } } } });
    expect(newer).not.toHaveProperty("GraphDriver");
    expect(Object.keys(newer["NetworkSettings"] ?? {})).toEqual(["SandboxID", "SandboxKey", "Ports", "Networks"]);
  });
});

test("top passes its arguments and shows the table", async () => {
  const table = { Titles: ["PID", "CMD"], Processes: [["1", "sh"]] };
  const { api, calls } = withCalls({ top: async () => table });
  expect((await api.call("GET", "/containers/web/top")).body).toEqual(table);
  await api.call("GET", "/containers/web/top?ps_args=aux");
  expect(calls).toEqual([
    ["top", "web", "-ef"],
    ["top", "web", "aux"],
  ]);
});
