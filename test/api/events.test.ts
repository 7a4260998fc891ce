// GET /events: shapes by version, content types, filters, and the life of the stream.
import { describe, expect, test } from "bun:test";
import { createApp } from "../../src/api/app.ts";
import { eventText } from "../../src/api/events.ts";
import { createEvents } from "../../src/engine/events.ts";
import type { EngineEvent, EventQuery, Events } from "../../src/engine/mod.ts";
import { testAPI } from "../support/api.ts";
import { engineAPI, problemsWith } from "../support/engine_api.ts";
import { fakeEngine } from "../support/fake_engine.ts";
import { eventually, quietLog, RawClient, serve } from "../support/raw_http.ts";

const start: EngineEvent = {
  type: "container",
  action: "start",
  actorID: "c1",
  attributes: { image: "busybox", name: "web" },
  timeNano: 1767323045_123456789n,
};
const pull: EngineEvent = {
  type: "image",
  action: "pull",
  actorID: "busybox:latest",
  attributes: { name: "busybox" },
  timeNano: 1n,
};
const create: EngineEvent = { ...pull, action: "create" };

const NO_CONNECTION = { hijack: () => Promise.reject(new Error("this test has no connection to take")) };

function replaying(...given: EngineEvent[]) {
  const queries: EventQuery[] = [];
  const subscribe: Events["subscribe"] = (query) => {
    queries.push(query);
    return (async function* () {
      yield* given;
    })();
  };
  const engine = fakeEngine({ events: { subscribe } });
  return {
    queries,
    api: testAPI(engine),
    app: createApp(engine, { log: quietLog, now: () => new Date(), subApps: [] }),
  };
}

describe("an event", () => {
  test("keeps every digit of its time, and is what the description says", () => {
    const text = eventText(start, { major: 1, minor: 55 });
    expect(text).toBe(
      '{"Type":"container","Action":"start","Actor":{"ID":"c1","Attributes":{"image":"busybox","name":"web"}},' +
        '"scope":"local","time":1767323045,"timeNano":1767323045123456789}',
    );
    expect(engineAPI().definitions).toHaveProperty("EventMessage");
    expect(problemsWith({ $ref: "#/definitions/EventMessage" }, JSON.parse(text), "1.55")).toEqual([]);
  });

  test("below 1.52 one of a container or image has the older fields first", () => {
    expect(eventText(start, { major: 1, minor: 51 })).toStartWith(
      '{"status":"start","id":"c1","from":"busybox","Type":"container",',
    );
    expect(eventText(pull, { major: 1, minor: 51 })).toStartWith(
      '{"status":"pull","id":"busybox:latest","Type":"image",',
    );
    expect(eventText({ ...pull, type: "network" }, { major: 1, minor: 51 })).toStartWith('{"Type":"network",');
  });
});

test("each event is a line, and below 1.52 the type is plain JSON", async () => {
  const { api } = replaying(start, pull);
  const reply = await api.call("GET", "/v1.50/events?until=1");
  expect(reply.headers.get("content-type")).toBe("application/json");
  expect(
    reply.text.split("\n").map((line) => (line === "" ? "" : (JSON.parse(line) as { status: string }).status)),
  ).toEqual(["start", "pull", ""]);
});

test("image create is new in 1.46", async () => {
  expect((await replaying(create).api.call("GET", "/v1.45/events")).text).toBe("");
  expect((await replaying(create).api.call("GET", "/v1.46/events")).text).toContain('"Action":"create"');
});

for (const [accept, type] of [
  ["", "application/jsonl"],
  ["*/*", "application/jsonl"],
  ["application/json", "application/jsonl"],
  ["application/x-ndjson", "application/x-ndjson"],
  ["application/jsonl;q=0.5, application/json-seq", "application/json-seq"],
  ["application/json-seq;q=0", "application/jsonl"],
] as const) {
  test(`from 1.52 Accept: ${accept || "(none)"} gives ${type}`, async () => {
    const headers: Record<string, string> = accept === "" ? {} : { Accept: accept };
    const reply = await replaying(start).app.fetch(new Request("http://d/v1.52/events", { headers }), NO_CONNECTION);
    expect(reply.headers.get("content-type")).toBe(type);
    expect(await reply.text()).toStartWith(type === "application/json-seq" ? "\x1e{" : "{");
  });
}

test("times and filters are passed on, and bad ones refused", async () => {
  const { api, queries } = replaying();
  await api.call(
    "GET",
    `/events?since=1704067200.5&until=1704067300&filters=${encodeURIComponent('{"type":{"container":true}}')}`,
  );
  await api.call("GET", "/events?until=0");
  expect(queries).toEqual([
    { since: 1704067200.5, until: 1704067300, filters: new Map([["type", ["container"]]]) },
    { since: null, until: null, filters: new Map() },
  ]);
  expect((await api.call("GET", "/events?since=x")).status).toBe(400);
  expect(await api.call("GET", `/events?filters=${encodeURIComponent('{"colour":["red"]}')}`)).toMatchObject({
    status: 400,
    body: { message: "invalid filter 'colour'" },
  });
});

test("until before since is 400, before any head", async () => {
  const events = createEvents({ now: () => new Date() });
  const reply = await testAPI(fakeEngine({ events })).call("GET", "/events?since=10&until=5");
  expect(reply.status).toBe(400);
});

test("the head leaves before the first event, events as they happen, and a client that leaves is forgotten", async () => {
  const events = createEvents({ now: () => new Date() });
  await using server = await serve(
    createApp(fakeEngine({ events }), { log: quietLog, now: () => new Date(), subApps: [] }).fetch,
  );
  const client = await RawClient.open(server.socket);
  client.send("GET /v1.50/events HTTP/1.1\r\nHost: d\r\n\r\n");
  await client.until((all) => all.endsWith("\r\n\r\n"));
  events.publish("container", "start", "c1", { image: "busybox" });
  await client.until((all) => all.includes('"Action":"start"'));
  expect(events.listeners()).toBe(1);
  client[Symbol.dispose]();
  await eventually(() => events.listeners() === 0, "the listener is gone");
});
