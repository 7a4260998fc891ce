// Device rules to v1's lines and to v2's program, which is run here on a small interpreter.
import { describe, expect, test } from "bun:test";
import type { OciDeviceRule } from "../../../../runtime/bundle.ts";
import { deviceLines, deviceProgram, normalizeDeviceRules } from "../../../../runtime/cgroup/devices.ts";

const NOTHING: OciDeviceRule = { allow: false, type: "a", access: "rwm" };
const EVERYTHING: OciDeviceRule = { allow: true, type: "a", access: "rwm" };
const NULL: OciDeviceRule = { allow: true, type: "c", major: 1, minor: 3, access: "rwm" };
const MKNOD: OciDeviceRule = { allow: true, type: "c", access: "m" };
const NO_DISK_WRITES: OciDeviceRule = { allow: false, type: "b", major: 8, access: "w" };

test("normalizeDeviceRules() starts from the last rule about everything, or from denying everything", () => {
  expect(normalizeDeviceRules([])).toEqual([NOTHING]);
  expect(normalizeDeviceRules([NULL])).toEqual([NOTHING, NULL]);
  expect(normalizeDeviceRules([NOTHING, NULL, EVERYTHING])).toEqual([EVERYTHING]);
  expect(normalizeDeviceRules([NULL, NOTHING, MKNOD])).toEqual([NOTHING, MKNOD]);
  const partial: OciDeviceRule = { allow: true, type: "a", access: "m" };
  expect(normalizeDeviceRules([partial])).toEqual([NOTHING, partial]);
});

test("deviceLines() writes v1's lines, neighbours for one file together", () => {
  expect(deviceLines([NOTHING, NULL, MKNOD, NO_DISK_WRITES, { ...NULL, minor: 5 }])).toEqual([
    { file: "devices.deny", values: ["a"] },
    { file: "devices.allow", values: ["c 1:3 rwm", "c *:* m"] },
    { file: "devices.deny", values: ["b 8:* w"] },
    { file: "devices.allow", values: ["c 1:5 rwm"] },
  ]);
  expect(deviceLines([{ allow: true, type: "a", major: 10, access: "rw" }])[1]).toEqual({
    file: "devices.allow",
    values: ["c 10:* rw", "b 10:* rw"],
  });
});

/** Runs a program as the kernel would: enough of eBPF for what deviceProgram() emits. */
function verdict(program: Uint8Array, type: "b" | "c", major: number, minor: number, access: string): number {
  const view = new DataView(program.buffer);
  const bits = (access.includes("m") ? 1 : 0) | (access.includes("r") ? 2 : 0) | (access.includes("w") ? 4 : 0);
  const context = [(type === "b" ? 1 : 2) | (bits << 16), major, minor];
  const registers = Array.from({ length: 10 }, () => NaN);
  for (let at = 0; at < program.length / 8; at++) {
    const op = view.getUint8(at * 8),
      dst = view.getUint8(at * 8 + 1) & 15,
      src = view.getUint8(at * 8 + 1) >> 4;
    const off = view.getInt16(at * 8 + 2, true),
      imm = view.getInt32(at * 8 + 4, true);
    const value = registers[dst] ?? NaN;
    if (op === 0x61) registers[dst] = context[off / 4] ?? NaN;
    else if (op === 0xbc) registers[dst] = registers[src] ?? NaN;
    else if (op === 0xb4) registers[dst] = imm;
    else if (op === 0x54) registers[dst] = value & imm;
    else if (op === 0x74) registers[dst] = value >>> imm;
    else if (op === 0x15) at += value === imm ? off : 0;
    else if (op === 0x55) at += value === imm ? 0 : off;
    else if (op === 0x95) return registers[0] ?? NaN;
    else throw new Error(`opcode ${op.toString(16)}`);
  }
  throw new Error("the program ran past its end");
}

describe("deviceProgram()", () => {
  test("with no rule denies everything", () => {
    expect(verdict(deviceProgram([]), "c", 1, 3, "r")).toBe(0);
  });

  test("allows what a rule covers whole, and nothing else", () => {
    const program = deviceProgram([NOTHING, NULL, MKNOD, { allow: true, type: "b", major: 7, access: "r" }]);
    expect(verdict(program, "c", 1, 3, "rw")).toBe(1);
    expect(verdict(program, "c", 1, 5, "r")).toBe(0);
    expect(verdict(program, "b", 1, 3, "rw")).toBe(0);
    expect(verdict(program, "c", 10, 229, "m")).toBe(1);
    expect(verdict(program, "c", 10, 229, "rm")).toBe(0);
    expect(verdict(program, "b", 7, 1, "r")).toBe(1);
    expect(verdict(program, "b", 7, 1, "rw")).toBe(0);
  });

  test("the last matching rule wins, and a denial takes only the access it names", () => {
    const program = deviceProgram([EVERYTHING, NO_DISK_WRITES]);
    expect(verdict(program, "b", 8, 0, "r")).toBe(1);
    expect(verdict(program, "b", 8, 0, "rw")).toBe(0);
    expect(verdict(program, "b", 9, 0, "rw")).toBe(1);
    expect(verdict(deviceProgram([NULL, { ...NULL, allow: false }]), "c", 1, 3, "r")).toBe(0);
  });
});
