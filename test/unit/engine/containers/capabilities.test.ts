// Names and masks of capabilities.
import { expect, test } from "bun:test";
import { CAPABILITIES } from "../../../../runtime/mod.ts";
import { parseCapability, parseCapabilityMask } from "../../../../src/engine/containers/capabilities.ts";

test("capabilities in any spelling", () => {
  const all = new Set<string>(CAPABILITIES);
  for (const text of ["NET_ADMIN", "cap_net_admin", " CAP_NET_ADMIN "])
    expect(parseCapability(text, all)).toBe("CAP_NET_ADMIN");
  expect(parseCapability("all", all)).toBe("ALL");
  for (const bad of ["", "CAP_", "NET", "CAP_CAP_KILL"])
    expect(() => parseCapability(bad, all)).toThrow("unknown capability");
  expect([...parseCapabilityMask("21")]).toEqual(["CAP_CHOWN", "CAP_KILL"]);
});
