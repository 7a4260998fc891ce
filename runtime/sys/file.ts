// Files, pipes and descriptors: one typed function per use of a call. See open(2), openat2(2), pipe(2), fcntl(2),
// memfd_create(2). Paths inside a container's root go through openInRoot and nowhere else.
import { SyscallError } from "../errors.ts";
import { E } from "./errno.ts";
import { Fd } from "./fd.ts";
import { alloc, check, syscall } from "./ffi.ts";
import { hostArch } from "./arch.ts";

export const AT_FDCWD = -100;
export const AT_EMPTY_PATH = 0x1000;

/** open(2) flags. O_DIRECTORY and O_NOFOLLOW are the two that differ between x86-64 and aarch64. */
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
  get DIRECTORY(): number {
    return directoryFlag(hostArch());
  },
  get NOFOLLOW(): number {
    return noFollowFlag(hostArch());
  },
} as const;

export function directoryFlag(arch: "x64" | "arm64"): number {
  return arch === "x64" ? 0o200000 : 0o40000;
}

export function noFollowFlag(arch: "x64" | "arm64"): number {
  return arch === "x64" ? 0o400000 : 0o100000;
}

export const RESOLVE = { NO_MAGICLINKS: 0x02, NO_SYMLINKS: 0x04, BENEATH: 0x08, IN_ROOT: 0x10 } as const;
/** openat2 answers EAGAIN while anything in the system is being renamed or mounted; a quiet moment comes soon. */
const OPENAT2_TRIES = 64;

/**
 * openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS: `path` is looked up as if `root` were `/`, so neither `..`
 * nor a symbolic link leaves it. Close-on-exec. INVARIANT: every path inside a container's root is opened here.
 */
export function openInRoot(root: Fd, path: string, flags: number, mode = 0): Fd {
  return openat2(root, path, flags, mode, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS);
}

/** The same, but refuses symbolic links in every component (ELOOP). */
export function openInRootNoSymlinks(root: Fd, path: string, flags: number, mode = 0): Fd {
  return openat2(root, path, flags, mode, RESOLVE.IN_ROOT | RESOLVE.NO_MAGICLINKS | RESOLVE.NO_SYMLINKS);
}

/**
 * openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS: a path, or a symbolic link in it, that would leave `directory`
 * is refused with EXDEV.
 */
export function openBeneath(directory: Fd, path: string, flags: number): Fd {
  return openat2(directory, path, flags, 0, RESOLVE.BENEATH | RESOLVE.NO_MAGICLINKS);
}

function openat2(root: Fd, path: string, flags: number, mode: number, resolve: number): Fd {
  const how = alloc(24);
  const view = new DataView(how.buffer);
  view.setBigUint64(0, BigInt(flags | O.CLOEXEC), true);
  // The kernel refuses a mode where nothing is created.
  view.setBigUint64(8, BigInt(flags & O.CREAT ? mode : 0), true);
  view.setBigUint64(16, BigInt(resolve), true);
  for (let tries = 0; ; tries++) {
    // SAFETY: `how` is 24 bytes, the size passed, and is referenced until the call returns.
    const result = syscall("openat2", root.number, path === "" ? "." : path, how, 24);
    if (result >= 0) return new Fd(result);
    if ((result === -E.EAGAIN || result === -E.EINTR) && tries < OPENAT2_TRIES) continue;
    throw new SyscallError("openat2", -result, { path, flags: `0o${flags.toString(8)}` });
  }
}

/** open(2), close-on-exec. For paths of ours; never for a path inside a container's root. */
export function openPath(path: string, flags: number, mode = 0): Fd {
  for (;;) {
    const result = syscall("openat", AT_FDCWD, path, flags | O.CLOEXEC, mode);
    if (result >= 0) return new Fd(result);
    if (result !== -E.EINTR) throw new SyscallError("open", -result, { path });
  }
}

/** openat(2), close-on-exec, relative to a directory of ours. */
export function openAt(directory: Fd, path: string, flags: number, mode = 0): Fd {
  return new Fd(check("openat", [directory.number, path, flags | O.CLOEXEC, mode], { path }));
}

/** pipe2(2), close-on-exec. `flags`: O.NONBLOCK for both ends; see setNonBlocking for one of them. */
export function pipe2(flags = 0): { read: Fd; write: Fd } {
  const pair = alloc(8);
  // SAFETY: pipe2 writes two 32-bit numbers into these 8 bytes.
  check("pipe2", [pair, flags | O.CLOEXEC]);
  const view = new DataView(pair.buffer);
  return { read: new Fd(view.getInt32(0, true)), write: new Fd(view.getInt32(4, true)) };
}

const F_GETFL = 3,
  F_SETFL = 4,
  F_SETPIPE_SZ = 1031,
  F_GETPIPE_SZ = 1032;

/** Sets O_NONBLOCK on the open file, so on every descriptor that shares it. The ends of a pipe do not share one. */
export function setNonBlocking(fd: Fd): void {
  const flags = check("fcntl", [fd.number, F_GETFL], { command: "F_GETFL" });
  check("fcntl", [fd.number, F_SETFL, flags | O.NONBLOCK], { command: "F_SETFL" });
}

/** Enlarges a pipe as far as this user may; returns its size then. */
export function growPipe(fd: Fd, sizeBytes: number): number {
  const result = syscall("fcntl", fd.number, F_SETPIPE_SZ, sizeBytes);
  // EPERM: over fs.pipe-max-size, or the user's pipe pages are used up. The default size serves, only slower.
  if (result === -E.EPERM || result === -E.EBUSY) return check("fcntl", [fd.number, F_GETPIPE_SZ]);
  if (result < 0) throw new SyscallError("fcntl", -result, { command: "F_SETPIPE_SZ", sizeBytes });
  return result;
}

