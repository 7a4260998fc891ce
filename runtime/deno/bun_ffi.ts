// bun:ffi for Deno, by the import map in deno.json: the few names that runtime/sys/ffi.ts uses, on Deno's own FFI. Under
// Bun this file is never loaded. Source: Deno.dlopen, Deno.UnsafePointer and Deno.UnsafeFnPointer.

export type Pointer = number;

interface DenoFFI {
  dlopen(
    name: string,
    symbols: Record<string, ForeignFunction>,
  ): { symbols: Record<string, (...args: unknown[]) => unknown> };
  UnsafePointer: {
    of(bytes: Uint8Array): object | null;
    value(pointer: object | null): bigint;
    create(address: bigint): object | null;
  };
  UnsafePointerView: { getArrayBuffer(pointer: object, length: number, offset: number): ArrayBuffer };
  UnsafeFnPointer: new (pointer: object, definition: ForeignFunction) => { call(...args: unknown[]): unknown };
}
interface ForeignFunction {
  parameters: string[];
  result: string;
}
declare const Deno: DenoFFI;

/** bun:ffi's type names in Deno's. Pointers cross as numbers, so that addresses can be kept and added to. */
const TYPES: Readonly<Record<string, string>> = {
  ptr: "usize",
  u64: "u64",
  u64_fast: "u64",
  i64: "i64",
  i64_fast: "i64",
  i32: "i32",
  u32: "u32",
};

function definition(args: readonly string[], returns: string): ForeignFunction {
  const typeOf = (name: string): string => {
    const type = TYPES[name];
    if (type === undefined) throw new TypeError(`the Deno adapter knows no FFI type ${name}`);
    return type;
  };
  return { parameters: args.map(typeOf), result: typeOf(returns) };
}

const isWide = (type: string): boolean => type === "usize" || type === "u64" || type === "i64";

/** Arguments as Deno wants them (bigint for 64-bit types), the result as Bun gives it (a number). */
function adapt(call: (...args: unknown[]) => unknown, shape: ForeignFunction): (...args: unknown[]) => number {
  return (...args) => {
    const converted = args.map((arg, index) => {
      const value = arg === null || arg === undefined ? 0 : (arg as number | bigint);
      return isWide(shape.parameters[index] ?? "") ? BigInt(value) : Number(value);
    });
    return Number(call(...converted));
  };
}

export function dlopen(
  name: string,
  symbols: Readonly<Record<string, { args: readonly string[]; returns: string }>>,
): { symbols: Record<string, (...args: unknown[]) => number> } {
  const shapes = Object.fromEntries(
    Object.entries(symbols).map(([symbol, { args, returns }]) => [symbol, definition(args, returns)]),
  );
  const opened = Deno.dlopen(name, shapes);
  const adapted: Record<string, (...args: unknown[]) => number> = {};
  for (const [symbol, shape] of Object.entries(shapes)) {
    const call = opened.symbols[symbol];
    if (call) adapted[symbol] = adapt(call, shape);
  }
  return { symbols: adapted };
}

/** A function of machine code at an address. A class only since bun:ffi has one of this name. */
export function CFunction(options: {
  ptr: Pointer;
  args: readonly string[];
  returns: string;
}): (...args: unknown[]) => number {
  const shape = definition(options.args, options.returns);
  const pointer = Deno.UnsafePointer.create(BigInt(options.ptr));
  if (pointer === null) throw new TypeError("a function at address 0");
  // SAFETY: the caller promises code of this shape at this address.
  const fn = new Deno.UnsafeFnPointer(pointer, shape);
  return adapt((...args) => fn.call(...args), shape);
}

/** SAFETY: valid as long as the caller keeps the bytes referenced. */
export function ptr(bytes: Uint8Array): Pointer {
  return Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}

/** SAFETY: the caller promises `length` mapped bytes at this address for as long as the view lives. */
export function toArrayBuffer(address: Pointer, offset: number, length: number): ArrayBuffer {
  const pointer = Deno.UnsafePointer.create(BigInt(address));
  if (pointer === null) throw new TypeError("a view of address 0");
  return Deno.UnsafePointerView.getArrayBuffer(pointer, length, offset);
}
