// The root file system of a container: its layers as an overlay, mounted inside the container's own mount namespace. The
// host's mount table never shows it, and it is gone with the container's last process.
import { dirname } from "node:path/posix";
import type { Rootfs } from "../bundle.ts";
import { AT_FDCWD, O } from "../sys/file.ts";
import { type FsOption, MOUNT_ATTR, MOVE_MOUNT, MS } from "../sys/mount.ts";
import { CLONE } from "../sys/namespace.ts";
import type { Calls } from "./calls.ts";
import type { KernelFeatures, OwnersBy } from "./plan.ts";
import { Label, Load, type Ref } from "./program.ts";

/** mount(2) takes one page of options, with its NUL. */
const MOUNT_DATA_LIMIT = 4095;
/** fsconfig(2) takes strings of 255 bytes. */
const OPTION_LIMIT = 255;
/** wait4(2): for children of every kind. This one sends no signal when it ends. */
const WALL = 0x40000000;
const F_GETFD = 1;

/**
 * Upper directories are read by diff and commit as they lie on the disk: no redirects, no metadata-only copies. No index:
 * layers are shared by containers, and an index ties an upper to one lower.
 */
export const OVERLAY_OPTIONS: readonly FsOption[] = [
  ["index", "off"],
  ["redirect_dir", "off"],
  ["metacopy", "off"],
];

/** Mounts the layers at `rootfs.target`. */
export function mountRootfs(calls: Calls, rootfs: Rootfs): void {
  if (rootfs.kind === "directory" || rootfs.lower.length === 0) {
    calls.bindOnto(rootfs.upper, rootfs.target, true, `bind the root file system at ${rootfs.target}`);
    return;
  }
  const data = overlayData(rootfs);
  // Short names below the layers' directory: so 128 layers fit into one page.
  calls.changeDirectory(rootfs.layersDir);
  calls.mountAt("overlay", rootfs.target, 0, data, `mount overlay on ${rootfs.target}`);
}

/** The options of mount(2), relative to `layersDir`. */
export function overlayData(rootfs: Rootfs): string {
  return mountData(`overlay on ${rootfs.target}`, rootfs.lower, [
    ["upperdir", escapeOption(rootfs.upper)],
    ["workdir", escapeOption(rootfs.work)],
    ...OVERLAY_OPTIONS,
  ]);
}

/** The same for a view of it: the upper directory is the topmost *lower* one, so nothing can be written. */
export function viewData(rootfs: Rootfs): string {
  return mountData(`a view of ${rootfs.target}`, [rootfs.upper, ...rootfs.lower], []);
}

function mountData(what: string, lower: readonly string[], options: readonly FsOption[]): string {
  const all: FsOption[] = [["lowerdir", lower.map(escapeLower).join(":")], ...options];
  const data = all.map(([key, value]) => `${key}=${value}`).join(",");
  const sizeBytes = Buffer.byteLength(data);
  if (sizeBytes <= MOUNT_DATA_LIMIT) return data;
  throw new RangeError(
    `cannot mount ${what}: ${lower.length} lower layers need ${sizeBytes} bytes of options, ` +
      `the kernel takes ${MOUNT_DATA_LIMIT}`,
  );
}

/** The same by the new API, as a detached mount in a slot. The current directory becomes `layersDir`. */
export function openOverlay(calls: Calls, rootfs: Rootfs, features: KernelFeatures, owners?: OwnersBy): Ref {
  if (rootfs.kind === "directory" || rootfs.lower.length === 0) {
    const title = "bind the root file system";
    const tree = calls.cloneTree(rootfs.upper, { recursive: owners === undefined, title });
    if (owners) calls.mapOwners(tree, owners.descriptor, "map the owners of the root file system");
    return tree;
  }
  if (owners) {
    const directories = [...parentsOf(rootfs.layersDir, rootfs.lower), dirname(rootfs.upper)];
    return openMapped(calls, rootfs.layersDir, directories, owners, { flags: 0, data: overlayData(rootfs) });
  }
  if (!features.lowerdirPlus) return openOverlayAside(calls, rootfs.layersDir, 0, overlayData(rootfs));
  calls.changeDirectory(rootfs.layersDir);
  const options: FsOption[] = [
    ...lowerOptions(rootfs.lower),
    ["upperdir", rootfs.upper],
    ["workdir", rootfs.work],
    ...OVERLAY_OPTIONS,
  ];
  return calls.newFs("overlay", 0, options);
}

