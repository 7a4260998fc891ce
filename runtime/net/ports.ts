// Reservations of published ports: a real socket in the host's network namespace for each, so that other programs and we
// see each other's claims. NAT takes the packets before they reach it, or a proxy serves it.
import type { Fd } from "../sys/fd.ts";
import {
  AF,
  bindSocket,
  IPPROTO,
  IPV6_V6ONLY,
  listenSocket,
  openSocket,
  setIntOption,
  SO,
  SOCK,
  SOL,
} from "../sys/socket.ts";
import { type Address, addressBytes } from "./address.ts";
import type { Protocol } from "./firewall.ts";
import { proxyTCP, type ProxyTarget, proxyUDP } from "./port_proxy.ts";

/** A port held on this host until disposed. */
export interface PortReservation extends Disposable {
  /** From now on the reservation's own socket carries connections to the target. */
  serve(target: ProxyTarget): void;
}

/** Connections that wait while a proxy is behind; a reservation that NAT serves needs no queue. */
const BACKLOG = 511;

/**
 * Binds `hostIP:port`. Throws SyscallError: EADDRINUSE when another socket has it, EADDRNOTAVAIL when the address is not
 * this host's, EAFNOSUPPORT without IPv6. SCTP is not reserved: the module may be absent, and NAT needs no socket.
 */
export function reservePort(protocol: Protocol, hostIP: Address, port: number): PortReservation {
  if (protocol === "sctp") return { serve() {}, [Symbol.dispose]() {} };
  const socket = openReservation(protocol, hostIP, port);
  let proxy: Disposable | null = null;
  return {
    serve(target) {
      proxy ??= protocol === "tcp" ? proxyTCP(socket, target) : proxyUDP(socket, hostIP.family, target);
    },
    [Symbol.dispose]() {
      proxy?.[Symbol.dispose]();
      socket.close();
    },
  };
}

function openReservation(protocol: "tcp" | "udp", hostIP: Address, port: number): Fd {
  const isTCP = protocol === "tcp";
  const socket = openSocket(
    hostIP.family === 4 ? AF.INET : AF.INET6,
    (isTCP ? SOCK.STREAM : SOCK.DGRAM) | SOCK.NONBLOCK,
    isTCP ? IPPROTO.TCP : IPPROTO.UDP,
  );
  try {
    if (hostIP.family === 6) setIntOption(socket, IPPROTO.IPV6, IPV6_V6ONLY, 1);
    // A port in TIME_WAIT is free. For UDP the option would let two programs share the port.
    if (isTCP) setIntOption(socket, SOL.SOCKET, SO.REUSEADDR, 1);
    bindSocket(socket, addressBytes(hostIP), port);
    // WHY: two sockets with SO_REUSEADDR may both be bound; only listening makes the port ours alone.
    if (isTCP) listenSocket(socket, BACKLOG);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}
