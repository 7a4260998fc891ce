// src/api/params.ts: each reading of a query parameter, with what it refuses.
import { describe, expect, test } from "bun:test";
import { booleanParam, cellsParam, integerParam, secondsParam, timeParam } from "../../../src/api/params.ts";

const given = (value?: string) => ({ req: { query: () => value } });

test("only Docker's false words are false", () => {
  for (const word of ["", "0", "no", "NO", "false", "False", "none", " 0 "])
    expect(booleanParam(given(word), "force")).toBe(false);
  for (const word of ["1", "true", "2", "yes", "x"]) expect(booleanParam(given(word), "force")).toBe(true);
  expect(booleanParam(given(), "stream", true)).toBe(true);
  expect(booleanParam(given(), "force")).toBe(false);
});

test("integers may be absent, and nothing else is taken for one", () => {
  expect(integerParam(given("-1"), "t")).toBe(-1);
  expect(integerParam(given("+10"), "t")).toBe(10);
  expect(integerParam(given(), "t")).toBe(null);
  expect(integerParam(given(""), "t")).toBe(null);
  for (const bad of ["x", "1.5", "1e3", "0x10", " 1", "9".repeat(20)]) {
    expect(() => integerParam(given(bad), "t")).toThrow(`invalid value for "t": "${bad}" is not an integer`);
  }
});

test("sizes of a terminal are required and unsigned", () => {
  expect(cellsParam(given("24"), "h")).toBe(24);
  expect(() => cellsParam(given(), "h")).toThrow('invalid resize height "": invalid syntax');
  expect(() => cellsParam(given("-1"), "w")).toThrow('invalid resize width "-1": invalid syntax');
  expect(() => cellsParam(given("4294967296"), "w")).toThrow('invalid resize width "4294967296": value out of range');
});

describe("times", () => {
  const nano = (text?: string) => timeParam(given(text), "since");

  test("Unix seconds keep their nanoseconds", () => {
    expect(nano("1704067200")).toBe(1704067200_000000000n);
    expect(nano("1704067200.5")).toBe(1704067200_500000000n);
    expect(nano("1704067200.000000001")).toBe(1704067200_000000001n);
    expect(nano("-1.5")).toBe(-1_500000000n);
    expect(nano("0")).toBe(0n);
  });

  test("RFC 3339 keeps them too, in any zone", () => {
    expect(nano("2024-01-01T00:00:00.000000001Z")).toBe(1704067200_000000001n);
    expect(nano("2024-01-01T01:00:00+01:00")).toBe(1704067200_000000000n);
  });

  test("absent and empty are none", () => {
    expect(nano()).toBe(null);
    expect(nano("")).toBe(null);
    expect(secondsParam(given(), "since")).toBe(null);
    expect(secondsParam(given("1704067200.25"), "since")).toBe(1704067200.25);
  });

  for (const bad of ["yesterday", "1.1234567890", "1e9", "2024-13-01T00:00:00Z", "2024-01-01", "--1", "9".repeat(13)]) {
    test(`${bad} is refused`, () => expect(() => nano(bad)).toThrow('invalid value for "since": '));
  }
});