/** The directories that layers lie in. */
function parentsOf(layersDir: string, lower: readonly string[]): string[] {
  return [...new Set(lower.map((name) => (name.startsWith("/") ? dirname(name) : dirname(`${layersDir}/${name}`))))];
}

/**
 * An overlay whose owners are seen through a user namespace (Linux 5.19). overlayfs has no such mounts of its own, but takes
 * layers that are: so each directory that layers lie in is covered by a mapped copy of itself, in a mount namespace that
 * nobody else sees.
 */
function openMapped(
  calls: Calls,
  layersDir: string,
  directories: readonly string[],
  owners: OwnersBy,
  overlay: { flags: number; data: string },
  subpath = "",
): Ref {
  return openAside(calls, "mount overlay", (tree, failed) => {
    for (const directory of directories) coverMapped(calls, directory, owners.descriptor, failed);
    // WHY: overlayfs works with its maker's IDs, and through a mapped mount the host's root can make no file.
    calls.setFileIDs(owners.root, {}, failed);
    mountAside(calls, layersDir, overlay, subpath, "mount overlay", { tree, failed });
  });
}

function coverMapped(calls: Calls, directory: string, userns: number, failed: Label): void {
  const title = `map the owners of ${directory}`;
  const copy = calls.cloneTree(directory, { recursive: false, title, error: failed });
  calls.mapOwners(copy, userns, title, failed);
  calls.step("move_mount", [new Load(copy), "", AT_FDCWD, directory, MOVE_MOUNT.F_EMPTY_PATH], {
    title,
    error: failed,
  });
  calls.close(copy);
}

/** Lower directories, topmost first, one by one as fsconfig(2) takes them. */
export function lowerOptions(lower: readonly string[]): FsOption[] {
  return lower.map((name): FsOption => ["lowerdir+", name]);
}

/**
 * An overlay as a detached mount on kernels before 6.7, where fsconfig(2) takes all lower directories in one string of 255
 * bytes. mount(2) takes a page, but wants a place in the tree. `data` is relative to `layersDir`.
 */
export function openOverlayAside(calls: Calls, layersDir: string, flags: number, data: string): Ref {
  const title = "mount overlay";
  return openAside(calls, title, (tree, failed) => {
    mountAside(calls, layersDir, { flags, data }, "", title, { tree, failed });
  });
}

/**
 * The layers of an image, or a part of them, as a detached tree. Without an upper directory nothing can be written.
 * `lower` are absolute, the topmost first.
 */
export function openLayers(
  calls: Calls,
  features: KernelFeatures,
  lower: readonly string[],
  subpath: string,
  title: string,
  owners?: OwnersBy,
): Ref {
  const isShort = lower.every((path) => Buffer.byteLength(path) <= OPTION_LIMIT);
  if (!owners && features.lowerdirPlus && subpath === "" && isShort) {
    return calls.newFs("overlay", MOUNT_ATTR.RDONLY, lowerOptions(lower));
  }
  const layersDir = dirname(lower[0] ?? "/");
  const names = lower.map((path) => (dirname(path) === layersDir ? path.slice(layersDir.length + 1) : path));
  const data = mountData(title, names, []);
  const overlay = { flags: MS.RDONLY, data };
  if (owners) return openMapped(calls, layersDir, parentsOf(layersDir, lower), owners, overlay, subpath);
  return openAside(calls, title, (tree, failed) => {
    mountAside(calls, layersDir, overlay, subpath, title, { tree, failed });
  });
}

