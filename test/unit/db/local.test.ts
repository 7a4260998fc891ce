// The libSQL client over node:sqlite: what drizzle and the migrator rely on.
import { expect, test } from "bun:test";
import { LibsqlError } from "@libsql/core/api";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LocalClient } from "../../../src/db/local.ts";
import { openDb } from "../../../src/db/open.ts";
import { volumeStore } from "../../../src/db/volumes.ts";

function scratchFile(): { path: string } & Disposable {
  const directory = mkdtempSync(join(tmpdir(), "berth-db-local-"));
  return { path: join(directory, "berth.db"), [Symbol.dispose]: () => rmSync(directory, { recursive: true }) };
}

async function table(): Promise<LocalClient> {
  const client = new LocalClient(":memory:");
  await client.executeMultiple("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB)");
  return client;
}

test("rows have their columns by name and by number, blobs as ArrayBuffer", async () => {
  const client = await table();
  const written = await client.execute({
    sql: "INSERT INTO t (name, data) VALUES (?, ?)",
    args: ["a", new Uint8Array([1, 2])],
  });
  expect(written).toMatchObject({ rowsAffected: 1, lastInsertRowid: 1n });
  const { rows, columns } = await client.execute("SELECT id, name, data FROM t WHERE name = :name", { name: "a" });
  expect(columns).toEqual(["id", "name", "data"]);
  const [row] = rows;
  expect(row?.["name"]).toBe("a");
  expect(row?.[0]).toBe(1);
  expect(row?.length).toBe(3);
  expect(Object.keys(row ?? {})).toEqual(["id", "name", "data"]);
  expect(new Uint8Array(row?.[2] as ArrayBuffer)).toEqual(new Uint8Array([1, 2]));
});

test("booleans, dates and null are stored as SQLite has them", async () => {
  const client = await table();
  const { rows } = await client.execute("SELECT ?, ?, ?, ?", [true, new Date(5), null, 2n ** 40n]);
  expect([rows[0]?.[0], rows[0]?.[1], rows[0]?.[2], rows[0]?.[3]]).toEqual([1, 5, null, 2 ** 40]);
});

test("a batch is one transaction: all of it or nothing", async () => {
  const client = await table();
  const twice = ["INSERT INTO t (name) VALUES ('a')", "INSERT INTO t (name) VALUES ('a')"];
  expect(client.batch(twice, "write")).rejects.toBeInstanceOf(LibsqlError);
  expect((await client.execute("SELECT count(*) FROM t")).rows[0]?.[0]).toBe(0);
});

test("a transaction keeps others waiting until it ends, and cannot be used after that", async () => {
  const client = await table();
  const transaction = await client.transaction("write");
  await transaction.execute("INSERT INTO t (name) VALUES ('a')");
  const count = client.execute("SELECT count(*) FROM t");
  await transaction.rollback();
  expect((await count).rows[0]?.[0]).toBe(0);
  expect(transaction.closed).toBe(true);
  expect(transaction.execute("SELECT 1")).rejects.toThrow("closed");
});

test("errors carry SQLite's code, and the connection goes on", async () => {
  const client = await table();
  await client.execute("INSERT INTO t (name) VALUES ('a')");
  expect(client.execute("INSERT INTO t (name) VALUES ('a')")).rejects.toThrow("UNIQUE");
  expect(client.execute("SELECT nonsense")).rejects.toBeInstanceOf(LibsqlError);
  expect((await client.execute("SELECT 1")).rows).toHaveLength(1);
  client.close();
  expect(client.closed).toBe(true);
});

test("a failure on the way to a row does not tell what the row holds", async () => {
  using file = scratchFile();
  using opened = await openDb(`file:${file.path}`);
  const volumes = volumeStore(opened.db);
  const volume = {
    name: "v",
    driver: "local",
    scope: "local",
    createdAt: "2026-01-01T00:00:00Z",
    labels: {},
    isAnonymous: false,
  };
  await volumes.insert({ ...volume, options: { o: "password=secret" } });
  const failure = await volumes.insert({ ...volume, options: { o: "password=secret" } }).catch((error: Error) => error);
  expect(String(failure)).toBe("Error: cannot store volume v: UNIQUE constraint failed: volumes.name");
});
