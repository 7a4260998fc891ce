// Published ports: what a container asks for, and what this host gives it. Asking is parsed at create, so that nonsense
// is refused there; giving happens at start, with a real socket for each port until the container stops.
import {
  type Address,
  type Family,
  formatAddress,
  isUnspecified,
  parseAddress,
  type PortReservation,
  type Protocol,
  SyscallError,
} from "../../../runtime/mod.ts";
import { internal, invalid } from "../../errors.ts";
import type { PortMap } from "../../schema/common.ts";

/** One port to publish: at one of `first`…`last`, or, with both 0, at whichever is free. */
export interface PortRequest {
  port: number;
  protocol: Protocol;
  /** null: every address of the host. */
  hostIP: Address | null;
  first: number;
  last: number;
}

/** A port that is held now: by one reservation for each host address, all with the same number. */
export interface HeldPort {
  port: number;
  protocol: Protocol;
  hostIP: Address;
  hostPort: number;
  reservation: PortReservation;
}

/** Requests made of HostConfig.PortBindings and, for `-P`, of the exposed ports. Throws Docker's 400. */
export function parsePortRequests(bindings: PortMap, exposed: Iterable<string>, publishesAll: boolean): PortRequest[] {
  const requests: PortRequest[] = [];
  const bound = new Set<string>();
  for (const [key, list] of Object.entries(bindings)) {
    const [{ port, protocol } = refuse(key), ...more] = parsePorts(key);
    if (more.length > 0) refuse(key);
    // COMPAT: an empty list publishes at a free port, as does an entry without HostPort.
    for (const binding of list.length === 0 ? [{ HostIp: "", HostPort: "" }] : list) {
      bound.add(`${port}/${protocol}`);
      requests.push({ port, protocol, hostIP: parseHostIP(binding.HostIp), ...parseHostPorts(binding.HostPort) });
    }
  }
  if (!publishesAll) return requests;
  for (const key of exposed) {
    for (const { port, protocol } of parsePorts(key)) {
      if (!bound.has(`${port}/${protocol}`)) requests.push({ port, protocol, hostIP: null, first: 0, last: 0 });
    }
  }
  return requests;
}

/** `80`, `80/udp`, `8000-8010/tcp`. Throws Docker's 400. */
export function parsePorts(key: string): { port: number; protocol: Protocol }[] {
  const [numbers = "", protocol = "tcp", ...rest] = key.split("/");
  const lower = protocol.toLowerCase();
  if (rest.length > 0 || (lower !== "tcp" && lower !== "udp" && lower !== "sctp")) return refuse(key);
  const range = parseRange(numbers);
  if (range === null || range.first === 0) return refuse(key);
  return Array.from({ length: range.last - range.first + 1 }, (_, index) => ({
    port: range.first + index,
    protocol: lower,
  }));
}

function parseHostPorts(text: string): { first: number; last: number } {
  if (text === "") return { first: 0, last: 0 };
  return parseRange(text) ?? refuse(text);
}

function parseRange(text: string): { first: number; last: number } | null {
  const found = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (found === null) return null;
  const first = Number(found[1]),
    last = Number(found[2] ?? found[1]);
  return first <= last && last <= 65_535 ? { first, last } : null;
}

function parseHostIP(text: string): Address | null {
  if (text === "") return null;
  const address = parseAddress(text.replace(/^\[(.*)\]$/, "$1"));
  if (address === null) throw invalid(`invalid IP address: ${text}`);
  return address;
}

function refuse(text: string): never {
  throw invalid(`invalid port specification: "${text}"`);
}

export interface PortsDeps {
  reserve(protocol: Protocol, hostIP: Address, port: number): PortReservation;
  ephemeralPorts(): { first: number; last: number };
  hasIPv6: boolean;
}

export interface Ports {
  /**
   * Holds the port a request asks for, at each host address it means. `defaultIP` stands for a request that names none:
   * 0.0.0.0 brings [::] along. Only addresses of `families` (both) count. Throws Docker's words.
   */
  hold(request: PortRequest, defaultIP: Address, families?: readonly Family[]): HeldPort[];
  /** A port that is only opened at the container's own address: nothing of the host is held for it. */
  route(request: PortRequest, family: Family): HeldPort;
  /** Takes again what a container held before this daemon started. */
  holdAgain(port: { port: number; protocol: Protocol; hostIP: string; hostPort: number }): HeldPort | null;
  release(held: readonly HeldPort[]): void;
}

