// Project quotas: one account of blocks for all files that carry the same project number, whoever owns them. The layouts are
// those of linux/fs.h (struct fsxattr, ioctl_xfs_fsgetxattr(2)) and linux/dqblk_xfs.h (quotactl(2)); both are the same on
// x86-64 and aarch64. The calls that XFS brought work on ext4, too: the kernel translates them (fs/quota/quota.c).
import { SyscallError } from "../errors.ts";
import { E } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { alloc, check, syscall } from "./ffi.ts";

const FSXATTR_BYTES = 28;
const FS_IOC_FSGETXATTR = 0x801c581f;
const FS_IOC_FSSETXATTR = 0x401c5820;
/** What is made in this directory gets its project, and this flag. */
const FS_XFLAG_PROJINHERIT = 0x200;

export interface Project {
  id: number;
  isInherited: boolean;
}

/** ioctl FS_IOC_FSGETXATTR. Throws ENOTTY where the file system has no such attributes. */
export function projectOf(file: Fd): Project {
  const attributes = readAttributes(file);
  return {
    id: attributes.getUint32(12, true),
    isInherited: (attributes.getUint32(0, true) & FS_XFLAG_PROJINHERIT) !== 0,
  };
}

/** ioctl FS_IOC_FSSETXATTR: this file's own project. What lies in a directory already keeps the one it has. */
export function setProject(file: Fd, { id, isInherited }: Project): void {
  const attributes = readAttributes(file);
  const flags = attributes.getUint32(0, true) & ~FS_XFLAG_PROJINHERIT;
  attributes.setUint32(0, isInherited ? flags | FS_XFLAG_PROJINHERIT : flags, true);
  attributes.setUint32(12, id, true);
  // SAFETY: the kernel reads the 28 bytes that it wrote before.
  check("ioctl", [file.number, FS_IOC_FSSETXATTR, new Uint8Array(attributes.buffer)], {
    request: "FS_IOC_FSSETXATTR",
    project: id,
  });
}

/** 0 flags │ 4 extent size │ 8 extents │ 12 project │ 16 copy-on-write extent size │ 20 unused */
function readAttributes(file: Fd): DataView<ArrayBuffer> {
  const attributes = alloc(FSXATTR_BYTES);
  // SAFETY: the kernel writes 28 bytes.
  check("ioctl", [file.number, FS_IOC_FSGETXATTR, attributes], { request: "FS_IOC_FSGETXATTR" });
  return new DataView(attributes.buffer);
}

const PROJECT_QUOTA = 2;
const Q_XGETQUOTA = 0x5803,
  Q_XSETQLIM = 0x5804,
  Q_XGETQSTAT = 0x5805;
/** QCMD of linux/quota.h. */
const command = (request: number): number => ((request << 8) | PROJECT_QUOTA) >>> 0;

/** struct fs_quota_stat has 80 bytes. */
const STATE_BYTES = 128;
const ACCOUNTED_AND_ENFORCED = (1 << 4) | (1 << 5);

/** Whether the file system that a file lies on counts projects and enforces their limits. Never throws. */
export function enforcesProjects(file: Fd): boolean {
  const state = alloc(STATE_BYTES);
  // SAFETY: the kernel writes a struct fs_quota_stat, which is shorter.
  if (syscall("quotactl_fd", file.number, command(Q_XGETQSTAT), 0, state) < 0) return false;
  const flags = new DataView(state.buffer).getUint16(2, true);
  return (flags & ACCOUNTED_AND_ENFORCED) === ACCOUNTED_AND_ENFORCED;
}

/**
 * struct fs_disk_quota: 0 version │ 1 kind │ 2 fields set │ 4 id │ 8 hard and 16 soft limit of blocks │ 24, 32 of files │
 * 40 blocks │ 48 files …
 */
const QUOTA_BYTES = 112;
const BLOCK_BYTES = 512;
const FS_DQUOT_VERSION = 1,
  FS_PROJ_QUOTA = 2;
const FS_DQ_BSOFT = 1 << 2,
  FS_DQ_BHARD = 1 << 3;

export interface ProjectAccount {
  limitBytes: number;
  usedBytes: number;
  files: number;
}

/** quotactl_fd(2) Q_XGETQUOTA: what a project has and may have, on the file system that `file` lies on. */
export function projectAccount(file: Fd, id: number): ProjectAccount {
  const quota = alloc(QUOTA_BYTES);
  // SAFETY: the kernel writes a struct fs_disk_quota of 112 bytes.
  const result = syscall("quotactl_fd", file.number, command(Q_XGETQUOTA), id, quota);
  // Nobody has heard of it.
  if (result === -E.ENOENT) return { limitBytes: 0, usedBytes: 0, files: 0 };
  if (result < 0) throw new SyscallError("quotactl_fd", -result, { request: "Q_XGETQUOTA", project: id });
  const view = new DataView(quota.buffer);
  const number = (at: number): number => Number(view.getBigUint64(at, true));
  return { limitBytes: number(8) * BLOCK_BYTES, usedBytes: number(40) * BLOCK_BYTES, files: number(48) };
}

/** quotactl_fd(2) Q_XSETQLIM: how many bytes a project's files may take on the disk; 0: as many as there is room for. */
export function limitProject(file: Fd, id: number, bytes: number): void {
  const quota = alloc(QUOTA_BYTES);
  const view = new DataView(quota.buffer);
  const blocks = BigInt(Math.ceil(bytes / BLOCK_BYTES));
  view.setInt8(0, FS_DQUOT_VERSION);
  view.setInt8(1, FS_PROJ_QUOTA);
  view.setUint16(2, FS_DQ_BHARD | FS_DQ_BSOFT, true);
  view.setUint32(4, id, true);
  view.setBigUint64(8, blocks, true);
  view.setBigUint64(16, blocks, true);
  // SAFETY: the kernel reads a struct fs_disk_quota of 112 bytes.
  check("quotactl_fd", [file.number, command(Q_XSETQLIM), id, quota], { request: "Q_XSETQLIM", project: id, bytes });
}
