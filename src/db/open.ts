// Opens the database: a file of this data root (`file:<path>`), or a libSQL server by its URL. Both speak to the same
// drizzle driver, so there is one schema and one set of queries. Migrations lie beside this file, in the compiled
// binary too (compile.ts), and are applied before anything is read.
import { createClient } from "@libsql/client/http";
import type { Client } from "@libsql/core/api";
import type { LibSQLDatabase } from "drizzle-orm/libsql";
import { drizzle } from "drizzle-orm/libsql/http";
import { migrate } from "drizzle-orm/libsql/migrator";
import { fileURLToPath } from "node:url";
import { LocalClient } from "./local.ts";
import * as schema from "./schema.ts";

export type Db = LibSQLDatabase<typeof schema>;

export interface OpenedDb extends Disposable {
  /** A row is on disk when its write returns. */
  readonly db: Db;
  /**
   * The same rows by a second connection that does not wait for the disk: what it has written survives the end of any
   * process, and is on disk with the next write of `db`. With a server, it is `db`.
   */
  readonly relaxed: Db;
}

/** Throws when the file is no database, or was written by a newer berth in a way this one cannot read. */
export async function openDb(url: string, authToken?: string): Promise<OpenedDb> {
  await using undo = new AsyncDisposableStack();
  try {
    const client = connect(url, authToken);
    undo.defer(() => client.close());
    const db = drizzle(client, { schema });
    await migrate(db, { migrationsFolder: fileURLToPath(new URL("./migrations", import.meta.url).href) });
    const second = url.startsWith("file:") ? new LocalClient(url.slice("file:".length), { isRelaxed: true }) : client;
    undo.move();
    return {
      db,
      relaxed: second === client ? db : drizzle(second, { schema }),
      [Symbol.dispose]() {
        second.close();
        client.close();
      },
    };
  } catch (error) {
    throw new Error(`cannot open the database ${url}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

function connect(url: string, authToken: string | undefined): Client {
  if (url.startsWith("file:")) return new LocalClient(url.slice("file:".length));
  return createClient(authToken === undefined ? { url } : { url, authToken });
}
