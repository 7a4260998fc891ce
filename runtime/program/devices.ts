// /dev of a container: nodes, links and the console. Made right after the tmpfs is attached there, before anything else
// is mounted below it.
import type { OciDevice } from "../bundle.ts";
import { AT_FDCWD, O } from "../sys/file.ts";
import { MOUNT_ATTR } from "../sys/mount.ts";
import type { Calls } from "./calls.ts";
import { DESCRIPTOR } from "./descriptors.ts";
import { parseMountOptions } from "./mount_options.ts";
import { isBind, makeReadOnly, readMounts } from "./mounts.ts";
import type { ContainerPlan } from "./plan.ts";
import type { Ref } from "./program.ts";

/** What every container has (runtime-spec, "Default Devices"). */
const DEFAULT_DEVICES: readonly OciDevice[] = [
  { path: "/dev/null", type: "c", major: 1, minor: 3 },
  { path: "/dev/zero", type: "c", major: 1, minor: 5 },
  { path: "/dev/full", type: "c", major: 1, minor: 7 },
  { path: "/dev/random", type: "c", major: 1, minor: 8 },
  { path: "/dev/urandom", type: "c", major: 1, minor: 9 },
  { path: "/dev/tty", type: "c", major: 5, minor: 0 },
];

const LINKS: readonly (readonly [target: string, path: string])[] = [
  ["/proc/self/fd", "/dev/fd"],
  ["/proc/self/fd/0", "/dev/stdin"],
  ["/proc/self/fd/1", "/dev/stdout"],
  ["/proc/self/fd/2", "/dev/stderr"],
  ["/proc/kcore", "/dev/core"],
  ["pts/ptmx", "/dev/ptmx"],
];

/** How /dev comes about: our own tmpfs, whatever the image has there, or a directory that the user bound. */
export type DevKind = "own" | "image" | "bound";

export function devKind(plan: ContainerPlan): DevKind {
  const entry = readMounts(plan.bundle.spec.mounts).findLast(({ mount }) => mount.destination === "/dev");
  if (!entry) return "image";
  return isBind(entry) ? "bound" : "own";
}

/** The default devices and the bundle's own; of two with one path the bundle's. */
export function devicesOf(plan: ContainerPlan): OciDevice[] {
  const own = plan.bundle.spec.linux.devices;
  const named = new Set(own.map(({ path }) => path));
  return [...DEFAULT_DEVICES.filter(({ path }) => !named.has(path)), ...own];
}

/** For a mapped container, where mknod is forbidden: the host's nodes as detached mounts, by path. */
export function copyDeviceNodes(calls: Calls, devices: readonly OciDevice[]): Map<string, Ref> {
  return new Map(devices.map(({ path }) => [path, calls.cloneTree(path, { recursive: false })]));
}

/** Nodes below /dev, or (`inside` false) anywhere else. */
export function addDevices(
  calls: Calls,
  devices: readonly OciDevice[],
  copies: Map<string, Ref>,
  options: { inside: boolean },
): void {
  for (const device of devices) {
    const { path } = device;
    if (path.startsWith("/dev/") !== options.inside) continue;
    const parent = path.slice(0, path.lastIndexOf("/"));
    if (parent !== "/dev") calls.makeDirectories(parent);
    const copy = copies.get(path);
    if (copy) {
      calls.makeFile(path);
      calls.attach(copy, path);
      continue;
    }
    calls.makeDevice(path, { ...device, mode: device.fileMode === undefined ? 0o666 : device.fileMode & 0o7777 });
    const { uid = 0, gid = 0 } = device;
    if (uid !== 0 || gid !== 0) calls.changeOwner(path, uid, gid);
  }
}

export function addDeviceLinks(calls: Calls): void {
  for (const [target, path] of LINKS) calls.makeLink(target, path);
}

/** /dev/null as it is now, for maskPaths. */
export function openNullDevice(calls: Calls): Ref {
  return calls.open("/dev/null", O.PATH | calls.noFollow);
}

/** /dev/console is the container's terminal. Its devpts is attached by now: a mount elsewhere could not be copied. */
export function addConsole(calls: Calls): void {
  const title = "bind the terminal at /dev/console";
  calls.step("mknodat", [AT_FDCWD, "/dev/console", 0o100600, 0], { error: 1, title });
  calls.attach(calls.cloneTreeOf(DESCRIPTOR.stdin, title), "/dev/console", title);
}

/** A /dev that was asked for read-only is made so only now that it is filled. */
export function finishDev(calls: Calls, plan: ContainerPlan): void {
  const mount = plan.bundle.spec.mounts.findLast(({ destination }) => destination === "/dev");
  if (!mount || devKind(plan) !== "own") return;
  const { set } = parseMountOptions(mount.options).attributes;
  if (set & MOUNT_ATTR.RDONLY) makeReadOnly(calls, "/dev", plan.features.mountSetattr, set);
}
