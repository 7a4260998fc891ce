// The mounts of a container, in two halves around the pivot. Before it, while the host's tree is in sight, every mount is
// made *detached*: sources are copied by open_tree, file systems opened by fsopen. After it they are attached by
// move_mount. INVARIANT: a target is looked up only after the pivot, so a symbolic link in an image, or one that another
// container swaps in at that moment, leads nowhere but inside the container.
import type { OciMount } from "../bundle.ts";
import { AT_FDCWD, O } from "../sys/file.ts";
import { type FsOption, MOUNT_ATTR, MS } from "../sys/mount.ts";
import type { Calls } from "./calls.ts";
import { DESCRIPTOR, DESCRIPTOR_LIMIT } from "./descriptors.ts";
import { legacyFlags, type MountOptions, parseMountOptions } from "./mount_options.ts";
import type { CgroupPlan, ContainerPlan } from "./plan.ts";
import { Label, type Ref } from "./program.ts";
import { lowerOf, openLayers } from "./rootfs.ts";

/** A mount on its way: made before the pivot, attached after it. */
interface PreparedMount {
  destination: string;
  tree: Ref | null;
  /** A procfs, and nothing that only stands in its place. */
  isProcfs: boolean;
  attach(): void;
}

/** The parsed form of one entry of `spec.mounts`. */
interface MountEntry {
  mount: OciMount;
  options: MountOptions;
}

export function readMounts(mounts: readonly OciMount[]): MountEntry[] {
  return mounts.map((mount) => ({ mount, options: parseMountOptions(mount.options) }));
}

export function isBind({ mount, options }: MountEntry): boolean {
  return mount.type === "bind" || options.isBind;
}

/**
 * Copies the sources of binds with shared propagation. Before the host's mounts are made slaves, for a copy made after
 * that only receives.
 */
export function copySharedSources(calls: Calls, entries: readonly MountEntry[]): Map<OciMount, Ref> {
  const trees = new Map<OciMount, Ref>();
  for (const entry of entries) {
    if (isBind(entry) && entry.options.propagation === MS.SHARED) trees.set(entry.mount, copySource(calls, entry));
  }
  return trees;
}

function copySource(calls: Calls, { mount, options }: MountEntry): Ref {
  const title = `bind ${mount.source} at ${mount.destination}`;
  // A bind without the word `bind` is OCI's `type: bind` alone, and recursive like runc's.
  const recursive = options.isBindRecursive || !options.isBind;
  const { subpath = "" } = mount;
  if (subpath !== "") return calls.cloneBeneath(mount.source, subpath, { recursive, title });
  const [, process, path] = INSIDE_ANOTHER.exec(mount.source) ?? [];
  if (process === undefined || path === undefined) return calls.cloneTree(mount.source, { recursive, title });
  // WHY from inside: the kernel copies mounts of one's own mount namespace alone. And there the links in the path, which
  // are that container's, lead nowhere else.
  const tree = calls.slot();
  calls.inMountsOf(`${process}/ns/mnt`, title, () => calls.cloneTree(path, { recursive, title, out: tree }));
  return tree;
}

/**
 * For a container in a user namespace, before it is entered: the sources of its binds, which its root may be unable to
 * reach, and what is mapped, which needs the rights of the host's root. Above the numbers that init closes on its way.
 */
export function copyOutside(calls: Calls, plan: ContainerPlan): Map<OciMount, Ref> {
  const trees = new Map<OciMount, Ref>();
  const { ownersBy } = plan.namespaces;
  const mounts = plan.bundle.spec.mounts;
  for (const entry of readMounts(mounts)) {
    const { mount, options } = entry;
    const title = `bind ${mount.source} at ${mount.destination}`;
    let tree: Ref;
    if (isBind(entry)) {
      tree = copySource(calls, entry);
      if (options.isMapped && ownersBy) calls.mapOwners(tree, ownersBy.descriptor, title);
    } else if (mount.type === "overlay") tree = openImage(calls, plan, entry);
    else if (showsHost(plan, mount.type)) tree = openFs(calls, entry);
    else continue;
    // In the list that init reads again the entries are the same objects.
    trees.set(mount, calls.moveAbove(tree, DESCRIPTOR_LIMIT, title));
  }
  return trees;
}

function openImage(calls: Calls, plan: ContainerPlan, { mount, options }: MountEntry): Ref {
  const title = `mount an image at ${mount.destination}`;
  const { ownersBy } = plan.namespaces;
  return openLayers(calls, plan.features, lowerOf(options.fsOptions), mount.subpath ?? "", title, ownersBy);
}

/** A path in another container's tree: of a process, then from its root on. */
const INSIDE_ANOTHER = /^(\/proc\/\d+)\/root(\/.*)$/;