/** Within openAside: an overlay on its layers' directory, and a copy of it, or of a part, in `tree`. */
function mountAside(
  calls: Calls,
  layersDir: string,
  { flags, data }: { flags: number; data: string },
  subpath: string,
  title: string,
  { tree, failed }: { tree: Ref; failed: Label },
): void {
  calls.step("chdir", [layersDir], { error: failed, title: `chdir ${layersDir}` });
  calls.step("mount", ["overlay", layersDir, "overlay", flags, data], { error: failed, title });
  if (subpath === "") {
    calls.cloneTree(layersDir, { recursive: false, title, out: tree, error: failed });
    return;
  }
  const base = calls.open(layersDir, O.PATH | calls.directory, { error: failed });
  const part = calls.openBeneath(base, subpath, title, failed);
  calls.cloneTreeOf(part, title, { out: tree, error: failed });
  calls.close(part);
  calls.close(base);
}

/** The directories among the options of a mount of type `overlay`. */
export function lowerOf(options: readonly FsOption[]): string[] {
  return options.flatMap(([key, value]) => (key === "lowerdir+" && value !== null ? [value] : []));
}

/**
 * A detached tree that has to be put together in a place: a child that shares all but the mounts, the root and the working
 * directory does it there, out of everybody's sight, and leaves a detached copy in `tree`. Each of the steps goes on to
 * `failed` on an error.
 *
 *   this one ──clone(VM|VFORK|FILES|NEWNS)──▶ child   the steps, open_tree, exit
 *            ◀─────── the descriptor ────────
 *
 * SAFETY: the child shares our memory and stack, but we stand still until it has ended (VFORK), and each of its steps goes
 * on to its exit. Signals must be blocked: a handler of ours must not run in it.
 */
export function openAside(calls: Calls, title: string, make: (tree: Ref, failed: Label) => void): Ref {
  const child = calls.slot(),
    tree = calls.slot(),
    random = calls.slot();
  const isMade = calls.words([0]);
  const aside = new Label(title),
    failed = new Label(`${title}: failed`),
    joined = new Label(`${title}: done`);
  const share = CLONE.VM | CLONE.VFORK | CLONE.FILES | CLONE.NEWNS;
  calls.step("clone", [share, 0, 0, 0, 0], { out: child, zero: aside, title: `clone to ${title}` });
  calls.step("wait4", [new Load(child), null, WALL, null], { error: 1 });
  // A step that only branches: it is 0 long where the child has failed, whose error is then the last one.
  calls.step("getrandom", [random, new Load(isMade), 0], { zero: calls.failure, positive: joined });
  calls.mark(aside);
  calls.setPropagationOfAll(MS.PRIVATE, "leave the host's mounts", failed);
  make(tree, failed);
  // FD_CLOEXEC is 1.
  calls.step("fcntl", [new Load(tree), F_GETFD], { error: failed, out: isMade, title });
  calls.mark(failed);
  calls.exit(0);
  calls.mark(joined);
  return tree;
}

/** In a list of lower directories `:` separates, and in mount's options `,` does. */
function escapeLower(path: string): string {
  return path.replace(/[\\:,]/g, "\\$&");
}

function escapeOption(path: string): string {
  return path.replace(/[\\,]/g, "\\$&");
}

/** Attaches a rootfs made by openOverlay where it will be pivoted to. */
export function attachRootfs(calls: Calls, overlay: Ref, rootfs: Rootfs): void {
  calls.attach(overlay, rootfs.target, `attach the root file system at ${rootfs.target}`);
}

/** What the container's root propagates to and from: by default nothing, whatever the host's `/` does. */
export function isolatePropagation(calls: Calls): void {
  calls.setPropagationOfAll(MS.SLAVE, "make the host's mounts slaves");
}
