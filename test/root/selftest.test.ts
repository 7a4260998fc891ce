// doctor's container on the real kernel.
import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { cgroupDirectories } from "../../runtime/cgroup/place.ts";
import { openRuntime } from "../../runtime/open.ts";
import { GREETING, runSelfTest } from "../../src/selftest.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-selftest-test-"));
const runtime = openRuntime({ imageDir: directory });
const cgroupParent = `/berth-test-${process.pid}`;
afterAll(() => rmSync(directory, { recursive: true }));

test.each([
  ["an overlay", true],
  ["a plain directory", false],
])("the container runs on %s and leaves nothing behind", async (_, hasOverlay) => {
  const mounts = readFileSync("/proc/self/mountinfo", "utf8");
  expect(await runSelfTest(runtime, { directory, cgroupParent, hasOverlay })).toBe(GREETING.trim());
  expect(readdirSync(directory)).toEqual([]);
  expect(readFileSync("/proc/self/mountinfo", "utf8")).toBe(mounts);
  for (const path of cgroupDirectories(runtime.facts, `${cgroupParent}-selftest-${process.pid}`))
    expect(existsSync(path)).toBe(false);
});

test("a machine that cannot run it says at which step", async () => {
  const broken = { ...runtime, launch: () => Promise.reject(new Error("mount proc: EPERM")) };
  const failure = await runSelfTest(broken, { directory, cgroupParent, hasOverlay: true }).catch(String);
  expect(failure).toContain("mount proc: EPERM");
  expect(readdirSync(directory)).toEqual([]);
});
