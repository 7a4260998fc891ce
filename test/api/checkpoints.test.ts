// The checkpoint routes of an engine that is experimental, and of one that is not. Statuses and words are Docker's on a
// host without CRIU.
import { expect, test } from "bun:test";
import { testAPI } from "../support/api.ts";
import { fakeEngine, FAKE_ID, fakeRecord, runningSince } from "../support/fake_engine.ts";

const up = fakeRecord({ state: runningSince("2026-01-01T00:00:00Z") });
const down = fakeRecord({ name: "down", id: "d".repeat(64) as typeof FAKE_ID });
const withExperimental = (isExperimental: boolean) =>
  testAPI(
    fakeEngine({
      config: { isExperimental },
      records: [up, down],
      containers: { start: async (name) => (name === "web" ? "already-running" : "started") },
    }),
  );

test.each([
  ["GET", "/containers/web/checkpoints", {}, 200, undefined],
  ["GET", "/containers/nope/checkpoints", {}, 404, "No such container: nope"],
  [
    "POST",
    "/containers/web/checkpoints",
    { CheckpointID: "c1" },
    500,
    "Cannot checkpoint container web: this engine does not support CRIU",
  ],
  [
    "POST",
    "/containers/web/checkpoints",
    { CheckpointID: "../x" },
    500,
    "Invalid checkpoint ID (../x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
  ],
  [
    "POST",
    "/containers/web/checkpoints",
    {},
    500,
    "Invalid checkpoint ID (), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
  ],
  ["POST", "/containers/down/checkpoints", { CheckpointID: "c1" }, 409, `container ${down.id} is not running`],
  ["POST", "/containers/nope/checkpoints", { CheckpointID: "c1" }, 404, "No such container: nope"],
  ["DELETE", "/containers/web/checkpoints/c1", {}, 500, "checkpoint c1 does not exist for container web"],
  ["DELETE", "/containers/nope/checkpoints/c1", {}, 404, "No such container: nope"],
  ["POST", "/containers/down/start?checkpoint=c9", null, 500, "checkpoint c9 does not exist for container /down"],
  ["POST", "/containers/web/start?checkpoint=c9", null, 304, undefined],
  ["POST", "/containers/down/start?checkpoint=", null, 204, undefined],
])("%s %s %j of an experimental engine", async (method, path, body, status, message) => {
  const request = method === "POST" && body !== null ? { json: body } : {};
  const reply = await withExperimental(true).call(method, path, request);
  expect(reply.status).toBe(status);
  if (status === 200) expect(reply.body).toEqual([]);
  if (message !== undefined) expect(reply.body).toEqual({ message });
});

test("an engine that is not experimental says so", async () => {
  const message =
    "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.";
  const api = withExperimental(false);
  for (const [method, path] of [
    ["GET", "checkpoints"],
    ["POST", "checkpoints"],
    ["DELETE", "checkpoints/a"],
  ] as const) {
    expect(await api.call(method, `/containers/web/${path}`)).toMatchObject({ status: 501, body: { message } });
  }
  expect(await api.call("POST", "/containers/down/start?checkpoint=c1")).toMatchObject({
    status: 400,
    body: { message: "checkpoint is only supported in experimental mode" },
  });
});
