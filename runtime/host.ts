// What the daemon's own process asks of the host beside containers: a lock on a file, a datagram to the service manager, and
// the sockets it was started with. See flock(2), unix(7), sd_notify(3), sd_listen_fds(3).
import { readFileSync } from "node:fs";
import { SyscallError } from "./errors.ts";
import { E } from "./sys/errno.ts";
import { Fd } from "./sys/fd.ts";
import { addressOf, alloc, check, syscall } from "./sys/ffi.ts";
import { O, openPath, writeAll } from "./sys/file.ts";

const LOCK_EX = 2,
  LOCK_NB = 4;
const AF_UNIX = 1,
  SOCK_DGRAM = 2,
  SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1,
  SCM_RIGHTS = 1;
const SUN_PATH_BYTES = 108;
const F_GETFD = 1,
  F_SETFD = 2,
  FD_CLOEXEC = 1;
const MSG_NOSIGNAL = 0x4000,
  MSG_DONTWAIT = 0x40;

/** A lock file that we hold, or whose it is. */
export type LockResult = { held: FileLock } | { heldBy: string };

/** An exclusive lock: the kernel frees it with the process that holds it, however that ends. The file says whose it is. */
export class FileLock implements Disposable {
  readonly #file: Fd;
  constructor(file: Fd) {
    this.#file = file;
  }
  /** Frees the lock; the file stays. WHY: removing it would let two others lock two files of one name. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Takes the lock on `path` (made when absent) and writes `text`, our process ID, into it. Never waits. */
export function lockFile(path: string, text: string): LockResult {
  const file = openPath(path, O.RDWR | O.CREAT, 0o644);
  try {
    const result = syscall("flock", file.number, LOCK_EX | LOCK_NB);
    if (result === -E.EAGAIN) {
      file.close();
      return { heldBy: readFileSync(path, "utf8").trim() };
    }
    if (result < 0) throw new SyscallError("flock", -result, { path });
    check("ftruncate", [file.number, 0], { path });
    writeAll(file, new TextEncoder().encode(text));
    return { held: new FileLock(file) };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Sends one datagram to a unix socket: a path, or `@name` in the abstract namespace. Never waits. */
export function sendUnixDatagram(address: string, content: string | Uint8Array): void {
  const name = unixAddress(address);
  using socket = new Fd(check("socket", [AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0]));
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const message = alloc(bytes.length);
  message.set(bytes);
  // SAFETY: `message` and `name` are as long as said and referenced until the call returns.
  check("sendto", [socket.number, message, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT, name, name.length], { address });
}

/**
 * Sends a descriptor in an empty datagram: sendmsg(2) with SCM_RIGHTS (unix(7)). The layouts are those of every 64-bit Linux.
 *
 *   struct msghdr  { void *name │ u32 namelen, pad │ iovec *iov │ u64 iovlen │ void *control │ u64 controllen │ i32 flags, pad }
 *   struct cmsghdr { u64 len │ i32 level │ i32 type │ i32 fd, pad }
 */
export function sendDescriptor(address: string, descriptor: Fd): void {
  const name = unixAddress(address);
  using socket = new Fd(check("socket", [AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0]));
  const control = alloc(24);
  const controlView = new DataView(control.buffer);
  controlView.setBigUint64(0, 20n, true);
  controlView.setInt32(8, SOL_SOCKET, true);
  controlView.setInt32(12, SCM_RIGHTS, true);
  controlView.setInt32(16, descriptor.number, true);
  const header = alloc(56);
  const view = new DataView(header.buffer);
  view.setBigUint64(0, BigInt(addressOf(name)), true);
  view.setUint32(8, name.length, true);
  view.setBigUint64(32, BigInt(addressOf(control)), true);
  view.setBigUint64(40, BigInt(control.length), true);
  // SAFETY: header, control and name are referenced here until the call returns.
  check("sendmsg", [socket.number, header, MSG_NOSIGNAL | MSG_DONTWAIT], { address });
  keep(control, name);
}

/** SAFETY: what a structure points at lives at least until here. */
function keep(..._bytes: Uint8Array[]): void {}

/** struct sockaddr_un {u16 family; char path[108]}, as long as it needs to be. */
function unixAddress(address: string): Uint8Array<ArrayBuffer> {
  const path = new TextEncoder().encode(address);
  if (path.length >= SUN_PATH_BYTES) throw new SyscallError("sendto", E.ENAMETOOLONG, { address });
  const isAbstract = address.startsWith("@");
  // A path ends with NUL; an abstract name is counted, and starts with NUL instead of "@".
  const bytes = new Uint8Array(new ArrayBuffer(2 + path.length + (isAbstract ? 0 : 1)));
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  bytes.set(path, 2);
  if (isAbstract) bytes[2] = 0;
  return bytes;
}

/** Makes a descriptor we were started with close-on-exec, so that no child inherits it. False: there is no such descriptor. */
export function setCloseOnExec(descriptor: number): boolean {
  const flags = syscall("fcntl", descriptor, F_GETFD);
  return flags >= 0 && syscall("fcntl", descriptor, F_SETFD, flags | FD_CLOEXEC) >= 0;
}
