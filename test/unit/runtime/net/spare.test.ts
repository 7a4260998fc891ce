// One thing made ahead of time.
import { expect, test } from "bun:test";
import { createSpare } from "../../../../runtime/net/spare.ts";

test("the second one is made ahead, and what is not taken is closed", async () => {
  const { promise: isReady, resolve } = Promise.withResolvers<void>();
  const made: { isOpen: boolean; [Symbol.dispose](): void }[] = [];
  const spare = createSpare(() => {
    const thing = {
      isOpen: true,
      [Symbol.dispose]() {
        thing.isOpen = false;
      },
    };
    made.push(thing);
    if (made.length === 2) resolve();
    return thing;
  });
  const first = spare.take();
  expect(made.length).toBe(1);
  await isReady;
  spare[Symbol.dispose]();
  expect(made.map(({ isOpen }) => isOpen)).toEqual([true, false]);
  expect(first.isOpen).toBe(true);
});

test("a failure is told to whoever takes, not to the process", () => {
  using spare = createSpare<Disposable>(() => {
    throw new Error("no namespaces");
  });
  expect(() => spare.take()).toThrow("no namespaces");
  expect(() => spare.take()).toThrow("no namespaces");
});
