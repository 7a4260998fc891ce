// Replies held against the published description of the Engine API (engine_api.yaml: version 1.55, with its notice). Used by
// the API tests on an app over fakes, and by the e2e tests on what the daemon really answers.
//
// The description is Go's types put into YAML, so a missing list or map may come as null, and numbers are whole. What it
// does not tell is told here: fields of older versions (LEGACY) and where the description itself is wrong (AMENDED).
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { AMENDED, isLegacy } from "./engine_api_legacy.ts";

export interface Schema {
  $ref?: string;
  type?: string;
  format?: string;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: Schema | boolean;
  items?: Schema;
  allOf?: Schema[];
  "x-nullable"?: boolean;
}

interface Operation {
  operationId: string;
  responses: Record<string, { schema?: Schema }>;
  produces?: string[];
}

export interface EngineAPI {
  paths: Record<string, Record<string, Operation>>;
  definitions: Record<string, Schema>;
}

export interface Reply {
  method: string;
  /** `/containers/{id}/json`, as the description has it. */
  pattern: string;
  status: number;
  /** The parsed document; undefined when there was none. */
  body: unknown;
  /** `1.50`. */
  version: string;
}

let loaded: EngineAPI | undefined;

/** The description, parsed once per process: it is half a megabyte. */
export function engineAPI(): EngineAPI {
  loaded ??= parse(readFileSync(new URL("./engine_api.yaml", import.meta.url), "utf8")) as EngineAPI;
  return loaded;
}

/** The description's pattern for a method and a concrete path without its version; null when it has none. */
export function patternOf(method: string, path: string): string | null {
  const verb = method.toLowerCase();
  const matching = Object.entries(engineAPI().paths)
    .filter(([, operations]) => operations[verb] !== undefined)
    .map(([pattern]) => pattern)
    .filter((pattern) => toExpression(pattern).test(path));
  // Of `/images/json` and `/images/{name}` the one with fewer holes is meant.
  return matching.sort((a, b) => a.split("{").length - b.split("{").length || b.length - a.length)[0] ?? null;
}