/** Reads once. 0 is the end; null: nothing there now (O_NONBLOCK). */
export function readOnce(fd: Fd, into: Uint8Array): number | null {
  for (;;) {
    const result = syscall("read", fd.number, into, into.length);
    if (result >= 0) return result;
    if (result === -E.EAGAIN) return null;
    if (result !== -E.EINTR) throw new SyscallError("read", -result, { fd: fd.number });
  }
}

/** Writes all of it to a blocking descriptor. */
export function writeAll(fd: Fd, bytes: Uint8Array): void {
  for (let offset = 0; offset < bytes.length;) {
    const result = syscall("write", fd.number, bytes.subarray(offset), bytes.length - offset);
    if (result > 0) offset += result;
    else if (result !== -E.EINTR) throw new SyscallError("write", -result, { fd: fd.number, sizeBytes: bytes.length });
  }
}

const MFD_CLOEXEC = 1,
  MFD_ALLOW_SEALING = 2,
  MFD_EXEC = 0x10;
const F_ADD_SEALS = 1033;
const F_SEAL_ALL = 0xf; // SEAL, SHRINK, GROW and WRITE

/**
 * memfd_create(2) for a file that will be executed; null where the kernel forbids executing any (vm.memfd_noexec=2).
 * MFD_EXEC exists since Linux 6.3; before that EINVAL, and every memfd was executable.
 */
export function executableMemfd(name: string): Fd | null {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  let result = syscall("memfd_create", name, flags | MFD_EXEC);
  if (result === -E.EINVAL) result = syscall("memfd_create", name, flags);
  if (result === -E.EACCES) return null;
  if (result < 0) throw new SyscallError("memfd_create", -result, { name });
  return new Fd(result);
}

/** The same for bytes that are read, and may be sealed. */
export function dataMemfd(name: string): Fd {
  return new Fd(check("memfd_create", [name, MFD_CLOEXEC | MFD_ALLOW_SEALING], { name }));
}

/** Nobody changes a memory file's content or size any more, whoever reaches it by /proc/<pid>/exe. */
export function sealMemfd(memfd: Fd): void {
  check("fcntl", [memfd.number, F_ADD_SEALS, F_SEAL_ALL], { command: "F_ADD_SEALS" });
}

/** Reads a whole descriptor from its current offset, up to a bound: EOVERFLOW beyond it. */
export function readAll(fd: Fd, limitBytes: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for (;;) {
    const chunk = alloc(Math.min(65536, limitBytes + 1 - total));
    const count = readOnce(fd, chunk) ?? 0;
    if (count === 0) break;
    total += count;
    if (total > limitBytes) throw new SyscallError("read", E.EOVERFLOW, { limitBytes });
    chunks.push(chunk.subarray(0, count));
  }
  const all = new Uint8Array(total);
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

/** The st_mode, device and size fields of statx(2) that launch needs. */
export interface FileStatus {
  mode: number;
  uid: number;
  gid: number;
  inode: bigint;
  sizeBytes: number;
  deviceMajor: number;
  deviceMinor: number;
  /** Which mount it was reached by; 0 before Linux 5.8. */
  mountID: bigint;
}

export const S_IFMT = 0o170000,
  S_IFDIR = 0o040000,
  S_IFREG = 0o100000,
  S_IFCHR = 0o020000,
  S_IFLNK = 0o120000;

/** statx(2) of an open descriptor (also O_PATH) or, with `path`, of a name below it, not following a link. */
export function statusOf(fd: Fd, path = ""): FileStatus {
  const AT_SYMLINK_NOFOLLOW = 0x100,
    STATX_BASIC_STATS = 0x7ff,
    STATX_MNT_ID = 0x1000;
  const buffer = alloc(256);
  const flags = AT_SYMLINK_NOFOLLOW | (path ? 0 : AT_EMPTY_PATH);
  // SAFETY: struct statx is 256 bytes.
  check("statx", [fd.number, path, flags, STATX_BASIC_STATS | STATX_MNT_ID, buffer], { path });
  const view = new DataView(buffer.buffer);
  return {
    mode: view.getUint16(28, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    inode: view.getBigUint64(32, true),
    sizeBytes: Number(view.getBigUint64(40, true)),
    deviceMajor: view.getUint32(128, true),
    deviceMinor: view.getUint32(132, true),
    mountID: view.getBigUint64(144, true),
  };
}

/** statfs(2) of an open file (also O_PATH): whether nothing can be written where it lies. */
export function isOnReadOnlyMount(fd: Fd): boolean {
  const ST_RDONLY = 1;
  const buffer = alloc(120);
  // SAFETY: struct statfs is 120 bytes on both architectures, f_flags at 80.
  check("statfs", [`/proc/self/fd/${fd.number}`, buffer], { fd: fd.number });
  return (new DataView(buffer.buffer).getUint32(80, true) & ST_RDONLY) !== 0;
}

/**
 * A second descriptor of what an O_PATH descriptor stands for, with rights to read or write. INVARIANT: the same file,
 * whoever has put another one in its place meanwhile.
 */
export function reopen(fd: Fd, flags: number): Fd {
  return openPath(`/proc/self/fd/${fd.number}`, flags);
}
