// Sockets that the engine listens on: unix, TCP, TCP with TLS, and those that a service manager hands over (fd://).
// One server for all of them; closing it lets running requests end within a bound.
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { type AddressInfo, connect, createServer, type ListenOptions, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import process from "node:process";
import { createServer as createTLSServer, type TlsOptions } from "node:tls";
import { invalid } from "../errors.ts";
import { MAX_CONNECTIONS, TCP_PROBE_MS } from "../limits.ts";
import type { Log } from "../log.ts";
import { Connection, DEFAULT_TIMEOUTS, type Fetch, type Timeouts } from "./connection.ts";
import { headerLines } from "./response_head.ts";

export type Host =
  | { kind: "unix"; path: string }
  | { kind: "tcp"; host: string; port: number }
  /** null: all that were handed over. */
  | { kind: "fd"; fd: number | null };

/** PEM files. `verifies`: clients need a certificate that the CA signed. */
interface TLSFiles {
  isOn: boolean;
  verifies: boolean;
  caFile: string;
  certFile: string;
  keyFile: string;
}

export interface ListenDeps {
  fetch: Fetch;
  /** On every reply: see version.ts. */
  commonHeaders: Readonly<Record<string, string>>;
  log: Log;
  now: () => number;
  tls: TLSFiles;
  /** Name or number of the group that may use unix sockets; "" leaves it. */
  group: string;
  /** Descriptors from socket activation, in order. */
  inheritedFds: readonly number[];
  maxConnections?: number;
  timeouts?: Partial<Timeouts>;
}

export interface HttpServer {
  /** Where it listens, in the spelling of `hosts`, with the real port where 0 was asked for. */
  readonly addresses: readonly string[];
  readonly connections: number;
  /** Stops accepting, ends idle connections, and gives requests that run this long; then cuts what is left. */
  close(graceMs: number): Promise<void>;
}

const BACKLOG = 1024;
/** struct sockaddr_un has 108 bytes for the path and its NUL. */
const MAX_SOCKET_PATH_BYTES = 107;

/** `unix:///path`, `tcp://[host][:port]`, `fd://[number]`. Throws `invalid`. */
export function parseHost(text: string, hasTLS: boolean): Host {
  const [, scheme, rest = ""] = /^(\w+):\/\/(.*)$/.exec(text) ?? [];
  if (scheme === "unix" && rest.startsWith("/")) return { kind: "unix", path: rest };
  if (scheme === "fd" && /^(\*|\d*)$/.test(rest))
    return { kind: "fd", fd: rest === "" || rest === "*" ? null : Number(rest) };
  if (scheme === "tcp") {
    const parts = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]/]*))(?::(\d{1,5}))?\/?$/.exec(rest);
    const port = parts?.[3] === undefined ? (hasTLS ? 2376 : 2375) : Number(parts[3]);
    if (parts && port <= 65535) return { kind: "tcp", host: parts[1] ?? (parts[2] || "127.0.0.1"), port };
  }
  throw invalid(`cannot listen on "${text}": expected unix:///path, tcp://host:port or fd://`);
}

/** Listens on all hosts, or on none: the first that cannot be had throws, and the others are closed again. */
export async function listenAll(hosts: readonly string[], deps: ListenDeps): Promise<HttpServer> {
  const open = new OpenServer(deps);
  try {
    for (const host of hosts) await open.listen(parseHost(host, deps.tls.isOn));
    return open;
  } catch (error) {
    await open.close(0);
    throw error;
  }
}

class OpenServer implements HttpServer {
  readonly addresses: string[] = [];
  readonly #listeners: { server: Server; release: () => void }[] = [];
  readonly #connections = new Set<Connection>();
  readonly #sweeper: NodeJS.Timeout;
  readonly #common: string;
  readonly #date: () => string;
  #whenEmpty: (() => void) | null = null;

  constructor(private readonly deps: ListenDeps) {
    this.#common = headerLines(deps.commonHeaders);
    this.#date = dateText(deps.now);
    const headMs = deps.timeouts?.headMs ?? DEFAULT_TIMEOUTS.headMs;
    this.#sweeper = setInterval(() => this.#sweep(), Math.min(5_000, Math.max(10, headMs / 4)));
    this.#sweeper.unref();
  }

  get connections(): number {
    return this.#connections.size;
  }

  async listen(host: Host): Promise<void> {
    switch (host.kind) {
      case "unix":
        return await this.#listenUnix(host.path);
      case "tcp":
        return await this.#listenTCP(host);
      case "fd": {
        const fds = this.deps.inheritedFds.filter((fd) => host.fd === null || fd === host.fd);
        if (fds.length === 0) throw invalid("cannot listen on fd://: no sockets were handed over (LISTEN_FDS)");
        for (const fd of fds) {
          await this.#open(this.#plainServer(), { fd }, () => {});
          this.addresses.push(`fd://${fd}`);
        }
      }
    }
  }

