// What older API versions could not say, or said differently.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { fromVersion } from "../../../src/api/older_create.ts";
import { updateOfVersion } from "../../../src/api/older_update.ts";
import { ContainerCreate } from "../../../src/schema/container.ts";
import { ContainerUpdate } from "../../../src/schema/host_config.ts";

describe("limits of a create request", () => {
  const body = v.parse(ContainerCreate, {
    HostConfig: {
      AutoRemove: true,
      Annotations: { a: "b" },
      ConsoleSize: [1, 2],
      KernelMemory: 5,
      KernelMemoryTCP: 6,
    },
  });
  const read = (minor: number) => fromVersion(body, { major: 1, minor }, 1).body.HostConfig;

  test.each([
    [24, { AutoRemove: false, IpcMode: "shareable", KernelMemory: 5, KernelMemoryTCP: 0 }],
    [39, { AutoRemove: true, IpcMode: "shareable", ConsoleSize: [], Annotations: {}, KernelMemoryTCP: 0 }],
    [41, { IpcMode: "", ConsoleSize: [], Annotations: {}, KernelMemory: 5, KernelMemoryTCP: 6 }],
    [42, { ConsoleSize: [1, 2], Annotations: {}, KernelMemory: 0, KernelMemoryTCP: 0 }],
    [43, { ConsoleSize: [1, 2], Annotations: { a: "b" } }],
  ])("of 1.%d", (minor, expected) => {
    expect(read(minor)).toMatchObject(expected);
  });
});

test("an update of older versions has no pids limit, and none of devices", () => {
  const change = v.parse(ContainerUpdate, {
    PidsLimit: 5,
    KernelMemory: 6,
    BlkioDeviceReadBps: [{ Path: "/dev/x", Rate: 1 }],
  });
  const read = (minor: number) => updateOfVersion(change, { major: 1, minor });
  expect(read(39)).toMatchObject({ PidsLimit: null, KernelMemory: 6, BlkioDeviceReadBps: [] });
  expect(read(54)).toMatchObject({ PidsLimit: 5, KernelMemory: 0, BlkioDeviceReadBps: [] });
  expect(read(55)).toMatchObject({ PidsLimit: 5, BlkioDeviceReadBps: [{ Path: "/dev/x", Rate: 1 }] });
});