export function createPorts(deps: PortsDeps): Ports {
  /** By protocol and number: the addresses it is held at. */
  const taken = new Map<string, Address[]>();
  let nextEphemeral = 0;

  const holdOne = (request: PortRequest, hostIP: Address, hostPort: number): HeldPort => {
    const key = `${request.protocol} ${hostPort}`;
    const others = taken.get(key) ?? [];
    if (others.some((other) => collide(other, hostIP))) {
      throw internal(`Bind for ${formatEndpoint(hostIP, hostPort)} failed: port is already allocated`);
    }
    const reservation = deps.reserve(request.protocol, hostIP, hostPort);
    taken.set(key, [...others, hostIP]);
    return { port: request.port, protocol: request.protocol, hostIP, hostPort, reservation };
  };

  const release = (held: readonly HeldPort[]): void => {
    for (const { protocol, hostIP, hostPort, reservation } of held) {
      reservation[Symbol.dispose]();
      const key = `${protocol} ${hostPort}`;
      const left = (taken.get(key) ?? []).filter((other) => !isSame(other, hostIP));
      if (left.length === 0) taken.delete(key);
      else taken.set(key, left);
    }
  };

  const holdAt = (request: PortRequest, hosts: readonly Address[], hostPort: number): HeldPort[] => {
    const held: HeldPort[] = [];
    try {
      for (const hostIP of hosts) {
        try {
          held.push(holdOne(request, hostIP, hostPort));
        } catch (error) {
          // [::] that came along with 0.0.0.0 is left out where the host cannot do IPv6 after all.
          if (held.length === 0 || !isWithoutIPv6(error)) throw error;
        }
      }
      return held;
    } catch (error) {
      release(held);
      throw describe(error, request.protocol, hosts, hostPort);
    }
  };

  /** Every port of the kernel's own range, starting after the one given out last. */
  function* ephemeral(): Generator<number> {
    const { first, last } = deps.ephemeralPorts();
    if (nextEphemeral < first || nextEphemeral > last) nextEphemeral = first;
    for (let count = last - first + 1; count > 0; count--) {
      yield nextEphemeral;
      nextEphemeral = nextEphemeral === last ? first : nextEphemeral + 1;
    }
  }

  return {
    hold(request, defaultIP, families = [4, 6]) {
      const meant =
        request.hostIP !== null
          ? [request.hostIP]
          : defaultIP.family === 4 && isUnspecified(defaultIP) && deps.hasIPv6
            ? [defaultIP, ANY_V6]
            : [defaultIP];
      const hosts = meant.filter(({ family }) => families.includes(family));
      if (hosts.length === 0) return [];
      let failure: unknown = internal("all ports are allocated");
      for (const hostPort of request.first === 0 ? ephemeral() : numbers(request.first, request.last)) {
        try {
          const held = holdAt(request, hosts, hostPort);
          if (request.first === 0) nextEphemeral = hostPort + 1;
          return held;
        } catch (error) {
          failure = error;
          if (!isInUse(error)) break;
        }
      }
      throw failure;
    },
    route: ({ port, protocol }, family) => routed(port, protocol, family),
    holdAgain({ port, protocol, hostIP, hostPort }) {
      const address = parseAddress(hostIP);
      if (address === null) return null;
      if (hostPort === 0) return routed(port, protocol, address.family);
      return (
        holdAt({ port, protocol, hostIP: address, first: hostPort, last: hostPort }, [address], hostPort)[0] ?? null
      );
    },
    release,
  };
}

/** COMPAT: shown by inspect as every address of the host, without a port there. */
function routed(port: number, protocol: Protocol, family: Family): HeldPort {
  const reservation: PortReservation = { serve() {}, [Symbol.dispose]() {} };
  return { port, protocol, hostIP: { family, value: 0n }, hostPort: 0, reservation };
}

const ANY_V6: Address = { family: 6, value: 0n };
const EADDRINUSE = "EADDRINUSE";

function* numbers(first: number, last: number): Generator<number> {
  for (let number = first; number <= last; number++) yield number;
}

function collide(a: Address, b: Address): boolean {
  return a.family === b.family && (isUnspecified(a) || isUnspecified(b) || a.value === b.value);
}

function isSame(a: Address, b: Address): boolean {
  return a.family === b.family && a.value === b.value;
}

function isWithoutIPv6(error: unknown): boolean {
  return error instanceof SyscallError && (error.code === "EAFNOSUPPORT" || error.code === "EADDRNOTAVAIL");
}

/** Whether another number may do better. */
function isInUse(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return error.cause === undefined || (error.cause instanceof SyscallError && error.cause.code === EADDRINUSE);
}

/** COMPAT: people search for both phrases, and for `port is already allocated` above. */
function describe(error: unknown, protocol: Protocol, hosts: readonly Address[], hostPort: number): unknown {
  if (!(error instanceof SyscallError)) return error;
  const hostIP = hosts[0] ?? ANY_V6;
  const reason = error.message.slice(error.message.lastIndexOf(": ") + 2);
  return internal(`failed to bind host port ${formatEndpoint(hostIP, hostPort)}/${protocol}: ${reason}`, {
    cause: error,
  });
}

/** `0.0.0.0:80`, `[::]:80`. */
function formatEndpoint(address: Address, port: number): string {
  return address.family === 4 ? `${formatAddress(address)}:${port}` : `[${formatAddress(address)}]:${port}`;
}
