// Locks, datagrams and inherited descriptors.
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { lockFile, sendUnixDatagram, setCloseOnExec } from "../../../runtime/host.ts";
import { Fd } from "../../../runtime/sys/fd.ts";
import { alloc, check } from "../../../runtime/sys/ffi.ts";
import { pipe2 } from "../../../runtime/sys/file.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-host-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** A unix datagram socket bound to an address as sockaddr_un spells it. */
function listen(path: string): Fd {
  const socket = new Fd(check("socket", [1, 2, 0]));
  const name = new TextEncoder().encode(path);
  const address = alloc(name.length + 2);
  address[0] = 1;
  address.set(name, 2);
  check("bind", [socket.number, address, address.length]);
  return socket;
}

function received(socket: Fd): string {
  const buffer = alloc(1024);
  const MSG_DONTWAIT = 0x40;
  return new TextDecoder().decode(
    buffer.subarray(0, check("recvfrom", [socket.number, buffer, 1024, MSG_DONTWAIT, null, null])),
  );
}

describe("sendUnixDatagram()", () => {
  test("reaches a socket by its path and by its abstract name", () => {
    const path = join(directory, "s");
    using byPath = listen(`${path}\0`);
    sendUnixDatagram(path, "READY=1\nSTATUS=ü");
    expect(received(byPath)).toBe("READY=1\nSTATUS=ü");
    const name = `berth-test-${process.pid}`;
    using abstract = listen(`\0${name}`);
    sendUnixDatagram(`@${name}`, "x");
    expect(received(abstract)).toBe("x");
  });

  test("throws where nobody listens, and for a name that is too long", () => {
    expect(() => sendUnixDatagram(join(directory, "none"), "x")).toThrow(/sendto.*ENOENT/);
    expect(() => sendUnixDatagram(`/${"x".repeat(120)}`, "x")).toThrow(/ENAMETOOLONG/);
  });
});

test("lockFile() says whose a lock is, and gives it to the next once it is free", () => {
  const path = join(directory, "lock");
  const first = lockFile(path, "a longer text\n");
  expect(lockFile(path, "x")).toEqual({ heldBy: "a longer text" });
  if (!("held" in first)) throw new Error("the lock was free");
  first.held[Symbol.dispose]();
  const second = lockFile(path, "b\n");
  expect(readFileSync(path, "utf8")).toBe("b\n");
  if ("held" in second) second.held[Symbol.dispose]();
  expect(() => lockFile(join(directory, "none", "lock"), "x")).toThrow(/ENOENT/);
});

test("setCloseOnExec() answers whether there is such a descriptor", () => {
  const { read, write } = pipe2();
  expect(setCloseOnExec(read.number)).toBe(true);
  expect(readFileSync(`/proc/self/fdinfo/${read.number}`, "utf8")).toMatch(/flags:\s+02/);
  read.close();
  write.close();
  expect(setCloseOnExec(9999)).toBe(false);
});
