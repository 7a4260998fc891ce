// Published ports: requests from bindings, and who gets which.
import { describe, expect, test } from "bun:test";
import {
  formatAddress,
  parseAddress,
  type PortReservation,
  type Protocol,
  SyscallError,
} from "../../../../runtime/mod.ts";
import { createPorts, type PortRequest, parsePortRequests, parsePorts } from "../../../../src/engine/networks/ports.ts";

const ANY = { family: 4 as const, value: 0n };
const EADDRINUSE = 98,
  EADDRNOTAVAIL = 99,
  EAFNOSUPPORT = 97;

describe("asking", () => {
  test("bindings become requests, with ranges and addresses", () => {
    expect(
      parsePortRequests(
        {
          "80/tcp": [
            { HostIp: "127.0.0.1", HostPort: "8000-8010" },
            { HostIp: "[::1]", HostPort: "0" },
          ],
          "53/UDP": [{ HostIp: "", HostPort: "" }],
          "81": [],
        },
        [],
        false,
      ),
    ).toEqual([
      { port: 81, protocol: "tcp", hostIP: null, first: 0, last: 0 },
      { port: 80, protocol: "tcp", hostIP: parseAddress("127.0.0.1"), first: 8000, last: 8010 },
      { port: 80, protocol: "tcp", hostIP: parseAddress("::1"), first: 0, last: 0 },
      { port: 53, protocol: "udp", hostIP: null, first: 0, last: 0 },
    ]);
  });

  test("-P publishes exposed ports that have no binding", () => {
    const requests = parsePortRequests(
      { "80/tcp": [{ HostIp: "", HostPort: "80" }] },
      ["80/tcp", "443", "5000-5001/udp"],
      true,
    );
    expect(requests.map(({ port, protocol, first }) => `${port}/${protocol} ${first}`)).toEqual([
      "80/tcp 80",
      "443/tcp 0",
      "5000/udp 0",
      "5001/udp 0",
    ]);
  });

  test("nonsense is refused with Docker's words", () => {
    for (const key of ["", "x", "80/http", "80/tcp/udp", "-1", "0", "65536", "80-70", "1-2-3"]) {
      expect(() => parsePorts(key)).toThrow(`invalid port specification: "${key}"`);
    }
    expect(() => parsePortRequests({ "80-81/tcp": [] }, [], false)).toThrow('invalid port specification: "80-81/tcp"');
    expect(() => parsePortRequests({ "80/tcp": [{ HostIp: "", HostPort: "x" }] }, [], false)).toThrow(
      'invalid port specification: "x"',
    );
    expect(() => parsePortRequests({ "80/tcp": [{ HostIp: "1.2.3", HostPort: "" }] }, [], false)).toThrow(
      "invalid IP address: 1.2.3",
    );
  });
});

describe("giving", () => {
  /** A host on which `refused` says what fails, by `ip port/protocol`. */
  const room = (refused: Record<string, number> = {}, options: { hasIPv6: boolean } = { hasIPv6: true }) => {
    const open = new Set<string>();
    const ports = createPorts({
      hasIPv6: options.hasIPv6,
      ephemeralPorts: () => ({ first: 40_000, last: 40_002 }),
      reserve(protocol: Protocol, hostIP, port): PortReservation {
        const key = `${formatAddress(hostIP)} ${port}/${protocol}`;
        const errno = refused[key];
        if (errno !== undefined) throw new SyscallError("bind", errno, { port });
        open.add(key);
        return { serve() {}, [Symbol.dispose]: () => void open.delete(key) };
      },
    });
    return { ports, open };
  };
  const request = (more: Partial<PortRequest> = {}): PortRequest => ({
    port: 80,
    protocol: "tcp",
    hostIP: null,
    first: 0,
    last: 0,
    ...more,
  });
  const fixed = request({ first: 8080, last: 8080 });

  test("no address means both families, at one number", () => {
    const { ports, open } = room();
    const held = ports.hold(fixed, ANY);
    expect([...open]).toEqual(["0.0.0.0 8080/tcp", ":: 8080/tcp"]);
    ports.release(held);
    expect(open.size).toBe(0);
    expect(ports.hold(fixed, ANY).length).toBe(2);
  });

  test("IPv6 is left out where the host has none, known or not", () => {
    expect(room({}, { hasIPv6: false }).ports.hold(fixed, ANY).length).toBe(1);
    expect(room({ ":: 8080/tcp": EAFNOSUPPORT }).ports.hold(fixed, ANY).length).toBe(1);
  });

  test("what we hold ourselves is already allocated, for any address that collides", () => {
    const { ports, open } = room();
    ports.hold(fixed, ANY);
    expect(() => ports.hold(fixed, ANY)).toThrow("Bind for 0.0.0.0:8080 failed: port is already allocated");
    expect(() => ports.hold({ ...fixed, hostIP: parseAddress("127.0.0.1") }, ANY)).toThrow(
      "Bind for 127.0.0.1:8080 failed",
    );
    expect(() => ports.hold({ ...fixed, hostIP: parseAddress("::1") }, ANY)).toThrow("Bind for [::1]:8080 failed");
    expect(ports.hold({ ...fixed, protocol: "udp" }, ANY).length).toBe(2);
    expect(open.size).toBe(4);
  });

  test("what others hold cannot be bound, and nothing of it is kept", () => {
    const { ports, open } = room({ ":: 8080/tcp": EADDRINUSE });
    expect(() => ports.hold(fixed, ANY)).toThrow("failed to bind host port 0.0.0.0:8080/tcp: address already in use");
    expect(open.size).toBe(0);
  });

  test("a range is tried one by one, and an address that is not ours at once given up", () => {
    const { ports } = room({ "0.0.0.0 8080/tcp": EADDRINUSE, "192.0.2.7 8080/tcp": EADDRNOTAVAIL });
    expect(ports.hold(request({ first: 8080, last: 8082 }), ANY)[0]?.hostPort).toBe(8081);
    expect(() => ports.hold(request({ first: 8080, last: 8090, hostIP: parseAddress("192.0.2.7") }), ANY)).toThrow(
      "failed to bind host port 192.0.2.7:8080/tcp: cannot assign requested address",
    );
  });

  test("ephemeral ports walk the kernel's range, past those in use, until it is exhausted", () => {
    const { ports } = room({ ":: 40001/tcp": EADDRINUSE });
    expect(ports.hold(request(), ANY).map(({ hostPort }) => hostPort)).toEqual([40_000, 40_000]);
    expect(ports.hold(request(), ANY)[0]?.hostPort).toBe(40_002);
    expect(() => ports.hold(request(), ANY)).toThrow(/port is already allocated|address already in use/);
  });

  test("a port is taken again as it was", () => {
    const { ports } = room();
    expect(ports.holdAgain({ port: 80, protocol: "tcp", hostIP: "::", hostPort: 8080 })?.hostPort).toBe(8080);
    expect(() => ports.hold(fixed, ANY)).toThrow("Bind for [::]:8080 failed: port is already allocated");
    expect(ports.holdAgain({ port: 80, protocol: "tcp", hostIP: "nonsense", hostPort: 1 })).toBeNull();
  });
});
