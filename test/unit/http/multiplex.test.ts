// The eight-byte framing.
import { expect, test } from "bun:test";
import { encodeFrame, frameHead } from "../../../src/http/multiplex.ts";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a frame is stream, three zeros, big-endian length, bytes", () => {
  expect([...encodeFrame(2, encode("hi"))]).toEqual([2, 0, 0, 0, 0, 0, 0, 2, 0x68, 0x69]);
  expect([...frameHead(1, 0x01020304)]).toEqual([1, 0, 0, 0, 1, 2, 3, 4]);
  expect([...frameHead(1, 0xfffffffe)]).toEqual([1, 0, 0, 0, 255, 255, 255, 254]);
});
