// Calls on the entries of an open directory, by their raw names: what copying a tree needs. A name is one path component
// in bytes and ends in NUL, as the kernel gave it: file names need not be UTF-8. See getdents64(2), statx(2), xattr(7).
import { SyscallError } from "../errors.ts";
import { E } from "./errno.ts";
import { Fd } from "./fd.ts";
import { alloc, check, syscall } from "./ffi.ts";
import { AT_EMPTY_PATH, AT_FDCWD, O } from "./file.ts";

/** One path component, NUL-terminated. */
export type RawName = Uint8Array<ArrayBuffer>;

const AT_SYMLINK_NOFOLLOW = 0x100,
  AT_REMOVEDIR = 0x200,
  AT_SYMLINK_FOLLOW = 0x400;
const HERE: RawName = alloc(8);
const DIRENT_NAME = 19;

/** A copy with a stable address. */
function copyOf(bytes: Uint8Array): RawName {
  const copy = alloc(bytes.length).subarray(0, bytes.length);
  copy.set(bytes);
  return copy;
}

/** For messages only. */
export function showName(name: RawName): string {
  return new TextDecoder().decode(name.subarray(0, name.length - 1));
}

/** The names in a directory but `.` and `..`. Reads on from the descriptor's offset, so once per descriptor. */
export function readDirectory(directory: Fd): RawName[] {
  return [...eachName(directory)];
}

/** The same, read as they are asked for: of a directory of any size a few hundred names are in memory. */
export function* eachName(directory: Fd): Generator<RawName, void> {
  const buffer = alloc(32768);
  const view = new DataView(buffer.buffer);
  for (;;) {
    const length = check("getdents64", [directory.number, buffer, buffer.length]);
    if (length === 0) return;
    for (let offset = 0; offset < length; offset += view.getUint16(offset + 16, true)) {
      const start = offset + DIRENT_NAME;
      const name = copyOf(buffer.subarray(start, buffer.indexOf(0, start) + 1));
      const isDot = name.length <= 3 && name.subarray(0, -1).every((byte) => byte === 0x2e);
      if (!isDot) yield name;
    }
  }
}

/** What a copy keeps of a file. Times as statx(2) has them: seconds and nanoseconds. */
export interface EntryStatus {
  mode: number;
  uid: number;
  gid: number;
  links: number;
  /** `device:inode`: the same for all names of one file. */
  identity: string;
  sizeBytes: number;
  storedBytes: number;
  deviceMajor: number;
  deviceMinor: number;
  accessed: readonly [seconds: bigint, nanoseconds: number];
  modified: readonly [seconds: bigint, nanoseconds: number];
}

/** statx(2) of a name in a directory, not following a link; of the directory itself without a name. */
export function statEntry(directory: Fd, name: RawName | null): EntryStatus {
  const STATX_BASIC_STATS = 0x7ff;
  const buffer = alloc(256);
  const flags = AT_SYMLINK_NOFOLLOW | (name === null ? AT_EMPTY_PATH : 0);
  // SAFETY: struct statx is 256 bytes; the name ends in NUL.
  check("statx", [directory.number, name ?? HERE, flags, STATX_BASIC_STATS, buffer], {
    name: name ? showName(name) : "",
  });
  const view = new DataView(buffer.buffer);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  return {
    links: u32(16),
    uid: u32(20),
    gid: u32(24),
    mode: view.getUint16(28, true),
    identity: `${u32(136)}:${u32(140)}:${view.getBigUint64(32, true)}`,
    sizeBytes: Number(view.getBigUint64(40, true)),
    storedBytes: Number(view.getBigUint64(48, true)) * 512,
    accessed: [view.getBigInt64(64, true), u32(72)],
    modified: [view.getBigInt64(112, true), u32(120)],
    deviceMajor: u32(128),
    deviceMinor: u32(132),
  };
}

