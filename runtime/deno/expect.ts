// The part of jest's expect() that the unit tests use, on node:util, so that Deno needs no test packages.
import { inspect, isDeepStrictEqual } from "node:util";

type Check = (actual: unknown, ...expected: unknown[]) => boolean;

/** A value that stands for a class of values: `expect.any(String)`. */
class Matcher {
  constructor(readonly matches: (value: unknown) => boolean) {}
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

/** Equal up to properties that are undefined, as toEqual has it. */
function equal(actual: unknown, expected: unknown): boolean {
  if (expected instanceof Matcher) return expected.matches(actual);
  if (Array.isArray(expected)) {
    return (
      Array.isArray(actual) && actual.length === expected.length && expected.every((item, i) => equal(actual[i], item))
    );
  }
  // A Buffer is as good as any bytes, also within a map.
  if (expected instanceof Uint8Array && actual instanceof Uint8Array)
    return isDeepStrictEqual([...actual], [...expected]);
  if (expected instanceof Map && actual instanceof Map) return equal([...actual], [...expected]);
  if (isPlain(expected) && isPlain(actual)) {
    const keys = new Set([...defined(expected), ...defined(actual)]);
    return [...keys].every((key) => equal(actual[key], expected[key]));
  }
  return isDeepStrictEqual(actual, expected);
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (!isObject(value)) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

const defined = (value: Record<string, unknown>): string[] =>
  Object.keys(value).filter((key) => value[key] !== undefined);

/** Every property of `expected` is in `actual`, deeply. */
function contains(actual: unknown, expected: unknown): boolean {
  if (expected instanceof Matcher) return expected.matches(actual);
  if (Array.isArray(expected)) {
    return (
      Array.isArray(actual) &&
      actual.length === expected.length &&
      expected.every((item, i) => contains(actual[i], item))
    );
  }
  if (isPlain(expected))
    return isObject(actual) && Object.keys(expected).every((key) => contains(actual[key], expected[key]));
  return equal(actual, expected);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function thrownMatches(error: unknown, wanted: unknown): boolean {
  if (wanted === undefined) return true;
  if (typeof wanted === "string") return messageOf(error).includes(wanted);
  if (wanted instanceof RegExp) return wanted.test(messageOf(error));
  if (typeof wanted === "function") return error instanceof (wanted as new () => unknown);
  return contains(error, wanted) || messageOf(error) === messageOf(wanted);
}

const number = (value: unknown): number => Number(value);
const CHECKS: Readonly<Record<string, Check>> = {
  toBe: (actual, expected) => Object.is(actual, expected),
  toEqual: equal,
  toStrictEqual: (actual, expected) => isDeepStrictEqual(actual, expected),
  toMatchObject: contains,
  toBeTrue: (actual) => actual === true,
  toBeFalse: (actual) => actual === false,
  toBeTruthy: (actual) => Boolean(actual),
  toBeFalsy: (actual) => !actual,
  toBeNull: (actual) => actual === null,
  toBeUndefined: (actual) => actual === undefined,
  toBeDefined: (actual) => actual !== undefined,
  toBeNaN: (actual) => Number.isNaN(actual),
  toBeGreaterThan: (actual, expected) => number(actual) > number(expected),
  toBeGreaterThanOrEqual: (actual, expected) => number(actual) >= number(expected),
  toBeLessThan: (actual, expected) => number(actual) < number(expected),
  toBeLessThanOrEqual: (actual, expected) => number(actual) <= number(expected),
  toBeCloseTo: (actual, expected, digits = 2) =>
    Math.abs(number(actual) - number(expected)) < 10 ** -number(digits) / 2,
  toContain: (actual, expected) =>
    typeof actual === "string"
      ? actual.includes(String(expected))
      : [...(actual as Iterable<unknown>)].includes(expected),
  toContainEqual: (actual, expected) => [...(actual as Iterable<unknown>)].some((item) => equal(item, expected)),
  toHaveLength: (actual, expected) => (actual as { length: number }).length === expected,
  toMatch: (actual, expected) =>
    expected instanceof RegExp ? expected.test(String(actual)) : String(actual).includes(String(expected)),
  toBeInstanceOf: (actual, expected) => actual instanceof (expected as new () => unknown),
  toHaveProperty: (actual, key, ...value) =>
    isObject(actual) && String(key) in actual && (value.length === 0 || equal(actual[String(key)], value[0])),
  toStartWith: (actual, expected) => String(actual).startsWith(String(expected)),
  toEndWith: (actual, expected) => String(actual).endsWith(String(expected)),
  toBeArray: (actual) => Array.isArray(actual),
  toBeString: (actual) => typeof actual === "string",
  toThrow: (actual, wanted) => {
    if (typeof actual !== "function") return thrownMatches(actual, wanted);
    try {
      (actual as () => unknown)();
    } catch (error) {
      return thrownMatches(error, wanted);
    }
    return false;
  },
};

type Run = (check: (actual: unknown) => void) => unknown;

/** An object whose methods run a check on what `run` hands them; `not` turns the outcome round. */
function assertions(run: Run, isNegated: boolean): object {
  return new Proxy(
    {},
    {
      get: (_target, name) => {
        if (name === "not") return assertions(run, !isNegated);
        const check = CHECKS[String(name)];
        if (!check) throw new Error(`expect().${String(name)} is not in the Deno adapter`);
        return (...expected: unknown[]) =>
          run((actual) => {
            if (check(actual, ...expected) !== isNegated) return;
            const wanted = expected.map((value) => inspect(value)).join(", ");
            throw new Error(`expect(${inspect(actual)})${isNegated ? ".not" : ""}.${String(name)}(${wanted})`);
          });
      },
    },
  );
}

async function rejection(actual: unknown): Promise<unknown> {
  try {
    await (typeof actual === "function" ? (actual as () => unknown)() : actual);
  } catch (error) {
    return error;
  }
  throw new Error("the promise was expected to be rejected");
}

function expectValue(actual: unknown): object {
  const plain = assertions((check) => check(actual), false);
  return new Proxy(plain, {
    get: (target, name) => {
      if (name === "resolves") return assertions(async (check) => check(await actual), false);
      if (name === "rejects") return assertions(async (check) => check(await rejection(actual)), false);
      return Reflect.get(target, name);
    },
  });
}

export const expect = Object.assign(expectValue, {
  any: (type: unknown) =>
    new Matcher((value) =>
      type === String
        ? typeof value === "string"
        : type === Number
          ? typeof value === "number"
          : type === Boolean
            ? typeof value === "boolean"
            : value instanceof (type as new () => unknown),
    ),
  anything: () => new Matcher((value) => value !== null && value !== undefined),
  objectContaining: (part: unknown) => new Matcher((value) => contains(value, part)),
  arrayContaining: (part: unknown[]) =>
    new Matcher((value) => part.every((wanted) => Array.isArray(value) && value.some((item) => equal(item, wanted)))),
  stringContaining: (part: string) => new Matcher((value) => typeof value === "string" && value.includes(part)),
  stringMatching: (pattern: RegExp | string) => new Matcher((value) => new RegExp(pattern).test(String(value))),
});
