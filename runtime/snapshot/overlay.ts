// Snapshots by overlayfs. Nothing is mounted here: init mounts the overlay inside the container's own mount namespace
// (program/init.ts), so there is nothing on the host to leak. See Documentation/filesystems/overlayfs.rst.
import { mkdir, rm } from "node:fs/promises";
import { SyscallError } from "../errors.ts";
import type { Rootfs } from "../bundle.ts";
import type { Quotas } from "../quotas.ts";
import { Fd } from "../sys/fd.ts";
import { check } from "../sys/ffi.ts";
import {
  directorySize,
  type ImageLayers,
  makeSnapshotDirectories,
  type Snapshotter,
  snapshotPaths,
} from "./snapshotter.ts";
import type { Trash } from "./trash.ts";

/** `quotas`: null where there can be no limits. */
export function createOverlaySnapshotter(containersDir: string, trash: Trash, quotas: Quotas | null): Snapshotter {
  const rootfs = (key: string, image: ImageLayers): Rootfs => {
    const { upper, work, target } = snapshotPaths(containersDir, key);
    // An image without layers needs no overlay: the container's own directory is all there is.
    return {
      kind: image.lower.length === 0 ? "directory" : "overlay",
      layersDir: image.layersDir,
      lower: image.lower,
      upper,
      work,
      target,
    };
  };
  return {
    driver: "overlay2",
    canLimit: quotas !== null,
    rootfs,
    prepare(key, image, limitBytes = null) {
      return new Promise((resolve) => {
        makeSnapshotDirectories(snapshotPaths(containersDir, key), image, ({ upper, work }) => {
          // Both: overlayfs makes a file in the one and renames it into the other, which two projects would forbid.
          if (limitBytes !== null) quotas?.limit([upper, work], limitBytes);
        });
        resolve(rootfs(key, image));
      });
    },
    release: (key) => quotas?.release(snapshotPaths(containersDir, key).upper),
    remove(key) {
      quotas?.release(snapshotPaths(containersDir, key).upper);
      return removeSnapshot(containersDir, key, trash);
    },
    usage: (key) => directorySize(snapshotPaths(containersDir, key).upper),
  };
}

/** Also copy.ts's: the directories are the same. */
export async function removeSnapshot(containersDir: string, key: string, trash: Trash): Promise<void> {
  const { upper, work, target } = snapshotPaths(containersDir, key);
  for (const path of [upper, work, target]) await trash.discard(path);
}

const FSCONFIG_SET_STRING = 1,
  FSCONFIG_CMD_CREATE = 6;
const FSOPEN_CLOEXEC = 1,
  FSMOUNT_CLOEXEC = 1;

/**
 * Whether overlayfs works with its writable directory below `directory`: it does not on overlayfs itself, on NFS and on
 * some FUSE file systems. Tried for real, with a detached mount that never has a place in the tree of files.
 */
export async function canOverlay(directory: string): Promise<boolean> {
  const base = `${directory}/overlay-probe`;
  await rm(base, { recursive: true, force: true });
  try {
    for (const name of ["lower", "upper", "work"]) await mkdir(`${base}/${name}`, { recursive: true });
    mountDetached(base);
    return true;
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  } finally {
    await rm(base, { recursive: true, force: true });
  }
}

function mountDetached(base: string): void {
  using context = new Fd(check("fsopen", ["overlay", FSOPEN_CLOEXEC], { type: "overlay" }));
  for (const [key, name] of [
    ["lowerdir", "lower"],
    ["upperdir", "upper"],
    ["workdir", "work"],
  ] as const) {
    check("fsconfig", [context.number, FSCONFIG_SET_STRING, key, `${base}/${name}`, 0], {
      key,
      path: `${base}/${name}`,
    });
  }
  check("fsconfig", [context.number, FSCONFIG_CMD_CREATE, null, null, 0], { command: "create", path: base });
  new Fd(check("fsmount", [context.number, FSMOUNT_CLOEXEC, 0], { path: base })).close();
}
