// doctor's table.
import { expect, test } from "bun:test";
import { formatFindings } from "../../../src/commands/finding_table.ts";

test("formatFindings() gives one aligned line for each finding", () => {
  const text = formatFindings([
    { name: "kernel", state: "ok", detail: "6.18 x64", neededFor: "everything" },
    { name: "a longer name", state: "missing", detail: "", neededFor: "x" },
  ]);
  expect(text).toBe("kernel         ok       everything  6.18 x64\n" + "a longer name  missing  x\n");
});
