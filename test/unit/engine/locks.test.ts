// Locks by key: first come, first served.
import { expect, test } from "bun:test";
import { createLocks } from "../../../src/engine/locks.ts";

test("those who ask for one key are served in their order, others do not wait", async () => {
  const locks = createLocks();
  const order: string[] = [];
  const first = await locks.hold("a");
  const work = async (name: string): Promise<void> => {
    using _held = await locks.hold("a");
    order.push(name);
  };
  const both = [work("one"), work("two")];
  using _other = await locks.hold("b");
  order.push("other");
  first[Symbol.dispose]();
  await Promise.all(both);
  expect(order).toEqual(["other", "one", "two"]);
  expect(locks.isHeld("a")).toBe(false);
});

test("a lock that is let go twice lets only one in", async () => {
  const locks = createLocks();
  const first = await locks.hold("a");
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  const second = await locks.hold("a");
  let isIn = false;
  const third = locks.hold("a").then((held) => {
    isIn = true;
    return held;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(isIn).toBe(false);
  second[Symbol.dispose]();
  (await third)[Symbol.dispose]();
});
