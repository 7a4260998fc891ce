// What requests of older API versions are read as.
import { expect, test } from "bun:test";
import * as v from "valibot";
import { fromVersion } from "../../../src/api/older_create.ts";
import { ContainerCreate } from "../../../src/schema/container.ts";

const asked = (minor: number, hostConfig: object) =>
  fromVersion(v.parse(ContainerCreate, { HostConfig: hostConfig }), { major: 1, minor }).HostConfig;

test("namespaces and annotations have the defaults of the request's time", () => {
  const given = { CgroupnsMode: "private", Annotations: { a: "b" } };
  expect(asked(39, given)).toMatchObject({ IpcMode: "shareable", CgroupnsMode: "host", Annotations: {} });
  expect(asked(42, given)).toMatchObject({ IpcMode: "", CgroupnsMode: "private", Annotations: {} });
  expect(asked(43, given)).toMatchObject({ IpcMode: "", CgroupnsMode: "private", Annotations: { a: "b" } });
});

test("options of a bind are read from the version on that has them", () => {
  const options = (minor: number, ReadOnly: boolean) =>
    asked(minor, {
      Mounts: [{ Type: "bind", ReadOnly, BindOptions: { NonRecursive: true, CreateMountpoint: true } }],
    }).Mounts[0]?.BindOptions;
  expect(options(39, true)).toMatchObject({
    NonRecursive: false,
    CreateMountpoint: false,
    ReadOnlyNonRecursive: true,
  });
  expect(options(42, false)).toMatchObject({
    NonRecursive: true,
    CreateMountpoint: true,
    ReadOnlyNonRecursive: false,
  });
  expect(options(44, true)).toMatchObject({ ReadOnlyNonRecursive: false });
  expect(asked(43, { Mounts: [{ Type: "bind", ReadOnly: true }] }).Mounts[0]?.BindOptions).toMatchObject({
    ReadOnlyNonRecursive: true,
  });
  expect(asked(44, { Mounts: [{ Type: "bind", ReadOnly: true }] }).Mounts[0]?.BindOptions).toBeNull();
  const forced = { Mounts: [{ Type: "bind", ReadOnly: true, BindOptions: { ReadOnlyForceRecursive: true } }] };
  expect(() => asked(43, forced)).toThrow("needs API v1.44 or newer");
});

test("what a version does not know of volumes, images and tmpfs", () => {
  const subpath = { Mounts: [{ Type: "volume", Source: "v", VolumeOptions: { Subpath: "a" } }] };
  expect(() => asked(44, subpath)).toThrow("VolumeOptions.Subpath needs API v1.45 or newer");
  expect(asked(45, subpath).Mounts).toHaveLength(1);
  const image = { Mounts: [{ Type: "image", Source: "i" }] };
  expect(() => asked(47, image)).toThrow('Mount type "Image" needs API v1.48 or newer');
  expect(asked(48, image).Mounts).toHaveLength(1);
  const tmpfs = { Mounts: [{ Type: "tmpfs", TmpfsOptions: { Options: [["exec"]], SizeBytes: 1 } }] };
  expect(asked(45, tmpfs).Mounts[0]?.TmpfsOptions).toMatchObject({ SizeBytes: 1, Options: [] });
  expect(asked(46, tmpfs).Mounts[0]?.TmpfsOptions).toMatchObject({ Options: [["exec"]] });
});

test("an address of the whole container is read until 1.51", () => {
  const body = v.parse(ContainerCreate, { MacAddress: "02:42:ac:11:00:09" });
  expect(fromVersion(body, { major: 1, minor: 51 }).MacAddress).toBe("02:42:ac:11:00:09");
  expect(fromVersion(body, { major: 1, minor: 52 }).MacAddress).toBe("");
});
