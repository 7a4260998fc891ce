// What is answered from the container's networks, what is forwarded, and with which code the rest is refused.
import { expect, test } from "bun:test";
import { encodeName, rcodeOf, TYPE } from "../../../../runtime/dns/message.ts";
import { type Forwarder, type NameSource, resolve } from "../../../../runtime/dns/resolver.ts";
import { type Address, formatAddress, parseAddress } from "../../../../runtime/net/address.ts";

function at(text: string): Address {
  const address = parseAddress(text);
  if (address === null) throw new Error(text);
  return address;
}

function query(name: string, type: number, classNumber = 1): Uint8Array {
  const question = encodeName(name) ?? Uint8Array.of(0);
  return Uint8Array.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...question, type >> 8, type & 0xff, 0, classNumber]);
}

const NAMES: NameSource = {
  addressesOf: (name) =>
    name === "web" ? [at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.1")] : name === "six" ? [at("fd00::1")] : null,
  nameOf: (address) => (formatAddress(address) === "10.0.0.1" ? "web.net1" : null),
  upstreams: () => [{ address: at("192.0.2.1"), scopeID: 0, from: "host" }],
  keepsSingleLabels: false,
};
const MX = 15,
  CHAOS = 3;

/** The code, the number of answers, and what was asked of an upstream server. */
async function outcome(
  bytes: Uint8Array,
  names: Partial<NameSource> = {},
  reply: Uint8Array | null | "busy" = null,
): Promise<{ rcode: number; answers: number; isForwarded: boolean }> {
  let isForwarded = false;
  const forwarder: Forwarder = {
    forward: () => {
      isForwarded = true;
      return Promise.resolve(reply);
    },
  };
  const answer = await resolve(bytes, "udp", { ...NAMES, ...names }, forwarder, () => 0);
  if (answer === null) throw new Error("no answer");
  return { rcode: rcodeOf(answer), answers: answer[7] ?? 0, isForwarded };
}

test("a name of the networks has each of its addresses once, and nothing of another family or type", async () => {
  expect(await outcome(query("web", TYPE.A))).toEqual({ rcode: 0, answers: 2, isForwarded: false });
  expect(await outcome(query("web", TYPE.AAAA))).toEqual({ rcode: 0, answers: 0, isForwarded: false });
  expect(await outcome(query("web", MX))).toEqual({ rcode: 0, answers: 0, isForwarded: false });
  expect(await outcome(query("six", TYPE.AAAA))).toEqual({ rcode: 0, answers: 1, isForwarded: false });
  expect(await outcome(query("six", TYPE.A))).toEqual({ rcode: 0, answers: 0, isForwarded: false });
});

test("addresses of the networks have names, others are asked for elsewhere", async () => {
  expect(await outcome(query("1.0.0.10.in-addr.arpa", TYPE.PTR))).toMatchObject({ answers: 1, isForwarded: false });
  expect(await outcome(query("9.0.0.10.in-addr.arpa", TYPE.PTR))).toMatchObject({ answers: 0, isForwarded: true });
});

test("everything else is forwarded: other names, single labels too, and other classes", async () => {
  for (const bytes of [query("example.org", TYPE.A), query("nas", TYPE.A), query("web", TYPE.A, CHAOS)]) {
    expect(await outcome(bytes)).toEqual({ rcode: 2, answers: 0, isForwarded: true });
  }
});

test("with ndots of the user's own a single label is left to the search domains", async () => {
  const names = { keepsSingleLabels: true };
  expect(await outcome(query("nas", TYPE.A), names)).toEqual({ rcode: 0, answers: 0, isForwarded: false });
  expect(await outcome(query("nas", MX), names)).toMatchObject({ isForwarded: true });
  expect(await outcome(query("nas.lab", TYPE.A), names)).toMatchObject({ isForwarded: true });
});

test("without servers, or without a way out, other names fail; with too many waited for, they are refused", async () => {
  const failed = { rcode: 2, answers: 0, isForwarded: false };
  expect(await outcome(query("example.org", TYPE.A), { upstreams: () => null })).toEqual(failed);
  expect(await outcome(query("example.org", TYPE.A), { upstreams: () => [] })).toEqual(failed);
  expect(await outcome(query("web", TYPE.A), { upstreams: () => null })).toMatchObject({ answers: 2 });
  expect(await outcome(query("example.org", TYPE.A), {}, "busy")).toMatchObject({ rcode: 5, isForwarded: true });
});

test("addresses come in a random order", async () => {
  const forwarder: Forwarder = { forward: () => Promise.resolve(null) };
  const firsts = new Set<number>();
  for (const chance of [0, 0.9]) {
    const answer = await resolve(query("web", TYPE.A), "udp", NAMES, forwarder, () => chance);
    firsts.add(answer?.at(-1) ?? 0);
  }
  expect(firsts).toEqual(new Set([1, 2]));
});
