// Devices of the host for a container: numbers and refusals.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { gatherDevices, splitNumber } from "../../../../src/engine/containers/devices.ts";
import { HostConfig } from "../../../../src/schema/host_config.ts";

test("device numbers as the C library packs them", () => {
  expect(splitNumber(0x0103)).toEqual({ major: 1, minor: 3 });
  expect(splitNumber(0x2c + 259 * 256 + 0x100000)).toEqual({ major: 259, minor: 300 });
  expect(splitNumber(259 * 256 + 5)).toEqual({ major: 259, minor: 5 });
});

test("a device that is not there, or is none, is refused with Docker's words", () => {
  const withDevice = (PathOnHost: string) =>
    v.parse(HostConfig, { Devices: [{ PathOnHost, PathInContainer: PathOnHost, CgroupPermissions: "rwm" }] });
  expect(() => gatherDevices(withDevice("/dev/nope"))).toThrow(
    'error gathering device information while adding custom device "/dev/nope": no such file or directory',
  );
  expect(() => gatherDevices(withDevice("/etc/passwd"))).toThrow("not a device node");
  const { devices, rules } = gatherDevices(withDevice("/dev/null"));
  expect(devices).toMatchObject([{ path: "/dev/null", type: "c", major: 1, minor: 3 }]);
  expect(rules).toEqual([{ allow: true, type: "c", major: 1, minor: 3, access: "rwm" }]);
});
