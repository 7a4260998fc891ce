// Volumes as rows, in a database of their own.
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDb } from "../../../src/db/open.ts";
import { volumes } from "../../../src/db/schema.ts";
import { volumeStore } from "../../../src/db/volumes.ts";

const volume = (name: string) => ({
  name,
  driver: "local",
  scope: "local",
  createdAt: "2026-01-01T00:00:00Z",
  labels: { a: "b", "": "empty" },
  options: { type: "tmpfs" },
  isAnonymous: false,
});

test("rows come back as they were, once removed no more, and a broken one is named", async () => {
  const directory = mkdtempSync(join(tmpdir(), "berth-db-volumes-"));
  try {
    using opened = await openDb(`file:${join(directory, "berth.db")}`);
    const store = volumeStore(opened.db);
    expect(await store.all()).toEqual({ volumes: [], damaged: [] });
    await store.insert(volume("one"));
    await store.insert(volume("two"));
    await expect(store.insert(volume("two"))).rejects.toThrow();
    await store.remove("one");
    await store.remove("one");
    await opened.db
      .insert(volumes)
      .values({ name: "odd", driver: "local", createdAtMs: 0, record: { name: "odd", labels: [] } });
    await opened.db
      .insert(volumes)
      .values({ name: "other", driver: "local", createdAtMs: 0, record: volume("elsewhere") });
    expect(await store.all()).toEqual({ volumes: [volume("two")], damaged: ["odd", "other"] });
    await store.remove("odd");
    expect((await store.all()).damaged).toEqual(["other"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
