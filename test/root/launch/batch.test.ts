// Hops into another network namespace: what is made there stays usable here, and the daemon stays where it is.
import { expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { boundSocketIn, createNetns, socketIn } from "../../../runtime/program/batch.ts";

const AF_INET = 2,
  AF_NETLINK = 16,
  SOCK_STREAM = 1,
  SOCK_RAW = 3;
const home = (): string[] =>
  readdirSync("/proc/self/task").map((task) => readlinkSync(`/proc/self/task/${task}/ns/net`));
// struct sockaddr_in: family, port 8080, 0.0.0.0
const address = Uint8Array.of(AF_INET, 0, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
const listener = { family: AF_INET, type: SOCK_STREAM, protocol: 0, address, backlog: 16 };

test("a new namespace is another one, and no thread of ours is in it", () => {
  const before = new Set(home());
  using netns = createNetns();
  expect(before.has(readlinkSync(`/proc/self/fd/${netns.number}`))).toBe(false);
  expect(new Set(home())).toEqual(before);
});

test("one port is bound in two namespaces at once", () => {
  using one = createNetns();
  using other = createNetns();
  using first = boundSocketIn(one, listener);
  using second = boundSocketIn(other, { ...listener, options: [{ level: 1, name: 2, value: 1 }] });
  expect([first.isOpen, second.isOpen]).toEqual([true, true]);
  using netlink = socketIn(one, AF_NETLINK, SOCK_RAW, 0);
  expect(readlinkSync(`/proc/self/fd/${netlink.number}`)).toStartWith("socket:");
});

test("a failure in there comes back with its name, from the host's namespace, and closes what it opened", () => {
  using netns = createNetns();
  using _taken = boundSocketIn(netns, listener);
  const before = { threads: new Set(home()), descriptors: readdirSync("/proc/self/fd").length };
  expect(() => boundSocketIn(netns, listener)).toThrow("bind: EADDRINUSE");
  expect(() => socketIn(netns, 9999, SOCK_RAW, 0)).toThrow("socket: EAFNOSUPPORT");
  expect(new Set(home())).toEqual(before.threads);
  expect(readdirSync("/proc/self/fd").length).toBe(before.descriptors);
});
