// --storage-opt: what is a size, and in whose words the rest is refused.
import { expect, test } from "bun:test";
import { storageLimit } from "../../../../src/engine/containers/storage_size.ts";

test("a size is bytes, and none is no limit", () => {
  expect(storageLimit({}, false)).toBeNull();
  expect(storageLimit({ size: "10m" }, true)).toBe(10 << 20);
  expect(storageLimit({ SIZE: "1.5G" }, true)).toBe(1.5 * 2 ** 30);
  expect(storageLimit({ size: "0" }, true)).toBeNull();
});

test("what cannot be is refused", () => {
  expect(() => storageLimit({ inodes: "5" }, true)).toThrow("Unknown option inodes");
  expect(() => storageLimit({ size: "big" }, true)).toThrow("invalid size: 'big'");
  expect(() => storageLimit({ size: "-1" }, true)).toThrow("invalid size: '-1'");
  expect(() => storageLimit({ size: "1G" }, false)).toThrow(
    "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
  );
});
