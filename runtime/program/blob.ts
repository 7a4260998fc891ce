// The interpreter: the only machine code in a generated program. It walks a table of system-call steps; program.ts draws
// the step. Two forms per architecture: `_start` of an ELF file, and a function for the daemon's own batches (batch.ts).
// A test disassembles each listing and compares it with the words beside the bytes; another runs its edge cases.
//
//   x86-64   r12 step, r13 context {i64 result, u64 step} of the last error
//   aarch64  x19 step, x20 context
//
// The ELF form stores a result at the absolute address `outAddr`; the batch form at the context plus `outAddr`, since a
// daemon's heap lies above 4 GiB. The batch form ends at a step whose number is 0xffff and returns the context's result.
import type { Arch } from "../sys/arch.ts";

/** The number that ends a batch's table. No system call has it. */
export const BATCH_END = 0xffff;

/** `<bytes in hex>  <what objdump prints>  ; <why>`, one instruction a line. */
export const LISTINGS: Readonly<Record<Arch, { start: string; batch: string }>> = {
  x64: {
    start: `
      41 bd 00 00 00 00  mov r13d,0x0                         ; context, patched by interpreter()
      41 bc 00 00 00 00  mov r12d,0x0                         ; first step, patched by interpreter()
      41 0f b7 5c 24 02  movzx ebx,WORD PTR [r12+0x2]         ; next: the mask of indirect arguments
      6a 06              push 0x6
      59                 pop rcx
      49 8b 04 cc        mov rax,QWORD PTR [r12+rcx*8]        ; argument rcx, from the last to the first
      0f a3 cb           bt ebx,ecx
      73 03              jae 0x21
      48 8b 00           mov rax,QWORD PTR [rax]              ; indirect: load it
      50                 push rax
      e2 f1              loop 0x15
      5f                 pop rdi
      5e                 pop rsi
      5a                 pop rdx
      41 5a              pop r10
      41 58              pop r8
      41 59              pop r9
      41 0f b7 04 24     movzx eax,WORD PTR [r12]
      0f 05              syscall
      41 8b 4c 24 38     mov ecx,DWORD PTR [r12+0x38]         ; outAddr, or 0
      e3 03              jrcxz 0x3e
      48 89 01           mov QWORD PTR [rcx],rax
      49 0f bf 54 24 3c  movsx rdx,WORD PTR [r12+0x3c]        ; onPositive
      48 85 c0           test rax,rax
      7f 16              jg 0x5f
      49 0f bf 54 24 06  movsx rdx,WORD PTR [r12+0x6]         ; onZero
      74 0e              je 0x5f
      49 89 45 00        mov QWORD PTR [r13+0x0],rax          ; an error: remember result and step
      4d 89 65 08        mov QWORD PTR [r13+0x8],r12
      49 0f bf 54 24 04  movsx rdx,WORD PTR [r12+0x4]         ; onError
      48 c1 e2 06        shl rdx,0x6                          ; steps are 64 bytes
      49 01 d4           add r12,rdx
      eb a4              jmp 0xc`,
    batch: `
      53                 push rbx                             ; rdi first step, rsi context
      41 54              push r12
      41 55              push r13
      49 89 fc           mov r12,rdi
      49 89 f5           mov r13,rsi
      41 0f b7 5c 24 02  movzx ebx,WORD PTR [r12+0x2]         ; next
      6a 06              push 0x6
      59                 pop rcx
      49 8b 04 cc        mov rax,QWORD PTR [r12+rcx*8]
      0f a3 cb           bt ebx,ecx
      73 03              jae 0x20
      48 8b 00           mov rax,QWORD PTR [rax]
      50                 push rax
      e2 f1              loop 0x14
      5f                 pop rdi
      5e                 pop rsi
      5a                 pop rdx
      41 5a              pop r10
      41 58              pop r8
      41 59              pop r9
      41 0f b7 04 24     movzx eax,WORD PTR [r12]
      3d ff ff 00 00     cmp eax,0xffff                       ; BATCH_END
      74 38              je 0x70
      0f 05              syscall
      41 8b 4c 24 38     mov ecx,DWORD PTR [r12+0x38]
      e3 05              jrcxz 0x46
      49 89 44 0d 00     mov QWORD PTR [r13+rcx*1+0x0],rax    ; relative to the context
      49 0f bf 54 24 3c  movsx rdx,WORD PTR [r12+0x3c]
      48 85 c0           test rax,rax
      7f 16              jg 0x67
      49 0f bf 54 24 06  movsx rdx,WORD PTR [r12+0x6]
      74 0e              je 0x67
      49 89 45 00        mov QWORD PTR [r13+0x0],rax
      4d 89 65 08        mov QWORD PTR [r13+0x8],r12
      49 0f bf 54 24 04  movsx rdx,WORD PTR [r12+0x4]
      48 c1 e2 06        shl rdx,0x6
      49 01 d4           add r12,rdx
      eb 9b              jmp 0xb
      49 8b 45 00        mov rax,QWORD PTR [r13+0x0]          ; done
      41 5d              pop r13
      41 5c              pop r12
      5b                 pop rbx
      c3                 ret`,
  },
  arm64: {
    start: `
      d2800014  mov x20, #0x0                  ; context, low half, patched by interpreter()
      f2a00014  movk x20, #0x0, lsl #16        ; context, high half
      d2800013  mov x19, #0x0                  ; first step, low half
      f2a00013  movk x19, #0x0, lsl #16        ; first step, high half
      7940066b  ldrh w11, [x19, #2]            ; next: the mask of indirect arguments
      a9408660  ldp x0, x1, [x19, #8]
      a9418e62  ldp x2, x3, [x19, #24]
      a9429664  ldp x4, x5, [x19, #40]
      3608004b  tbz w11, #1, 0x28
      f9400000  ldr x0, [x0]                   ; indirect: load it
      3610004b  tbz w11, #2, 0x30
      f9400021  ldr x1, [x1]
      3618004b  tbz w11, #3, 0x38
      f9400042  ldr x2, [x2]
      3620004b  tbz w11, #4, 0x40
      f9400063  ldr x3, [x3]
      3628004b  tbz w11, #5, 0x48
      f9400084  ldr x4, [x4]
      3630004b  tbz w11, #6, 0x50
      f94000a5  ldr x5, [x5]
      79400268  ldrh w8, [x19]
      d4000001  svc #0x0
      b9403a69  ldr w9, [x19, #56]             ; outAddr, or 0
      34000049  cbz w9, 0x64
      f9000120  str x0, [x9]
      79807a6a  ldrsh x10, [x19, #60]          ; onPositive
      f100001f  cmp x0, #0x0
      540000ac  b.gt 0x80
      79800e6a  ldrsh x10, [x19, #6]           ; onZero
      54000060  b.eq 0x80
      a9004e80  stp x0, x19, [x20]             ; an error: remember result and step
      79800a6a  ldrsh x10, [x19, #4]           ; onError
      8b0a1a73  add x19, x19, x10, lsl #6      ; steps are 64 bytes
      17ffffe3  b 0x10`,
    batch: `
      a9bf53f3  stp x19, x20, [sp, #-16]!      ; x0 first step, x1 context
      aa0003f3  mov x19, x0
      aa0103f4  mov x20, x1
      79400268  ldrh w8, [x19]                 ; next
      529fffe9  mov w9, #0xffff                ; BATCH_END
      6b09011f  cmp w8, w9
      540003c0  b.eq 0x90
      7940066b  ldrh w11, [x19, #2]
      a9408660  ldp x0, x1, [x19, #8]
      a9418e62  ldp x2, x3, [x19, #24]
      a9429664  ldp x4, x5, [x19, #40]
      3608004b  tbz w11, #1, 0x34
      f9400000  ldr x0, [x0]
      3610004b  tbz w11, #2, 0x3c
      f9400021  ldr x1, [x1]
      3618004b  tbz w11, #3, 0x44
      f9400042  ldr x2, [x2]
      3620004b  tbz w11, #4, 0x4c
      f9400063  ldr x3, [x3]
      3628004b  tbz w11, #5, 0x54
      f9400084  ldr x4, [x4]
      3630004b  tbz w11, #6, 0x5c
      f94000a5  ldr x5, [x5]
      d4000001  svc #0x0
      b9403a69  ldr w9, [x19, #56]
      34000049  cbz w9, 0x6c
      f8296a80  str x0, [x20, x9]              ; relative to the context
      79807a6a  ldrsh x10, [x19, #60]
      f100001f  cmp x0, #0x0
      540000ac  b.gt 0x88
      79800e6a  ldrsh x10, [x19, #6]
      54000060  b.eq 0x88
      a9004e80  stp x0, x19, [x20]
      79800a6a  ldrsh x10, [x19, #4]
      8b0a1a73  add x19, x19, x10, lsl #6
      17ffffe0  b 0xc
      f9400280  ldr x0, [x20]                  ; done
      a8c153f3  ldp x19, x20, [sp], #16
      d65f03c0  ret`,
  },
};

