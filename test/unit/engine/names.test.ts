// Names and IDs as Docker resolves, checks and makes them.
import { expect, test } from "bun:test";
import { newID } from "../../../src/engine/ids.ts";
import { generateName, parseContainerName, resolveContainer } from "../../../src/engine/names.ts";
import { EngineError } from "../../../src/errors.ts";

const A = `abc${"0".repeat(61)}`;
const B = `abd${"0".repeat(61)}`;
const C = `c${"0".repeat(63)}`;
const names = new Map([
  ["web", A],
  ["abd", C],
]);
const directory = {
  byID: (id: string) => [A, B, C].find((known) => known === id),
  byName: (name: string) => names.get(name),
  ids: () => [A, B, C],
};

test("a container is found by ID, by name with or without slash, and by a prefix that fits one", () => {
  expect(resolveContainer(directory, A)).toBe(A);
  expect(resolveContainer(directory, "web")).toBe(A);
  expect(resolveContainer(directory, "/web")).toBe(A);
  expect(resolveContainer(directory, "abc")).toBe(A);
});

test("a name that is also the start of an ID means the container of that name", () => {
  expect(resolveContainer(directory, "abd")).toBe(C);
});

test("a prefix of two is 400, of none 404, and an empty one 400", () => {
  const failure = (asked: string): [string, string] => {
    try {
      resolveContainer(directory, asked);
    } catch (error) {
      if (error instanceof EngineError) return [error.kind, error.message];
    }
    return ["none", ""];
  };
  expect(failure("ab")).toEqual(["invalid", "multiple IDs found with provided prefix: ab"]);
  expect(failure("nope")).toEqual(["notFound", "No such container: nope"]);
  expect(failure("ff")).toEqual(["notFound", "No such container: ff"]);
  expect(failure("")).toEqual(["invalid", "prefix can't be empty"]);
});

test("names are those of Docker", () => {
  expect(parseContainerName("/web-1.a_B")).toBe("web-1.a_B");
  for (const bad of ["", "/", "a", "-ab", "a b", "ä1", "a/b", "//ab"])
    expect(() => parseContainerName(bad)).toThrow("Invalid container name");
});

test("a generated name avoids those that are taken, and falls back to the short ID", () => {
  const random = (count: number): Uint8Array => new Uint8Array(count);
  const first = generateName(A, () => false, random);
  expect(first).toMatch(/^[a-z]+_[a-z]+$/);
  expect(generateName(A, (name) => name === first, random)).toBe(`${first}0`);
  expect(generateName(A, () => true, random)).toBe(A.slice(0, 12));
});

test("an ID is 64 hex digits, and its short form is never a number", () => {
  const rounds = [new Uint8Array(32).fill(0x11), new Uint8Array(32).fill(0xab)];
  expect(newID(() => rounds.shift() ?? new Uint8Array(32))).toBe("ab".repeat(32));
});
