// The rules of paths that docker cp gives, and of names that are no UTF-8.
import { describe, expect, test } from "bun:test";
import { fromRawName, parseCopyPath, toRawName } from "../../../../runtime/files/names.ts";

describe("a path of docker cp", () => {
  test.each([
    ["/etc", "/etc", "etc"],
    ["etc", "/etc", "etc"],
    ["/etc/", "/etc/", "etc"],
    ["/etc//", "/etc/", "etc"],
    ["/etc/.", "/etc/.", "."],
    ["/etc/./", "/etc/.", "."],
    ["/etc/./hosts", "/etc/hosts", "hosts"],
    ["/a/../../../etc", "/etc", "etc"],
    ["/etc/..", "/", "/"],
    ["..", "/", "/"],
    ["/", "/", "/"],
    [".", "/.", "."],
    ["/.", "/.", "."],
    ["/.hidden", "/.hidden", ".hidden"],
    ["/a b/ü", "/a b/ü", "ü"],
  ])("%j leads to %j and is called %j", (text, path, base) => {
    expect(parseCopyPath(text)).toEqual({ path, base });
  });
});

test("a name keeps bytes that are no UTF-8, and ends in NUL for the kernel", () => {
  const raw = toRawName("caf\udce9");
  expect([...raw]).toEqual([0x63, 0x61, 0x66, 0xe9, 0]);
  expect(fromRawName(raw)).toBe("caf\udce9");
});