/** The bytes of a listing. An aarch64 instruction is one little-endian word. */
export function codeOf(listing: string, arch: Arch): Uint8Array {
  const bytes: number[] = [];
  for (const line of listing.trim().split("\n")) {
    const columns = line.trim().split(/\s{2,}/);
    const hex = (columns[0] ?? "").split(" ").map((word) => Number.parseInt(word, 16));
    if (arch === "x64") bytes.push(...hex);
    else for (const word of hex) bytes.push(word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24);
  }
  return Uint8Array.from(bytes);
}

/** `_start` for a program whose context and first step lie at these addresses (below 4 GiB). */
export function interpreter(arch: Arch, context: number, firstStep: number): Uint8Array {
  const code = codeOf(LISTINGS[arch].start, arch);
  const view = new DataView(code.buffer);
  if (arch === "x64") {
    view.setUint32(2, context, true);
    view.setUint32(8, firstStep, true);
  } else {
    const halves = [context & 0xffff, context >>> 16, firstStep & 0xffff, firstStep >>> 16];
    // movz and movk carry their 16 bits from bit 5 up.
    halves.forEach((half, index) =>
      view.setUint32(index * 4, (view.getUint32(index * 4, true) | (half << 5)) >>> 0, true),
    );
  }
  return code;
}

/** `i64 batch(step *first, context *context)`. */
export function batchCode(arch: Arch): Uint8Array {
  return codeOf(LISTINGS[arch].batch, arch);
}
