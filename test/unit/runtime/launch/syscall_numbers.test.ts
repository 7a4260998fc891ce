// The tables against this machine's kernel headers, and against each other.
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { syscallNumbers } from "../../../../runtime/launch/syscall_numbers.ts";
import { sysNames, sysNumber } from "../../../../runtime/sys/arch.ts";

const HEADERS = [
  ["x64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"],
  ["x86", "/usr/include/x86_64-linux-gnu/asm/unistd_32.h"],
] as const;

for (const [arch, header] of HEADERS) {
  test.skipIf(!existsSync(header))(`${arch} agrees with ${header}`, () => {
    const numbers = syscallNumbers(arch);
    const defined = [...readFileSync(header, "utf8").matchAll(/^#define __NR_(\w+)\s+(\d+)$/gm)];
    expect(defined.length).toBeGreaterThan(300);
    // A header that is newer than the table may know more.
    for (const [, name = "", number] of defined) {
      const known = numbers.get(name);
      if (known !== undefined || Number(number) <= 450) expect([name, known]).toEqual([name, Number(number)]);
    }
  });
}

test("calls that programs make have the same numbers in both tables", () => {
  for (const arch of ["x64", "arm64"] as const) {
    const numbers = syscallNumbers(arch);
    for (const name of sysNames()) expect([name, numbers.get(name)]).toEqual([name, sysNumber(name, arch)]);
  }
});

test("from 424 on all architectures agree", () => {
  const tables = (["x64", "x86", "arm64", "arm"] as const).map((arch) =>
    Object.fromEntries([...syscallNumbers(arch)].filter(([, number]) => number >= 424 && number < 0xf0000)),
  );
  expect(Object.keys(tables[0] ?? {}).length).toBeGreaterThan(40);
  // memfd_secret exists on some only.
  for (const table of tables) delete table["memfd_secret"];
  for (const table of tables) expect(table).toEqual(tables[0] ?? {});
});
