// What an update of an older API version means: fields that came later are not read, those that went are. Pure.
import type { ContainerUpdate, Resources } from "../schema/host_config.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";

/** An update as its version means it. */
export function updateOfVersion(change: ContainerUpdate, version: ApiVersion): ContainerUpdate {
  const read: ContainerUpdate = { ...change, ...kernelMemory(change, version) };
  if (!isAtLeast(version, 40)) read.PidsLimit = null;
  if (isAtLeast(version, 55)) return read;
  return {
    ...read,
    BlkioWeightDevice: [],
    BlkioDeviceReadBps: [],
    BlkioDeviceWriteBps: [],
    BlkioDeviceReadIOps: [],
    BlkioDeviceWriteIOps: [],
  };
}

/** Limits that went with 1.42. */
export function kernelMemory(
  given: Resources,
  version: ApiVersion,
): Pick<Resources, "KernelMemory" | "KernelMemoryTCP"> {
  const isGone = isAtLeast(version, 42);
  return {
    KernelMemory: isGone ? 0 : given.KernelMemory,
    KernelMemoryTCP: isGone || !isAtLeast(version, 40) ? 0 : given.KernelMemoryTCP,
  };
}
