// `docker ps`: order, limits, each filter, and lookups by a prefix.
import { describe, expect, test } from "bun:test";
import { createRoom, type Room } from "../../../support/engine_room.ts";

async function names(
  room: Room,
  filters: Record<string, string[]> = {},
  more: { all?: boolean; limit?: number } = {},
): Promise<string[]> {
  const found = await room.containers.list({
    all: more.all ?? true,
    limit: more.limit ?? 0,
    size: false,
    filters: new Map(Object.entries(filters)),
  });
  return found.map(({ record }) => record.name);
}

/** Three containers, a second apart: one created, one running, one that ended with 3. */
async function filled(): Promise<Room> {
  const room = await createRoom();
  await room.create({ Labels: { tier: "db" }, ExposedPorts: { "5432/tcp": {} } }, "alpha");
  room.clock.advance(1000);
  await room.create(
    { Cmd: ["sleep"], HostConfig: { NetworkMode: "none", PortBindings: { "80/tcp": [{ HostPort: "8080" }] } } },
    "beta",
  );
  room.clock.advance(1000);
  await room.create({ Cmd: ["exit", "3"] }, "gamma");
  await room.containers.start("beta");
  const { result } = await room.containers.wait("gamma", "next-exit", new AbortController().signal);
  await room.containers.start("gamma");
  await result;
  return room;
}

describe("the list", () => {
  test("shows what runs, the newest first, or all, or the last few", async () => {
    await using room = await filled();
    expect(await names(room, {}, { all: false })).toEqual(["beta"]);
    expect(await names(room)).toEqual(["gamma", "beta", "alpha"]);
    expect(await names(room, {}, { all: false, limit: 2 })).toEqual(["gamma", "beta"]);
  });

  const CASES: [filters: Record<string, string[]>, expected: string[]][] = [
    [{ name: ["^/al"] }, ["alpha"]],
    [{ name: ["^alpha$", "bet"] }, ["beta", "alpha"]],
    [{ label: ["tier=db"] }, ["alpha"]],
    [{ label: ["tier=db", "from=image"] }, ["alpha"]],
    [{ label: ["tier=web"] }, []],
    [{ status: ["created", "running"] }, ["beta", "alpha"]],
    [{ exited: ["3"] }, ["gamma"]],
    [{ exited: ["0"] }, []],
    [{ before: ["beta"] }, ["alpha"]],
    [{ since: ["beta"] }, ["gamma"]],
    [{ ancestor: ["busybox"] }, ["gamma", "beta", "alpha"]],
    [{ ancestor: ["nope"] }, []],
    [{ network: ["none"] }, ["beta"]],
    [{ publish: ["8080"] }, ["beta"]],
    [{ publish: ["8000-8100/tcp"] }, ["beta"]],
    [{ expose: ["5432"] }, ["alpha"]],
    [{ health: ["none"] }, ["gamma", "beta", "alpha"]],
    [{ "is-task": ["true"] }, []],
    [{ isolation: ["default"] }, ["gamma", "beta", "alpha"]],
    [{ name: ["alpha"], status: ["running"] }, []],
  ];
  for (const [filters, expected] of CASES) {
    test(`filtered by ${JSON.stringify(filters)} is [${expected.join(", ")}]`, async () => {
      await using room = await filled();
      expect(await names(room, filters)).toEqual(expected);
    });
  }

  test("finds by ID and its start", async () => {
    await using room = await filled();
    const { id } = room.containers.get("beta");
    expect(await names(room, { id: [id.slice(0, 12)] })).toEqual(["beta"]);
  });

  test("refuses values that mean nothing", async () => {
    await using room = await filled();
    expect(names(room, { status: ["up"] })).rejects.toThrow("invalid filter 'status=up'");
    expect(names(room, { exited: ["x"] })).rejects.toThrow("invalid filter 'exited=[x]'");
    expect(names(room, { before: ["nope"] })).rejects.toThrow("No such container: nope");
    expect(names(room, { publish: ["x"] })).rejects.toThrow("invalid containerPort: x");
  });

  test("counts sizes only when asked", async () => {
    await using room = await filled();
    const [first] = await room.containers.list({ all: true, limit: 1, size: true, filters: new Map() });
    expect(first?.sizes).toEqual({ rwBytes: 10, rootFsBytes: 10 });
  });
});
