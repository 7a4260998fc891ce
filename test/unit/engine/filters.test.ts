// The filter language of the API, and what it refuses.
import { describe, expect, test } from "bun:test";
import {
  booleanFilter,
  FILTER_NAMES,
  matchesExactly,
  matchesLabels,
  matchesPattern,
  matchesPrefix,
  parseDurationMs,
  parseFilters,
  parseMoment,
  untilFilter,
} from "../../../src/engine/filters.ts";
import type { Filters } from "../../../src/engine/mod.ts";

const parse = (value: unknown, allowed: readonly string[] = ["label", "label!", "name", "dangling", "until", "id"]) =>
  parseFilters(JSON.stringify(value), allowed);
const of = (entries: Record<string, string[]>): Filters => new Map(Object.entries(entries));

describe("parseFilters()", () => {
  test("reads the two forms alike", () => {
    expect(parse({ label: ["a=b", "c"] })).toEqual(parse({ label: { "a=b": true, c: true } }));
    expect([...parse({ label: ["a=b", "c"] })]).toEqual([["label", ["a=b", "c"]]]);
  });

  test("takes nothing, an empty parameter, null and empty lists for no filter", () => {
    for (const text of [undefined, "", "null", "{}", '{"label":[]}', '{"label":{}}', '{"label":null}']) {
      expect(parseFilters(text, ["label"]).size).toBe(0);
    }
  });

  test("ignores the booleans of the second form, as Docker does", () => {
    expect([...parse({ name: { x: false } })]).toEqual([["name", ["x"]]]);
  });

  test("refuses what is no filter, with Docker's words", () => {
    for (const text of [
      "{",
      "[]",
      "1",
      '"x"',
      '{"label":"a"}',
      '{"label":[1]}',
      '{"label":{"a":1}}',
      '{"label":[["a"]]}',
      "\0",
    ]) {
      expect(() => parseFilters(text, ["label"])).toThrow(/^invalid filter$/);
    }
  });

  test("names a filter that the operation does not know", () => {
    expect(() => parse({ nope: ["x"] })).toThrow("invalid filter 'nope'");
    expect(() => parse({ toString: ["x"] })).toThrow("invalid filter 'toString'");
    expect(() => parse({ dangling: ["true"] }, FILTER_NAMES.containers)).toThrow("invalid filter 'dangling'");
  });

  test("refuses a parameter of absurd size before reading it", () => {
    expect(() => parseFilters(`{"label":["${"x".repeat(1 << 20)}"]}`, ["label"])).toThrow("at most 524288 are read");
  });
});

describe("matching", () => {
  test("labels must all hold, by key or by key and value", () => {
    const labels = { a: "b", empty: "", "with=sign": "x", eq: "1=2" };
    expect(matchesLabels(of({}), labels)).toBe(true);
    expect(matchesLabels(of({ label: ["a"] }), labels)).toBe(true);
    expect(matchesLabels(of({ label: ["a=b", "eq=1=2", "empty=", "empty"] }), labels)).toBe(true);
    expect(matchesLabels(of({ label: ["a=b", "a=c"] }), labels)).toBe(false);
    expect(matchesLabels(of({ label: ["constructor"] }), labels)).toBe(false);
    expect(matchesLabels(of({ label: ["empty=x"] }), labels)).toBe(false);
  });

  test("label! leaves out what has them all", () => {
    expect(matchesLabels(of({ "label!": ["keep"] }), { keep: "" })).toBe(false);
    expect(matchesLabels(of({ "label!": ["keep"] }), {})).toBe(true);
    expect(matchesLabels(of({ "label!": ["keep=yes"] }), { keep: "no" })).toBe(true);
  });

  test("values of one name are alternatives", () => {
    expect(matchesExactly(of({ name: ["x", "y"] }), "name", "y")).toBe(true);
    expect(matchesExactly(of({ name: ["x", "y"] }), "name", "yy")).toBe(false);
    expect(matchesPrefix(of({ id: ["ab", "cd"] }), "id", "cde")).toBe(true);
    expect(matchesPrefix(of({}), "id", "cde")).toBe(true);
  });

  test("names are unanchored regular expressions, and plain text where they are none", () => {
    expect(matchesPattern(of({ name: ["^/x$"] }), "name", "/x")).toBe(true);
    expect(matchesPattern(of({ name: ["b.c"] }), "name", "abxcd")).toBe(true);
    expect(matchesPattern(of({ name: ["b.c"] }), "name", "abcd")).toBe(false);
    expect(matchesPattern(of({ name: ["a(["] }), "name", "a([")).toBe(true);
    expect(matchesPattern(of({ name: ["a(["] }), "name", "b")).toBe(false);
  });

  test("booleans are true, false or the default, and nothing else", () => {
    expect(booleanFilter(of({}), "dangling", null)).toBeNull();
    expect(booleanFilter(of({ dangling: ["1"] }), "dangling", false)).toBe(true);
    expect(booleanFilter(of({ dangling: ["false", "0"] }), "dangling", true)).toBe(false);
    expect(() => booleanFilter(of({ dangling: ["x"] }), "dangling", false)).toThrow("invalid filter 'dangling=[x]'");
    expect(() => booleanFilter(of({ dangling: ["1", "0"] }), "dangling", false)).toThrow(
      "invalid filter 'dangling=[1 0]'",
    );
  });
});

describe("moments", () => {
  const now = Date.parse("2024-06-01T12:00:00Z");

  test("are durations before now, Unix seconds or RFC 3339", () => {
    expect(parseMoment("10m", now)).toBe(now - 600_000);
    expect(parseMoment("1h30m", now)).toBe(now - 5_400_000);
    expect(parseMoment("1717243200", now)).toBe(now);
    expect(parseMoment("1717243200.5", now)).toBe(now + 500);
    expect(parseMoment("2024-06-01T12:00:00Z", now)).toBe(now);
    expect(parseMoment("2024-06-01T14:00:00.000000000+02:00", now)).toBe(now);
    expect(parseMoment("2024-06-01", now)).toBe(now - 12 * 3_600_000);
    expect(parseMoment("2024-06-01T12:00", now)).toBe(now);
    expect(parseMoment("2024-06-01T12", now)).toBe(now);
  });

  test("are nothing else", () => {
    for (const text of ["", "x", "10 m", "m", "2024-13-01", "2024-06-01Tx", "10m5", "1e3", "NaN", "-"]) {
      expect(parseMoment(text, now)).toBeNull();
    }
  });

  test("durations have Go's units and may be negative", () => {
    expect(parseDurationMs("300ms")).toBe(300);
    expect(parseDurationMs("1.5s")).toBe(1500);
    expect(parseDurationMs("-2m")).toBe(-120_000);
    expect(parseDurationMs("1us")).toBeCloseTo(0.001);
    for (const text of ["", "5", "5d", "s", "--1s", "1s ", ".s"]) expect(parseDurationMs(text)).toBeNull();
  });

  test("the until filter takes one moment", () => {
    expect(untilFilter(of({}), now)).toBeNull();
    expect(untilFilter(of({ until: ["10m"] }), now)).toBe(now - 600_000);
    expect(() => untilFilter(of({ until: ["10m", "5m"] }), now)).toThrow("more than one until filter specified");
    expect(() => untilFilter(of({ until: ["soon"] }), now)).toThrow(
      'failed to parse value as time or duration: "soon"',
    );
  });
});
