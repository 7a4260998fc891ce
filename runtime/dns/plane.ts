// The resolvers of all containers: for each, a UDP and a TCP socket in its network namespace, and rules there that lead
// 127.0.0.11:53 to them. All are served by the daemon's own event loop: no process, no thread, nothing on the host's network.
//
//   program ──▶ 127.0.0.11:53 ──nat rule──▶ 127.0.0.11:random ──poller──▶ resolve() ──▶ its networks' names
//                                                                            └───────▶ upstream servers
//
// WHY not port 53 itself: a DNS server in a container binds 0.0.0.0:53, which would collide.
// INVARIANT: a socket keeps its network namespace alive, so a container's are closed when it ends.
import { createServer, type Server, type Socket } from "node:net";
import { SyscallError } from "../errors.ts";
import { parseAddress } from "../net/address.ts";
import { addressBytes } from "../net/address.ts";
import { NETLINK } from "../net/netlink.ts";
import { destinationIn, destinationPort, dnat, rule, type Table } from "../net/nft_rule.ts";
import { NftablesClient } from "../net/nftables.ts";
import { boundSocketIn, socketIn } from "../program/batch.ts";
import { createPoller, type Poller } from "../stdio/poller.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { alloc } from "../sys/ffi.ts";
import {
  AF,
  internetAddress,
  IPPROTO,
  localPort,
  peerAddress,
  receiveFrom,
  sendDatagram,
  SOCK,
} from "../sys/socket.ts";
import { createForwarder, type Shared } from "./forwarder.ts";
import { MESSAGE_BYTES_MAX } from "./message.ts";
import { type NameSource, resolve, type Transport } from "./resolver.ts";
import { serveStream, type Answerer } from "./stream.ts";

export interface DNSPlane {
  /** Serves a sandbox until disposed. Its descriptor is duplicated. Throws SyscallError; nothing is left then. */
  serve(sandbox: Fd, names: NameSource): Disposable;
  close(): void;
}

/** COMPAT: where Docker's resolver is; programs and images have it written down. */
export const RESOLVER_ADDRESS = "127.0.0.11";
const DNS_PORT = 53;
const TABLE = "berth_dns";
const DSTNAT = -100;
const BACKLOG = 128;
/** Datagrams of one container that are read before others get their turn. */
const READ_AT_ONCE = 64;

export interface DNSPlaneDeps {
  /** Unpredictable bytes. */
  random(count: number): Uint8Array;
  onError(error: unknown): void;
}

export function createDNSPlane(deps: DNSPlaneDeps): DNSPlane {
  let poller: Poller | null = null;
  const shared: Shared = { inFlight: 0, buffer: alloc(MESSAGE_BYTES_MAX) };
  return {
    serve(sandbox, names) {
      poller ??= createPoller((error) => deps.onError(error));
      return serveSandbox(poller, shared, sandbox, names, deps);
    },
    close() {
      poller?.close();
      poller = null;
    },
  };
}

function serveSandbox(poller: Poller, shared: Shared, sandbox: Fd, names: NameSource, deps: DNSPlaneDeps): Disposable {
  using undo = new DisposableStack();
  const netns = undo.use(sandbox.duplicate());
  const { datagrams, listener } = openSockets(netns, undo);
  const ended = undo.adopt(new AbortController(), (controller) => controller.abort());
  const number16 = (): number => {
    const [high = 0, low = 0] = deps.random(2);
    return (high << 8) | low;
  };
  const forwarder = createForwarder({ poller, shared, newID: number16 }, netns, ended.signal);
  const answerBy =
    (transport: Transport): Answerer =>
    (query) =>
      resolve(query, transport, names, forwarder, () => number16() / 0x10000);
  const answer = answerBy("tcp");
  serveDatagrams(poller, datagrams, answerBy("udp"), undo);
  // A stream is rare: the server that takes connections is only made for the first.
  const waiting = undo.adopt(poller.watch(listener), (watch) => watch.close());
  let server: Server | null = null;
  const clients = new Set<Socket>();
  undo.defer(() => {
    server?.close();
    for (const client of clients) client.destroy();
  });
  waiting.onReadable(() => {
    waiting.close();
    server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      clients.add(client);
      client.once("close", () => clients.delete(client));
      serveStream(client, answer);
    });
    server.maxConnections = STREAMS_MAX;
    server.on("error", (error) => deps.onError(error));
    server.listen({ fd: listener.release() });
  });
  return undo.move();
}

