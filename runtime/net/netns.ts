// Network namespaces of containers: made, entered for one socket, and filled with interfaces. No namespace is mounted
// anywhere: it lives as long as a descriptor or a process holds it, and takes its interfaces with it.
import { SyscallError } from "../errors.ts";
import { createNetns, runIn, socketIn } from "../program/batch.ts";
import { Label, Load, type Program, type Target } from "../program/program.ts";
import { openAside } from "../program/rootfs.ts";
import { E } from "../sys/errno.ts";
import { Fd } from "../sys/fd.ts";
import { check } from "../sys/ffi.ts";
import { AT_FDCWD, O } from "../sys/file.ts";
import { CLONE } from "../sys/namespace.ts";
import { AF, SOCK } from "../sys/socket.ts";
import { runWithSignalsBlocked } from "../launch/view.ts";
import type { Address } from "./address.ts";
import { NETLINK } from "./netlink.ts";
import { type Link, RouteClient } from "./route.ts";

export interface Plug {
  netns: Fd;
  /** `eth0`. */
  interfaceName: string;
  mac: string;
  mtu: number;
  addresses: readonly { address: Address; prefixLength: number }[];
  /** The host's end, a port of the bridge. */
  hostName: string;
  bridgeIndex: number;
  /** Default routes by these; none: the namespace keeps those it has. */
  gateways: readonly Address[];
  /** A frame may go back by the port it came from: needed where bridged packets pass the packet filter. */
  isHairpin: boolean;
  /** Containers on the bridge may not talk to each other. */
  isIsolated: boolean;
  /** Files below /proc/sys of the interface, written once it is there. */
  sysctls: readonly { path: string; text: string }[];
}

/** Opens the network namespace of a process. Throws ENOENT when it has ended. */
export function netnsOf(pid: number): Fd {
  const path = `/proc/${pid}/ns/net`;
  return new Fd(check("openat", [AT_FDCWD, path, O.CLOEXEC, 0], { path }));
}

export function routesIn(netns: Fd): RouteClient {
  return new RouteClient(socketIn(netns, AF.NETLINK, SOCK.RAW, NETLINK.ROUTE));
}

const DEFAULTS: readonly NamespaceFile[] = [
  { path: "/proc/sys/net/ipv4/conf/default/arp_notify", text: "1" },
  { path: "/proc/sys/net/ipv6/conf/default/accept_ra", text: "0" },
  // Interfaces made from now on have no IPv6, so that no neighbour can bring it in; plug turns it on where asked.
  { path: "/proc/sys/net/ipv6/conf/default/disable_ipv6", text: "1" },
];

/**
 * The same, but it belongs to a user namespace: the root of that one rules it. WHY in a child: a process with several
 * threads cannot enter a user namespace.
 */
export function createSandboxOwnedBy(userns: Fd): Fd {
  const title = "make a network namespace";
  return runWithSignalsBlocked((calls) =>
    openAside(calls, title, (made, failed) => {
      calls.step("setns", [userns.number, CLONE.NEWUSER], { error: failed, title: "enter the user namespace" });
      calls.step("unshare", [CLONE.NEWNET], { error: failed, title });
      addWrites(calls, DEFAULTS);
      addLoopbackUp(calls, failed);
      calls.open("/proc/self/ns/net", O.RDONLY, { out: made, error: failed, title });
    }),
  );
}

/**
 * A namespace with its loopback up. A neighbour learns at once who has an address now (arp_notify), since a new container
 * may be given the address of one that has just gone. Passes over a kernel without IPv6, and a /proc/sys that is mounted
 * read-only: what is written there is good to have.
 */
export function createSandbox(): Fd {
  return createNetns(
    (program) => {
      addWrites(program, DEFAULTS);
      addLoopbackUp(program);
    },
    (errno) => OPTIONAL.has(errno),
  );
}

