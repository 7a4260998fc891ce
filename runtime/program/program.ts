// A program is a table of system-call steps with the data they point at. Made by the typed methods of calls.ts; laid out
// either as an ELF file (a shim) or in the daemon's own memory (a batch).
//
//   memory   context   i64 result, u64 step: the last step that failed
//            slots     u64 each: results that later steps take as arguments
//            table     64 bytes a step
//            data      strings, structs, argv
//
//   step     u16 nr | u16 mask | i16 onError | i16 onZero | u64 args[6] | u32 outAddr | i16 onPositive | u16 0
//
// Bit k+1 of `mask`: argument k is the address of a u64 whose value is passed. `outAddr` receives the result (0: none).
// The three jumps count in steps from this one, and are the only control flow. An error is a negative result.
import type { Arch } from "../sys/arch.ts";
import { type SysName, sysNumber } from "../sys/arch.ts";
import { elfFile, MEMORY_ADDRESS } from "./elf.ts";
import { BATCH_END, interpreter } from "./blob.ts";

const STEP_BYTES = 64;
export const CONTEXT_BYTES = 16;

/** A place in the table to jump to; put there by `Program.mark`. */
export class Label {
  index = -1;
  constructor(readonly name: string) {}
}

/** An address inside the program's memory, known once it is laid out. */
export class Ref {
  constructor(
    readonly area: "slot" | "data",
    readonly offset: number,
  ) {}
  plus(bytes: number): Ref {
    return new Ref(this.area, this.offset + bytes);
  }
}

/** The value a slot holds when the step runs. */
export class Load {
  constructor(readonly slot: Ref) {}
}

/** Strings are passed as addresses of NUL-terminated copies, bytes as addresses of copies, null as 0. */
export type Arg = number | bigint | string | Uint8Array | Ref | Load | null;

/** Where to go on: a label, or a distance in steps (1 is the next one, 0 this one again). */
export type Target = Label | number;

export interface StepOptions {
  out?: Ref;
  error?: Target;
  zero?: Target;
  positive?: Target;
  /** What a failure here is called in a LaunchError. */
  title?: string;
}

interface Step {
  number: number;
  args: Arg[];
  out: Ref | null;
  error: Target;
  zero: Target;
  positive: Target;
  title: string;
}

/** What a program looks like once laid out: its bytes, and the names of its steps by address. */
export interface Image {
  bytes: Uint8Array;
  /** The title of the step at an address from the context, or null for an address that is none. */
  titleAt: (address: number) => string | null;
}

export class Program {
  /** Where a step goes on when its call fails and it does not say otherwise. */
  readonly failure = new Label("failure");
  /** {i64 result, u64 step} of the last error. */
  readonly context = new Ref("slot", 0);

  readonly #steps: Step[] = [];
  readonly #texts = new Map<string, Ref>();
  readonly #addresses: { at: number; ref: Ref }[] = [];
  #slotBytes = CONTEXT_BYTES;
  #data = new Uint8Array(16384);
  #dataBytes = 0;

  constructor(readonly arch: Arch) {}

