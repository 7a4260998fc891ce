// Mounts: constants of mount(2), mount_setattr(2), open_tree(2), move_mount(2), and the daemon's own uses of the new
// mount API. What the daemon makes stays detached: nothing of it is on the host's mount table.
import { Fd } from "./fd.ts";
import { alloc, check } from "./ffi.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O } from "./file.ts";

export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  NOSYMFOLLOW: 256,
  NOATIME: 1024,
  NODIRATIME: 2048,
  BIND: 4096,
  REC: 16384,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
  RELATIME: 1 << 21,
  STRICTATIME: 1 << 24,
} as const;

/** mount_setattr(2) and fsmount(2). The access-time values are one field, not bits. */
export const MOUNT_ATTR = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  ATIME_MASK: 0x70,
  RELATIME: 0x0,
  NOATIME: 0x10,
  STRICTATIME: 0x20,
  NODIRATIME: 0x80,
  NOSYMFOLLOW: 0x200000,
  /** Linux 5.12: owners are seen through the user namespace of `usernsFd`. On a detached mount alone, and for good. */
  IDMAP: 0x100000,
} as const;

export const FSCONFIG = { SET_FLAG: 0, SET_STRING: 1, CREATE: 6 } as const;
export const FSOPEN_CLOEXEC = 1,
  FSMOUNT_CLOEXEC = 1;
export const OPEN_TREE_CLONE = 1,
  AT_RECURSIVE = 0x8000;
export const MOVE_MOUNT = { F_EMPTY_PATH: 4, T_SYMLINKS: 0x10 } as const;
export const MNT_DETACH = 2;

/** struct mount_attr {u64 attr_set, attr_clr, propagation, userns_fd}. */
export const MOUNT_ATTR_BYTES = 32;

export interface MountAttributes {
  set: number;
  clear: number;
  /** MS.PRIVATE, MS.SLAVE, MS.SHARED, MS.UNBINDABLE or 0 to leave it. */
  propagation: number;
  /** With MOUNT_ATTR.IDMAP. */
  usernsFd?: number;
}

/** Packs struct mount_attr. */
export function mountAttr({ set, clear, propagation, usernsFd = 0 }: MountAttributes): Uint8Array<ArrayBuffer> {
  const bytes = alloc(MOUNT_ATTR_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, set, true);
  view.setUint32(8, clear, true);
  view.setUint32(16, propagation, true);
  view.setUint32(24, usernsFd, true);
  return bytes;
}

/** An option of a file system: `key=value`, or a flag where the value is null. */
export type FsOption = readonly [key: string, value: string | null];

/** fsopen(2) to fsmount(2): a new file system as a detached mount. */
export function newFileSystem(type: string, options: readonly FsOption[], attributes: number): Fd {
  using context = new Fd(check("fsopen", [type, FSOPEN_CLOEXEC], { type }));
  for (const [key, value] of options) {
    const args =
      value === null
        ? [context.number, FSCONFIG.SET_FLAG, key, null, 0]
        : [context.number, FSCONFIG.SET_STRING, key, value, 0];
    check("fsconfig", args, { type, key, value: value ?? "" });
  }
  check("fsconfig", [context.number, FSCONFIG.CREATE, null, null, 0], { type, command: "create" });
  return new Fd(check("fsmount", [context.number, FSMOUNT_CLOEXEC, attributes], { type }));
}

/** open_tree(2) with OPEN_TREE_CLONE: a detached copy of what is mounted at (or lies below) `path`. */
export function cloneTree(path: string, options: { recursive: boolean }): Fd {
  const flags = OPEN_TREE_CLONE | O.CLOEXEC | (options.recursive ? AT_RECURSIVE : 0);
  return new Fd(check("open_tree", [AT_FDCWD, path, flags], { path }));
}

/** Makes a detached tree read-only, with all mounts in it or the topmost alone. Linux 5.12. */
export function setReadOnly(tree: Fd, isDeep = true): void {
  const attributes = mountAttr({ set: MOUNT_ATTR.RDONLY, clear: 0, propagation: 0 });
  const flags = AT_EMPTY_PATH | (isDeep ? AT_RECURSIVE : 0);
  check("mount_setattr", [tree.number, "", flags, attributes, attributes.length]);
}
