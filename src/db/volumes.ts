// Volumes as rows. The columns are what is looked up by; the rest of a record is one JSON document, checked when read.
import { eq } from "drizzle-orm";
import * as v from "valibot";
import type { VolumeRecord } from "../engine/mod.ts";
import { during } from "./failure.ts";
import type { Db } from "./open.ts";
import { volumes } from "./schema.ts";

/** What a row's document holds: the record but for its path, which follows from the data root. */
const Stored = v.object({
  name: v.string(),
  driver: v.string(),
  scope: v.optional(v.string(), "local"),
  createdAt: v.string(),
  labels: v.record(v.string(), v.string()),
  options: v.record(v.string(), v.string()),
  isAnonymous: v.boolean(),
});
export type StoredVolume = Omit<VolumeRecord, "mountpoint">;

export interface VolumeStore {
  /** Every volume, and the names of rows that cannot be read. */
  all(): Promise<{ volumes: StoredVolume[]; damaged: string[] }>;
  insert(volume: StoredVolume): Promise<void>;
  remove(name: string): Promise<void>;
}

export function volumeStore(db: Db): VolumeStore {
  return {
    async all() {
      const rows = await db.select({ name: volumes.name, record: volumes.record }).from(volumes);
      const read: StoredVolume[] = [];
      const damaged: string[] = [];
      for (const row of rows) {
        const parsed = v.safeParse(Stored, row.record);
        if (parsed.success && parsed.output.name === row.name) read.push(parsed.output);
        else damaged.push(row.name);
      }
      return { volumes: read, damaged };
    },
    async insert(volume) {
      const { name, driver, createdAt } = volume;
      const row = { name, driver, createdAtMs: Date.parse(createdAt), record: volume };
      await during(`store volume ${name}`, db.insert(volumes).values(row));
    },
    async remove(name) {
      await during(`remove volume ${name}`, db.delete(volumes).where(eq(volumes.name, name)));
    },
  };
}