/** By ioctl(2), see netdevice(7): one call, where netlink takes a socket of its own and an answer. */
function addLoopbackUp(program: Program, error: Target = program.failure): void {
  const SIOCSIFFLAGS = 0x8914,
    IFF_UP = 1,
    IFNAMSIZ = 16;
  // struct ifreq: the name, then a union of 24 bytes that begins with the flags.
  const request = new Uint8Array(IFNAMSIZ + 24);
  request.set(new TextEncoder().encode("lo"));
  request[IFNAMSIZ] = IFF_UP;
  const socket = program.slot();
  program.step("socket", [AF.UNIX, SOCK.DGRAM | SOCK.CLOEXEC, 0], { out: socket, title: "socket", error });
  program.step("ioctl", [new Load(socket), SIOCSIFFLAGS, request], { title: "set the loopback up", error });
  program.step("close", [new Load(socket)]);
}

/** Joins a namespace to a bridge by a veth pair. On failure nothing is left. */
export function plug(host: RouteClient, request: Plug): void {
  const { netns, interfaceName, mac, mtu } = request;
  host.addVeth({
    name: request.hostName,
    master: request.bridgeIndex,
    mtu,
    peer: { name: interfaceName, netns, mac },
  });
  try {
    if (request.isHairpin || request.isIsolated) {
      const port = requireLink(host, request.hostName);
      host.setBridgePort(port.index, { hairpin: request.isHairpin, isolated: request.isIsolated });
    }
    prepareInside(netns, request);
  } catch (error) {
    const half = host.link(request.hostName);
    if (half !== null) host.deleteLink(half.index);
    throw error;
  }
}

type Inside = Pick<Plug, "interfaceName" | "addresses" | "gateways" | "sysctls">;

/** An interface that is in its namespace: its settings and addresses, then up, then its routes. */
export function prepareInside(
  netns: Fd,
  request: Inside,
  addRoutes: (inside: RouteClient, index: number) => void = () => {},
): void {
  const { interfaceName } = request;
  if (request.addresses.some(({ address }) => address.family === 6)) {
    writeIn(netns, [{ path: `/proc/sys/net/ipv6/conf/${interfaceName}/disable_ipv6`, text: "0" }]);
  }
  using inside = routesIn(netns);
  const link = requireLink(inside, interfaceName);
  try {
    // Addresses before the link comes up: its announcement to the neighbours then carries them.
    for (const { address, prefixLength } of request.addresses) inside.addAddress(link.index, address, prefixLength);
    if (request.sysctls.length > 0) writeIn(netns, request.sysctls);
    inside.setUp(link.index);
    for (const gateway of request.gateways) inside.setDefaultRoute(gateway, link.index);
    addRoutes(inside, link.index);
  } catch (error) {
    inside.deleteLink(link.index);
    throw error;
  }
}

/** Takes an interface out of a namespace that lives on; its other end on the bridge goes with it. None is fine. */
export function unplug(netns: Fd, interfaceName: string): void {
  using inside = routesIn(netns);
  const link = inside.link(interfaceName);
  if (link !== null) inside.deleteLink(link.index);
}

function requireLink(routes: RouteClient, name: string): Link {
  const link = routes.link(name);
  if (link === null) throw new SyscallError(`get link ${name}`, E.ENODEV);
  return link;
}

interface NamespaceFile {
  path: string;
  text: string;
}

const OPTIONAL: ReadonlySet<number> = new Set([E.ENOENT, E.EROFS, E.EACCES]);

/**
 * Writes files below /proc/sys as a process in the namespace would: every one of them, then throws the last failure.
 * INVARIANT: one batch, as every hop (runtime/program/batch.ts says why), and the way back is taken whatever fails.
 */
function writeIn(netns: Fd, files: readonly NamespaceFile[]): void {
  runIn(netns, (program) => addWrites(program, files));
}

function addWrites(program: Program, files: readonly NamespaceFile[]): void {
  const file = program.slot();
  for (const { path, text } of files) {
    const next = new Label(path);
    const title = `write ${JSON.stringify(text)} to ${path}`;
    program.step("openat", [AT_FDCWD, path, O.WRONLY | O.CLOEXEC], { out: file, error: next, title });
    program.step("write", [new Load(file), text, text.length], { error: 1, title });
    program.step("close", [new Load(file)], { error: 1 });
    program.mark(next);
  }
}
