// Devices of the host that a container is given: looked up by path when it starts, since their numbers may change between
// two boots. The only file of the engine that looks at /dev.
import { lstatSync, readdirSync, statSync, type Stats } from "node:fs";
import type { OciDevice, OciDeviceRule, OciThrottle } from "../../../runtime/mod.ts";
import { internal, invalid } from "../../errors.ts";
import type { HostConfig, Resources } from "../../schema/host_config.ts";

/** Everything of the host that to_bundle needs to know about its devices. */
export interface HostDevices {
  devices: OciDevice[];
  rules: OciDeviceRule[];
  weights: { major: number; minor: number; weight: number }[];
  readBps: OciThrottle[];
  writeBps: OciThrottle[];
  readIOps: OciThrottle[];
  writeIOps: OciThrottle[];
}

const NO_DEVICES: HostDevices = {
  devices: [],
  rules: [],
  weights: [],
  readBps: [],
  writeBps: [],
  readIOps: [],
  writeIOps: [],
};

/** Throws Docker's words for a device that is not there. */
export function gatherDevices(hostConfig: HostConfig, root = "/dev"): HostDevices {
  const given = hostConfig.Privileged ? everyDevice(root) : [];
  const asked = hostConfig.Devices;
  if (given.length === 0 && asked.length === 0 && !hasBlockIODevices(hostConfig)) return NO_DEVICES;
  const devices = [...given];
  const rules: OciDeviceRule[] = [];
  for (const { PathOnHost, PathInContainer, CgroupPermissions } of asked) {
    const access = CgroupPermissions || "rwm";
    if (!/^[rwm]{1,3}$/.test(access)) throw invalid(`invalid device mode: ${access}`);
    for (const device of devicesAt(PathOnHost, PathInContainer || PathOnHost)) {
      devices.push(device);
      if (device.type !== "p")
        rules.push({ allow: true, type: device.type, major: device.major, minor: device.minor, access });
    }
  }
  return { devices: uniqueByPath(devices), rules, ...gatherBlockIO(hostConfig) };
}

function hasBlockIODevices(limits: Resources): boolean {
  return (
    limits.BlkioWeightDevice.length > 0 ||
    limits.BlkioDeviceReadBps.length > 0 ||
    limits.BlkioDeviceWriteBps.length > 0 ||
    limits.BlkioDeviceReadIOps.length > 0 ||
    limits.BlkioDeviceWriteIOps.length > 0
  );
}

/** The block devices that limits name, by number. */
export function gatherBlockIO(limits: Resources): Omit<HostDevices, "devices" | "rules"> {
  const throttle = ({ Path, Rate }: { Path: string; Rate: number }): OciThrottle => ({
    ...numbersOf(Path),
    rate: Rate,
  });
  return {
    weights: limits.BlkioWeightDevice.map(({ Path, Weight }) => ({ ...numbersOf(Path), weight: Weight })),
    readBps: limits.BlkioDeviceReadBps.map(throttle),
    writeBps: limits.BlkioDeviceWriteBps.map(throttle),
    readIOps: limits.BlkioDeviceReadIOps.map(throttle),
    writeIOps: limits.BlkioDeviceWriteIOps.map(throttle),
  };
}

/** One node, or all below a directory, under the container's name for it. */
function devicesAt(hostPath: string, containerPath: string): OciDevice[] {
  let status: Stats;
  try {
    // A link is followed: /dev/disk/by-id/… names a device.
    status = statSync(hostPath);
  } catch (error) {
    throw gatheringFailed(hostPath, "no such file or directory", error);
  }
  const device = toDevice(containerPath, status);
  if (device) return [device];
  const found = status.isDirectory() ? walk(hostPath, containerPath) : [];
  if (found.length === 0) throw gatheringFailed(hostPath, "not a device node", undefined);
  return found;
}

function gatheringFailed(path: string, why: string, cause: unknown): Error {
  return internal(`error gathering device information while adding custom device ${JSON.stringify(path)}: ${why}`, {
    cause,
  });
}

/** Deep enough for any /dev; a loop of bind mounts must not hold us. */
const MAX_DEPTH = 8;

/** Not devices of the machine: a container has its own of these. */
const SKIPPED = new Set(["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"]);

function everyDevice(root: string): OciDevice[] {
  return walk(root, "/dev");
}

function walk(hostPath: string, containerPath: string, depth = 0): OciDevice[] {
  if (depth > MAX_DEPTH) return [];
  const devices: OciDevice[] = [];
  for (const entry of readdirSync(hostPath, { withFileTypes: true })) {
    if (depth === 0 && SKIPPED.has(entry.name)) continue;
    const [below, inside] = [`${hostPath}/${entry.name}`, `${containerPath}/${entry.name}`];
    if (entry.isDirectory()) {
      devices.push(...walk(below, inside, depth + 1));
    } else if (entry.isCharacterDevice() || entry.isBlockDevice()) {
      const device = toDevice(inside, lstatSync(below, { throwIfNoEntry: false }));
      if (device) devices.push(device);
    }
  }
  return devices;
}

function toDevice(path: string, status: Stats | undefined): OciDevice | null {
  if (!status || !(status.isCharacterDevice() || status.isBlockDevice())) return null;
  return {
    path,
    type: status.isBlockDevice() ? "b" : "c",
    ...splitNumber(status.rdev),
    fileMode: status.mode & 0o7777,
    uid: status.uid,
    gid: status.gid,
  };
}

function numbersOf(path: string): { major: number; minor: number } {
  try {
    return splitNumber(statSync(path).rdev);
  } catch (error) {
    throw invalid(`no such device: ${path}`, { cause: error });
  }
}

/** The C library's dev_t (makedev(3)): 12 bits of major at 8, 20 of minor at 0 and 20, the rest of the major at 32. */
export function splitNumber(number: number): { major: number; minor: number } {
  const high = Math.floor(number / 2 ** 32);
  const low = number % 2 ** 32;
  return { major: ((low >>> 8) & 0xfff) | (high & 0xfffff000), minor: (low & 0xff) | ((low >>> 12) & 0xfff00) };
}

function uniqueByPath(devices: OciDevice[]): OciDevice[] {
  return [...new Map(devices.map((device) => [device.path, device])).values()];
}
