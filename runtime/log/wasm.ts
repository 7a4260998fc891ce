// A small WebAssembly assembler: enough to write the two inner loops of json_scan.ts as a listing that reads like code. A
// module has one memory of its own and exports it with its functions. Source: WebAssembly Core Specification 2.0, chapter 5
// (binary format), and its SIMD instructions. Pure.

export type Code = readonly number[];

const I32 = 0x7f;
const V128 = 0x7b;
const NOTHING = 0x40;

/** A function: `parameters` and `locals` are i32 but the last `vectors` locals; it returns an i32. */
export interface WasmFunction {
  name: string;
  parameters: number;
  locals: number;
  vectors: number;
  body: Code;
}

/** The module's bytes. */
export function assemble(functions: readonly WasmFunction[], memoryPages: number): Uint8Array<ArrayBuffer> {
  const types = functions.map(({ parameters }) => [
    0x60,
    ...vector(Array.from({ length: parameters }, () => [I32])),
    1,
    I32,
  ]);
  const exports = functions.map(({ name }, index) => [...text(name), 0x00, ...unsigned(index)]);
  const bodies = functions.map(({ locals, vectors, body }) => {
    const code = [2, ...unsigned(locals), I32, ...unsigned(vectors), V128, ...body, 0x0b];
    return [...unsigned(code.length), ...code];
  });
  return Uint8Array.from([
    0x00,
    0x61,
    0x73,
    0x6d,
    1,
    0,
    0,
    0,
    ...section(1, vector(types)),
    ...section(3, vector(functions.map((_, index) => unsigned(index)))),
    ...section(5, vector([[0x01, ...unsigned(memoryPages), ...unsigned(memoryPages)]])),
    ...section(7, vector([...exports, [...text("memory"), 0x02, 0]])),
    ...section(10, vector(bodies)),
  ]);
}

function section(id: number, content: Code): Code {
  return [id, ...unsigned(content.length), ...content];
}

function vector(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()];
}

function text(name: string): Code {
  const bytes = [...new TextEncoder().encode(name)];
  return [...unsigned(bytes.length), ...bytes];
}

function unsigned(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

function signed(value: number): Code {
  const low = value & 0x7f;
  const rest = value >> 7;
  const isLast = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
  return isLast ? [low] : [low | 0x80, ...signed(rest)];
}

// ---- values

export const get = (local: number): Code => [0x20, ...unsigned(local)];
export const set = (local: number, value: Code): Code => [...value, 0x21, ...unsigned(local)];
/** Sets and gives the value on. */
export const tee = (local: number, value: Code): Code => [...value, 0x22, ...unsigned(local)];
export const i32 = (value: number): Code => [0x41, ...signed(value)];

const binary =
  (opcode: number) =>
  (one: Code, other: Code): Code => [...one, ...other, opcode];
export const eq = binary(0x46);
export const ne = binary(0x47);
export const ltU = binary(0x49);
export const gtU = binary(0x4b);
export const geU = binary(0x4f);
export const add = binary(0x6a);
export const sub = binary(0x6b);
export const and = binary(0x71);
export const or = binary(0x72);
export const shl = binary(0x74);
export const shrU = binary(0x76);
export const not = (value: Code): Code => [...value, 0x45];
/** How many low bits are zero. */
export const ctz = (value: Code): Code => [...value, 0x68];
/** `yes` where `condition` is not zero. Both are worked out. */
export const select = (yes: Code, no: Code, condition: Code): Code => [...yes, ...no, ...condition, 0x1b];

// ---- memory; nothing need be aligned

export const load8 = (address: Code, offset = 0): Code => [...address, 0x2d, 0, ...unsigned(offset)];
export const load32 = (address: Code, offset = 0): Code => [...address, 0x28, 0, ...unsigned(offset)];
export const store8 = (address: Code, value: Code, offset = 0): Code => [
  ...address,
  ...value,
  0x3a,
  0,
  ...unsigned(offset),
];
export const store16 = (address: Code, value: Code, offset = 0): Code => [
  ...address,
  ...value,
  0x3b,
  0,
  ...unsigned(offset),
];
export const store32 = (address: Code, value: Code, offset = 0): Code => [
  ...address,
  ...value,
  0x36,
  0,
  ...unsigned(offset),
];

// ---- sixteen bytes at once

const SIMD = 0xfd;
export const loadVector = (address: Code, offset = 0): Code => [...address, SIMD, 0, 0, ...unsigned(offset)];
export const storeVector = (address: Code, value: Code, offset = 0): Code => [
  ...address,
  ...value,
  SIMD,
  0x0b,
  0,
  ...unsigned(offset),
];
/** One byte sixteen times. */
export const splat = (byte: number): Code => [...i32(byte), SIMD, 0x0f];
export const eqBytes = (one: Code, other: Code): Code => [...one, ...other, SIMD, 0x23];
export const ltBytes = (one: Code, other: Code): Code => [...one, ...other, SIMD, 0x26];
export const orVector = (one: Code, other: Code): Code => [...one, ...other, SIMD, 0x50];
/** The top bit of each byte. */
export const bitmask = (value: Code): Code => [...value, SIMD, ...unsigned(0x64)];

// ---- control: labels are counted from the inside out

/** Branching to it leaves it. */
export const block = (...body: Code[]): Code => [0x02, NOTHING, ...body.flat(), 0x0b];
/** Branching to it begins it again. */
export const loop = (...body: Code[]): Code => [0x03, NOTHING, ...body.flat(), 0x0b];
export const when = (condition: Code, ...body: Code[]): Code => [...condition, 0x04, NOTHING, ...body.flat(), 0x0b];
export const branch = (depth: number): Code => [0x0c, ...unsigned(depth)];
export const branchIf = (depth: number, condition: Code): Code => [...condition, 0x0d, ...unsigned(depth)];
export const giveBack = (value: Code): Code => [...value, 0x0f];
