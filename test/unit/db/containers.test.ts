// Container records to rows and back: what was written, what is damaged, and names that are taken.
import { expect, test } from "bun:test";
import { sql } from "drizzle-orm";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as v from "valibot";
import { containerStore } from "../../../src/db/containers.ts";
import { fact } from "../../../src/db/facts.ts";
import { openDb } from "../../../src/db/open.ts";
import type { ContainerID, ContainerRecord } from "../../../src/engine/containers/container.ts";
import { ContainerCreate } from "../../../src/schema/container.ts";

function scratch(): { url: string; path: string } & Disposable {
  const directory = mkdtempSync(`${tmpdir()}/berth-db-`);
  const path = `${directory}/berth.db`;
  return { url: `file:${path}`, path, [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }) };
}

function record(name: string): ContainerRecord {
  const {
    HostConfig,
    NetworkingConfig: _,
    ...config
  } = v.parse(ContainerCreate, { Cmd: ["sh"], Labels: { ä: "\u0000x" } });
  const id = name.charCodeAt(0).toString(16).padStart(64, "0") as ContainerID;
  return {
    id,
    name,
    createdAt: "2026-01-02T03:04:05.678Z",
    image: "busybox",
    imageID: "sha256:1",
    platform: "linux",
    path: "sh",
    args: [],
    config,
    hostConfig: HostConfig,
    state: { status: "created" },
    mounts: [],
    endpoints: [],
    publishedPorts: [],
    restartCount: 0,
    hasBeenManuallyStopped: false,
    hasBeenStartedBefore: false,
  };
}

test("a record comes back as it was written, through a new connection", async () => {
  using file = scratch();
  const running: ContainerRecord = {
    ...record("b"),
    state: {
      status: "running",
      startedAt: "2026-01-01T00:00:00Z",
      stopRequested: true,
      task: {
        id: "b",
        pid: 1,
        shimPid: 2,
        shimStartTime: "3",
        hasTerminal: false,
        hasStdin: true,
        exitFile: "/e",
        cgroupPath: "/g",
      },
    },
    publishedPorts: [{ port: 80, protocol: "tcp", hostIP: "::", hostPort: 8080 }],
  };
  {
    using opened = await openDb(file.url);
    const store = containerStore(opened.db, opened.relaxed);
    await store.insert(record("a"));
    await store.insert(record("b"));
    await store.update(running);
    await store.insert(record("c"));
    await store.remove(record("c").id);
  }
  using again = await openDb(file.url);
  const { records, damaged } = await containerStore(again.db, again.relaxed).all();
  expect(damaged).toEqual([]);
  expect(records.sort((a, b) => (a.name < b.name ? -1 : 1))).toEqual([record("a"), running]);
});

test("two containers cannot have one name, and the failure does not tell what they hold", async () => {
  using file = scratch();
  using opened = await openDb(file.url);
  const store = containerStore(opened.db, opened.relaxed);
  await store.insert(record("a"));
  expect(store.insert({ ...record("b"), name: "a" })).rejects.toThrow(
    new Error(`cannot store container ${record("b").id}: UNIQUE constraint failed: containers.name`),
  );
});

test("a row that is no record is told of, and kept, and the others are served", async () => {
  using file = scratch();
  using opened = await openDb(file.url);
  const store = containerStore(opened.db, opened.relaxed);
  for (const name of ["a", "b", "c"]) await store.insert(record(name));
  await opened.db.run(
    sql`UPDATE containers SET life = json_set(life, '$.state', json('{"status":"asleep"}')) WHERE name = 'a'`,
  );
  await opened.db.run(sql`UPDATE containers SET life = json_set(life, '$.restartCount', 'many') WHERE name = 'b'`);
  const { records, damaged } = await store.all();
  expect(records.map(({ name }) => name)).toEqual(["c"]);
  expect(damaged.map(({ problem }) => problem.split(":")[0] ?? "").toSorted()).toEqual([
    "restartCount",
    "state.status",
  ]);
});

test("a fact is made once", async () => {
  using file = scratch();
  using opened = await openDb(file.url);
  expect(await fact(opened.db, "engine-id", () => "one")).toBe("one");
  expect(await fact(opened.db, "engine-id", () => "two")).toBe("one");
});

test("a file that is no database is refused with its name", () => {
  using file = scratch();
  writeFileSync(file.path, "not a database, but long enough to be looked at as one ".repeat(40));
  expect(openDb(file.url)).rejects.toThrow(file.path);
});
