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
export const SO = { REUSEADDR: 2, SNDBUFFORCE: 32, RCVBUFFORCE: 33 } as const;
export const IPV6_V6ONLY = 26;
const MSG_DONTWAIT = 0x40;
const MSG_TRUNC = 0x20;

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
