// The layout of a program, on both architectures.
import { describe, expect, test } from "bun:test";
import { Label, Load, Program } from "../../../../runtime/program/program.ts";

const STEP = 64;

describe.each(["x64", "arm64"] as const)("%s", (arch) => {
  test("the ELF header and its segments", () => {
    const program = new Program(arch);
    program.mark(program.failure);
    program.step("exit_group", [0], { error: 0 });
    const { bytes } = program.toImage();
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    expect([...bytes.subarray(0, 8)]).toEqual([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
    expect(view.getUint16(16, true)).toBe(2); // ET_EXEC
    expect(view.getUint16(18, true)).toBe(arch === "x64" ? 62 : 183);
    expect(view.getBigUint64(24, true)).toBe(0x400100n); // entry
    expect(view.getUint16(56, true)).toBe(3);
    const segment = (index: number) => {
      const at = 64 + index * 56;
      return {
        type: view.getUint32(at, true),
        flags: view.getUint32(at + 4, true),
        offset: view.getBigUint64(at + 8, true),
        address: view.getBigUint64(at + 16, true),
        size: view.getBigUint64(at + 32, true),
        align: view.getBigUint64(at + 48, true),
      };
    };
    const code = BigInt(0x100 + (arch === "x64" ? 104 : 136));
    expect(segment(0)).toEqual({ type: 1, flags: 5, offset: 0n, address: 0x400000n, size: code, align: 0x10000n });
    const memory = { type: 1, flags: 6, offset: 0x1000n, address: 0x411000n, align: 0x10000n };
    expect(segment(1)).toEqual({ ...memory, size: BigInt(bytes.length - 0x1000) });
    expect(segment(2)).toMatchObject({ type: 0x6474e551, flags: 6 });
    // A segment's offset and address agree modulo its alignment, or the kernel refuses the file.
    for (const one of [segment(0), segment(1)]) expect(one.offset % one.align).toBe(one.address % one.align);
  });

  test("a step: number, mask, jumps, arguments, result", () => {
    const program = new Program(arch);
    const slot = program.slot(),
      target = new Label("target");
    program.step("openat", [-100, "/x", new Load(slot), 0], { out: slot, error: target, zero: 0, positive: 2 });
    program.mark(program.failure);
    program.step("close", [new Load(slot)]);
    program.mark(target);
    program.step("exit_group", [0], { error: 0 });
    const memory = program.toImage().bytes.subarray(0x1000);
    const view = new DataView(memory.buffer, memory.byteOffset);
    const at = 64; // context and one slot, rounded up
    expect(view.getUint16(at, true)).toBe(arch === "x64" ? 257 : 56);
    expect(view.getUint16(at + 2, true)).toBe(1 << 3); // argument 2 is indirect
    expect([view.getInt16(at + 4, true), view.getInt16(at + 6, true), view.getInt16(at + 60, true)]).toEqual([2, 0, 2]);
    expect(view.getBigInt64(at + 8, true)).toBe(-100n);
    const text = Number(view.getBigUint64(at + 16, true)) - 0x411000;
    expect(Buffer.from(memory.subarray(text, text + 3)).toString()).toBe("/x\0");
    expect(view.getBigUint64(at + 24, true)).toBe(0x411010n);
    expect(view.getUint32(at + 56, true)).toBe(0x411010);
    expect(view.getInt16(at + STEP + 4, true)).toBe(0); // close fails to itself: the failure label stands before it
  });
});

test("equal strings are stored once, arrays of strings end with NULL", () => {
  const program = new Program("x64");
  expect(program.text("same")).toBe(program.text("same"));
  const array = program.strings(["a", "b"]);
  program.mark(program.failure);
  program.step("execve", ["/a", array, array], { error: 0 });
  const memory = program.toImage().bytes.subarray(0x1000);
  const view = new DataView(memory.buffer, memory.byteOffset);
  const table = 64;
  const at = Number(view.getBigUint64(table + 16, true)) - 0x411000;
  const words = [0, 8, 16].map((offset) => Number(view.getBigUint64(at + offset, true)));
  expect(words.map((word) => (word === 0 ? null : memory[word - 0x411000]))).toEqual([97, 98, null]);
});

test("what cannot be laid out is refused", () => {
  const nowhere = new Program("x64");
  nowhere.step("getpid", [], { error: new Label("lost") });
  expect(() => nowhere.toImage()).toThrow("label lost is nowhere");
  const twice = new Program("x64");
  twice.mark(twice.failure);
  expect(() => twice.mark(twice.failure)).toThrow("marked twice");
  expect(() => new Program("x64").text("a\0b")).toThrow("NUL");
  const distant = new Program("x64");
  distant.step("getpid", []);
  for (let count = 0; count < 40_000; count++) distant.step("getpid", [], { error: 1 });
  distant.mark(distant.failure);
  distant.step("getpid", [], { error: 1 });
  expect(() => distant.toImage()).toThrow("40001 steps away");
});

test("data of any amount fits", () => {
  const program = new Program("x64");
  program.mark(program.failure);
  const big = new Uint8Array(100_000).fill(7);
  program.step("write", [1, big, big.length], { error: 0 });
  expect(program.toImage().bytes.length).toBeGreaterThan(104_000);
});
