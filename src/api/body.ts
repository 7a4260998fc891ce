// JSON bodies: Docker's rules on content type and emptiness, Go's reading of field names, and valibot's checks turned into
// messages that name the field.
import type { Context } from "hono";
import * as v from "valibot";
import { invalid } from "../errors.ts";
import { JSON_BODY_MS, MAX_JSON_BYTES } from "../limits.ts";
import type { AppEnv } from "./app_env.ts";

/** Any schema that JSON can be checked against at once. */
export type Schema = v.GenericSchema;

/** The body by its schema. COMPAT: without a body the result is what `{}` gives, as Docker's zero value. */
export async function readJSON<S extends Schema>(c: Context<AppEnv>, schema: S): Promise<v.InferOutput<S>> {
  const document = await readDocument(c);
  return check(schema, document === undefined ? {} : document);
}

/** The JSON document as it came, unchecked; undefined when the request says that it has no body. */
export async function readDocument(c: Context<AppEnv>): Promise<unknown> {
  const isChunked = c.req.header("transfer-encoding") !== undefined;
  const hasBody = isChunked || Number(c.req.header("content-length") ?? 0) > 0;
  checkContentType(c.req.header("content-type"), hasBody);
  if (!hasBody) return undefined;
  const text = await readText(c.req.raw.body);
  if (text.trim() === "") throw invalid("invalid JSON: got EOF while reading request body");
  return parse(text);
}

function checkContentType(header: string | undefined, hasBody: boolean): void {
  if (header === undefined && !hasBody) return;
  const type = /^\s*([\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+)\s*(;.*)?$/.exec(header ?? "")?.[1];
  if (type === undefined) throw invalid(`malformed Content-Type header (${header ?? ""}): mime: no media type`);
  if (type.toLowerCase() !== "application/json") {
    throw invalid(`unsupported Content-Type header (${header}): must be 'application/json'`);
  }
}

export async function readText(body: ReadableStream<Uint8Array> | null, timeoutMs = JSON_BODY_MS): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  const reader = body.getReader();
  let text = "";
  let size = 0;
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    // Ends the read that waits.
    void reader.cancel();
  }, timeoutMs);
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      size += next.value.length;
      if (size > MAX_JSON_BYTES) throw invalid(`invalid JSON: the body is longer than ${MAX_JSON_BYTES} bytes`);
      text += decoder.decode(next.value, { stream: true });
    }
  } finally {
    clearTimeout(timer);
  }
  if (isLate) throw invalid(`the request body was not there after ${timeoutMs / 1000} s`);
  return text + decoder.decode();
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const end = endOfFirstValue(text);
    if (end !== null && isJSON(text.slice(0, end))) throw invalid("unexpected content after JSON");
    throw invalid(`invalid JSON: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function isJSON(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Where the object or list that a text begins with ends; null when it is never closed or is something else. */
function endOfFirstValue(text: string): number | null {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (inString) {
      if (character === "\\") at++;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === "{" || character === "[") depth++;
    else if ((character === "}" || character === "]") && --depth <= 0) return at + 1;
  }
  return null;
}

/** Checks a document: what the schema makes of it, or 400 with the first field that is wrong. */
export function check<S extends Schema>(schema: S, document: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, foldNames(schema, document));
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw mistyped(v.getDotPath(issue) ?? "", issue.expected ?? "another value", issue.received);
}

// ---- field names

/** The parts of a valibot schema that lead to the schemas inside it. */
interface SchemaShape {
  type: string;
  entries?: Record<string, SchemaShape>;
  wrapped?: SchemaShape;
  item?: SchemaShape;
  value?: SchemaShape;
}

/**
 * COMPAT: Go matches field names without regard to case, and docker-py and scripts do send other cases. Gives the document
 * with the schema's spelling, all the way down; keys of maps (labels, options) are data and stay as they are.
 */
function foldNames(schema: unknown, document: unknown): unknown {
  return fold(schema as SchemaShape, document, "");
}

function fold(schema: SchemaShape | undefined, value: unknown, path: string): unknown {
  if (schema === undefined || typeof value !== "object" || value === null) return value;
  if (schema.wrapped) return fold(schema.wrapped, value, path);
  const isMap = schema.type === "record";
  if (Array.isArray(value)) {
    // valibot takes a list for an object.
    if (schema.entries || isMap) throw mistyped(path, "Object", "Array");
    return schema.item ? value.map((item, at) => fold(schema.item, item, below(path, String(at)))) : value;
  }
  if (!schema.entries && !isMap) return value;
  const folded: [string, unknown][] = [];
  const spellings = schema.entries ? spellingsOf(schema.entries) : null;
  for (const [key, each] of Object.entries(value)) {
    const name = spellings ? (spellings.get(key) ?? spellings.get(key.toLowerCase()) ?? null) : key;
    if (name !== null)
      folded.push([name, fold(schema.entries ? schema.entries[name] : schema.value, each, below(path, name))]);
  }
  return Object.fromEntries(folded);
}

function below(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

function mistyped(path: string, expected: string, received: string): Error {
  return invalid(`invalid JSON: ${path === "" ? "" : `${path}: `}expected ${expected} but received ${received}`);
}

/** The schema's own names by themselves and in lower case. One look-up for each field: a body may have a million of them. */
function spellingsOf(entries: Record<string, SchemaShape>): Map<string, string> {
  const names = Object.keys(entries);
  return new Map([
    ...names.map((name) => [name.toLowerCase(), name] as const),
    ...names.map((name) => [name, name] as const),
  ]);
}
