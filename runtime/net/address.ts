// IP addresses, subnets and MAC addresses: text to numbers and bytes, and back. Pure; used on both sides of the door, since
// what a user types and what the kernel takes are the same things. RFC 4291 for IPv6 text, RFC 5952 for how it is written.

export type Family = 4 | 6;

export interface Address {
  family: Family;
  /** The address as one number, of 32 or 128 bits. */
  value: bigint;
}

/** A subnet: `value` is the network address, its host bits are zero. */
export interface Subnet extends Address {
  prefixLength: number;
}

export function bitsOf(family: Family): number {
  return family === 4 ? 32 : 128;
}

/** null when the text is no address. Leading zeros, zones and IPv4 shorthands (`10.1`) are refused. */
export function parseAddress(text: string): Address | null {
  return text.includes(":") ? parseV6(text) : parseV4(text);
}

function parseV4(text: string): Address | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  let value = 0n;
  for (const part of parts) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null;
    value = (value << 8n) | BigInt(part);
  }
  return { family: 4, value };
}

function parseV6(text: string): Address | null {
  let tail = text;
  // ::ffff:1.2.3.4: the last 32 bits may be written as IPv4.
  const dotted = /^(.*:)([0-9.]+\.[0-9.]+)$/.exec(text);
  if (dotted) {
    const last = parseV4(dotted[2] ?? "");
    if (last === null) return null;
    tail = `${dotted[1]}${(last.value >> 16n).toString(16)}:${(last.value & 0xffffn).toString(16)}`;
  }
  const halves = tail.split("::");
  if (halves.length > 2) return null;
  const groups = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const head = groups(halves[0] ?? "");
  const rest = halves.length === 2 ? groups(halves[1] ?? "") : [];
  const missing = 8 - head.length - rest.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  let value = 0n;
  for (const group of [...head, ...Array.from({ length: halves.length === 2 ? missing : 0 }, () => "0"), ...rest]) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return null;
    value = (value << 16n) | BigInt(`0x${group}`);
  }
  return { family: 6, value };
}

export function formatAddress(address: Address): string {
  if (address.family === 4) return [24n, 16n, 8n, 0n].map((shift) => (address.value >> shift) & 0xffn).join(".");
  const groups = Array.from({ length: 8 }, (_, index) => Number((address.value >> BigInt(112 - 16 * index)) & 0xffffn));
  // The longest run of zeros, of two groups at least, is written `::`.
  let start = -1,
    length = 1;
  for (let from = 0; from < 8; from++) {
    let run = 0;
    while (groups[from + run] === 0) run++;
    if (run > length) [start, length] = [from, run];
  }
  const hex = groups.map((group) => group.toString(16));
  if (start < 0) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

/** `10.1.0.0/16` or `10.1.2.3/16`: the address as written, and the subnet that it lies in. null when it is neither. */
export function parseCIDR(text: string): { address: Address; subnet: Subnet } | null {
  const slash = text.indexOf("/");
  if (slash < 0) return null;
  const address = parseAddress(text.slice(0, slash));
  const length = text.slice(slash + 1);
  if (address === null || !/^(0|[1-9][0-9]{0,2})$/.test(length)) return null;
  const prefixLength = Number(length);
  if (prefixLength > bitsOf(address.family)) return null;
  return { address, subnet: subnetOf(address, prefixLength) };
}

/** The subnet of this length that holds the address. */
export function subnetOf(address: Address, prefixLength: number): Subnet {
  const hostBits = BigInt(bitsOf(address.family) - prefixLength);
  return { family: address.family, value: (address.value >> hostBits) << hostBits, prefixLength };
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress(subnet)}/${subnet.prefixLength}`;
}

export function contains(subnet: Subnet, address: Address): boolean {
  return subnet.family === address.family && subnetOf(address, subnet.prefixLength).value === subnet.value;
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.prefixLength <= b.prefixLength ? contains(a, b) : contains(b, a);
}

/** The last address: of an IPv4 subnet the broadcast address. */
export function lastAddress(subnet: Subnet): Address {
  const hostBits = BigInt(bitsOf(subnet.family) - subnet.prefixLength);
  return { family: subnet.family, value: subnet.value | ((1n << hostBits) - 1n) };
}

/** In network byte order. */
export function addressBytes(address: Address): Uint8Array {
  const bytes = new Uint8Array(bitsOf(address.family) / 8);
  let value = address.value;
  for (let index = bytes.length - 1; index >= 0; index--, value >>= 8n) bytes[index] = Number(value & 0xffn);
  return bytes;
}

/** From 4 or 16 bytes in network order; null for any other length. */
export function addressFromBytes(bytes: Uint8Array): Address | null {
  if (bytes.length !== 4 && bytes.length !== 16) return null;
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return { family: bytes.length === 4 ? 4 : 6, value };
}

/** 127.0.0.0/8 and ::1. */
export function isLoopback(address: Address): boolean {
  return address.family === 4 ? address.value >> 24n === 127n : address.value === 1n;
}

/** 0.0.0.0 and ::. */
export function isUnspecified(address: Address): boolean {
  return address.value === 0n;
}

/** `02:42:ac:11:00:02`, also with dashes, as clients send it. null when it is no 48-bit address. */
export function parseMAC(text: string): Uint8Array | null {
  if (!/^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$/.test(text)) return null;
  return Uint8Array.from(text.split(/[:-]/), (part) => Number.parseInt(part, 16));
}

export function formatMAC(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** Six random bytes made into a locally administered unicast address. */
export function localMAC(random: Uint8Array): string {
  const bytes = Uint8Array.from(random.subarray(0, 6));
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return formatMAC(bytes);
}
