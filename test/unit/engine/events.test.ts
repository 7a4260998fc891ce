// The event stream: replay, order, ends, slow listeners, and filters.
import { describe, expect, test } from "bun:test";
import { createEvents, eventMatcher } from "../../../src/engine/events.ts";
import type { EngineEvent, Filters } from "../../../src/engine/mod.ts";
import { EVENTS_KEPT, EVENTS_QUEUED } from "../../../src/limits.ts";

const NOW = Date.UTC(2026, 0, 1);
const none: Filters = new Map();
const engine = (now = () => new Date(NOW)) => createEvents({ now });

async function collect(stream: AsyncIterable<EngineEvent>, count: number): Promise<string[]> {
  const seen: string[] = [];
  for await (const event of stream) {
    seen.push(event.action);
    if (seen.length === count) break;
  }
  return seen;
}

test("a listener receives what happens after it came, in order", async () => {
  const events = engine();
  events.publish("container", "before", "1", {});
  const stream = events.subscribe({ since: null, until: null, filters: none }, new AbortController().signal);
  events.publish("container", "create", "1", {});
  events.publish("container", "start", "1", {});
  expect(await collect(stream, 2)).toEqual(["create", "start"]);
  expect(events.listeners()).toBe(0);
});

test("since replays what is kept, the last 256", async () => {
  const events = engine();
  for (let n = 0; n < EVENTS_KEPT + 10; n++) events.publish("container", `e${n}`, "1", {});
  const stream = events.subscribe({ since: NOW / 1000, until: null, filters: none }, new AbortController().signal);
  const seen = await collect(stream, EVENTS_KEPT);
  expect([seen[0], seen.at(-1)]).toEqual(["e10", `e${EVENTS_KEPT + 9}`]);
});

test("until in the past ends after the replay; until before since is refused", async () => {
  let nowMs = NOW;
  const events = engine(() => new Date(nowMs));
  events.publish("container", "old", "1", {});
  nowMs += 10_000;
  events.publish("container", "new", "1", {});
  const past = { since: null, until: NOW / 1000 + 5, filters: none };
  expect(await collect(events.subscribe(past, new AbortController().signal), 10)).toEqual(["old"]);
  expect(() => events.subscribe({ since: 2, until: 1, filters: none }, new AbortController().signal)).toThrow("since");
});

test("a client that goes ends its stream, also one that never read", async () => {
  const events = engine();
  const client = new AbortController();
  const stream = events.subscribe({ since: null, until: null, filters: none }, client.signal);
  expect(events.listeners()).toBe(1);
  client.abort();
  expect(events.listeners()).toBe(0);
  expect(await collect(stream, 1)).toEqual([]);
});

test("a listener that does not read misses events, and holds nobody up", async () => {
  const events = engine();
  const stream = events.subscribe({ since: null, until: null, filters: none }, new AbortController().signal);
  for (let n = 0; n < EVENTS_QUEUED + 100; n++) events.publish("container", `e${n}`, "1", {});
  const seen = await collect(stream, EVENTS_QUEUED);
  expect(seen).toHaveLength(EVENTS_QUEUED);
  expect(seen.at(-1)).toBe(`e${EVENTS_QUEUED - 1}`);
});

test("times grow strictly, so that two events of one moment keep their order", async () => {
  const events = engine();
  events.publish("container", "a", "1", {});
  events.publish("container", "b", "1", {});
  const times: bigint[] = [];
  for await (const { timeNano } of events.subscribe(
    { since: 0, until: NOW / 1000 + 1, filters: none },
    AbortSignal.timeout(0),
  ))
    times.push(timeNano);
  expect(times).toEqual([BigInt(NOW) * 1_000_000n, BigInt(NOW) * 1_000_000n + 1n]);
});

test("the end of the daemon ends every stream, after what is queued", async () => {
  const events = engine();
  const stream = events.subscribe({ since: null, until: null, filters: none }, new AbortController().signal);
  events.publish("container", "last", "1", {});
  events.close();
  expect(await collect(stream, 10)).toEqual(["last"]);
});

describe("filters", () => {
  const event = (
    type: EngineEvent["type"],
    action: string,
    actorID: string,
    attributes: Record<string, string> = {},
  ): EngineEvent => ({
    type,
    action,
    actorID,
    attributes,
    timeNano: 0n,
  });
  const start = event("container", "start", "abcdef", {
    name: "web",
    image: "host:5000/app:v1",
    tier: "front",
    env: "prod",
  });
  const matches = (filters: Record<string, string[]>, what: EngineEvent): boolean =>
    eventMatcher(new Map(Object.entries(filters)))(what);

  test("by type, action, ID, name and prefix", () => {
    expect(matches({ type: ["image", "container"] }, start)).toBe(true);
    expect(matches({ type: ["image"] }, start)).toBe(false);
    expect(matches({ event: ["die", "start"] }, start)).toBe(true);
    expect(matches({ container: ["abc"] }, start)).toBe(true);
    expect(matches({ container: ["we"] }, start)).toBe(true);
    expect(matches({ container: ["eb"] }, start)).toBe(false);
    expect(matches({ container: ["web"], event: ["die"] }, start)).toBe(false);
  });
  test("by labels, all of them", () => {
    expect(matches({ label: ["tier=front", "env"] }, start)).toBe(true);
    expect(matches({ label: ["tier=front", "env=dev"] }, start)).toBe(false);
  });
  test("by image, with or without its tag, of containers too", () => {
    expect(matches({ image: ["host:5000/app"] }, start)).toBe(true);
    expect(matches({ image: ["host:5000/app:v1"] }, start)).toBe(true);
    expect(matches({ image: ["host:5000/app:v2"] }, start)).toBe(false);
    expect(matches({ image: ["app"] }, event("image", "pull", "app:v1", { name: "app" }))).toBe(true);
  });
  test("actions that carry a detail match by what stands before it", () => {
    expect(matches({ event: ["exec_create"] }, event("container", "exec_create: ls", "1"))).toBe(true);
    expect(matches({ event: ["health_status"] }, event("container", "health_status: healthy", "1"))).toBe(true);
    expect(matches({ event: ["exec"] }, event("container", "exec_create: ls", "1"))).toBe(false);
  });
  test("what this engine has nothing of matches nothing", () => {
    expect(matches({ service: ["x"] }, start)).toBe(false);
    expect(matches({ scope: ["swarm"] }, start)).toBe(false);
    expect(matches({ scope: ["local"] }, start)).toBe(true);
  });
});
