// A libSQL client over the runtime's own SQLite: node:sqlite is in Bun, Deno and Node alike, so no native addon. The
// same drizzle driver then serves a local file and a libSQL server (open.ts). One connection; statements run one after
// another, a transaction holds the connection until it ends. Implements `Client` of @libsql/core/api.
import {
  type Client,
  type InArgs,
  type InStatement,
  type InValue,
  LibsqlError,
  type ResultSet,
  type Row,
  type Transaction,
  type TransactionMode,
} from "@libsql/core/api";
import { ResultSetImpl } from "@libsql/core/util";
import { rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";

/** Prepared statements kept: the engine has some dozens; drizzle builds the same text for the same query. */
const STATEMENTS_KEPT = 256;

/**
 * WAL with synchronous=FULL: a row is on disk when its write returns, one fsync each (about 0.2 ms measured here).
 * busy_timeout: a backup tool may hold the file for a moment.
 */
const PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=5000;";
/** Without waiting for the disk at each commit; WAL keeps the file whole all the same (sqlite.org/pragma, synchronous). */
const RELAXED = "PRAGMA synchronous=NORMAL;";

/**
 * Space that belongs to us when there is none left, given back in steps: each is enough for a removal's pages, in the log
 * and in the database, and all of them for some dozens of removals, whoever else is filling the disk meanwhile.
 */
const RESERVE_BYTES = 1 << 20;
const RESERVE_STEP_BYTES = 64 << 10;
const SQLITE_FULL = 13;

type BatchStatement = InStatement | [string, InArgs?];

interface Prepared {
  statement: StatementSync;
  columns: string[];
  types: string[];
}

export class LocalClient implements Client {
  readonly protocol = "file";
  closed = false;
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, Prepared>();
  readonly #reserve: string;
  /** Settles when whoever holds the connection now has let it go. */
  #turn: Promise<void> = Promise.resolve();

  constructor(path: string, options: { isRelaxed: boolean } = { isRelaxed: false }) {
    this.#database = new DatabaseSync(path);
    this.#database.exec(options.isRelaxed ? PRAGMAS + RELAXED : PRAGMAS);
    this.#reserve = `${path}-reserve`;
    if (path !== ":memory:") putReserve(this.#reserve);
  }

  execute(statement: InStatement | string, args?: InArgs): Promise<ResultSet> {
    const sql = typeof statement === "string" ? statement : statement.sql;
    return this.#exclusively(() => this.#withRoom(sql, () => this.#run(statement, args)));
  }

  batch(statements: BatchStatement[], mode: TransactionMode = "deferred"): Promise<ResultSet[]> {
    const [first = ""] = statements;
    const sql = typeof first === "string" ? first : Array.isArray(first) ? "" : first.sql;
    return this.#exclusively(() => this.#withRoom(sql, () => this.#runAll(statements, begin(mode))));
  }

  migrate(statements: InStatement[]): Promise<ResultSet[]> {
    return this.#exclusively(() => {
      if (statements.length === 0) return [];
      // A migration may rebuild a table that others refer to. The pragma does nothing inside a transaction.
      this.#exec("PRAGMA foreign_keys=OFF");
      try {
        return this.#runAll(statements, "BEGIN IMMEDIATE");
      } finally {
        this.#exec("PRAGMA foreign_keys=ON");
      }
    });
  }

  async transaction(mode: TransactionMode = "write"): Promise<Transaction> {
    const release = await this.#take();
    try {
      this.#exec(begin(mode));
    } catch (error) {
      release();
      throw error;
    }
    let isOver = false;
    const end = (sql: string): void => {
      if (isOver) return;
      isOver = true;
      try {
        // SQLite has already rolled back by itself after some errors.
        if (this.#database.isTransaction) this.#exec(sql);
      } finally {
        release();
      }
    };
    const open = (): void => {
      if (isOver) throw new LibsqlError("The transaction is closed", "TRANSACTION_CLOSED");
    };
    return {
      execute: async (statement: InStatement) => (open(), this.#run(statement)),
      batch: async (statements: InStatement[]) => (open(), statements.map((statement) => this.#run(statement))),
      executeMultiple: async (sql: string) => (open(), this.#exec(sql)),
      commit: async () => end("COMMIT"),
      rollback: async () => end("ROLLBACK"),
      close: () => end("ROLLBACK"),
      get closed() {
        return isOver;
      },
    };
  }

  executeMultiple(sql: string): Promise<void> {
    return this.#exclusively(() => this.#exec(sql));
  }

  /** Nothing to sync with: the file is the database. */
  sync(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  reconnect(): void {}

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#prepared.clear();
    this.#database.close();
  }

  /** Waits for the connection and takes it; the returned function lets it go. */
  #take(): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const turn = this.#turn;
    this.#turn = promise;
    return turn.then(() => resolve);
  }

  async #exclusively<T>(work: () => T): Promise<T> {
    const release = await this.#take();
    try {
      return work();
    } finally {
      release();
    }
  }

  /**
   * On a full disk what removes rows gets a second try, in the space of the reserve, or of the write-ahead log itself. WHY:
   * else nothing could be removed any more, and so nothing could make room. What is new or changed gets none of it.
   */
  #withRoom<T>(sql: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof LibsqlError) || error.rawCode !== SQLITE_FULL) throw error;
      if (!/^\s*delete\b/i.test(sql) || !this.#makeRoom()) throw error;
      return work();
    }
  }

  #makeRoom(): boolean {
    try {
      const left = statSync(this.#reserve, { throwIfNoEntry: false })?.size ?? 0;
      if (left > RESERVE_STEP_BYTES) truncateSync(this.#reserve, left - RESERVE_STEP_BYTES);
      else if (left > 0) rmSync(this.#reserve);
      // What the log holds goes to its pages in the database, and the log begins anew in its own space.
      else this.#database.exec("PRAGMA wal_checkpoint(RESTART)");
      return true;
    } catch {
      return false;
    }
  }

  #runAll(statements: BatchStatement[], beginning: string): ResultSet[] {
    this.#exec(beginning);
    try {
      const results = statements.map((one) => (Array.isArray(one) ? this.#run(one[0], one[1]) : this.#run(one)));
      this.#exec("COMMIT");
      return results;
    } catch (error) {
      if (this.#database.isTransaction) this.#exec("ROLLBACK");
      throw error;
    }
  }

  #exec(sql: string): void {
    translated(() => this.#database.exec(sql));
  }

  #run(statement: InStatement | string, args?: InArgs): ResultSet {
    const sql = typeof statement === "string" ? statement : statement.sql;
    const given = (typeof statement === "string" ? args : statement.args) ?? [];
    return translated(() => {
      const { statement: prepared, columns, types } = this.#prepare(sql);
      const values = Array.isArray(given) ? given.map(toSQLite) : [named(given)];
      if (columns.length === 0) {
        const result = runWith(prepared, values);
        return new ResultSetImpl([], [], [], Number(result.changes), BigInt(result.lastInsertRowid));
      }
      // setReturnArrays was set when it was prepared, which the types of node:sqlite do not follow.
      const rows = allWith(prepared, values) as unknown as SQLOutput[][];
      return new ResultSetImpl(
        columns,
        types,
        rows.map((row) => toRow(columns, row)),
        0,
        undefined,
      );
    });
  }

  #prepare(sql: string): Prepared {
    const known = this.#prepared.get(sql);
    if (known) return known;
    const statement = this.#database.prepare(sql);
    const described = statement.columns();
    if (described.length > 0) statement.setReturnArrays(true);
    const prepared = {
      statement,
      columns: described.map((column) => column.name),
      types: described.map((column) => column.type ?? ""),
    };
    if (this.#prepared.size >= STATEMENTS_KEPT) {
      for (const oldest of this.#prepared.keys()) {
        this.#prepared.delete(oldest);
        break;
      }
    }
    this.#prepared.set(sql, prepared);
    return prepared;
  }
}

/** A disk that is full already goes without. */
function putReserve(path: string): void {
  // A disk with room again gets it back whole.
  if (statSync(path, { throwIfNoEntry: false })?.size === RESERVE_BYTES) return;
  try {
    writeFileSync(path, new Uint8Array(RESERVE_BYTES), { mode: 0o600 });
  } catch {
    rmSync(path, { force: true });
  }
}

type SQLOutput = null | number | bigint | string | Uint8Array;
type Named = Record<string, SQLInputValue>;

function begin(mode: TransactionMode): string {
  return mode === "write" ? "BEGIN IMMEDIATE" : "BEGIN";
}

// Named parameters come first and alone; positional ones are spread.
function runWith(statement: StatementSync, values: (SQLInputValue | Named)[]): ReturnType<StatementSync["run"]> {
  const [first, ...rest] = values;
  return isNamed(first) ? statement.run(first) : statement.run(...positional([first, ...rest]));
}

function allWith(statement: StatementSync, values: (SQLInputValue | Named)[]): ReturnType<StatementSync["all"]> {
  const [first, ...rest] = values;
  return isNamed(first) ? statement.all(first) : statement.all(...positional([first, ...rest]));
}

function isNamed(value: SQLInputValue | Named | undefined): value is Named {
  return typeof value === "object" && value !== null && !ArrayBuffer.isView(value);
}

function positional(values: (SQLInputValue | Named | undefined)[]): SQLInputValue[] {
  return values.filter((value): value is SQLInputValue => value !== undefined && !isNamed(value));
}

function named(args: Record<string, InValue>): Named {
  return Object.fromEntries(Object.entries(args).map(([key, value]) => [key, toSQLite(value)]));
}

function toSQLite(value: InValue): SQLInputValue {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value instanceof Date) return value.valueOf();
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return value;
}

/** libSQL's row: columns by name, and by number without being listed. */
function toRow(columns: string[], values: SQLOutput[]): Row {
  const row: Record<string, unknown> = {};
  Object.defineProperty(row, "length", { value: values.length });
  for (const [index, raw] of values.entries()) {
    const value = raw instanceof Uint8Array ? raw.slice().buffer : raw;
    Object.defineProperty(row, index, { value });
    const name = columns[index];
    if (name !== undefined && !Object.hasOwn(row, name)) row[name] = value;
  }
  return row as unknown as Row;
}

/** Callers of a libSQL client expect its own error, with SQLite's code. */
function translated<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code, errcode } = error as Error & { code?: string; errcode?: number };
    throw new LibsqlError(error.message, code ?? "SQLITE_ERROR", undefined, errcode, error);
  }
}
