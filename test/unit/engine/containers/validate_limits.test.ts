// Lists of CPUs, as the kernel writes them and as people do.
import { expect, test } from "bun:test";
import { parseCpuList } from "../../../../src/engine/containers/validate_limits.ts";

test("lists of CPUs", () => {
  expect([...(parseCpuList("0-2,5") ?? [])]).toEqual([0, 1, 2, 5]);
  for (const bad of ["", "a", "3-1", "1,", "1--2", "0-99999", "-1"]) expect(parseCpuList(bad)).toBeNull();
});