/** Connections of one container at once: each is a descriptor of the daemon. */
const STREAMS_MAX = 64;

/** Both sockets with their rules; where a kernel cannot translate addresses, on port 53 itself. */
function openSockets(netns: Fd, undo: DisposableStack): { datagrams: Fd; listener: Fd } {
  const bindBoth = (port: number): { datagrams: Fd; listener: Fd } => {
    const address = internetAddress(RESOLVER_BYTES, port);
    const datagrams = undo.use(
      boundSocketIn(netns, { family: AF.INET, type: SOCK.DGRAM | SOCK.NONBLOCK, protocol: IPPROTO.UDP, address }),
    );
    const type = SOCK.STREAM | SOCK.NONBLOCK;
    const stream = { family: AF.INET, type, protocol: IPPROTO.TCP, address, backlog: BACKLOG };
    return { datagrams, listener: undo.use(boundSocketIn(netns, stream)) };
  };
  const sockets = bindBoth(0);
  try {
    using nftables = new NftablesClient(socketIn(netns, AF.NETLINK, SOCK.RAW, NETLINK.NETFILTER));
    nftables.replaceTable(redirection(localPort(sockets.datagrams), localPort(sockets.listener)));
    return sockets;
  } catch (error) {
    if (!(error instanceof SyscallError && NO_TRANSLATION.has(error.errno))) throw error;
    sockets.datagrams.close();
    sockets.listener.close();
    return bindBoth(DNS_PORT);
  }
}

const NO_TRANSLATION: ReadonlySet<number> = new Set([E.ENOENT, E.EOPNOTSUPP, E.EPROTONOSUPPORT, E.EAFNOSUPPORT]);
const RESOLVER = parseAddress(RESOLVER_ADDRESS) ?? { family: 4, value: 0n };
const RESOLVER_BYTES = addressBytes(RESOLVER);

function redirection(udpPort: number, tcpPort: number): Table {
  const to = (protocol: number, port: number, name: string) =>
    rule(
      `queries by ${name}`,
      ...destinationIn({ ...RESOLVER, prefixLength: 32 }),
      ...destinationPort(protocol, DNS_PORT),
      ...dnat(RESOLVER, port),
    );
  return {
    name: TABLE,
    chains: [
      {
        name: "output",
        hook: { type: "nat", hook: "output", priority: DSTNAT },
        rules: [to(IPPROTO.UDP, udpPort, "UDP"), to(IPPROTO.TCP, tcpPort, "TCP")],
      },
    ],
  };
}

function serveDatagrams(poller: Poller, socket: Fd, answer: Answerer, undo: DisposableStack): void {
  const input = alloc(MESSAGE_BYTES_MAX),
    output = alloc(MESSAGE_BYTES_MAX);
  const send = (reply: Uint8Array | null, to: ReturnType<typeof peerAddress>): void => {
    // The container may have ended while a server was asked.
    if (reply === null || !socket.isOpen || reply.length > output.length) return;
    output.set(reply);
    sendDatagram(socket, output, reply.length, to);
  };
  const watch = undo.adopt(poller.watch(socket), (open) => open.close());
  watch.onReadable(() => {
    for (let left = READ_AT_ONCE; left > 0; left--) {
      const from = peerAddress();
      const length = receiveFrom(socket, input, from);
      if (length === null) return;
      const reply = answer(input.slice(0, length));
      if (reply instanceof Promise) void reply.then((late) => send(late, from));
      else send(reply, from);
    }
  });
}
