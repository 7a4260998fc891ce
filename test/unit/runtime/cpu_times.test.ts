// /proc/stat to what all CPUs have spent.
import { expect, test } from "bun:test";
import { parseCpuTimes } from "../../../runtime/cpu_times.ts";

test("seven kinds of time are summed up, and the CPUs counted", () => {
  const text = "cpu  1 2 3 4 5 6 7 100 100 100\ncpu0 1 1 1 1 1 1 1 0 0 0\ncpu3 0 1 2 3 4 5 6 0 0 0\nintr 5\nctxt 7\n";
  expect(parseCpuTimes(text)).toEqual({ totalNs: 280_000_000, onlineCpus: 2 });
});

test("nothing is nothing", () => {
  expect(parseCpuTimes("")).toEqual({ totalNs: 0, onlineCpus: 0 });
});
