// What requests of older API versions are read as.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { fromVersion } from "../../../src/api/older_create.ts";
import { ContainerCreate } from "../../../src/schema/container.ts";

const read = (minor: number, body: object, cgroupVersion: 1 | 2 = 1) =>
  fromVersion(v.parse(ContainerCreate, body), { major: 1, minor }, cgroupVersion);
const asked = (minor: number, hostConfig: object, cgroupVersion: 1 | 2 = 1) =>
  read(minor, { HostConfig: hostConfig }, cgroupVersion).body.HostConfig;

test("namespaces and annotations have the defaults of the request's time", () => {
  const given = { CgroupnsMode: "private", Annotations: { a: "b" } };
  expect(asked(39, given)).toMatchObject({ IpcMode: "shareable", CgroupnsMode: "private", Annotations: {} });
  expect(asked(40, {}, 1)).toMatchObject({ CgroupnsMode: "host" });
  expect(asked(40, {}, 2)).toMatchObject({ CgroupnsMode: "" });
  expect(asked(41, {}, 1)).toMatchObject({ CgroupnsMode: "" });
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

test("the pace of a start period, and more than one network, came with 1.44", () => {
  const body = { Healthcheck: { Test: ["NONE"], StartInterval: 1e9 } };
  expect(read(43, body).body.Healthcheck?.StartInterval).toBe(0);
  expect(read(44, body).body.Healthcheck?.StartInterval).toBe(1e9);
  const two = { NetworkingConfig: { EndpointsConfig: { a: {}, b: {} } } };
  expect(() => read(43, two)).toThrow("Container cannot be created with multiple network endpoints: a, b");
  expect(Object.keys(read(44, two).body.NetworkingConfig.EndpointsConfig)).toEqual(["a", "b"]);
});

describe("the address of a whole container", () => {
  const MAC = "02:42:ac:11:00:09";
  const OTHER = "02:42:ac:11:00:08";
  const withMAC = (mode: string, endpoints: object, MacAddress = MAC) => ({
    MacAddress,
    HostConfig: { NetworkMode: mode },
    NetworkingConfig: { EndpointsConfig: endpoints },
  });

  test("is not read from 1.52 on", () => {
    const { body, warnings } = read(52, withMAC("bridge", {}));
    expect([body.MacAddress, warnings]).toEqual(["", []]);
  });

  test("is that of the only endpoint below 1.44, whatever its own says", () => {
    const { body, warnings } = read(43, withMAC("an-id", { net: { MacAddress: OTHER } }));
    expect([body.NetworkingConfig.EndpointsConfig["net"]?.MacAddress, warnings]).toEqual([MAC, []]);
    const none = read(43, withMAC("net", { net: { MacAddress: OTHER } }, "")).body;
    expect(none.NetworkingConfig.EndpointsConfig["net"]?.MacAddress).toBe("");
    expect(() => read(43, withMAC("host", {}))).toThrow("conflicting options: mac-address and the network mode");
  });

  test("goes to the endpoint of the main network from 1.44 on, with a warning", () => {
    const deprecated = [
      "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.",
    ];
    const moved = read(51, withMAC("default", { bridge: {} }));
    expect([moved.body.NetworkingConfig.EndpointsConfig["bridge"]?.MacAddress, moved.body.MacAddress]).toEqual([
      MAC,
      "",
    ]);
    expect(moved.warnings).toEqual(deprecated);
    const alone = read(44, withMAC("net", {}));
    expect([alone.body.MacAddress, alone.warnings]).toEqual([MAC, deprecated]);
    expect(read(44, withMAC("net", { net: { MacAddress: MAC } })).warnings).toEqual(deprecated);
    const host = read(44, withMAC("host", {}));
    expect([host.body.MacAddress, host.warnings]).toEqual(["", deprecated]);
    expect(() => read(44, withMAC("net", { other: {} }))).toThrow(
      "if a container-wide MAC address is supplied, HostConfig.NetworkMode must match the identity of a network " +
        "in NetworkSettings.Networks",
    );
    expect(() => read(44, withMAC("net", { net: { MacAddress: OTHER } }))).toThrow(
      "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
    );
  });
});
