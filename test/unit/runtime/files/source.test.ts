// What mountinfo says of the mount that a bind's source lies on.
import { expect, test } from "bun:test";
import { mountByID } from "../../../../runtime/files/source.ts";

const MOUNTINFO = [
  "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw",
  "36 22 0:30 / /mnt/with\\040space rw,noatime shared:5 master:2 - tmpfs tmpfs rw",
  "37 22 0:31 / /plain rw - tmpfs shared:9 rw",
].join("\n");

test("a mount is found by its ID, with how it propagates", () => {
  expect(mountByID(MOUNTINFO, 22n)).toEqual({ point: "/", isShared: true, isSlave: false });
  expect(mountByID(MOUNTINFO, 36n)).toEqual({ point: "/mnt/with space", isShared: true, isSlave: true });
  expect(mountByID(MOUNTINFO, 37n)).toEqual({ point: "/plain", isShared: false, isSlave: false });
  expect(mountByID(MOUNTINFO, 3n)).toBeNull();
});
