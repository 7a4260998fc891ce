// The files of a container that does not run, as one detached tree: its overlay with its volumes and bind mounts where
// they belong, so that symbolic links and `..` lead where they will lead when it runs. It is on no mount table of the
// host's, and goes with its descriptor.
import { close } from "node:fs";
import { promisify } from "node:util";
import type { OciMount, Rootfs } from "../bundle.ts";
import { SyscallError } from "../errors.ts";
import type { FileTree, IDMaps } from "../mod.ts";
import { parseMountOptions } from "../program/mount_options.ts";
import { makeTargetLike } from "../program/mounts.ts";
import type { KernelFeatures } from "../program/plan.ts";
import {
  lowerOf,
  lowerOptions,
  openAside,
  openLayers,
  openOverlayAside,
  OVERLAY_OPTIONS,
  overlayData,
} from "../program/rootfs.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { AT_FDCWD, O, openAt } from "../sys/file.ts";
import { cloneTree, MOVE_MOUNT, MS, newFileSystem, setReadOnly } from "../sys/mount.ts";
import { absoluteLower, openRootfsView, runWithSignalsBlocked } from "./view.ts";

export interface FilesOptions {
  isWritable: boolean;
  mounts: readonly OciMount[];
}

export async function openFiles(rootfs: Rootfs, features: KernelFeatures, options: FilesOptions): Promise<FileTree> {
  try {
    return assemble(rootfs, features, options);
  } catch (error) {
    const isTargetMissing = error instanceof SyscallError && error.errno === E.ENOENT && !options.isWritable;
    if (!isTargetMissing) throw error;
  }
  // Before its first start a container may lack the places that things are mounted at, and only a writable tree can make
  // them. COMPAT: so does Docker, at each copy.
  await assemble(rootfs, features, { ...options, isWritable: true })[Symbol.asyncDispose]();
  return assemble(rootfs, features, options);
}

const closeAsync = promisify(close);

export function fileTree(root: Fd, idMaps: IDMaps | null): FileTree {
  return {
    root,
    idMaps,
    async [Symbol.asyncDispose]() {
      // WHY on another thread: the last descriptor of a writable overlay writes the whole file system below it back.
      if (root.isOpen) await closeAsync(root.release());
    },
  };
}

function assemble(rootfs: Rootfs, features: KernelFeatures, { isWritable, mounts }: FilesOptions): FileTree {
  using sources = new DisposableStack();
  const whole = sources.use(isWritable ? openWritable(rootfs, features) : openRootfsView(rootfs, features));
  const binds: Bind[] = [];
  for (const mount of mounts) {
    const bind = openBind(mount, features, isWritable);
    if (bind !== null) binds.push({ ...bind, tree: sources.use(bind.tree) });
  }
  using tree = binds.length === 0 ? whole.duplicate() : attachAll(whole, binds, rootfs.target, isWritable);
  // A mount's own descriptor is O_PATH, or not, by how it was made.
  return fileTree(openAt(tree, ".", O.RDONLY | O.DIRECTORY), null);
}

function openWritable(rootfs: Rootfs, features: KernelFeatures): Fd {
  if (rootfs.kind === "directory" || rootfs.lower.length === 0) return cloneTree(rootfs.upper, { recursive: false });
  if (!features.lowerdirPlus) {
    return runWithSignalsBlocked((calls) => openOverlayAside(calls, rootfs.layersDir, 0, overlayData(rootfs)));
  }
  const options = [
    ...lowerOptions(absoluteLower(rootfs)),
    ["upperdir", rootfs.upper],
    ["workdir", rootfs.work],
    ...OVERLAY_OPTIONS,
  ] as const;
  return newFileSystem("overlay", options, 0);
}

interface Bind {
  tree: Fd;
  destination: string;
  /** It is still to be made read-only, by a remount: before Linux 5.12. */
  needsRemount: boolean;
}

/** null for what has no files of its own, and, for reading, where the source has gone: the rest can still be copied. */
function openBind(mount: OciMount, features: KernelFeatures, isWritable: boolean) {
  const { type, destination } = mount;
  const { attributes, recursiveAttributes, isBind } = parseMountOptions(mount.options);
  if (type !== "bind" && type !== "overlay" && !isBind) return null;
  let tree: Fd;
  try {
    tree = openSource(mount, features);
  } catch (error) {
    if (!isWritable && error instanceof SyscallError && error.errno === E.ENOENT) return null;
    throw error;
  }
  const isReadOnly = isWritable && ((attributes.set | recursiveAttributes.set) & MS.RDONLY) !== 0;
  try {
    if (isReadOnly && features.mountSetattr) setReadOnly(tree, (recursiveAttributes.set & MS.RDONLY) !== 0);
    return { tree, destination, needsRemount: isReadOnly && !features.mountSetattr };
  } catch (error) {
    tree.close();
    throw error;
  }
}

function openSource({ type, source, destination, options, subpath = "" }: OciMount, features: KernelFeatures): Fd {
  const { isBindRecursive: recursive, fsOptions } = parseMountOptions(options);
  const title = `open what is mounted at ${destination}`;
  if (type === "overlay") {
    return runWithSignalsBlocked((calls) => openLayers(calls, features, lowerOf(fsOptions), subpath, title));
  }
  if (subpath === "") return cloneTree(source, { recursive });
  return runWithSignalsBlocked((calls) => calls.cloneBeneath(source, subpath, { recursive, title }));
}

/** In order, below a root of its own: a target's symbolic links lead nowhere but inside the container. */
function attachAll(whole: Fd, binds: readonly Bind[], place: string, isWritable: boolean): Fd {
  return runWithSignalsBlocked((calls) =>
    openAside(calls, "mount a container's files", (out, failed) => {
      const attach = (tree: Fd, path: string): void => {
        const flags = MOVE_MOUNT.F_EMPTY_PATH | MOVE_MOUNT.T_SYMLINKS;
        const title = `mount at ${path}`;
        calls.step("move_mount", [tree.number, "", AT_FDCWD, path, flags], { error: failed, title });
      };
      attach(whole, place);
      calls.step("chroot", [place], { error: failed, title: `chroot ${place}` });
      calls.step("chdir", ["/"], { error: failed, title: "chdir /" });
      for (const { tree, destination, needsRemount } of binds) {
        if (isWritable) makeTargetLike(calls, tree.number, destination);
        attach(tree, destination);
        const title = `bind at ${destination}`;
        const change = (flags: number): void =>
          calls.step("mount", [null, destination, null, flags, null], { error: failed, title });
        // Before anything is mounted below it, which would show where the source is shared.
        change(MS.PRIVATE | MS.REC);
        if (needsRemount) change(MS.REMOUNT | MS.BIND | MS.RDONLY);
      }
      calls.cloneTree("/", { recursive: true, out, error: failed, title: "copy the container's mounts" });
    }),
  );
}
