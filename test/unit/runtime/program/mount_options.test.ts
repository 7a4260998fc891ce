// The words of mount(8) as the kernel's flags.
import { expect, test } from "bun:test";
import { legacyFlags, parseMountOptions, parsePropagation } from "../../../../runtime/program/mount_options.ts";
import { MOUNT_ATTR, MS } from "../../../../runtime/sys/mount.ts";

test("attributes, propagation, kind of bind and the file system's own options are told apart", () => {
  expect(parseMountOptions(["rbind", "ro", "nosuid", "rslave", "size=64k", "newinstance", "defaults", ""])).toEqual({
    attributes: { set: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID, clear: 0 },
    recursiveAttributes: { set: 0, clear: 0 },
    propagation: MS.SLAVE,
    isPropagationRecursive: true,
    isBind: true,
    isBindRecursive: true,
    isMapped: false,
    fsOptions: [
      ["size", "64k"],
      ["newinstance", null],
    ],
  });
});

test("a later word wins", () => {
  expect(parseMountOptions(["ro", "rw"]).attributes).toEqual({ set: 0, clear: MOUNT_ATTR.RDONLY });
  expect(parseMountOptions(["rw", "ro"]).attributes).toEqual({ set: MOUNT_ATTR.RDONLY, clear: 0 });
  expect(parseMountOptions(["noatime", "strictatime"]).attributes).toEqual({
    set: MOUNT_ATTR.STRICTATIME,
    clear: MOUNT_ATTR.ATIME_MASK,
  });
  expect(parseMountOptions(["rprivate", "shared"])).toMatchObject({
    propagation: MS.SHARED,
    isPropagationRecursive: false,
  });
});

test("recursive attributes are their own, and never taken for propagation or rbind", () => {
  const options = parseMountOptions(["rro", "rnosuid", "relatime"]);
  expect(options.recursiveAttributes).toEqual({ set: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID, clear: 0 });
  expect(options.attributes).toEqual({ set: 0, clear: MOUNT_ATTR.ATIME_MASK });
});

test("names of Object's own are ordinary words", () => {
  expect(parseMountOptions(["constructor", "__proto__", "a=b=c"]).fsOptions).toEqual([
    ["constructor", null],
    ["__proto__", null],
    ["a", "b=c"],
  ]);
});

test("propagation for mount(2), and flags for kernels without mount_setattr", () => {
  expect(parsePropagation("rshared")).toBe(MS.SHARED | MS.REC);
  expect(parsePropagation("slave")).toBe(MS.SLAVE);
  expect(parsePropagation("")).toBeNull();
  const set = MOUNT_ATTR.RDONLY | MOUNT_ATTR.NODIRATIME | MOUNT_ATTR.NOATIME | MOUNT_ATTR.NOSYMFOLLOW;
  expect(legacyFlags({ set, clear: 0 })).toBe(MS.RDONLY | MS.NODIRATIME | MS.NOATIME | MS.NOSYMFOLLOW);
  expect(legacyFlags({ set: MOUNT_ATTR.STRICTATIME, clear: 0 })).toBe(MS.STRICTATIME);
});
