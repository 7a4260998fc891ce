// Readers of query parameters, with Docker's reading of each: what counts as true, which numbers are refused and how.
import { invalid } from "../errors.ts";

/** The part of a Hono context that these need. */
export interface Query {
  req: { query(name: string): string | undefined };
}

const FALSE_WORDS: ReadonlySet<string> = new Set(["", "0", "no", "false", "none"]);

/** COMPAT: every value outside the false words is true, so `force=2` is. An absent one takes the parameter's default. */
export function booleanParam(c: Query, name: string, otherwise = false): boolean {
  const text = c.req.query(name);
  return text === undefined ? otherwise : !FALSE_WORDS.has(text.trim().toLowerCase());
}

/** A whole number, or null when absent or empty. */
export function integerParam(c: Query, name: string): number | null {
  const text = c.req.query(name);
  if (text === undefined || text === "") return null;
  if (!/^[+-]?\d{1,15}$/.test(text)) throw invalid(`invalid value for "${name}": "${text}" is not an integer`);
  return Number(text);
}

/** `h` and `w` of a resize: required, 32 bits, unsigned. */
export function cellsParam(c: Query, name: "h" | "w"): number {
  const text = c.req.query(name) ?? "";
  const refuse = (why: string) => invalid(`invalid resize ${name === "h" ? "height" : "width"} "${text}": ${why}`);
  if (!/^\d+$/.test(text)) throw refuse("invalid syntax");
  const cells = Number(text);
  if (cells > 0xffffffff) throw refuse("value out of range");
  return cells;
}

const RFC3339 = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/**
 * A moment in Unix nanoseconds: `1704067200`, `1704067200.000000001`, or RFC 3339; null when absent or empty. The fraction
 * is read digit by digit: a double does not hold nanoseconds.
 */
export function timeParam(c: Query, name: string): bigint | null {
  const text = c.req.query(name);
  if (text === undefined || text === "") return null;
  const time = parseTime(text);
  if (time === null)
    throw invalid(`invalid value for "${name}": failed to parse value "${text}" as a timestamp or RFC 3339 time`);
  return time;
}

function parseTime(text: string): bigint | null {
  const unix = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?$/.exec(text);
  if (unix) {
    const nano = BigInt(unix[2] ?? "0") * 1_000_000_000n + fraction(unix[3]);
    return unix[1] === "-" ? -nano : nano;
  }
  const dated = RFC3339.exec(text);
  if (!dated) return null;
  const millis = Date.parse(`${dated[1]}${dated[3]}`);
  return Number.isNaN(millis) ? null : BigInt(millis) * 1_000_000n + fraction(dated[2]);
}

function fraction(digits: string | undefined): bigint {
  return BigInt((digits ?? "").padEnd(9, "0"));
}

/** Unix seconds with a fraction, as event queries carry them; null when absent or empty. */
export function secondsParam(c: Query, name: string): number | null {
  const nano = timeParam(c, name);
  return nano === null ? null : Number(nano / 1_000_000_000n) + Number(nano % 1_000_000_000n) / 1e9;
}
