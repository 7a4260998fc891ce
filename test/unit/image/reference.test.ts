// Image references, with Docker's short forms and Docker's words for what is none.
import { describe, expect, test } from "bun:test";
import { isKind } from "../../../src/errors.ts";
import {
  canonical,
  familiar,
  familiarName,
  parseReference,
  repository,
  withDefaultTag,
  withTag,
} from "../../../src/image/reference.ts";

const HEX = "0123456789abcdef".repeat(4);
const DIGEST = `sha256:${HEX}`;

describe("parseReference()", () => {
  test("fills in what Docker's short forms leave out", () => {
    const cases: [text: string, full: string, short: string][] = [
      ["busybox", "docker.io/library/busybox", "busybox"],
      ["busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"],
      ["library/busybox", "docker.io/library/busybox", "busybox"],
      ["docker.io/busybox", "docker.io/library/busybox", "busybox"],
      ["index.docker.io/library/busybox:a", "docker.io/library/busybox:a", "busybox:a"],
      ["user/app", "docker.io/user/app", "user/app"],
      ["docker.io/library/user/app", "docker.io/library/user/app", "library/user/app"],
      ["localhost/app", "localhost/app", "localhost/app"],
      ["localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"],
      ["Host/app", "Host/app", "Host/app"],
      ["[::1]:5000/a/b", "[::1]:5000/a/b", "[::1]:5000/a/b"],
      ["ghcr.io/a/b/c:T_a-g.1", "ghcr.io/a/b/c:T_a-g.1", "ghcr.io/a/b/c:T_a-g.1"],
      ["a__b/c---d.e_f", "docker.io/a__b/c---d.e_f", "a__b/c---d.e_f"],
      [`busybox@${DIGEST}`, `docker.io/library/busybox@${DIGEST}`, `busybox@${DIGEST}`],
      [`busybox:1@${DIGEST}`, `docker.io/library/busybox:1@${DIGEST}`, `busybox:1@${DIGEST}`],
    ];
    for (const [text, full, short] of cases) {
      const reference = parseReference(text);
      expect([text, canonical(reference), familiar(reference)]).toEqual([text, full, short]);
      expect(parseReference(canonical(reference))).toEqual(reference);
    }
  });

  test("refuses what the grammar does not have, in Docker's words", () => {
    const cases: [text: string, message: string][] = [
      ["", "invalid reference format"],
      [":latest", "invalid reference format"],
      ["a:", "invalid reference format"],
      ["a:b:c", "invalid reference format"],
      ["a/", "invalid reference format"],
      ["/a", "invalid reference format"],
      ["a//b", "invalid reference format"],
      ["-a", "invalid reference format"],
      ["a_", "invalid reference format"],
      ["a..b", "invalid reference format"],
      ["a___b", "invalid reference format"],
      ["a b", "invalid reference format"],
      ["a\n", "invalid reference format"],
      ["a@b", "invalid reference format"],
      ["a@sha256:123", "invalid reference format"],
      ["http://a/b", "invalid reference format"],
      [`a:${"t".repeat(129)}`, "invalid reference format"],
      ["a:-t", "invalid reference format"],
      ["Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"],
      ["localhost/Foo:x", "invalid reference format: repository name (Foo) must be lowercase"],
      [HEX, `invalid repository name (${HEX}), cannot specify 64-byte hexadecimal strings`],
      ["x/".repeat(128) + "x", "repository name must not be more than 255 characters"],
      [`a@md5:${"0".repeat(32)}`, "unsupported digest algorithm"],
      [`a@sha256:${"0".repeat(63)}`, "invalid checksum digest length"],
    ];
    for (const [text, message] of cases) {
      let error: unknown;
      try {
        parseReference(text);
      } catch (caught) {
        error = caught;
      }
      expect(isKind(error, "invalid")).toBe(true);
      expect((error as Error).message).toBe(message);
    }
  });

  test("takes no long time over long nonsense", () => {
    for (const text of [
      "a-".repeat(50_000),
      "a.".repeat(50_000) + "/",
      "a/".repeat(50_000) + "!",
      `${"a".repeat(100_000)}!`,
    ]) {
      expect(() => parseReference(text)).toThrow("invalid");
    }
  });
});

test("parts and variants of a reference", () => {
  const reference = parseReference("localhost:5000/a/b");
  expect(repository(reference)).toBe("localhost:5000/a/b");
  expect(familiarName(parseReference("busybox:1"))).toBe("busybox");
  expect(withDefaultTag(reference).tag).toBe("latest");
  expect(withDefaultTag(parseReference(`a@${DIGEST}`)).tag).toBeNull();
  expect(canonical(withTag(reference, "v2"))).toBe("localhost:5000/a/b:v2");
  for (const tag of ["", "a/b", "-x", "a b", "t".repeat(129)])
    expect(() => withTag(reference, tag)).toThrow("invalid tag format");
});
