// The ELF file around a generated program: one page of code, one writable segment with context, slots, table and data.
// See elf(5). 64-bit, static, no sections, no dynamic loader: the kernel maps two segments and jumps.
//
//   file 0x0000  ELF header, 3 program headers, code at 0x100   → 0x400000 R X
//   file 0x1000  the program's memory                           → 0x411000 RW
//
// p_align is 64 KiB on both architectures: an aarch64 kernel may have pages that large, and then the two segments must
// not share one. 0x411000 and 0x1000 agree modulo 64 KiB.
import type { Arch } from "../sys/arch.ts";

const TEXT_ADDRESS = 0x400000;
const MEMORY_OFFSET = 0x1000;
/** Where a program's memory begins, so where its context lies. */
export const MEMORY_ADDRESS = 0x411000;
const CODE_OFFSET = 0x100;
const SEGMENT_ALIGN = 0x10000;

const ET_EXEC = 2,
  EM_X86_64 = 62,
  EM_AARCH64 = 183;
const PT_LOAD = 1,
  PT_GNU_STACK = 0x6474e551;
const PF_X = 1,
  PF_W = 2,
  PF_R = 4;

/** Lays out the file with `memory` still zero, to be filled in place by the caller. */
export function elfFile(arch: Arch, code: Uint8Array, memoryBytes: number): { file: Uint8Array; memory: Uint8Array } {
  if (CODE_OFFSET + code.length > MEMORY_OFFSET)
    throw new RangeError(`${code.length} bytes of code do not fit one page`);
  const file = new Uint8Array(new ArrayBuffer(MEMORY_OFFSET + memoryBytes));
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]); // "\x7fELF", 64-bit, little endian, version 1, System V
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, arch === "x64" ? EM_X86_64 : EM_AARCH64, true);
  view.setUint32(20, 1, true);
  setAddress(view, 24, TEXT_ADDRESS + CODE_OFFSET); // entry
  setAddress(view, 32, 64); // program headers follow the header
  view.setUint16(52, 64, true); // size of this header
  view.setUint16(54, 56, true); // size of a program header
  view.setUint16(56, 3, true); // their count
  segment(view, 0, PT_LOAD, PF_R | PF_X, 0, TEXT_ADDRESS, CODE_OFFSET + code.length, SEGMENT_ALIGN);
  segment(view, 1, PT_LOAD, PF_R | PF_W, MEMORY_OFFSET, MEMORY_ADDRESS, memoryBytes, SEGMENT_ALIGN);
  segment(view, 2, PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 16);
  file.set(code, CODE_OFFSET);
  return { file, memory: file.subarray(MEMORY_OFFSET) };
}

function segment(
  view: DataView,
  index: number,
  type: number,
  flags: number,
  offset: number,
  address: number,
  sizeBytes: number,
  align: number,
): void {
  const at = 64 + index * 56;
  view.setUint32(at, type, true);
  view.setUint32(at + 4, flags, true);
  setAddress(view, at + 8, offset);
  setAddress(view, at + 16, address);
  setAddress(view, at + 24, address);
  setAddress(view, at + 32, sizeBytes);
  setAddress(view, at + 40, sizeBytes);
  setAddress(view, at + 48, align);
}

/** A 64-bit number below 4 GiB. */
function setAddress(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, 0, true);
}
