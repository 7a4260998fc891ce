// Firewall rules as data, and the netlink messages that they become.
import { expect, test } from "bun:test";
import { parseAddress, parseCIDR } from "../../../../runtime/net/address.ts";
import {
  type BridgeRules,
  type FirewallState,
  firewallTable,
  type PortRule,
  userTable,
} from "../../../../runtime/net/firewall.ts";
import { parseAttributes, parseMessages } from "../../../../runtime/net/netlink.ts";
import { Batch } from "../../../../runtime/net/nftables.ts";
import { destinationPort, input, sourceIn } from "../../../../runtime/net/nft_rule.ts";

const address = (text: string) => parseAddress(text) ?? { family: 4 as const, value: 0n };
const subnet = (text: string) => parseCIDR(text)?.subnet ?? { family: 4 as const, value: 0n, prefixLength: 0 };
const bridge = (name: string, more: Partial<BridgeRules> = {}): BridgeRules => ({
  name,
  subnets: [subnet("172.17.0.0/16")],
  isInternal: false,
  allowsTraffic: true,
  masquerades: [4, 6],
  unprotected: [],
  routed: [],
  trustedInterfaces: [],
  ...more,
});
const port = (more: Partial<PortRule> = {}): PortRule => ({
  protocol: "tcp",
  hostIP: address("0.0.0.0"),
  hostPort: 8080,
  target: address("172.17.0.2"),
  targetPort: 80,
  owner: "web",
  ...more,
});
const state = (bridges: BridgeRules[], ports: PortRule[] = [], more: Partial<FirewallState> = {}): FirewallState => ({
  bridges,
  ports,
  leavesIPv6: false,
  allowsDirectRouting: false,
  acceptMark: null,
  ...more,
});
/** Chains as `name: comment; comment`. */
const outline = (...args: Parameters<typeof state>) =>
  Object.fromEntries(
    firewallTable("berth", state(...args)).chains.map(({ name, rules }) => [name, rules.map(({ comment }) => comment)]),
  );

test("every chain a rule jumps to exists, and those with hooks are the six known ones", () => {
  const table = firewallTable("berth", state([bridge("docker0"), bridge("br-1")], [port()]));
  const names = new Set(table.chains.map(({ name }) => name));
  for (const { expressions } of table.chains.flatMap(({ rules }) => rules)) {
    for (const expression of expressions) {
      if (expression.kind === "verdict" && "chain" in expression) expect(names.has(expression.chain)).toBe(true);
    }
  }
  expect(
    table.chains.filter(({ hook }) => hook !== null).map(({ name, hook }) => `${name} ${hook?.type} ${hook?.priority}`),
  ).toEqual([
    "raw-prerouting filter -300",
    "nat-prerouting nat -100",
    "nat-output nat -100",
    "nat-postrouting nat 100",
    "forward filter 0",
  ]);
});

test("a bridge lets in what was published and its own, and nothing else", () => {
  expect(outline([bridge("docker0")])["to-docker0"]).toEqual(["published ports", "among themselves", "nothing else"]);
  expect(outline([bridge("b", { allowsTraffic: false })])["to-b"]).toEqual(["published ports", "nothing else"]);
  expect(outline([bridge("b", { unprotected: [4] })])["to-b"]?.[0]).toBe("unprotected");
});

test("a port is reached at the container's own address where the network is routed, from trusted interfaces, or if all may", () => {
  const only = (at: BridgeRules, more: Partial<FirewallState> = {}) =>
    outline([at], [port()], more)["to-b"]?.slice(0, -3);
  expect(only(bridge("b"))).toEqual([]);
  expect(only(bridge("b", { routed: [4] }))).toEqual(["routed: ping", "web: 80/tcp"]);
  expect(only(bridge("b", { trustedInterfaces: ["vpn0", "vpn1"] }))).toEqual(["web: 80/tcp", "web: 80/tcp"]);
  expect(only(bridge("b"), { allowsDirectRouting: true })).toEqual(["web: 80/tcp"]);
  expect(only(bridge("b"), { acceptMark: { mark: 1, mask: 3 } })).toEqual(["marked"]);
  expect(only(bridge("b", { isInternal: true, routed: [4] }))).toEqual(["internal"]);
  expect(only(bridge("b", { subnets: [subnet("172.18.0.0/16")], routed: [4] }))).toEqual(["routed: ping"]);
  // Without a port of the host there is nothing to translate.
  expect(outline([bridge("b", { routed: [4] })], [port({ hostPort: 0 })])["published"]).toEqual([]);
});

