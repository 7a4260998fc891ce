// Platforms: their one spelling, and which of several fits best.
import { describe, expect, test } from "bun:test";
import {
  chooseByPlatform,
  formatPlatform,
  hostPlatform,
  normalise,
  parsePlatform,
} from "../../../src/image/platform.ts";

describe("platforms", () => {
  const host = hostPlatform("x64");
  test("have one spelling", () => {
    expect(formatPlatform(parsePlatform("linux/x86_64", host))).toBe("linux/amd64");
    expect(formatPlatform(parsePlatform("aarch64", host))).toBe("linux/arm64");
    expect(formatPlatform(parsePlatform("linux/arm/7", host))).toBe("linux/arm/v7");
    expect(formatPlatform(parsePlatform("linux", host))).toBe("linux/amd64");
    expect(formatPlatform(normalise({ os: "Linux", architecture: "ARM64", variant: "v8" }))).toBe("linux/arm64");
    for (const text of ["", "a/b/c/d", "linux/", "linux/am d64"])
      expect(() => parsePlatform(text, host)).toThrow("unknown operating system");
  });
  test("are chosen by the best fit", () => {
    const have = ["linux/arm/v5", "linux/arm/v6", "linux/amd64", "linux/arm64"].map((text) =>
      parsePlatform(text, host),
    );
    const choose = (text: string): string | null => {
      const found = chooseByPlatform(have, parsePlatform(text, host), (each) => each);
      return found === null ? null : formatPlatform(found);
    };
    expect(choose("linux/arm/v7")).toBe("linux/arm/v6");
    expect(choose("linux/amd64")).toBe("linux/amd64");
    expect(choose("linux/s390x")).toBeNull();
    expect(choose("windows/amd64")).toBeNull();
  });
});
