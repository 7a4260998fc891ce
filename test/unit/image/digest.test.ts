// Digests as text; what only looks like one is refused.
import { expect, test } from "bun:test";
import { parseDigest, sha256, shortID } from "../../../src/image/digest.ts";
import { refusal } from "../../support/refusal.ts";

const digest = sha256(new Uint8Array(0));

test("digests are parsed, and told apart from what only looks like one", () => {
  expect(parseDigest(digest)).toBe(digest);
  expect(shortID(digest)).toBe("e3b0c44298fc");
  expect(refusal(() => parseDigest(`sha256:${"A".repeat(64)}`))).toBe("invalid checksum digest length");
  expect(refusal(() => parseDigest("sha256:12"))).toBe("invalid checksum digest length");
  expect(refusal(() => parseDigest("md5:00"))).toBe("unsupported digest algorithm");
  expect(refusal(() => parseDigest("nothing"))).toBe("invalid checksum digest format");
  expect(refusal(() => parseDigest("constructor:00"))).toBe("unsupported digest algorithm");
});
