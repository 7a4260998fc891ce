// The one place that reaches machine code: a stub that makes a raw system call and returns its result or -errno, so there
// is no errno to read in a second step. Everything in runtime/sys stands on `syscall`; nothing else imports bun:ffi.
import { CFunction, dlopen, type Pointer, ptr, toArrayBuffer } from "bun:ffi";
import { SyscallError } from "../errors.ts";
import { type Arch, hostArch, type SysName, sysNumber } from "./arch.ts";

/** What a call takes: a number, an address, bytes (passed by address), a string (passed NUL-terminated), or null for 0. */
export type SysArg = number | bigint | string | Uint8Array | null;

export type RawCall = (nr: number, ...args: (number | bigint)[]) => number;

const PROT_READ = 1,
  PROT_WRITE = 2,
  PROT_EXEC = 4;
const MAP_PRIVATE = 2,
  MAP_ANONYMOUS = 0x20;
const PAGE = 4096;

// rdi=nr rsi..r9=a0..a4 [rsp+8]=a5  →  rax=nr rdi rsi rdx r10 r8 r9; syscall; ret
const STUB_X64 = [
  0x48,
  0x89,
  0xf8, // mov rax, rdi
  0x48,
  0x89,
  0xf7, // mov rdi, rsi
  0x48,
  0x89,
  0xd6, // mov rsi, rdx
  0x48,
  0x89,
  0xca, // mov rdx, rcx
  0x4d,
  0x89,
  0xc2, // mov r10, r8
  0x4d,
  0x89,
  0xc8, // mov r8, r9
  0x4c,
  0x8b,
  0x4c,
  0x24,
  0x08, // mov r9, [rsp+8]
  0x0f,
  0x05, // syscall
  0xc3, // ret
];
// x0=nr x1..x6=a0..a5  →  x8=nr x0..x5; svc; ret
const STUB_ARM64 = [
  0xaa0003e8, // mov x8, x0
  0xaa0103e0,
  0xaa0203e1,
  0xaa0303e2,
  0xaa0403e3,
  0xaa0503e4,
  0xaa0603e5, // mov x0..x5, x1..x6
  0xd4000001, // svc #0
  0xd65f03c0, // ret
];

function stubFor(arch: Arch): Uint8Array {
  return arch === "x64" ? Uint8Array.from(STUB_X64) : new Uint8Array(Uint32Array.from(STUB_ARM64).buffer);
}

const C_LIBRARY_SYMBOLS = {
  mmap: { args: ["ptr", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
  mprotect: { args: ["ptr", "u64", "i32"], returns: "i32" },
} as const;

function openCLibrary() {
  const names = ["libc.so.6", `libc.musl-${hostArch() === "x64" ? "x86_64" : "aarch64"}.so.1`, "libc.so"];
  let cause: unknown;
  for (const name of names) {
    try {
      return dlopen(name, C_LIBRARY_SYMBOLS).symbols;
    } catch (error) {
      cause = error;
    }
  }
  throw new Error(`no C library among ${names.join(", ")}`, { cause });
}

type CLibrary = ReturnType<typeof openCLibrary>;
let library: CLibrary | undefined;
let rawCall: RawCall | undefined;

/** Copies machine code into a page of its own and makes it executable (never writable and executable at once). */
export function mapCode(code: Uint8Array): Pointer {
  library ??= openCLibrary();
  const page = library.mmap(null, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page === null || code.length > PAGE) throw new Error(`cannot map a page for ${code.length} bytes of code`);
  // SAFETY: the mapping is PAGE bytes, checked above, and is never unmapped, so the view and the code stay valid.
  new Uint8Array(toArrayBuffer(page, 0, PAGE)).set(code);
  if (library.mprotect(page, PAGE, PROT_READ | PROT_EXEC) !== 0) throw new Error("cannot make a code page executable");
  return page as Pointer;
}

/** Makes a function of mapped code. `args` and `returns` are bun:ffi type names. */
export function codeFunction(page: Pointer, args: readonly string[], returns: string): (...args: unknown[]) => number {
  // SAFETY: the page came from mapCode and holds code for exactly this signature.
  return CFunction({ ptr: page, args: args as never, returns: returns as never }) as unknown as (
    ...a: unknown[]
  ) => number;
}

/** Zeroed bytes with a stable address. WHY: ptr() of a small typed array goes stale once its .buffer is touched. */
export function alloc(sizeBytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(Math.max(sizeBytes, 8)));
}

const encoder = new TextEncoder();

/** A NUL-terminated copy. Throws when the text holds a NUL itself: the kernel would silently cut it there. */
export function cstr(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new RangeError(`a NUL byte in ${JSON.stringify(text)}`);
  const bytes = encoder.encode(text);
  const copy = alloc(bytes.length + 1);
  copy.set(bytes);
  return copy;
}

/** The address of bytes made by `alloc` or `cstr`. SAFETY: the caller keeps them referenced while the address is used. */
export function addressOf(bytes: Uint8Array): number {
  return Number(ptr(bytes));
}

/**
 * The bare call, for loops that make many: its number and six plain numbers, -errno as it comes (0.02 µs, where `syscall`
 * takes 0.3 to 1). SAFETY: whoever passes an address (see addressOf) keeps the bytes referenced until the call returns.
 */
export function bareSyscall(): RawCall {
  rawCall ??= codeFunction(
    mapCode(stubFor(hostArch())),
    ["i32", "i64_fast", "i64_fast", "i64_fast", "i64_fast", "i64_fast", "i64_fast"],
    "i64_fast",
  ) as unknown as RawCall;
  return rawCall;
}

/** Makes a system call and returns its result, or -errno. Never throws for what the kernel says. */
export function syscall(name: SysName, ...args: SysArg[]): number {
  const call = bareSyscall();
  // SAFETY: strings become buffers that this array keeps alive until the call has returned.
  const kept: (Uint8Array | null)[] = [];
  const values: (number | bigint)[] = [0, 0, 0, 0, 0, 0];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? null;
    if (typeof arg === "number" || typeof arg === "bigint") values[index] = arg;
    else if (arg !== null) {
      const bytes = typeof arg === "string" ? cstr(arg) : arg;
      kept.push(bytes);
      values[index] = bytes.length === 0 ? 0 : addressOf(bytes);
    }
  }
  const result = Number(call(sysNumber(name, hostArch()), ...values));
  kept.length = 0;
  return result;
}

/** The same, throwing a SyscallError that carries `context` when the kernel refuses. */
export function check(
  name: SysName,
  args: SysArg[],
  context: Readonly<Record<string, string | number | bigint>> = {},
): number {
  const result = syscall(name, ...args);
  if (result < 0) throw new SyscallError(name, -result, context);
  return result;
}