/** openat(2) of one name, never following a link, close-on-exec. */
export function openEntry(directory: Fd, name: RawName, flags: number, mode = 0): Fd {
  const all = flags | O.NOFOLLOW | O.CLOEXEC;
  return new Fd(check("openat", [directory.number, name, all, mode], { name: showName(name) }));
}

export function makeDirectoryEntry(directory: Fd, name: RawName, mode: number): void {
  check("mkdirat", [directory.number, name, mode], { name: showName(name) });
}

/** mknodat(2): a device, a FIFO or a socket. `mode` carries the type. */
export function makeNodeEntry(directory: Fd, name: RawName, mode: number, major: number, minor: number): void {
  check("mknodat", [directory.number, name, mode, deviceNumber(major, minor)], { name: showName(name) });
}

/** As the kernel takes it (new_encode_dev). */
export function deviceNumber(major: number, minor: number): bigint {
  return (BigInt(minor) & 0xffn) | ((BigInt(major) & 0xfffn) << 8n) | ((BigInt(minor) & ~0xffn) << 12n);
}

/** Copies a symbolic link's text from one directory into another. */
export function copySymlinkEntry(from: Fd, to: Fd, name: RawName): void {
  const target = alloc(4097);
  const length = check("readlinkat", [from.number, name, target, 4096], { name: showName(name) });
  // SAFETY: the buffer was zeroed and is one byte longer than the most that readlinkat writes: the text ends in NUL.
  target[length] = 0;
  check("symlinkat", [target, to.number, name], { name: showName(name) });
}

/** symlinkat(2). The text ends in NUL, like a name. */
export function makeSymlinkEntry(directory: Fd, name: RawName, target: RawName): void {
  check("symlinkat", [target, directory.number, name], { name: showName(name) });
}

/** readlinkat(2) of a symbolic link that was itself opened, with O.PATH and O.NOFOLLOW. */
export function readLink(link: Fd): Uint8Array<ArrayBuffer> {
  const target = alloc(4096);
  const length = check("readlinkat", [link.number, HERE, target, target.length]);
  return target.slice(0, length);
}

/** linkat(2) from one name to another. A symbolic link is not followed but gets the further name itself. */
export function linkName(from: Fd, existing: RawName, to: Fd, name: RawName): void {
  check("linkat", [from.number, existing, to.number, name, 0], { existing: showName(existing), name: showName(name) });
}

/** linkat(2): a further name for an open file (also one opened with O.PATH). */
export function linkEntry(file: Fd, directory: Fd, name: RawName): void {
  const path = `/proc/self/fd/${file.number}`;
  check("linkat", [AT_FDCWD, path, directory.number, name, AT_SYMLINK_FOLLOW], { name: showName(name) });
}

export function removeEntry(directory: Fd, name: RawName, isDirectory: boolean): void {
  check("unlinkat", [directory.number, name, isDirectory ? AT_REMOVEDIR : 0], { name: showName(name) });
}

/** fchownat(2) of a name, a symbolic link itself; of the open file without a name. */
export function setOwner(directory: Fd, name: RawName | null, uid: number, gid: number): void {
  const flags = AT_SYMLINK_NOFOLLOW | (name === null ? AT_EMPTY_PATH : 0);
  check("fchownat", [directory.number, name ?? HERE, uid, gid, flags], { uid, gid });
}

/** chmod(2) of an open file, also one opened with O.PATH, which fchmod(2) refuses. */
export function setMode(file: Fd, mode: number): void {
  check("fchmodat", [AT_FDCWD, `/proc/self/fd/${file.number}`, mode & 0o7777], { mode });
}

/** utimensat(2) of a name, a symbolic link itself; of the open file without a name. */
export function setTimes(
  directory: Fd,
  name: RawName | null,
  status: Pick<EntryStatus, "accessed" | "modified">,
): void {
  const times = alloc(32);
  const view = new DataView(times.buffer);
  for (const [index, [seconds, nanoseconds]] of [status.accessed, status.modified].entries()) {
    view.setBigInt64(index * 16, seconds, true);
    view.setBigInt64(index * 16 + 8, BigInt(nanoseconds), true);
  }
  // SAFETY: two struct timespec are 32 bytes. A null name means the open file itself (futimens).
  check("utimensat", [directory.number, name, times, name === null ? 0 : AT_SYMLINK_NOFOLLOW]);
}

