// The filter language of the Engine API: one JSON object in a query parameter, name to values, in either of two forms.
//   {"label":["a=b","c"]}                what scripts and libraries send
//   {"label":{"a=b":true,"c":true}}      what the docker CLI sends (the booleans mean nothing)
// Values of one name are alternatives, except labels, which must all hold. Each list and prune names the filters it knows;
// an unknown one is refused, since a filter that is silently ignored makes a prune delete too much.
import { invalid } from "../errors.ts";
import { MAX_FILTER_BYTES } from "../limits.ts";
import type { Filters } from "./mod.ts";

/** The names each operation takes (v1.55.yaml, parameter `filters`). */
export const FILTER_NAMES = {
  containers: [
    "ancestor",
    "before",
    "expose",
    "exited",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
  ],
  images: ["before", "dangling", "label", "label!", "reference", "since", "until"],
  networks: ["dangling", "driver", "id", "label", "name", "scope", "type"],
  volumes: ["dangling", "driver", "label", "name"],
  plugins: ["capability", "enabled"],
  events: [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
    "builder",
  ],
  containersPrune: ["label", "label!", "until"],
  search: ["is-automated", "is-official", "stars"],
  imagesPrune: ["dangling", "label", "label!", "until"],
  networksPrune: ["label", "label!", "until"],
  volumesPrune: ["all", "label", "label!"],
  buildPrune: ["description", "id", "inuse", "parent", "private", "shared", "type", "until", "unused-for"],
} as const satisfies Record<string, readonly string[]>;

/** Reads the query parameter; none or an empty one is no filter at all. Throws `invalid` with Docker's words. */
export function parseFilters(text: string | undefined, allowed: readonly string[]): Filters {
  const filters = new Map<string, readonly string[]>();
  if (text === undefined || text === "") return filters;
  if (text.length > MAX_FILTER_BYTES) {
    throw invalid(`invalid filter: ${text.length} bytes of JSON, at most ${MAX_FILTER_BYTES} are read`);
  }
  for (const [name, given] of Object.entries(readObject(text))) {
    // COMPAT: the wording that clients of every version show for a filter the engine does not know.
    if (!allowed.includes(name)) throw invalid(`invalid filter '${name}'`);
    const values = readValues(given);
    if (values.length > 0) filters.set(name, values);
  }
  return filters;
}

function readObject(text: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw invalid("invalid filter", { cause: error });
  }
  if (parsed === null) return {};
  if (typeof parsed !== "object" || Array.isArray(parsed)) throw invalid("invalid filter");
  return parsed as Record<string, unknown>;
}

function readValues(given: unknown): string[] {
  if (given === null) return [];
  if (Array.isArray(given)) {
    if (!given.every((value) => typeof value === "string")) throw invalid("invalid filter");
    return [...new Set<string>(given)];
  }
  if (typeof given !== "object") throw invalid("invalid filter");
  if (!Object.values(given).every((value) => typeof value === "boolean")) throw invalid("invalid filter");
  return Object.keys(given);
}

/** The 400 for a value that a filter cannot take: `invalid filter 'dangling=[x]'`. */
export function invalidValue(filters: Filters, name: string): Error {
  return invalid(`invalid filter '${name}=[${(filters.get(name) ?? []).join(" ")}]'`);
}

/** `dangling`, `all`, `is-task`: true, false, or the default when absent. Both at once, or any other word, is refused. */
export function booleanFilter<T>(filters: Filters, name: string, otherwise: T): boolean | T {
  const values = filters.get(name);
  if (values === undefined) return otherwise;
  const isTrue = values.includes("1") || values.includes("true");
  const isFalse = values.includes("0") || values.includes("false");
  if (isTrue === isFalse) throw invalidValue(filters, name);
  return isTrue;
}

/** One of the values is exactly this text; true when there is no such filter. */
export function matchesExactly(filters: Filters, name: string, candidate: string): boolean {
  return filters.get(name)?.includes(candidate) ?? true;
}

/** One of the values is a prefix of this text; true when there is no such filter. */
export function matchesPrefix(filters: Filters, name: string, candidate: string): boolean {
  return filters.get(name)?.some((value) => candidate.startsWith(value)) ?? true;
}

/**
 * One of the values is this text, or, as an unanchored regular expression, is found in it; true when there is no such
 * filter. A value that is no regular expression is only compared.
 */
export function matchesPattern(filters: Filters, name: string, candidate: string): boolean {
  return filters.get(name)?.some((value) => value === candidate || isFound(value, candidate)) ?? true;
}

function isFound(pattern: string, candidate: string): boolean {
  try {
    return new RegExp(pattern).test(candidate);
  } catch {
    return false;
  }
}

/** Every `label` filter holds (`key`, or `key=value`), and no `label!` filter does. */
export function matchesLabels(filters: Filters, labels: Readonly<Record<string, string>>): boolean {
  const holds = (wanted: string): boolean => {
    const at = wanted.indexOf("=");
    const key = at < 0 ? wanted : wanted.slice(0, at);
    if (!Object.hasOwn(labels, key)) return false;
    return at < 0 || labels[key] === wanted.slice(at + 1);
  };
  const excluded = filters.get("label!");
  if (excluded !== undefined && excluded.every(holds)) return false;
  return filters.get("label")?.every(holds) ?? true;
}

/** The `until` filter as Unix milliseconds: what was made after it is spared. null when absent. */
export function untilFilter(filters: Filters, nowMs: number): number | null {
  const values = filters.get("until");
  const value = values?.[0];
  if (values === undefined || value === undefined) return null;
  if (values.length > 1) throw invalid("more than one until filter specified");
  const time = parseMoment(value, nowMs);
  if (time === null) throw invalid(`failed to parse value as time or duration: ${JSON.stringify(value)}`);
  return time;
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/**
 * A moment as clients write it, in Unix milliseconds: a time ago (`10m`, `1h30m`), Unix seconds with an optional
 * fraction, or RFC 3339 with what is missing taken as zero and UTC (`2024-01-02`, `2024-01-02T03:04`). null: none of these.
 */
export function parseMoment(text: string, nowMs: number): number | null {
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const ago = parseDurationMs(text);
  if (ago !== null) return nowMs - ago;
  const parts = /^(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  if (parts === null) return null;
  const [, date, hours = "00", minutes = "00", seconds = "00", zone = "Z"] = parts;
  const time = Date.parse(`${date}T${hours}:${minutes}:${seconds}${zone}`);
  return Number.isNaN(time) ? null : time;
}

/** A duration as Go writes it: `1h30m`, `1.5s`, `300ms`. null for anything else. */
export function parseDurationMs(text: string): number | null {
  const whole = /^(-?)((?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/.exec(text);
  if (whole === null) return null;
  let total = 0;
  for (const [, amount, unit] of (whole[2] ?? "").matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    total += Number(amount) * (UNIT_MS[unit ?? ""] ?? Number.NaN);
  }
  return whole[1] === "-" ? -total : total;
}
