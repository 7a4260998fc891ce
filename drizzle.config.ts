// How migrations are generated: `bunx drizzle-kit generate` compares src/db/schema.ts with the last snapshot below
// src/db/migrations and writes the difference as SQL. Used by developers only; the daemon reads the SQL.
import { defineConfig } from "drizzle-kit";

export default defineConfig({ dialect: "sqlite", schema: "./src/db/schema.ts", out: "./src/db/migrations" });
