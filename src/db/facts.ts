// Facts about this data root: its engine's ID, made once and kept.
import { eq } from "drizzle-orm";
import type { Db } from "./open.ts";
import { facts } from "./schema.ts";

/** The fact as stored, or as `make` says now: then stored. Two callers at once agree on one value. */
export async function fact(db: Db, key: string, make: () => string): Promise<string> {
  const known = await db.select().from(facts).where(eq(facts.key, key));
  if (known[0]) return known[0].value;
  await db.insert(facts).values({ key, value: make() }).onConflictDoNothing();
  const stored = await db.select().from(facts).where(eq(facts.key, key));
  if (!stored[0]) throw new Error(`fact ${JSON.stringify(key)} is gone right after it was written`);
  return stored[0].value;
}