  async #listenUnix(path: string): Promise<void> {
    if (new TextEncoder().encode(path).length > MAX_SOCKET_PATH_BYTES) {
      throw invalid(`cannot listen on "${path}": the path of a unix socket has at most ${MAX_SOCKET_PATH_BYTES} bytes`);
    }
    mkdirSync(dirname(path), { recursive: true });
    await removeStaleSocket(path);
    const gid = this.deps.group === "" ? null : groupID(this.deps.group, this.deps.log);
    // The socket is made under this mask, so that there is no moment in which others could connect.
    const umask = process.umask(0o117);
    try {
      const listening = this.#open(this.#plainServer(), { path }, () => removeOwnSocket(path, inode));
      process.umask(umask);
      await listening;
    } finally {
      process.umask(umask);
    }
    const inode = statSync(path).ino;
    chmodSync(path, 0o660);
    if (gid !== null) chownSync(path, process.getuid?.() ?? 0, gid);
    this.addresses.push(`unix://${path}`);
  }

  async #listenTCP(host: { host: string; port: number }): Promise<void> {
    const { tls } = this.deps;
    if (!tls.isOn)
      this.deps.log.warn("anyone who reaches this port controls the machine", { host: host.host, port: host.port });
    const server = tls.isOn ? this.#tlsServer() : this.#plainServer();
    await this.#open(server, { host: host.host, port: host.port }, () => {});
    const { address, family, port } = server.address() as AddressInfo;
    this.addresses.push(`tcp://${family === "IPv6" ? `[${address}]` : address}:${port}`);
  }

  #plainServer(): Server {
    return createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#accept(socket));
  }

  #tlsServer(): Server {
    const { caFile, certFile, keyFile, verifies } = this.deps.tls;
    const options: TlsOptions & { allowHalfOpen: boolean; noDelay: boolean } = {
      allowHalfOpen: true,
      noDelay: true,
      key: readFileSync(keyFile),
      cert: readFileSync(certFile),
      ...(verifies ? { ca: readFileSync(caFile), requestCert: true, rejectUnauthorized: true } : {}),
      minVersion: "TLSv1.2",
      ALPNProtocols: ["http/1.1"],
    };
    const server = createTLSServer(options, (socket) => this.#accept(socket));
    server.on("tlsClientError", (error) => this.deps.log.debug("TLS handshake failed", { error }));
    return server;
  }

  async #open(server: Server, options: ListenOptions & { fd?: number }, release: () => void): Promise<void> {
    const listening = once(server, "listening");
    server.listen({ ...options, backlog: BACKLOG });
    await listening;
    server.on("error", (error) => this.deps.log.error("accepting failed", { error }));
    this.#listeners.push({ server, release });
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= (this.deps.maxConnections ?? MAX_CONNECTIONS)) {
      this.deps.log.warn("too many connections", { open: this.#connections.size });
      socket.on("error", () => {});
      socket.destroy();
      return;
    }
    // A peer that vanished without a word, and one that closed while nothing was being written, are found by the probes.
    socket.setKeepAlive(true, TCP_PROBE_MS);
    const { fetch, log, now, timeouts } = this.deps;
    const connection = new Connection(socket, {
      fetch,
      log,
      now,
      date: this.#date,
      common: this.#common,
      ...(timeouts ? { timeouts } : {}),
    });
    this.#connections.add(connection);
    socket.once("close", () => {
      this.#connections.delete(connection);
      if (this.#connections.size === 0) this.#whenEmpty?.();
    });
    void connection.serve();
  }

  #sweep(): void {
    const now = this.deps.now();
    for (const connection of this.#connections) {
      if (connection.deadline !== null && connection.deadline <= now) connection.expire();
    }
  }

  async close(graceMs: number): Promise<void> {
    clearInterval(this.#sweeper);
    for (const { server, release } of this.#listeners.splice(0)) {
      server.close();
      release();
    }
    const { promise: isEmpty, resolve } = Promise.withResolvers<void>();
    this.#whenEmpty = resolve;
    for (const connection of this.#connections) connection.drain();
    if (this.#connections.size === 0) return;
    const timer = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy();
    }, graceMs);
    await isEmpty;
    clearTimeout(timer);
  }
}

/** The Date header's text, made once a second: it costs as much as the rest of a head. */
function dateText(now: () => number): () => string {
  let second = NaN;
  let text = "";
  return () => {
    const current = Math.floor(now() / 1000);
    if (current !== second) {
      second = current;
      text = new Date(current * 1000).toUTCString();
    }
    return text;
  };
}

/** A socket file that nobody answers on is left from a daemon that was killed; one that answers is somebody's. */
async function removeStaleSocket(path: string): Promise<void> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw invalid(`cannot listen on "${path}": it exists and is not a socket`);
  if (await isAnswered(path)) throw invalid(`cannot listen on "${path}": another process listens there`);
  rmSync(path);
}

function isAnswered(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect({ path });
  socket.once("connect", () => {
    socket.destroy();
    resolve(true);
  });
  socket.once("error", () => resolve(false));
  return promise;
}

/** Only ours: a later daemon may have put its own in place. */
function removeOwnSocket(path: string, inode: number): void {
  if (statSync(path, { throwIfNoEntry: false })?.ino === inode) rmSync(path, { force: true });
}

/** COMPAT: like dockerd, the default group may be missing (root alone then); another one may not. */
function groupID(group: string, log: Log): number | null {
  if (/^\d+$/.test(group)) return Number(group);
  // A machine without the file has no groups: a container, an initramfs.
  const groups = existsSync("/etc/group") ? readFileSync("/etc/group", "utf8") : "";
  const line = groups.split("\n").find((each) => each.startsWith(`${group}:`));
  const gid = line?.split(":")[2];
  if (gid !== undefined && /^\d+$/.test(gid)) return Number(gid);
  if (group !== "docker") throw invalid(`cannot listen: there is no group "${group}"`);
  log.warn("there is no group docker: only root may use the socket");
  return null;
}
