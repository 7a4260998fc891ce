// Rules for devices, in the kernel's notation.
import { expect, test } from "bun:test";
import { parseDeviceRule } from "../../../../src/engine/containers/device_rules.ts";

test("device rules", () => {
  expect(parseDeviceRule("c 1:3 rw")).toEqual({ allow: true, type: "c", major: 1, minor: 3, access: "rw" });
  expect(parseDeviceRule("a *:* m")).toEqual({ allow: true, type: "a", access: "m" });
  for (const bad of ["", "c 1 r", "x 1:3 r", "c 1:3 z", "c 1:3", "c 1:3 rwmr", "c -1:3 r"])
    expect(() => parseDeviceRule(bad)).toThrow("invalid device cgroup rule format");
});
