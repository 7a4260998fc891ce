// /proc/<pid>/stat with names that mean to confuse.
import { expect, test } from "bun:test";
import { parseStat } from "../../../../../src/engine/containers/ps/process.ts";

function statLine(command: string): string {
  const fields = [3, 7, 7, 0, -1, 0, 0, 0, 0, 0, 250, 0, 0, 0, 20, 5, 3, 0, 99, 4096, 256];
  return `7 (${command}) S ${fields.join(" ")} 18446744073709551615\n`;
}

test("parseStat() counts fields from the last parenthesis, since a name may hold any byte", () => {
  for (const name of ["sh", "a b", "(evil) R 1 1", ")", ""]) {
    expect(parseStat(statLine(name))).toMatchObject({
      command: name,
      state: "S",
      ppid: 3,
      cpuSeconds: 2,
      nice: 5,
      threads: 3,
      startTicks: 99,
      residentBytes: 1 << 20,
    });
  }
});

test("parseStat() is null for what is no such line", () => {
  for (const text of ["", "7", "7 (sh", "7 sh) S 1", ")(", "7 (sh) S 1 2 3"]) expect(parseStat(text)).toBeNull();
});
