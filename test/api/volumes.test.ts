// Routes of volumes on a fake service: statuses and shapes by version. Each reply is held against the description.
import { expect, test } from "bun:test";
import type { Filters, Volumes } from "../../src/engine/mod.ts";
import { testAPI } from "../support/api.ts";
import { fakeEngine } from "../support/fake_engine.ts";
import { fakeVolumes } from "../support/fake_objects.ts";

const api = (change: Partial<Volumes> = {}) => testAPI(fakeEngine({ volumes: { ...fakeVolumes(), ...change } }));

test("a volume's way from create to remove", async () => {
  const volumes = api();
  const created = await volumes.call("POST", "/volumes/create", { json: { Name: "v1", Labels: { a: "b" } } });
  expect([created.status, created.body]).toEqual([
    201,
    {
      CreatedAt: "2026-01-01T00:00:00Z",
      Driver: "local",
      Labels: { a: "b" },
      Mountpoint: "/var/lib/berth/volumes/v1/_data",
      Name: "v1",
      Options: null,
      Scope: "local",
    },
  ]);
  expect((await volumes.call("GET", "/volumes/v1")).body).toEqual(created.body);
  expect((await volumes.call("GET", "/volumes")).body).toEqual({ Volumes: [created.body], Warnings: null });
  expect((await volumes.call("DELETE", "/volumes/v1")).status).toBe(204);
  expect((await volumes.call("DELETE", "/volumes/v1")).body).toEqual({ message: "get v1: no such volume" });
  expect((await volumes.call("DELETE", "/volumes/v1?force=1")).status).toBe(204);
  expect((await volumes.call("GET", "/volumes")).body).toEqual({ Volumes: [], Warnings: null });
});

test("create without a body makes an anonymous volume", async () => {
  expect((await api().call("POST", "/volumes/create")).status).toBe(201);
});

test("before 1.42 a prune takes named volumes too", async () => {
  const asked: Filters[] = [];
  const volumes = api({ prune: async (filters) => (asked.push(filters), { deleted: [], spaceReclaimed: 0 }) });
  expect((await volumes.call("POST", "/v1.41/volumes/prune")).body).toEqual({
    VolumesDeleted: null,
    SpaceReclaimed: 0,
  });
  await volumes.call("POST", "/v1.42/volumes/prune");
  await volumes.call("POST", '/volumes/prune?filters={"all":{"true":true},"label":["x"]}');
  expect(asked.map((filters) => [...filters])).toEqual([
    [["all", ["true"]]],
    [],
    [
      ["all", ["true"]],
      ["label", ["x"]],
    ],
  ]);
});

test("prune tells what went", async () => {
  const volumes = api();
  await volumes.call("POST", "/volumes/create", { json: { Name: "v1" } });
  expect((await volumes.call("POST", "/volumes/prune")).body).toEqual({ VolumesDeleted: ["v1"], SpaceReclaimed: 7 });
});

test("an update is for cluster volumes, since 1.42", async () => {
  const reply = await api().call("PUT", "/volumes/v1");
  expect([reply.status, reply.body]).toEqual([
    503,
    { message: "volume update only valid for cluster volumes, but swarm is unavailable" },
  ]);
  expect((await api().call("PUT", "/v1.41/volumes/v1")).status).toBe(404);
});

test("malformed requests are 400", async () => {
  expect((await api().call("GET", "/volumes?filters={")).body).toEqual({ message: "invalid filter" });
  expect((await api().call("POST", "/volumes/create", { json: { Labels: "x" } })).status).toBe(400);
  const body = new TextEncoder().encode("{}");
  expect(
    (await api().call("POST", "/volumes/create", { body, headers: { "Content-Type": "text/plain" } })).status,
  ).toBe(400);
});