/** Names may hold slashes, as in images/reg:5000/a/b/json. */
function toExpression(pattern: string): RegExp {
  const literal = pattern.split(/\{[^}]+\}/).map((part) => part.replace(/[.*+?^$()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${literal.join("(.+)")}$`);
}

/** Throws, naming every fault, unless the reply is what the description promises. */
export function checkReply(reply: Reply): void {
  const problems = problemsOf(reply);
  if (problems.length === 0) return;
  throw new Error(`${reply.method} ${reply.pattern} ${reply.status} (${reply.version}):\n  ${problems.join("\n  ")}`);
}

export function problemsOf({ method, pattern, status, body, version }: Reply): string[] {
  const operation = engineAPI().paths[pattern]?.[method.toLowerCase()];
  if (operation === undefined) return ["the description has no such operation"];
  if (method === "HEAD") return body === undefined ? [] : ["a body in the reply to HEAD"];
  const response = operation.responses[String(status)];
  if (response === undefined) {
    // The description lists few of the errors that Docker answers; all of them look alike.
    if (status < 400) return [`the description has no status ${status}`];
    return problemsWith({ $ref: "#/definitions/ErrorResponse" }, body, version);
  }
  const { schema } = response;
  if (schema === undefined) return body === undefined ? [] : [`a body where none is described: ${show(body)}`];
  if (schema.type === "string") return [];
  if (body === undefined) return ["no body"];
  return problemsWith(schema, body, version);
}

/** Holds a document against one schema, such as `{ $ref: "#/definitions/EventMessage" }` for a line of a stream. */
export function problemsWith(schema: Schema, body: unknown, version: string): string[] {
  const problems: string[] = [];
  new Check(Number(version.split(".")[1]), problems).value(schema, body, "", "");
  return problems;
}

class Check {
  constructor(
    private readonly minor: number,
    private readonly problems: string[],
  ) {}

  /** `owner`: the name of the definition that the value belongs to, for LEGACY. */
  value(given: Schema, value: unknown, at: string, owner: string): void {
    const { schema, name } = resolve(given, owner);
    const isComposite = schema.type === "array" || isObject(schema);
    if (value === null) {
      if (schema["x-nullable"] || given["x-nullable"] || isComposite || schema.type === undefined) return;
      this.#fail(at, `null where ${schema.type} is described`);
    } else if (isObject(schema)) this.#object(schema, value, at, name);
    else if (schema.type === "array") this.#array(schema, value, at, name);
    else this.#scalar(schema, value, at);
  }

  #object(schema: Schema, value: unknown, at: string, name: string): void {
    if (typeof value !== "object" || Array.isArray(value))
      return this.#fail(at, `${show(value)} where an object is described`);
    const { additional, isFree, properties, required } = shapeOf(schema);
    for (const key of required) {
      // The description calls for one property that it nowhere describes, and that no engine sends.
      if (name === "ImageManifestSummary.ImageData" && key === "UnpackedSize") continue;
      if (!Object.hasOwn(value as object, key) && !isLegacy(name, key, this.minor))
        this.#fail(`${at}.${key}`, "is missing");
    }
    for (const [key, each] of Object.entries(value as object)) {
      const property = Object.hasOwn(properties, key) ? properties[key] : undefined;
      if (property) this.value(property, each, `${at}.${key}`, `${name}.${key}`);
      else if (additional) this.value(additional, each, `${at}[${JSON.stringify(key)}]`, `${name}.*`);
      else if (!isFree && !isLegacy(name, key, this.minor))
        this.#fail(`${at}.${key}`, `is not described (in ${name || "the reply"})`);
    }
  }

  #array(schema: Schema, value: unknown, at: string, name: string): void {
    if (!Array.isArray(value)) return this.#fail(at, `${show(value)} where a list is described`);
    for (const [index, each] of value.entries())
      if (schema.items) this.value(schema.items, each, `${at}[${index}]`, name);
  }

  #scalar(schema: Schema, value: unknown, at: string): void {
    const { type } = schema;
    if (type === undefined) return;
    const isRight = type === "integer" ? Number.isInteger(value) : typeof value === type;
    if (!isRight) return this.#fail(at, `${show(value)} where ${type} is described`);
    if (schema.enum && !schema.enum.includes(value))
      this.#fail(at, `${show(value)} is none of ${schema.enum.join(", ")}`);
    if (schema.format && /^date-?time$/i.test(schema.format) && !isMoment(String(value)))
      this.#fail(at, `${show(value)} is no RFC 3339 time`);
  }

  #fail(at: string, problem: string): void {
    this.problems.push(`${at.replace(/^\./, "") || "the reply"} ${problem}`);
  }
}

function resolve(given: Schema, owner: string): { schema: Schema; name: string } {
  let schema = given;
  let name = owner;
  while (schema.$ref !== undefined) {
    name = schema.$ref.split("/").at(-1) ?? "";
    const next = engineAPI().definitions[name];
    if (next === undefined) throw new Error(`the description has no definition ${name}`);
    schema = next;
  }
  // A scalar with a description of its own is written as an allOf of one.
  const [base] = schema.allOf ?? [];
  const inner = base === undefined ? null : resolve(base, name);
  if (inner !== null && !isObject(inner.schema)) return inner;
  return { schema: { ...schema, ...AMENDED[name] }, name };
}

function isObject(schema: Schema): boolean {
  return schema.type === "object" || schema.properties !== undefined || schema.allOf !== undefined;
}

interface Shape {
  properties: Record<string, Schema>;
  required: string[];
  additional: Schema | null;
  /** Nothing is said about its fields: anything goes. */
  isFree: boolean;
}

/** The fields of an object with those that it takes from others (`allOf`). */
function shapeOf(schema: Schema): Shape {
  const parts = (schema.allOf ?? []).map((part) => shapeOf(resolve(part, "").schema));
  const properties = Object.assign({}, ...parts.map((part) => part.properties), schema.properties) as Record<
    string,
    Schema
  >;
  const additional = typeof schema.additionalProperties === "object" ? schema.additionalProperties : null;
  return {
    properties,
    required: [...parts.flatMap((part) => part.required), ...(schema.required ?? [])],
    additional: additional ?? parts.find((part) => part.additional)?.additional ?? null,
    isFree: Object.keys(properties).length === 0 && additional === null,
  };
}

/** "" is Go's zero time in the fields that are strings there. */
function isMoment(text: string): boolean {
  return (
    text === "" ||
    (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text)))
  );
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