/** Makes one mount detached, and says how it will be attached. */
export function prepareMount(
  calls: Calls,
  plan: ContainerPlan,
  entry: MountEntry,
  shared: Map<OciMount, Ref>,
): PreparedMount {
  const { mount } = entry;
  const { destination } = mount;
  refuseInsideProc(entry);
  const other = { destination, tree: null, isProcfs: false };
  if (isBind(entry)) {
    const tree = shared.get(mount) ?? copySource(calls, entry);
    return { ...other, tree, attach: prepareBind(calls, plan, entry, tree) };
  }
  if (mount.type === "overlay") {
    const tree = shared.get(mount) ?? openImage(calls, plan, entry);
    return { ...other, tree, attach: () => attachLike(calls, tree, mount) };
  }
  if (mount.type === "cgroup") return { ...other, attach: prepareCgroup(calls, plan.cgroup, entry) };
  if (mount.type === "devpts" && plan.hasPtsMount && destination === "/dev/pts") {
    return { ...other, attach: () => attachAt(calls, DESCRIPTOR.ptsMount, mount) };
  }
  const tree = shared.get(mount) ?? openFs(calls, entry);
  return { ...other, tree, isProcfs: mount.type === "proc", attach: () => attachAt(calls, tree, mount) };
}

/** COMPAT: what tools like lxcfs put over files of /proc, and runc lets them. */
const REPLACEABLE = new Set([
  "/proc/cpuinfo",
  "/proc/diskstats",
  "/proc/loadavg",
  "/proc/meminfo",
  "/proc/net/dev",
  "/proc/slabinfo",
  "/proc/stat",
  "/proc/swaps",
  "/proc/sys/crypto/fips_enabled",
  "/proc/sys/kernel/ns_last_pid",
  "/proc/uptime",
]);

/** COMPAT: runc's words. Files of an image's or a user's in the place of /proc would hide what protects the container. */
function refuseInsideProc({ mount: { type, source, destination } }: MountEntry): void {
  if (REPLACEABLE.has(destination)) return;
  if (destination === "/proc" && type !== "proc" && source !== "/proc") {
    throw new RangeError(`"/proc" cannot be mounted because it is not of type proc`);
  }
  if (destination.startsWith("/proc/")) {
    throw new RangeError(`${JSON.stringify(destination)} cannot be mounted because it is inside /proc`);
  }
}

function attachAt(calls: Calls, tree: Ref | number, { type, destination }: OciMount): void {
  calls.makeDirectories(destination);
  calls.attach(tree, destination, `mount ${type} at ${destination}`);
}

/** File systems that show a namespace need a right over it, which a mapped container lacks over the host's: made outside. */
const SHOWS_NAMESPACE: Readonly<Record<string, number>> = { proc: 0x20000000, sysfs: 0x40000000, mqueue: 0x8000000 };

function showsHost({ namespaces }: ContainerPlan, type: string): boolean {
  const needed = SHOWS_NAMESPACE[type];
  if (needed === undefined || (namespaces.create & needed) !== 0) return false;
  return !namespaces.enter.some(({ flag }) => flag === needed);
}

function openFs(calls: Calls, { mount, options }: MountEntry): Ref {
  const { type, destination } = mount;
  // Whoever mounts a tmpfs on /dev still has to put devices there: see finishDev.
  const attributes = destination === "/dev" ? options.attributes.set & ~MOUNT_ATTR.RDONLY : options.attributes.set;
  return calls.newFs(type, attributes, [...sourceOption(mount), ...options.fsOptions]);
}

/** What /proc/mounts shows in the first column. */
function sourceOption({ source }: OciMount): FsOption[] {
  return source === "" ? [] : [["source", source]];
}

/** How the titles of the steps begin that put a bind where it belongs. COMPAT: so Docker's message begins. */
export const ATTACH_TITLE = "error mounting ";

function prepareBind(calls: Calls, plan: ContainerPlan, { mount, options }: MountEntry, tree: Ref): () => void {
  const { source, destination } = mount;
  const title = `bind ${source} at ${destination}`;
  const { attributes, recursiveAttributes, isPropagationRecursive } = options;
  const propagation = options.propagation === 0 ? MS.PRIVATE : options.propagation;
  const deep = options.propagation === 0 || isPropagationRecursive;
  if (plan.features.mountSetattr) {
    if (attributes.set !== 0 || attributes.clear !== 0) {
      calls.setAttributes(tree, { ...attributes, propagation: 0 }, false, title);
    }
    const { set, clear } = recursiveAttributes;
    if (deep) calls.setAttributes(tree, { set, clear, propagation }, true, title);
    else {
      if (set !== 0 || clear !== 0) calls.setAttributes(tree, { set, clear, propagation: 0 }, true, title);
      calls.setAttributes(tree, { set: 0, clear: 0, propagation }, false, title);
    }
  }
  return () => {
    attachLike(calls, tree, mount);
    if (plan.features.mountSetattr) return;
    const flags = legacyFlags(attributes) | legacyFlags(recursiveAttributes);
    if (flags !== 0) calls.remountBind(destination, flags, title);
    calls.setPropagation(destination, propagation | (deep ? MS.REC : 0), title);
  };
}

/** Attaches what may be a directory or a file. */
function attachLike(calls: Calls, tree: Ref, { source, destination }: OciMount): void {
  makeTargetLike(calls, tree, destination);
  const title = `${ATTACH_TITLE}${JSON.stringify(source)} to rootfs at ${JSON.stringify(destination)}`;
  calls.attach(tree, destination, title);
}