test("packets of IPv6 are passed over where somebody else writes its rules", () => {
  expect(outline([bridge("b")], [], { leavesIPv6: true })["forward"]?.[0]).toBe("IPv6 is not ours");
});

test("an internal bridge is neither masqueraded nor left", () => {
  const chains = outline([bridge("b", { isInternal: true })]);
  expect(chains["nat-postrouting"]).toEqual([]);
  expect(chains["forward"]).toEqual(["established", "b is internal", "to b"]);
  expect(chains["to-b"]?.[0]).toBe("internal");
});

test("a bridge without masquerading keeps hairpin and loopback clients working", () => {
  const chains = outline([bridge("b", { masquerades: [] })]);
  expect(chains["nat-postrouting"]).toEqual(["b: clients on loopback", "b: hairpin"]);
});

test("a port for all addresses asks only for the family, one for an address for that address", () => {
  const table = firewallTable(
    "berth",
    state([], [port(), port({ hostIP: address("192.0.2.1"), hostPort: 53, protocol: "udp" })]),
  );
  const rules = table.chains.find(({ name }) => name === "published")?.rules ?? [];
  expect(rules.map(({ comment }) => comment)).toEqual(["web: 0.0.0.0 8080/tcp", "web: 192.0.2.1 53/udp"]);
  expect(rules[0]?.expressions.filter(({ kind }) => kind === "payload").length).toBe(1);
  expect(rules[1]?.expressions).toContainEqual({ kind: "compare", isEqual: true, value: Uint8Array.of(192, 0, 2, 1) });
  expect(rules[1]?.expressions).toContainEqual({ kind: "compare", isEqual: true, value: Uint8Array.of(17) });
});

test("the administrator's table has an empty chain that comes before ours", () => {
  expect(userTable("berth_user").chains).toEqual([
    { name: "forward", hook: { type: "filter", hook: "forward", priority: -10 }, rules: [] },
  ]);
});

test("words about packets become loads and comparisons in network order", () => {
  expect(destinationPort(6, 8080)).toContainEqual({ kind: "compare", isEqual: true, value: Uint8Array.of(0x1f, 0x90) });
  expect(sourceIn(subnet("172.17.0.0/16"))).toContainEqual({ kind: "mask", mask: Uint8Array.of(255, 255, 0, 0) });
  expect(sourceIn(subnet("10.0.0.0/12"))).toContainEqual({ kind: "mask", mask: Uint8Array.of(255, 240, 0, 0) });
  expect(sourceIn(subnet("fd00::/61")).find(({ kind }) => kind === "mask")).toEqual({
    kind: "mask",
    mask: Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 248, 0, 0, 0, 0, 0, 0, 0, 0),
  });
  expect(input("br1").at(-1)).toMatchObject({
    value: Uint8Array.of(0x62, 0x72, 0x31, ...Array.from({ length: 13 }, () => 0)),
  });
  expect(() => input("sixteen-letters-")).toThrow(RangeError);
});

test("a transaction is framed, numbered, and asks for one acknowledgement", () => {
  const batch = new Batch(41);
  batch.begin();
  batch.table("add", "berth");
  batch.chain("berth", { name: "c", hook: null, rules: [] });
  batch.rule("berth", "c", { comment: "drop all", expressions: [{ kind: "verdict", verdict: "drop" }] });
  batch.end();
  const messages = parseMessages(batch.writer.take());
  expect(messages.map(({ type, flags, sequence }) => [type, flags, sequence])).toEqual([
    [16, 1, 42],
    [0xa00, 0x401, 43],
    [0xa03, 0x401, 44],
    [0xa06, 0xc05, 45],
    [17, 1, 46],
  ]);
  expect(batch.labels.get(45)).toBe('add rule "drop all" to c');
  expect(batch.lastRequest).toBe(45);
  const rule = messages[3]?.payload.subarray(4) ?? new Uint8Array();
  expect(parseAttributes(rule).get(7)).toEqual(Uint8Array.of(0, 9, ...new TextEncoder().encode("drop all"), 0));
});
