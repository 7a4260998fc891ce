// Detach keys: what may be typed to define them, and finding them in input however it is cut.
import { expect, test } from "bun:test";
import { DetachKeyFilter, parseDetachKeys } from "../../../src/engine/detach_keys.ts";
import { EngineError } from "../../../src/errors.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

test("keys are letters, controls and punctuation; none is ctrl-p,ctrl-q", () => {
  const table: [string, number[]][] = [
    ["", [16, 17]],
    ["ctrl-p,ctrl-q", [16, 17]],
    ["a", [97]],
    ["ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", [0, 27, 28, 29, 30, 31]],
    ["ctrl-z,DEL,Z", [26, 127, 90]],
  ];
  for (const [text, bytes] of table) expect([...parseDetachKeys(text)]).toEqual(bytes);
});

test("anything else is Docker's 400", () => {
  for (const text of ["ctrl-A", "ctrl-", "ctrl-1", "ab", "é", "a,,b", ",", "ctrl-pp", "a,".repeat(64) + "a"]) {
    let caught: unknown;
    try {
      parseDetachKeys(text);
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(EngineError);
    expect(caught).toMatchObject({ kind: "invalid", message: `Invalid detach keys (${text}) provided` });
  }
});

test("input before the sequence passes, what follows it does not, for every sequence and cut", () => {
  let state = 5;
  const random = (below: number): number => (state = (state * 48271) % 2147483647) % below;
  for (let round = 0; round < 500; round++) {
    const keys = Array.from({ length: 1 + random(4) }, () => "ab"[random(2)]).join("");
    const input = Array.from({ length: random(30) }, () => "abc"[random(3)]).join("");
    const filter = new DetachKeyFilter(encode(keys));
    let passed = "";
    let detached = false;
    for (let at = 0; at < input.length && !detached;) {
      const size = 1 + random(5);
      const taken = filter.take(encode(input.slice(at, at + size)));
      passed += Buffer.from(taken.bytes).toString();
      detached = taken.detached;
      at += size;
    }
    const found = input.indexOf(keys);
    expect(detached).toBe(found >= 0);
    if (!detached) passed += Buffer.from(filter.rest()).toString();
    expect({ keys, input, passed }).toEqual({ keys, input, passed: found >= 0 ? input.slice(0, found) : input });
  }
});
