// IP and MAC addresses as text and numbers; what is none is refused.
import { expect, test } from "bun:test";
import {
  addressBytes,
  addressFromBytes,
  contains,
  formatAddress,
  formatSubnet,
  isLoopback,
  lastAddress,
  localMAC,
  overlaps,
  parseAddress,
  parseCIDR,
  parseMAC,
  type Subnet,
} from "../../../../runtime/net/address.ts";

function subnet(text: string): Subnet {
  const parsed = parseCIDR(text);
  if (parsed === null) throw new Error(text);
  return parsed.subnet;
}

test("addresses survive parsing and formatting", () => {
  for (const text of [
    "0.0.0.0",
    "172.17.0.2",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "2001:db8::8:800:200c:417a",
    "1:0:2::3",
  ]) {
    const address = parseAddress(text);
    expect(address === null ? null : formatAddress(address)).toBe(text);
    expect(address === null ? null : addressFromBytes(addressBytes(address))).toEqual(address);
  }
});

test("IPv6 is written as RFC 5952 wants it", () => {
  const written = (text: string) => formatAddress(parseAddress(text) ?? { family: 4, value: 0n });
  expect(written("2001:0DB8:0:0:1:0:0:1")).toBe("2001:db8::1:0:0:1");
  expect(written("2001:db8:0:1:1:1:1:1")).toBe("2001:db8:0:1:1:1:1:1");
  expect(written("::ffff:10.0.0.1")).toBe("::ffff:a00:1");
});

test("what is no address is refused", () => {
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4 ",
    "a.b.c.d",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "::1.2.3",
  ]) {
    expect([text, parseAddress(text)]).toEqual([text, null]);
  }
  for (const text of ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/08", "/8"]) {
    expect([text, parseCIDR(text)]).toEqual([text, null]);
  }
});

test("a CIDR keeps the address as written beside the subnet", () => {
  const parsed = parseCIDR("10.1.2.3/16");
  expect(parsed === null ? "" : `${formatAddress(parsed.address)} ${formatSubnet(parsed.subnet)}`).toBe(
    "10.1.2.3 10.1.0.0/16",
  );
  expect(formatAddress(lastAddress(subnet("10.1.0.0/16")))).toBe("10.1.255.255");
});

test("subnets overlap when one lies in the other, never across families", () => {
  expect(overlaps(subnet("10.0.0.0/8"), subnet("10.1.0.0/16"))).toBe(true);
  expect(overlaps(subnet("10.1.0.0/16"), subnet("10.0.0.0/8"))).toBe(true);
  expect(overlaps(subnet("10.1.0.0/16"), subnet("10.2.0.0/16"))).toBe(false);
  expect(overlaps(subnet("0.0.0.0/0"), subnet("::/0"))).toBe(false);
  expect(contains(subnet("fd00::/8"), subnet("fd12::/16"))).toBe(true);
  expect(isLoopback(subnet("127.1.0.0/16"))).toBe(true);
  expect(isLoopback(subnet("::1/128"))).toBe(true);
});

test("MAC addresses are read with colons and dashes, and made locally administered", () => {
  expect(parseMAC("02:42:ac-11:00:02")).toEqual(Uint8Array.of(2, 0x42, 0xac, 0x11, 0, 2));
  for (const text of ["", "02:42", "02:42:ac:11:00:0g", "0242.ac11.0002", "02:42:ac:11:00:02:03"])
    expect(parseMAC(text)).toBeNull();
  expect(localMAC(Uint8Array.of(0xff, 1, 2, 3, 4, 5))).toBe("fe:01:02:03:04:05");
});