  /** Reserves zeroed memory for results. */
  slot(sizeBytes = 8): Ref {
    const ref = new Ref("slot", this.#slotBytes);
    this.#slotBytes += align(sizeBytes, 8);
    return ref;
  }

  /** Copies bytes into the program, aligned to 8. */
  data(bytes: Uint8Array): Ref {
    this.#dataBytes = align(this.#dataBytes, 8);
    const at = this.#reserve(bytes.length);
    this.#data.set(bytes, at);
    return new Ref("data", at);
  }

  /** A NUL-terminated string; equal ones are stored once. */
  text(value: string): Ref {
    const known = this.#texts.get(value);
    if (known) return known;
    if (value.includes("\0")) throw new RangeError(`a NUL byte in ${JSON.stringify(value)}`);
    // UTF-8 needs at most three bytes for one UTF-16 unit.
    const at = this.#reserve(value.length * 3 + 1);
    const { written } = encoder.encodeInto(value, this.#data.subarray(at));
    this.#dataBytes = at + written + 1;
    const ref = new Ref("data", at);
    this.#texts.set(value, ref);
    return ref;
  }

  /** Consecutive u64 words; a Ref becomes its address. */
  words(values: (number | bigint | Ref)[]): Ref {
    this.#dataBytes = align(this.#dataBytes, 8);
    const at = this.#reserve(values.length * 8);
    values.forEach((value, index) => {
      if (value instanceof Ref) this.#addresses.push({ at: at + index * 8, ref: value });
      else setWord(new DataView(this.#data.buffer), at + index * 8, value);
    });
    return new Ref("data", at);
  }

  /** A NULL-terminated array of strings, as execve(2) takes. */
  strings(values: string[]): Ref {
    const refs = values.map((value) => this.text(value));
    return this.words([...refs, 0]);
  }

  /** Puts a label before the next step. */
  mark(label: Label): void {
    if (label.index >= 0) throw new Error(`label ${label.name} is marked twice`);
    label.index = this.#steps.length;
  }

  step(call: SysName, args: Arg[], options: StepOptions = {}): void {
    this.#push(sysNumber(call, this.arch), args, options, options.title ?? call);
  }

  /** Ends a batch's table: the interpreter returns to the daemon. */
  end(): void {
    this.#push(BATCH_END, [], {}, "end");
  }

  get stepCount(): number {
    return this.#steps.length;
  }

  /** The executable file. */
  toImage(): Image {
    const table = MEMORY_ADDRESS + align(this.#slotBytes, STEP_BYTES);
    const code = interpreter(this.arch, MEMORY_ADDRESS, table);
    // Step arguments may still add strings and bytes to the data: that is settled before sizes are taken.
    this.#settleArguments();
    const { file, memory } = elfFile(this.arch, code, this.#memoryBytes());
    this.#layOut(memory, MEMORY_ADDRESS, 0);
    return { bytes: file, titleAt: (address) => this.#titleAt(address - table) };
  }

  /** The program's memory for a batch at `address`; results are stored relative to it. */
  memoryBytes(): number {
    this.#settleArguments();
    return this.#memoryBytes();
  }

  layOutAt(memory: Uint8Array, address: number): { table: number; titleAt: (address: number) => string | null } {
    this.#layOut(memory, address, address);
    const table = address + align(this.#slotBytes, STEP_BYTES);
    return { table, titleAt: (at) => this.#titleAt(at - table) };
  }

  #push(number: number, args: Arg[], options: StepOptions, title: string): void {
    this.#steps.push({
      number,
      args,
      out: options.out ?? null,
      error: options.error ?? this.failure,
      zero: options.zero ?? 1,
      positive: options.positive ?? 1,
      title,
    });
  }

  #settleArguments(): void {
    for (const { args } of this.#steps) {
      for (let index = 0; index < args.length; index++) {
        const arg = args[index];
        if (typeof arg === "string") args[index] = this.text(arg);
        else if (arg instanceof Uint8Array) args[index] = this.data(arg);
      }
    }
  }

  #memoryBytes(): number {
    return align(this.#slotBytes, STEP_BYTES) + this.#steps.length * STEP_BYTES + this.#dataBytes;
  }

  #layOut(memory: Uint8Array, base: number, outBase: number): void {
    const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength);
    const table = align(this.#slotBytes, STEP_BYTES);
    const data = table + this.#steps.length * STEP_BYTES;
    const addressOf = (ref: Ref): number => base + (ref.area === "slot" ? 0 : data) + ref.offset;
    memory.set(this.#data.subarray(0, this.#dataBytes), data);
    for (const { at, ref } of this.#addresses) setWord(view, data + at, addressOf(ref));
    this.#steps.forEach((step, index) => {
      const at = table + index * STEP_BYTES;
      let mask = 0;
      for (let position = 0; position < step.args.length; position++) {
        const arg = step.args[position] ?? 0;
        if (arg instanceof Ref) setWord(view, at + 8 + position * 8, addressOf(arg));
        else if (arg instanceof Load) {
          setWord(view, at + 8 + position * 8, addressOf(arg.slot));
          mask |= 2 << position;
        } else setWord(view, at + 8 + position * 8, arg as number | bigint);
      }
      view.setUint16(at, step.number, true);
      view.setUint16(at + 2, mask, true);
      view.setInt16(at + 4, distance(step.error, index), true);
      view.setInt16(at + 6, distance(step.zero, index), true);
      if (step.out) view.setUint32(at + 56, addressOf(step.out) - outBase, true);
      view.setInt16(at + 60, distance(step.positive, index), true);
    });
  }

  #titleAt(offset: number): string | null {
    return offset % STEP_BYTES === 0 ? (this.#steps[offset / STEP_BYTES]?.title ?? null) : null;
  }

  #reserve(sizeBytes: number): number {
    const at = this.#dataBytes;
    while (at + sizeBytes > this.#data.length) {
      const larger = new Uint8Array(this.#data.length * 2);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#dataBytes = at + sizeBytes;
    return at;
  }
}

const encoder = new TextEncoder();

function align(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}

function distance(target: Target, from: number): number {
  if (typeof target === "number") return target;
  if (target.index < 0) throw new Error(`label ${target.name} is nowhere`);
  const steps = target.index - from;
  if (Math.abs(steps) > 0x7fff) throw new RangeError(`label ${target.name} is ${steps} steps away`);
  return steps;
}

/** A 64-bit word. WHY: not through BigInt, which costs more than the rest of a step. */
function setWord(view: DataView, at: number, value: number | bigint): void {
  if (typeof value === "bigint") {
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    return;
  }
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x100000000) >>> 0, true);
}
