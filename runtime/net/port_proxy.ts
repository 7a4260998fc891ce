// Carries connections that NAT cannot: those to a published port on [::] or ::1 of a container that has only IPv4, to ::1
// at all (IPv6 has no route_localnet), and every one when the engine is told to leave the packet filter alone. It serves
// the very socket that reserves the port. Bounded in connections and sessions; a slow side slows the other down.
import { createSocket, type RemoteInfo, type Socket as DatagramSocket } from "node:dgram";
import { connect, createServer, type Socket } from "node:net";
import type { Fd } from "../sys/fd.ts";

export interface ProxyTarget {
  /** An address of the container. */
  host: string;
  port: number;
}

/** Connections carried at once by one port; further ones wait in the socket's queue. */
const MAX_CONNECTIONS = 4096;
/** UDP clients of one port at once; datagrams of further ones are dropped, as a full NAT table would. */
const MAX_SESSIONS = 1024;
/** A UDP client that says and hears nothing for this long is forgotten. */
const SESSION_IDLE_MS = 90_000;

/** Serves a listening TCP socket. Takes it over; disposing closes it with every connection. */
export function proxyTCP(listener: Fd, target: ProxyTarget): Disposable {
  const open = new Set<Socket>();
  const track = (socket: Socket): void => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
  };
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (client) => {
    const upstream = connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true });
    track(client);
    track(upstream);
    // An error is always followed by `close`, and either side's end is the other's: nothing to report to anybody.
    client.on("error", () => {});
    upstream.on("error", () => client.resetAndDestroy());
    client.once("close", () => upstream.destroy());
    upstream.once("close", () => client.destroy());
    upstream.once("connect", () => {
      client.pipe(upstream);
      upstream.pipe(client);
      client.resume();
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.on("error", () => {});
  server.listen({ fd: listener.release() });
  return {
    [Symbol.dispose]() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

interface Session {
  upstream: DatagramSocket;
  idle: ReturnType<typeof setTimeout>;
}

/** Serves a bound UDP socket: one socket towards the container for each client, so that answers find their way back. */
export function proxyUDP(socket: Fd, family: 4 | 6, target: ProxyTarget): Disposable {
  const sessions = new Map<string, Session>();
  const server = createSocket({ type: family === 4 ? "udp4" : "udp6", ipv6Only: family === 6 });
  const end = (key: string): void => {
    const session = sessions.get(key);
    if (session === undefined) return;
    sessions.delete(key);
    clearTimeout(session.idle);
    session.upstream.close();
  };
  const sessionOf = (key: string, client: RemoteInfo): Session | null => {
    const known = sessions.get(key);
    if (known !== undefined) return known;
    if (sessions.size >= MAX_SESSIONS) return null;
    const upstream = createSocket(target.host.includes(":") ? "udp6" : "udp4");
    const session: Session = { upstream, idle: setTimeout(() => end(key), SESSION_IDLE_MS) };
    session.idle.unref();
    upstream.on("message", (data) => {
      session.idle.refresh();
      server.send(data, client.port, client.address);
    });
    upstream.on("error", () => end(key));
    sessions.set(key, session);
    return session;
  };
  server.on("message", (data, client) => {
    const session = sessionOf(`${client.address} ${client.port}`, client);
    if (session === null) return;
    session.idle.refresh();
    session.upstream.send(data, target.port, target.host);
  });
  server.on("error", () => {});
  server.bind({ fd: socket.release() });
  return {
    [Symbol.dispose]() {
      for (const key of sessions.keys()) end(key);
      server.close();
    },
  };
}
