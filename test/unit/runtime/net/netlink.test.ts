// Netlink messages: built to the byte, and read with suspicion.
import { describe, expect, test } from "bun:test";
import {
  attributeText,
  listAttributes,
  MessageWriter,
  parseAttributes,
  parseMessages,
  parseRefusal,
} from "../../../../runtime/net/netlink.ts";
import { toLink, toLinkAddress, toRoute } from "../../../../runtime/net/route.ts";
import { SyscallError } from "../../../../runtime/errors.ts";

test("a message is its header, its body and padding to four bytes", () => {
  const writer = new MessageWriter();
  writer.message(16, 5, 7, () => writer.u8(1).attribute(3, "lo"));
  expect(writer.take().toHex()).toBe(
    "18000000" +
      "1000" +
      "0500" +
      "07000000" +
      "00000000" + // length 24, type, flags, sequence, port
      "01" +
      "0700" +
      "0300" +
      "6c6f00", // one byte, then the attribute: 7 bytes, and a pad that ends the 24
  );
});

test("attributes nest, with the flag only where it is asked for", () => {
  const writer = new MessageWriter();
  writer.nest(18, () => writer.attribute(1, "veth"), { flag: false }).nest(4, () => writer.attribute32(1, 0x01020304));
  expect(writer.take().toHex()).toBe(
    "10001200" + "09000100" + "7665746800000000" + "0c000480" + "08000100" + "04030201",
  );
});

test("a buffer grows as far as it is written", () => {
  const writer = new MessageWriter();
  for (let index = 0; index < 2000; index++) writer.attribute32(1, index);
  const attributes = listAttributes(writer.take());
  expect(attributes.length).toBe(2000);
  expect(attributes[1999]?.[1]).toEqual(Uint8Array.of(0xcf, 7, 0, 0));
});

test("an attribute over 64 KiB is refused before it is cut", () => {
  expect(() => new MessageWriter().attribute(1, new Uint8Array(65_536))).toThrow(RangeError);
});

describe("what the kernel says", () => {
  test("is cut into messages and attributes", () => {
    const writer = new MessageWriter();
    writer.message(16, 0, 1, () => writer.u32(0).u32(9).u32(1).u32(0).attribute(3, "docker0").attribute32(4, 1500));
    writer.message(16, 0, 1, () => writer.u32(0));
    const [first, second] = parseMessages(writer.take());
    expect(first === undefined ? null : toLink(first)).toEqual({
      index: 9,
      name: "docker0",
      isUp: true,
      kind: "",
      mac: "",
      mtu: 1500,
      master: 0,
      alias: "",
    });
    expect(second === undefined ? undefined : toLink(second)).toBeNull();
  });

  test("is refused when a length lies", () => {
    for (const hex of ["0f000000" + "00".repeat(12), "ff000000" + "00".repeat(12), "10000000" + "00".repeat(14)]) {
      expect(() => parseMessages(Uint8Array.fromHex(hex))).toThrow(SyscallError);
    }
    for (const hex of ["03000100", "08000100", "ffff0100"])
      expect(() => parseAttributes(Uint8Array.fromHex(hex))).toThrow(SyscallError);
  });

  test("is an error with its number and, where given, its words", () => {
    const writer = new MessageWriter();
    writer.message(2, 0x300, 4, () => {
      writer.u32(-17).u32(40).u16(16).u16(5).u32(4).u32(0).attribute(1, "No such bridge");
    });
    const [message] = parseMessages(writer.take());
    expect(message === undefined ? null : parseRefusal(message)).toEqual({ errno: 17, text: "No such bridge" });
  });

  test("may carry the request before the words, and must not be shorter than it claims", () => {
    const writer = new MessageWriter();
    writer.message(2, 0x200, 4, () => {
      writer.u32(-22).u32(24).u16(16).u16(5).u32(4).u32(0).u32(0).u32(0).attribute(1, "why");
    });
    writer.message(2, 0x200, 5, () => writer.u32(-22).u32(4096).u16(16).u16(5).u32(4).u32(0));
    writer.message(2, 0, 6, () => writer.u32(0));
    const [whole, cut, short] = parseMessages(writer.take());
    expect(whole === undefined ? null : parseRefusal(whole)).toEqual({ errno: 22, text: "why" });
    expect(cut === undefined ? null : parseRefusal(cut)).toEqual({ errno: 22, text: "" });
    expect(() => (short === undefined ? null : parseRefusal(short))).toThrow(SyscallError);
  });

  test("may be a route of another table or kind: then it is none of ours", () => {
    const routes = [
      [2, 16, 254, 1],
      [2, 16, 255, 1],
      [2, 16, 254, 3],
    ].map(([family = 0, bits = 0, table = 0, type = 0]) => {
      const writer = new MessageWriter();
      writer.message(24, 0, 1, () => {
        writer.u8(family).u8(bits).u8(0).u8(0).u8(table).u8(3).u8(0).u8(type).u32(0);
        writer.attribute(1, Uint8Array.of(172, 17, 0, 0)).attribute32(4, 3);
      });
      const [message] = parseMessages(writer.take());
      return message === undefined ? null : toRoute(message);
    });
    expect(routes[0]).toEqual({
      destination: { family: 4, value: 0xac110000n, prefixLength: 16 },
      gateway: null,
      linkIndex: 3,
    });
    expect(routes.slice(1)).toEqual([null, null]);
  });

  test("may be an address that lacks its bytes", () => {
    const writer = new MessageWriter();
    writer.message(20, 0, 1, () => writer.u8(2).u8(24).u8(0).u8(0).u32(3).attribute(1, Uint8Array.of(1, 2)));
    const [message] = parseMessages(writer.take());
    expect(message === undefined ? undefined : toLinkAddress(message)).toBeNull();
  });
});

test("text ends at its NUL, or where the bytes do", () => {
  expect(attributeText(Uint8Array.of(0x61, 0, 0x62))).toBe("a");
  expect(attributeText(Uint8Array.of(0x61))).toBe("a");
  expect(attributeText(undefined)).toBe("");
});
