// Sockets as the daemon needs them beside node:net: netlink, and the reservations of published ports. See socket(2),
// bind(2), ip(7), ipv6(7), netlink(7).
import { SyscallError } from "../errors.ts";
import { E } from "./errno.ts";
import { Fd } from "./fd.ts";
import { alloc, check, syscall } from "./ffi.ts";

export const AF = { UNIX: 1, INET: 2, INET6: 10, NETLINK: 16 } as const;
export const SOCK = { STREAM: 1, DGRAM: 2, RAW: 3, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;
export const IPPROTO = { TCP: 6, UDP: 17, IPV6: 41, SCTP: 132 } as const;
export const SOL = { SOCKET: 1, NETLINK: 270 } as const;
export const SO = { REUSEADDR: 2, ERROR: 4, SNDBUFFORCE: 32, RCVBUFFORCE: 33 } as const;
export const IPV6_V6ONLY = 26;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;

/** socket(2), close-on-exec. */
export function openSocket(family: number, type: number, protocol: number): Fd {
  return new Fd(check("socket", [family, type | SOCK.CLOEXEC, protocol], { family, type, protocol }));
}

/** setsockopt(2) with an int. */
export function setIntOption(socket: Fd, level: number, option: number, value: number): void {
  check("setsockopt", [socket.number, level, option, intBytes(value), 4], { level, option, value });
}

/** The same where the kernel or our privileges may say no and we can live with it. */
export function trySetIntOption(socket: Fd, level: number, option: number, value: number): boolean {
  return syscall("setsockopt", socket.number, level, option, intBytes(value), 4) >= 0;
}

function intBytes(value: number): Uint8Array {
  const bytes = alloc(4);
  new DataView(bytes.buffer).setInt32(0, value, true);
  return bytes;
}

/** bind(2) to an internet address of 4 or 16 bytes. Throws SyscallError: EADDRINUSE, EADDRNOTAVAIL, EACCES. */
export function bindSocket(socket: Fd, address: Uint8Array, port: number): void {
  const name = internetAddress(address, port);
  check("bind", [socket.number, name, name.length], { port });
}

/** bind(2) of a netlink socket to multicast groups (a mask), at a port number of the kernel's choice. */
export function bindNetlink(socket: Fd, groups: number): void {
  // struct sockaddr_nl: u16 family | u16 pad | u32 port | u32 groups.
  const name = alloc(12);
  const view = new DataView(name.buffer);
  view.setUint16(0, AF.NETLINK, true);
  view.setUint32(8, groups, true);
  check("bind", [socket.number, name, name.length], { groups });
}

/** The port number of a netlink socket, by getsockname(2): the kernel names the sender of a change by it. 0: not bound yet. */
export function netlinkPort(socket: Fd): number {
  const name = alloc(12),
    size = alloc(4);
  size[0] = 12;
  check("getsockname", [socket.number, name, size]);
  return new DataView(name.buffer).getUint32(4, true);
}

export function listenSocket(socket: Fd, backlog: number): void {
  check("listen", [socket.number, backlog], { backlog });
}

/** struct sockaddr_in or sockaddr_in6 (netinet/in.h): port and address in network order. */
export function internetAddress(address: Uint8Array, port: number): Uint8Array {
  const isV4 = address.length === 4;
  const bytes = alloc(isV4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, isV4 ? AF.INET : AF.INET6, true);
  view.setUint16(2, port, false);
  bytes.set(address, isV4 ? 4 : 8);
  return bytes;
}

/** struct sockaddr_in6 with the interface that a link-local address is on. */
export function scopedAddress(address: Uint8Array, port: number, scopeID: number): Uint8Array {
  const bytes = internetAddress(address, port);
  if (scopeID > 0) new DataView(bytes.buffer, bytes.byteOffset).setUint32(24, scopeID, true);
  return bytes;
}

/** connect(2) on a non-blocking socket: of a stream, the connection is under way when this returns. */
export function connectSocket(socket: Fd, name: Uint8Array): void {
  const result = syscall("connect", socket.number, name, name.length);
  if (result < 0 && result !== -E.EINPROGRESS) throw new SyscallError("connect", -result);
}

/** SO_ERROR of getsockopt(2), which it clears: how a connection attempt has ended; 0: well. */
export function pendingError(socket: Fd): number {
  const value = alloc(4),
    size = alloc(4);
  size[0] = 4;
  check("getsockopt", [socket.number, SOL.SOCKET, SO.ERROR, value, size]);
  return new DataView(value.buffer).getInt32(0, true);
}

/** The port that a bound internet socket has, by getsockname(2). */
export function localPort(socket: Fd): number {
  const name = alloc(28),
    size = alloc(4);
  size[0] = 28;
  check("getsockname", [socket.number, name, size]);
  return new DataView(name.buffer).getUint16(2, false);
}

/** Room for any internet address, with its length in front as recvfrom(2) wants and leaves it. */
export interface PeerAddress {
  bytes: Uint8Array<ArrayBuffer>;
  size: Uint8Array<ArrayBuffer>;
}

export function peerAddress(): PeerAddress {
  return { bytes: alloc(28), size: alloc(4) };
}

/** One datagram and its sender; null when none waits. A datagram longer than the buffer is cut. Never blocks. */
export function receiveFrom(socket: Fd, buffer: Uint8Array, peer: PeerAddress): number | null {
  for (;;) {
    peer.size[0] = peer.bytes.length;
    // SAFETY: the kernel writes at most buffer.length and 28 bytes; all three are `alloc`ed by their owner.
    const length = syscall("recvfrom", socket.number, buffer, buffer.length, MSG_DONTWAIT, peer.bytes, peer.size);
    if (length === -E.EINTR) continue;
    if (length === -E.EAGAIN) return null;
    if (length < 0) throw new SyscallError("recvfrom", -length);
    return length;
  }
}

/** One datagram to a peer (null: the connected one). False when there is no room for it, or nobody there: it is lost, as datagrams are. */
export function sendDatagram(socket: Fd, bytes: Uint8Array, sizeBytes: number, peer: PeerAddress | null): boolean {
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  // SAFETY: `alloc`ed by their owners, and read during the call only.
  return syscall("sendto", socket.number, bytes, sizeBytes, flags, peer?.bytes ?? null, peer?.size[0] ?? 0) >= 0;
}

/** write(2) of what there is room for on a stream; 0: none. Throws once the other side has gone. */
export function sendSome(socket: Fd, bytes: Uint8Array): number {
  // SAFETY: `alloc`ed by its owner, or a part of such a one.
  const sent = syscall("sendto", socket.number, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
  if (sent === -E.EAGAIN || sent === -E.EINTR) return 0;
  if (sent < 0) throw new SyscallError("sendto", -sent);
  return sent;
}

/** What has come on a stream: null when nothing waits, 0 at its end. */
export function receiveSome(socket: Fd, buffer: Uint8Array): number | null {
  const length = syscall("recvfrom", socket.number, buffer, buffer.length, MSG_DONTWAIT, 0, 0);
  if (length === -E.EAGAIN || length === -E.EINTR) return null;
  if (length < 0) throw new SyscallError("recvfrom", -length);
  return length;
}

/** sendto(2) without an address: on a netlink socket, to the kernel, which acts before this returns. */
export function sendAll(socket: Fd, bytes: Uint8Array, sizeBytes: number): void {
  for (;;) {
    // SAFETY: the buffer is `alloc`ed by its owner, at least sizeBytes long, and only read during the call.
    const sent = syscall("sendto", socket.number, bytes, sizeBytes, 0, 0, 0);
    if (sent === -E.EINTR) continue;
    if (sent < 0) throw new SyscallError("sendto", -sent, { sizeBytes });
    if (sent !== sizeBytes) throw new SyscallError("sendto", E.EPROTO, { sizeBytes, sent });
    return;
  }
}

/** One datagram, or null when none waits. Never blocks. Throws ENOBUFS when the kernel dropped some, EPROTO when it was cut. */
export function receive(socket: Fd, buffer: Uint8Array): number | null {
  for (;;) {
    // SAFETY: the kernel writes at most buffer.length bytes; the buffer is `alloc`ed by its owner.
    const length = syscall("recvfrom", socket.number, buffer, buffer.length, MSG_DONTWAIT | MSG_TRUNC, 0, 0);
    if (length === -E.EINTR) continue;
    if (length === -E.EAGAIN) return null;
    if (length < 0) throw new SyscallError("recvfrom", -length);
    if (length > buffer.length) throw new SyscallError("recvfrom", E.EPROTO, { length, room: buffer.length });
    return length;
  }
}
