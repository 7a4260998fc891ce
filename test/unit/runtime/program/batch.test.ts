// Batches inside this process: results, failures, and the way back.
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import process from "node:process";
import { SyscallError } from "../../../../runtime/errors.ts";
import { runBatch } from "../../../../runtime/program/batch.ts";
import { Label, Load, Program } from "../../../../runtime/program/program.ts";
import { hostArch } from "../../../../runtime/sys/arch.ts";

test("results are read by slot, slots that no step filled hold -1", () => {
  const program = new Program(hostArch());
  const pid = program.slot(),
    never = program.slot();
  program.step("getpid", [], { out: pid });
  program.mark(program.failure);
  program.end();
  const results = runBatch(program);
  expect(results(pid)).toBe(process.pid);
  expect(results(never)).toBe(-1);
});

test("a failure undoes what the table says, and names its step", () => {
  const before = readdirSync("/proc/self/fd").length;
  const program = new Program(hostArch());
  const file = program.slot(),
    done = new Label("done");
  program.step("memfd_create", ["x", 1], { out: file, error: done });
  program.step("lseek", [new Load(file), -5, 0], { title: "seek before the start" });
  program.mark(program.failure);
  program.step("close", [new Load(file)]);
  program.mark(done);
  program.end();
  let thrown: unknown;
  try {
    runBatch(program);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(SyscallError);
  expect(thrown).toMatchObject({ call: "seek before the start", code: "EINVAL" });
  expect(readdirSync("/proc/self/fd").length).toBe(before);
});

test("many batches leave nothing behind", () => {
  for (let count = 0; count < 500; count++) {
    const program = new Program(hostArch());
    const pid = program.slot();
    program.step("getpid", [], { out: pid });
    program.mark(program.failure);
    program.end();
    expect(runBatch(program)(pid)).toBe(process.pid);
  }
});
