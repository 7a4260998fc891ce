// bun:test for Deno, by the import map in deno.json: the same test files on node:test. Groups are flattened: each test is
// one of Deno's, named with the groups it lies in, so both count alike. Under Bun this file is never loaded. Only what the
// unit tests use is here; anything else fails loudly.
import { it } from "node:test";
import { expect } from "./expect.ts";

export { expect };

type Body = () => unknown;

interface Declared {
  (name: string, body: Body, options?: number | { timeout?: number }): void;
  skip(name: string, body?: Body): void;
  skipIf(condition: unknown): Declared;
  each<Row>(rows: readonly Row[]): (name: string, body: (...row: unknown[]) => unknown) => void;
}

/** A file, or a describe() in it, with its hooks. */
interface Scope {
  parent: Scope | null;
  name: string;
  beforeAll: Body[];
  beforeEach: Body[];
  afterEach: Body[];
  afterAll: Body[];
  isBegun: boolean;
  /** Tests in it and below that have not run yet. */
  left: number;
}

function scopeIn(parent: Scope | null, name: string): Scope {
  return { parent, name, beforeAll: [], beforeEach: [], afterEach: [], afterAll: [], isBegun: false, left: 0 };
}

/** Where declarations go. Deno loads each test file, and so this one, into an isolate of its own. */
let current = scopeIn(null, "");
/** Longer than any test may take. */
const HOUR_MS = 3_600_000;

/** From the file inward. */
function chainOf(scope: Scope): Scope[] {
  return scope.parent === null ? [scope] : [...chainOf(scope.parent), scope];
}

function declareTest(name: string, body: Body, options?: number | { timeout?: number }): void {
  const chain = chainOf(current);
  for (const scope of chain) scope.left++;
  const fullName = [...chain.map((scope) => scope.name).filter((part) => part !== ""), name].join(" > ");
  const settings = typeof options === "number" ? { timeout: options } : (options ?? {});
  void it(fullName, settings, () => runTest(chain, body));
}

async function runTest(chain: readonly Scope[], body: Body): Promise<void> {
  const inward = chain.toReversed();
  // WHY: Bun waits for a test whatever it waits for; Deno gives it up when all that is left are timers that were unref'd.
  const keepAlive = setInterval(() => undefined, HOUR_MS);
  try {
    for (const scope of chain) {
      if (scope.isBegun) continue;
      scope.isBegun = true;
      for (const hook of scope.beforeAll) await hook();
    }
    for (const scope of chain) for (const hook of scope.beforeEach) await hook();
    await body();
  } finally {
    try {
      for (const scope of inward) for (const hook of scope.afterEach) await hook();
      for (const scope of inward) {
        scope.left--;
        if (scope.left === 0) for (const hook of scope.afterAll) await hook();
      }
    } finally {
      clearInterval(keepAlive);
    }
  }
}

function declareGroup(name: string, body: Body): void {
  const outer = current;
  current = scopeIn(outer, name);
  try {
    body();
  } finally {
    current = outer;
  }
}

function make(declare: (name: string, body: Body, options?: number | { timeout?: number }) => void): Declared {
  const declared = ((name, body, options) => declare(name, body, options)) as Declared;
  declared.skip = (name) => void it(name, { skip: true }, () => undefined);
  declared.skipIf = (condition) =>
    condition ? (Object.assign(declared.skip.bind(null), declared) as Declared) : declared;
  declared.each = (rows) => (name, body) => {
    for (const row of rows) {
      const values: unknown[] = Array.isArray(row) ? row : [row];
      declare(fill(name, values), () => body(...values));
    }
  };
  return declared;
}

/** `%s` and its kin, in order, from a row of a table. */
function fill(name: string, values: unknown[]): string {
  let next = 0;
  return name.replace(/%[sdijop]/g, () => {
    const value = values[next++];
    return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  });
}

export const test: Declared = make(declareTest);
export const describe: Declared = make(declareGroup);
export { test as it };
export const beforeAll = (body: Body): void => void current.beforeAll.push(body);
export const afterAll = (body: Body): void => void current.afterAll.push(body);
export const beforeEach = (body: Body): void => void current.beforeEach.push(body);
export const afterEach = (body: Body): void => void current.afterEach.push(body);
export const setDefaultTimeout = (_ms: number): void => undefined;