/** Makes the target what the source is: a directory, or an empty file to be covered. */
export function makeTargetLike(calls: Calls, tree: Ref | number, destination: string): void {
  const isFile = new Label("bind a file"),
    ready = new Label("target is there");
  const parent = destination.slice(0, destination.lastIndexOf("/"));
  calls.makeDirectories(parent);
  const probe = calls.slot();
  calls.open(".", O.PATH | calls.directory, { at: tree, out: probe, error: isFile });
  calls.close(probe);
  const title = `create the directory ${destination}`;
  calls.step("mkdirat", [AT_FDCWD, destination, 0o755], { error: ready, zero: ready, title });
  calls.mark(isFile);
  calls.makeFile(destination);
  calls.mark(ready);
}

/** v2: the cgroup namespace's own tree. v1: a tmpfs with the container's directory of each hierarchy. */
function prepareCgroup(calls: Calls, cgroup: CgroupPlan, { mount, options }: MountEntry): () => void {
  const { destination } = mount;
  const attributes = options.attributes.set;
  if (cgroup.version === 2) {
    const tree = calls.newFs("cgroup2", attributes, sourceOption(mount));
    return () => attachAt(calls, tree, mount);
  }
  const writable = attributes & ~MOUNT_ATTR.RDONLY;
  const tmpfs = calls.newFs("tmpfs", writable, [
    ["source", "tmpfs"],
    ["mode", "755"],
  ]);
  const trees = cgroup.hierarchies.map(({ name, directory }) => {
    const title = `bind the cgroup ${directory}`;
    const tree = calls.cloneTree(directory, { recursive: false, title });
    calls.setAttributes(tree, { set: attributes, clear: 0, propagation: MS.PRIVATE }, false, title);
    return { name, tree };
  });
  return () => {
    attachAt(calls, tmpfs, mount);
    for (const { name, tree } of trees) {
      calls.step("mkdirat", [AT_FDCWD, `${destination}/${name}`, 0o755], { title: `create ${destination}/${name}` });
      calls.attach(tree, `${destination}/${name}`);
      // Controllers that share a hierarchy are found by each of their names, as on the host.
      if (name.includes(",")) for (const part of name.split(",")) calls.makeLink(name, `${destination}/${part}`);
    }
    if (attributes & MOUNT_ATTR.RDONLY) makeReadOnly(calls, destination, true, writable);
  };
}

/** Makes what is mounted at a path read-only. `keep`: the attributes it has, which a remount would drop. */
export function makeReadOnly(calls: Calls, path: string, hasMountSetattr: boolean, keep: number): void {
  const title = `make ${path} read-only`;
  if (!hasMountSetattr) calls.remountBind(path, MS.RDONLY | legacyFlags({ set: keep, clear: 0 }), title);
  else calls.setAttributesAt(path, { set: MOUNT_ATTR.RDONLY, clear: 0, propagation: 0 }, false, title);
}

/** `spec.linux.readonlyPaths`: each is bound onto itself and made read-only; what is not there is passed over. */
export function protectPaths(calls: Calls, plan: ContainerPlan): void {
  const probe = calls.slot();
  for (const path of plan.bundle.spec.linux.readonlyPaths) {
    const absent = new Label("no such path");
    calls.open(path, O.PATH, { out: probe, error: absent });
    calls.close(probe);
    calls.bindOnto(path, path, true, `make ${path} read-only`);
    const inherited = MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC;
    makeReadOnly(calls, path, plan.features.mountSetattr, inherited);
    calls.mark(absent);
  }
}

/**
 * `spec.linux.maskedPaths`: a directory is covered by an empty read-only tmpfs, a file by /dev/null. `nullDevice` was
 * opened when we made the node, so no other file can stand in for it.
 */
export function maskPaths(calls: Calls, paths: readonly string[], nullDevice: Ref): void {
  const probe = calls.slot();
  for (const path of paths) {
    const isFile = new Label("mask a file"),
      covered = new Label("masked");
    const title = `mask ${path}`;
    calls.open(path, O.PATH | calls.directory, { out: probe, error: isFile });
    calls.close(probe);
    const flags = MS.RDONLY | MS.NOSUID | MS.NODEV | MS.NOEXEC;
    calls.step("mount", ["tmpfs", path, "tmpfs", flags, "mode=755"], { zero: covered, title });
    calls.mark(isFile);
    calls.open(path, O.PATH, { out: probe, error: covered });
    calls.close(probe);
    const tree = calls.cloneTreeOf(nullDevice, title);
    calls.attach(tree, path, title);
    calls.mark(covered);
  }
}

/** The options of the container's devpts, for the instance that the daemon opens a terminal in. */
export function ptsOptions(mounts: readonly OciMount[]): { attributes: number; fsOptions: FsOption[] } | null {
  const entry = readMounts(mounts).find(({ mount }) => mount.type === "devpts" && mount.destination === "/dev/pts");
  if (!entry) return null;
  const fsOptions = entry.options.fsOptions.filter(([key]) => key !== "newinstance");
  return { attributes: entry.options.attributes.set, fsOptions };
}
