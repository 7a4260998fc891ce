// What brings a control file back to what it held.
import { expect, test } from "bun:test";
import { restoringValues } from "../../../../runtime/cgroup/restore.ts";

test("a file of one value gets its whole text again", () => {
  expect(restoringValues("50000 100000\n", ["10000 100000"])).toEqual(["50000 100000"]);
  expect(restoringValues("max\n", ["64"])).toEqual(["max"]);
  expect(restoringValues("0-3\n", ["0"])).toEqual(["0-3"]);
});

test("a file with a value for each device gets those that were written, and none where there was none", () => {
  const before = "254:0 1048576\n8:0 5\n";
  expect(restoringValues(before, ["254:0 7", "9:0 7"])).toEqual(["254:0 1048576", "9:0 0"]);
  const limits = "254:0 rbps=1048576 wbps=max riops=max wiops=max\n";
  expect(restoringValues(limits, ["254:0 rbps=7", "8:0 wiops=7"])).toEqual([
    "254:0 rbps=1048576 wbps=max riops=max wiops=max",
    "8:0 wiops=max",
  ]);
});

test("a weight without a device is the default's", () => {
  expect(restoringValues("default 100\n8:0 50\n", ["default 300"])).toEqual(["default 100"]);
  expect(restoringValues("100\n", ["default 300"])).toEqual(["default 100"]);
});
