// src/http/websocket.ts: frames in and out, and every way in which they can be wrong.
import { describe, expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import type { RawStream } from "../../../src/http/hijack.ts";
import { acceptKey, isHandshakeKey, webSocketStream } from "../../../src/http/websocket.ts";

/** A connection whose client has sent this, in pieces of `size`. */
function connection(input: Buffer, size = input.length) {
  const written: Buffer[] = [];
  const state = { isEnded: false };
  let at = 0;
  const stream: RawStream = {
    async read() {
      if (at >= input.length) return null;
      const piece = Buffer.from(input.subarray(at, at + Math.max(1, size)));
      at += piece.length;
      return piece;
    },
    write: (bytes) => void written.push(Buffer.from(bytes)),
    closeWrite: () => {
      state.isEnded = true;
    },
    destroy() {},
    onGone() {},
  };
  return { stream, state, sent: () => Buffer.concat(written) };
}

const MASK = [1, 2, 3, 4];

function frame(
  opcode: number,
  payload: string,
  options: { isFinal?: boolean; isMasked?: boolean; length?: bigint } = {},
): Buffer {
  const bytes = Buffer.from(payload, "latin1");
  const { isFinal = true, isMasked = true } = options;
  const long = options.length !== undefined || bytes.length > 0xffff;
  const head = [
    (isFinal ? 0x80 : 0) | opcode,
    (isMasked ? 0x80 : 0) | (long ? 127 : bytes.length > 125 ? 126 : bytes.length),
  ];
  const size = Buffer.alloc(long ? 8 : bytes.length > 125 ? 2 : 0);
  if (long) size.writeBigUInt64BE(options.length ?? BigInt(bytes.length));
  else if (size.length === 2) size.writeUInt16BE(bytes.length);
  const masked = isMasked ? bytes.map((byte, i) => byte ^ (MASK[i & 3] ?? 0)) : bytes;
  return Buffer.concat([Buffer.from(head), size, Buffer.from(isMasked ? MASK : []), masked]);
}

async function readAll(stream: RawStream): Promise<string> {
  let text = "";
  for (let bytes; (bytes = await stream.read()) !== null;) text += Buffer.from(bytes).toString("latin1");
  return text;
}

const CLOSED = (code: number) => Buffer.from([0x88, 2, code >> 8, code & 0xff]);

test("the handshake's answer is RFC 6455's own example", () => {
  expect(acceptKey("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  expect(isHandshakeKey("dGhlIHNhbXBsZSBub25jZQ==")).toBe(true);
  expect(isHandshakeKey("short")).toBe(false);
  expect(isHandshakeKey(undefined)).toBe(false);
});

describe("reading", () => {
  for (const size of [1, 3, 1000, 1_000_000]) {
    test(`messages of all lengths become bytes, in pieces of ${size}`, async () => {
      const payloads = ["", "a", "x".repeat(125), "y".repeat(126), "z".repeat(size === 1 ? 300 : 70_000)];
      const input = Buffer.concat(payloads.map((each, i) => frame(i % 2 === 0 ? 2 : 1, each)));
      expect(await readAll(webSocketStream(connection(input, size).stream, { isText: false }))).toBe(payloads.join(""));
    });
  }

  test("fragments are one message, with control frames between them", async () => {
    const input = Buffer.concat([
      frame(1, "ab", { isFinal: false }),
      frame(9, "ping"),
      frame(0, "cd", { isFinal: false }),
      frame(10, ""),
      frame(0, "ef"),
    ]);
    const { sent, stream } = connection(input);
    expect(await readAll(webSocketStream(stream, { isText: false }))).toBe("abcdef");
    expect(sent()).toEqual(Buffer.from("\x8a\x04ping", "latin1"));
  });

  test("a close is answered with its code, and ends both ways", async () => {
    const { sent, state, stream } = connection(
      Buffer.concat([frame(2, "a"), frame(8, "\x03\xe9bye"), frame(2, "after")]),
    );
    expect(await readAll(webSocketStream(stream, { isText: false }))).toBe("a");
    expect(sent()).toEqual(CLOSED(1001));
    expect(state.isEnded).toBe(true);
  });

  const wrong: [string, Buffer, number][] = [
    ["a frame without a mask", frame(2, "a", { isMasked: false }), 1002],
    ["a reserved bit", Buffer.from([0xc2, 0x80, 0, 0, 0, 0]), 1002],
    ["an unknown opcode", frame(3, "a"), 1002],
    ["an unknown control opcode", frame(11, ""), 1002],
    ["a continuation of nothing", frame(0, "a"), 1002],
    ["a new message inside another", Buffer.concat([frame(2, "", { isFinal: false }), frame(2, "b")]), 1002],
    ["a fragmented ping", frame(9, "a", { isFinal: false }), 1002],
    ["a long ping", frame(9, "x".repeat(126)), 1002],
    ["a length over 2^53", frame(2, "", { length: 1n << 60n }), 1009],
  ];
  for (const [what, input, code] of wrong) {
    test(`${what} closes with ${code}`, async () => {
      const { sent, state, stream } = connection(input);
      expect(await readAll(webSocketStream(stream, { isText: false }))).toBe("");
      expect(sent()).toEqual(CLOSED(code));
      expect(state.isEnded).toBe(true);
    });
  }

  test("a connection that ends anywhere inside a frame is an end", async () => {
    const whole = frame(2, "x".repeat(200));
    for (let cut = 0; cut < whole.length; cut += 7) {
      const read = await readAll(webSocketStream(connection(whole.subarray(0, cut)).stream, { isText: false }));
      expect("x".repeat(200)).toStartWith(read);
    }
  });
});

describe("writing", () => {
  for (const [length, head] of [
    [0, [0x82, 0]],
    [125, [0x82, 125]],
    [126, [0x82, 126, 0, 126]],
    [65536, [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]],
  ] as const) {
    test(`${length} bytes are one binary frame`, async () => {
      const { sent, stream } = connection(Buffer.alloc(0));
      await webSocketStream(stream, { isText: false }).write(new Uint8Array(length).fill(7));
      expect(sent().subarray(0, head.length)).toEqual(Buffer.from(head));
      expect(sent().length).toBe(head.length + length);
    });
  }

  test("text messages for old clients", async () => {
    const { sent, stream } = connection(Buffer.alloc(0));
    await webSocketStream(stream, { isText: true }).write(Buffer.from("a"));
    expect(sent()).toEqual(Buffer.from([0x81, 1, 0x61]));
  });

  test("our end is a close frame, once", async () => {
    const { sent, state, stream } = connection(frame(8, ""));
    const socket = webSocketStream(stream, { isText: false });
    socket.closeWrite();
    await readAll(socket);
    expect(sent()).toEqual(CLOSED(1000));
    expect(state.isEnded).toBe(true);
  });
});