const XATTR_LIST_MAX = 65536;

/** All extended attributes of an open file; none where the file system has no such thing. Names end in NUL. */
export function readAttributes(file: Fd): { name: RawName; value: Uint8Array<ArrayBuffer> }[] {
  const list = alloc(XATTR_LIST_MAX);
  const length = syscall("flistxattr", file.number, list, list.length);
  if (length === -E.EOPNOTSUPP) return [];
  if (length < 0) throw new SyscallError("flistxattr", -length, {});
  const found: { name: RawName; value: Uint8Array<ArrayBuffer> }[] = [];
  for (let start = 0; start < length;) {
    const end = list.indexOf(0, start) + 1;
    const name = copyOf(list.subarray(start, end));
    start = end;
    const value = alloc(XATTR_LIST_MAX);
    const size = syscall("fgetxattr", file.number, name, value, value.length);
    if (size === -E.ENODATA) continue;
    if (size < 0) throw new SyscallError("fgetxattr", -size, { name: showName(name) });
    found.push({ name, value: value.slice(0, size) });
  }
  return found;
}

/** One extended attribute of an open file, up to 64 KiB; null where there is none. */
export function readAttribute(file: Fd, name: string): Uint8Array<ArrayBuffer> | null {
  const size = syscall("fgetxattr", file.number, name, null, 0);
  if (size < 0) return null;
  const value = alloc(XATTR_LIST_MAX);
  const length = syscall("fgetxattr", file.number, name, value, value.length);
  return length < 0 ? null : value.slice(0, length);
}

/** fsetxattr(2); false where the file system cannot hold it. */
export function writeAttribute(file: Fd, name: RawName, value: Uint8Array<ArrayBuffer>): boolean {
  const result = syscall("fsetxattr", file.number, name, copyOf(value), value.length, 0);
  if (result === -E.EOPNOTSUPP) return false;
  if (result < 0) throw new SyscallError("fsetxattr", -result, { name: showName(name) });
  return true;
}

/** copy_file_range(2) at explicit offsets; 0 at the end; null where these two files cannot be copied in the kernel. */
export function copyRange(from: Fd, to: Fd, offset: number, lengthBytes: number): number | null {
  const positions = [alloc(8), alloc(8)] as const;
  for (const position of positions) new DataView(position.buffer).setBigInt64(0, BigInt(offset), true);
  const result = syscall("copy_file_range", from.number, positions[0], to.number, positions[1], lengthBytes, 0);
  if (result === -E.EXDEV || result === -E.EINVAL || result === -E.EOPNOTSUPP || result === -E.ENOSYS) return null;
  if (result < 0) throw new SyscallError("copy_file_range", -result, { offset, lengthBytes });
  return result;
}

const SEEK_SET = 0,
  SEEK_DATA = 3,
  SEEK_HOLE = 4;

/** lseek(2): where the next read or write of this descriptor goes. */
export function seekTo(file: Fd, offset: number): void {
  check("lseek", [file.number, offset, SEEK_SET], { offset });
}

/** The next stretch of data at or after an offset, for files with holes; null when only a hole is left. */
export function nextData(file: Fd, offset: number): { start: number; end: number } | null {
  const start = syscall("lseek", file.number, offset, SEEK_DATA);
  if (start === -E.ENXIO) return null;
  if (start < 0) throw new SyscallError("lseek", -start, { offset });
  return { start, end: check("lseek", [file.number, start, SEEK_HOLE], { offset: start }) };
}

export function truncateTo(file: Fd, sizeBytes: number): void {
  check("ftruncate", [file.number, sizeBytes], { sizeBytes });
}
