// The interpreter's machine code: its listing against a disassembler, and its edge cases run for real.
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { batchCode, codeOf, interpreter, LISTINGS } from "../../../../runtime/program/blob.ts";
import { Label, Load, Program } from "../../../../runtime/program/program.ts";
import { hostArch } from "../../../../runtime/sys/arch.ts";

const DISASSEMBLERS = {
  x64: { command: "objdump", options: ["-m", "i386:x86-64", "-M", "intel"] },
  arm64: { command: "aarch64-linux-gnu-objdump", options: ["-m", "aarch64"] },
} as const;

/** `<mnemonic> <operands>` a line, as the listings have them; null where this machine has no such disassembler. */
function disassemble(code: Uint8Array, arch: "x64" | "arm64"): string[] | null {
  const directory = mkdtempSync(join(tmpdir(), "berth-blob-"));
  try {
    const file = join(directory, "code");
    writeFileSync(file, code);
    const { command, options } = DISASSEMBLERS[arch];
    const { stdout, status } = spawnSync(command, ["-D", "-b", "binary", ...options, file], { encoding: "utf8" });
    if (status !== 0) return null;
    return stdout.split("\n").flatMap((line) => {
      const columns = line.split("\t");
      return /^\s*[0-9a-f]+:$/.test(columns[0] ?? "") ? [normal(columns.slice(2).join(" "))] : [];
    });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function normal(instruction: string): string {
  return instruction
    .replace(/\/\/.*$/, "")
    .replace(/\s+/g, " ")
    .trim();
}

function listed(listing: string): string[] {
  return listing
    .trim()
    .split("\n")
    .map((line) => normal((line.trim().split(/\s{2,}/)[1] ?? "").replace(/;.*$/, "")));
}

for (const arch of ["x64", "arm64"] as const) {
  for (const form of ["start", "batch"] as const) {
    const listing = LISTINGS[arch][form];
    const disassembled = disassemble(codeOf(listing, arch), arch);
    test.skipIf(disassembled === null)(`${arch} ${form}: the words say what the bytes do`, () => {
      expect(disassembled).toEqual(listed(listing));
    });
  }
}

test("the code is as small as it is said to be, and is patched with both addresses", () => {
  expect(interpreter("x64", 0x411000, 0x411140).length).toBe(104);
  expect(interpreter("arm64", 0x411000, 0x411140).length).toBe(136);
  expect([...interpreter("x64", 0x411000, 0x411140).subarray(0, 12)]).toEqual([
    0x41, 0xbd, 0x00, 0x10, 0x41, 0x00, 0x41, 0xbc, 0x40, 0x11, 0x41, 0x00,
  ]);
  const words = new Uint32Array(interpreter("arm64", 0x411000, 0x411140).buffer).subarray(0, 4);
  // movz x20, #0x1000; movk x20, #0x41, lsl #16; movz x19, #0x1140; movk x19, #0x41, lsl #16
  expect([...words]).toEqual([0xd2820014, 0xf2a00834, 0xd2822813, 0xf2a00833]);
  expect(batchCode("x64").at(-1)).toBe(0xc3);
});

/** Runs a program, and gives its output and status. The table of cases below is one step each around the case. */
function run(build: (program: Program, print: (text: string) => void) => void): {
  output: string;
  status: number | null;
} {
  const program = new Program(hostArch());
  build(program, (text) => program.step("write", [1, text, text.length], { error: 1 }));
  program.step("exit_group", [0], { error: 0 });
  program.mark(program.failure);
  program.step("exit_group", [99], { error: 0 });
  const directory = mkdtempSync(join(tmpdir(), "berth-blob-"));
  const file = join(directory, "program");
  writeFileSync(file, program.toImage().bytes);
  chmodSync(file, 0o755);
  const { stdout, status } = spawnSync(file, { encoding: "latin1", timeout: 10_000 });
  rmSync(directory, { recursive: true });
  return { output: stdout, status };
}

describe("control flow", () => {
  test("an error goes to the failure label unless the step says otherwise", () => {
    expect(run((program) => program.step("close", [-1]))).toEqual({ output: "", status: 99 });
    expect(
      run((program, print) => {
        program.step("close", [-1], { error: 1 });
        print("after");
      }),
    ).toEqual({ output: "after", status: 0 });
  });

  test("error, zero and positive results each have a target of their own", () => {
    const taken = (call: () => [name: "close" | "getpid" | "umask", argument: number]): string =>
      run((program, print) => {
        const [name, argument] = call();
        const error = new Label("error"),
          zero = new Label("zero"),
          positive = new Label("positive"),
          end = new Label("end");
        program.step(name, [argument], { error, zero, positive });
        for (const [label, text] of [
          [error, "error"],
          [zero, "zero"],
          [positive, "positive"],
        ] as const) {
          program.mark(label);
          print(text);
          program.step("umask", [0o22], { zero: end, positive: end });
        }
        program.mark(end);
      }).output;
    expect(taken(() => ["close", -1])).toBe("error");
    expect(taken(() => ["close", 0])).toBe("zero");
    expect(taken(() => ["getpid", 0])).toBe("positive");
  });

  test("a step may jump to itself, and backwards: a loop that ends with the pipe", () => {
    const { output } = run((program, print) => {
      const fd = program.slot(),
        byte = program.slot(),
        again = new Label("again"),
        done = new Label("done");
      program.step("memfd_create", ["x", 0], { out: fd });
      program.step("write", [new Load(fd), "abc", 3]);
      program.step("lseek", [new Load(fd), 0, 0]);
      program.mark(again);
      program.step("read", [new Load(fd), byte, 1], { zero: done });
      program.step("write", [1, byte, 1], { positive: again });
      program.mark(done);
      print(".");
    });
    expect(output).toBe("abc.");
  });
});

describe("arguments", () => {
  test("all six are passed, indirect or not", () => {
    const { output, status } = run((program) => {
      const source = program.slot(),
        target = program.slot();
      program.step("memfd_create", ["a", 0], { out: source });
      program.step("memfd_create", ["b", 0], { out: target });
      program.step("write", [new Load(source), "0123456789", 10]);
      // copy_file_range(in, *off_in, out, *off_out, length, flags): offsets 3 and 0, length by indirection.
      const length = program.words([4]);
      program.step("copy_file_range", [
        new Load(source),
        program.words([3]),
        new Load(target),
        program.words([0]),
        new Load(length),
        0,
      ]);
      const buffer = program.slot(16);
      program.step("pread64", [new Load(target), buffer, 16, 0]);
      program.step("write", [1, buffer, 4]);
    });
    expect({ output, status }).toEqual({ output: "3456", status: 0 });
  });

  test("a negative number, and one beyond 32 bits, arrive whole", () => {
    const { output } = run((program) => {
      const result = program.slot();
      const fd = program.slot();
      program.step("memfd_create", ["a", 0], { out: fd });
      program.step("ftruncate", [new Load(fd), 0x1_0000_0005]);
      program.step("lseek", [new Load(fd), -2, 2], { out: result });
      program.step("write", [1, result, 8]);
    });
    expect(Buffer.from(output, "latin1").readBigInt64LE(0)).toBe(0x1_0000_0003n);
  });
});

test("a failure leaves its result and its step in the context", () => {
  const program = new Program(hostArch());
  program.step("getpid", []);
  program.step("openat", [-100, "/does/not/exist", 0, 0], { title: "open what is not there" });
  program.mark(program.failure);
  program.step("write", [1, program.context, 16]);
  program.step("exit_group", [3], { error: 0 });
  const built = program.toImage();
  const directory = mkdtempSync(join(tmpdir(), "berth-blob-"));
  const file = join(directory, "program");
  writeFileSync(file, built.bytes, { mode: 0o755 });
  const { stdout, status } = spawnSync(file, { encoding: "buffer" });
  rmSync(directory, { recursive: true });
  expect(status).toBe(3);
  expect(stdout.readBigInt64LE(0)).toBe(-2n);
  expect(built.titleAt(Number(stdout.readBigUint64LE(8)))).toBe("open what is not there");
  expect(built.titleAt(1)).toBeNull();
});
