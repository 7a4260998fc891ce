// Paths in layers: any bytes as text and back, cleaned to lie below the root.
import { describe, expect, test } from "bun:test";
import { cleanPath, decodePath, encodePath, encodePathInto } from "../../../../runtime/layer/path_text.ts";

describe("paths that are not UTF-8", () => {
  const samples: Uint8Array[] = [
    Buffer.from("caf\xe9.txt", "latin1"),
    Buffer.from([0xff, 0xfe, 0x41]),
    Buffer.from([0xc3]),
    Buffer.from([0xed, 0xa0, 0x80]),
    Buffer.from([0xc0, 0xaf]),
    Buffer.from([0xf4, 0x90, 0x80, 0x80]),
    Buffer.from("ordinary/é/😀/\uFFFD"),
  ];
  test("come back from text as the bytes they were", () => {
    for (const bytes of samples) expect(Buffer.from(encodePath(decodePath(bytes)))).toEqual(Buffer.from(bytes));
  });
  test("are readable where they are UTF-8", () => {
    expect(decodePath(Buffer.from("é/😀"))).toBe("é/😀");
    expect(decodePath(Buffer.from("caf\xe9!", "latin1"))).toBe("caf\udce9!");
  });
  test("encodePathInto() ends in NUL, and says when there is no room", () => {
    const target = new Uint8Array(6).fill(1);
    expect(encodePathInto("abcde", target)).toBe(5);
    expect([...target]).toEqual([97, 98, 99, 100, 101, 0]);
    expect(encodePathInto("abcdef", target)).toBe(-1);
    expect(encodePathInto("ééé", target)).toBe(-1);
    expect(encodePathInto("a\udcffbcde", target)).toBe(-1);
  });
});

test("cleanPath() is the path from the root, or null above it", () => {
  const cases: [string, string | null][] = [
    ["a/b", "a/b"],
    ["./a//b/", "a/b"],
    ["/a/./b", "a/b"],
    ["a/../b", "b"],
    ["a/b/../../c", "c"],
    [".", ""],
    ["./", ""],
    ["/", ""],
    ["..", null],
    ["a/../../b", null],
    ["/../etc/passwd", null],
    ["...", "..."],
    ["..a/b..", "..a/b.."],
    [".wh.x", ".wh.x"],
  ];
  for (const [path, clean] of cases) expect([path, cleanPath(path)]).toEqual([path, clean]);
});
