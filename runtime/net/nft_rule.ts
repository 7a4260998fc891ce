// nf_tables rules as plain data, and small words to write them with. A rule reads as nft(8) would print it:
//   rule("masquerade 172.17.0.0/16", ...sourceIn(subnet), ...outputNot("docker0"), masquerade())
// Decided here and in firewall.ts, done by nftables.ts; unit tests read the data. Tables are of the `inet` family, so a
// rule that looks at addresses says which protocol it means first.
import { type Address, addressBytes, type Family, type Subnet } from "./address.ts";

export type Expression =
  | { kind: "meta"; key: number }
  | { kind: "payload"; base: "network" | "transport"; offset: number; length: number }
  | { kind: "mask"; mask: Uint8Array }
  | { kind: "compare"; isEqual: boolean; value: Uint8Array }
  | { kind: "fibType" }
  | { kind: "conntrack"; key: number }
  | { kind: "immediate"; register: number; value: Uint8Array }
  | { kind: "dnat"; family: Family }
  | { kind: "masquerade" }
  | { kind: "verdict"; verdict: "accept" | "drop" | "return" }
  | { kind: "verdict"; verdict: "jump" | "goto"; chain: string };

export interface Rule {
  /** Shown by `nft list ruleset`, and named in an error. */
  comment: string;
  expressions: Expression[];
}

export interface Hook {
  type: "filter" | "nat";
  hook: "prerouting" | "input" | "forward" | "output" | "postrouting";
  priority: number;
}

export interface Chain {
  name: string;
  /** null: only jumped to. */
  hook: Hook | null;
  rules: Rule[];
}

export interface Table {
  name: string;
  chains: Chain[];
}

const META = { MARK: 3, IIFNAME: 6, OIFNAME: 7, NFPROTO: 15, L4PROTO: 16 } as const;
const CT = { STATE: 0, STATUS: 2 } as const;
const CT_ESTABLISHED = 2,
  CT_RELATED = 4;
/** nf_conntrack_common.h, IPS_DST_NAT. */
const CT_DNATED = 0x20;
const NFPROTO = { 4: 2, 6: 10 } as const;
const RTN_LOCAL = 2;
const INTERFACE_NAME_BYTES = 16;
const SOURCE_OFFSET = { 4: 12, 6: 8 } as const;
const DESTINATION_OFFSET = { 4: 16, 6: 24 } as const;
const DESTINATION_PORT_OFFSET = 2;

export function rule(comment: string, ...expressions: Expression[]): Rule {
  return { comment, expressions };
}

export function ofFamily(family: Family): Expression[] {
  return [{ kind: "meta", key: META.NFPROTO }, compare(Uint8Array.of(NFPROTO[family]))];
}

export function input(interfaceName: string): Expression[] {
  return [{ kind: "meta", key: META.IIFNAME }, compare(nameBytes(interfaceName))];
}

export function inputNot(interfaceName: string): Expression[] {
  return [{ kind: "meta", key: META.IIFNAME }, compare(nameBytes(interfaceName), false)];
}

export function output(interfaceName: string): Expression[] {
  return [{ kind: "meta", key: META.OIFNAME }, compare(nameBytes(interfaceName))];
}

export function outputNot(interfaceName: string): Expression[] {
  return [{ kind: "meta", key: META.OIFNAME }, compare(nameBytes(interfaceName), false)];
}

/** The source lies in this subnet; says the family too. */
export function sourceIn(subnet: Subnet): Expression[] {
  return [...ofFamily(subnet.family), ...addressIn(SOURCE_OFFSET[subnet.family], subnet)];
}

export function destinationIn(subnet: Subnet): Expression[] {
  return [...ofFamily(subnet.family), ...addressIn(DESTINATION_OFFSET[subnet.family], subnet)];
}

function addressIn(offset: number, subnet: Subnet): Expression[] {
  const value = addressBytes(subnet);
  const load: Expression = { kind: "payload", base: "network", offset, length: value.length };
  const mask = maskBytes(subnet);
  return mask.every((byte) => byte === 0xff) ? [load, compare(value)] : [load, { kind: "mask", mask }, compare(value)];
}

/** protocol: IPPROTO_TCP and so on. */
export function destinationPort(protocol: number, port: number): Expression[] {
  return [
    ...ofProtocol(protocol),
    { kind: "payload", base: "transport", offset: DESTINATION_PORT_OFFSET, length: 2 },
    compare(portBytes(port)),
  ];
}

/** A packet that carries this firewall mark, in the bits that count. */
export function marked(mark: number, mask: number): Expression[] {
  return [{ kind: "meta", key: META.MARK }, { kind: "mask", mask: hostU32(mask) }, compare(hostU32(mark))];
}

/** protocol: IPPROTO_ICMP and so on. */
export function ofProtocol(protocol: number): Expression[] {
  return [{ kind: "meta", key: META.L4PROTO }, compare(Uint8Array.of(protocol))];
}

/** The destination is an address of this host, on whatever interface. */
export function destinationIsLocal(): Expression[] {
  return [{ kind: "fibType" }, compare(hostU32(RTN_LOCAL))];
}

export function isEstablished(): Expression[] {
  return bitsSet(CT.STATE, CT_ESTABLISHED | CT_RELATED);
}

/** A connection that a DNAT rule has led here. */
export function isDNATed(): Expression[] {
  return bitsSet(CT.STATUS, CT_DNATED);
}

function bitsSet(key: number, bits: number): Expression[] {
  return [{ kind: "conntrack", key }, { kind: "mask", mask: hostU32(bits) }, compare(hostU32(0), false)];
}

export function dnat(target: Address, port: number): Expression[] {
  return [
    { kind: "immediate", register: 1, value: addressBytes(target) },
    { kind: "immediate", register: 2, value: portBytes(port) },
    { kind: "dnat", family: target.family },
  ];
}

export function masquerade(): Expression {
  return { kind: "masquerade" };
}

export function accept(): Expression {
  return { kind: "verdict", verdict: "accept" };
}

export function drop(): Expression {
  return { kind: "verdict", verdict: "drop" };
}

export function goBack(): Expression {
  return { kind: "verdict", verdict: "return" };
}

export function jump(chain: string): Expression {
  return { kind: "verdict", verdict: "jump", chain };
}

export function goTo(chain: string): Expression {
  return { kind: "verdict", verdict: "goto", chain };
}

function compare(value: Uint8Array, isEqual = true): Expression {
  return { kind: "compare", isEqual, value };
}

/** The whole field, so that `br1` does not match `br10`. */
function nameBytes(name: string): Uint8Array {
  const encoded = new TextEncoder().encode(name);
  if (encoded.length >= INTERFACE_NAME_BYTES)
    throw new RangeError(`interface name of ${encoded.length} bytes: ${name}`);
  const bytes = new Uint8Array(INTERFACE_NAME_BYTES);
  bytes.set(encoded);
  return bytes;
}

function maskBytes(subnet: Subnet): Uint8Array {
  return Uint8Array.from({ length: subnet.family === 4 ? 4 : 16 }, (_, index) => {
    const bits = Math.min(8, Math.max(0, subnet.prefixLength - index * 8));
    return (0xff << (8 - bits)) & 0xff;
  });
}

function portBytes(port: number): Uint8Array {
  return Uint8Array.of(port >> 8, port & 0xff);
}

/** Registers that the kernel fills with a u32 of its own hold it in the machine's order. */
function hostU32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
