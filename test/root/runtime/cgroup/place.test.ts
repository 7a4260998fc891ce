// Where cgroups are made under a service manager's unit: only cgroup v2 has the rules that this is about.
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { openCgroup } from "../../../../runtime/cgroup/cgroup.ts";
import { cgroupParent, unifiedMount } from "../../../../runtime/cgroup/place.ts";
import { readHostFacts } from "../../../../runtime/facts.ts";
import { syscall } from "../../../../runtime/sys/ffi.ts";

const facts = readHostFacts();
const isV2 = facts.cgroupVersion === 2;
const unit = `/berth-unit-${process.pid}`;

afterAll(async () => {
  if (!isV2) return;
  await openCgroup(facts, unit).kill();
  await openCgroup(facts, unit).remove();
});

/** What a daemon started in our unit's cgroup does: finds its place, makes a container's cgroup there with a limit. */
const DAEMON = `
import { writeFileSync, readFileSync } from "node:fs";
import { createCgroup } from "${import.meta.resolve("../../../../runtime/cgroup/cgroup.ts")}";
import { cgroupParent, unifiedMount } from "${import.meta.resolve("../../../../runtime/cgroup/place.ts")}";
import { readHostFacts } from "${import.meta.resolve("../../../../runtime/facts.ts")}";
const facts = readHostFacts();
writeFileSync(unifiedMount(facts) + "${unit}/cgroup.procs", "0");
const parent = cgroupParent(facts, "/berth", false);
using cgroup = await createCgroup(facts, parent + "/c1", { devices: [], memory: { limit: 64 << 20 }, pids: { limit: 5 } });
const { memoryLimit, pidsLimit } = cgroup.stats();
const own = readFileSync("/proc/self/cgroup", "utf8").trim();
const again = cgroupParent(facts, "/berth", false);
await cgroup.remove();
console.log(JSON.stringify({ parent, again, memoryLimit, pidsLimit, own }));
`;

test.if(isV2)("in a unit with delegation berth stays in its subtree and steps into a leaf of it", async () => {
  const directory = `${unifiedMount(facts)}${unit}`;
  mkdirSync(directory);
  expect(syscall("lsetxattr", directory, "trusted.delegate", new TextEncoder().encode("1"), 1, 0)).toBe(0);
  const daemon = Bun.spawn([process.execPath, "-e", DAEMON], { stdout: "pipe", stderr: "pipe" });
  const [output, errors] = await Promise.all([new Response(daemon.stdout).text(), new Response(daemon.stderr).text()]);
  expect(errors).toBe("");
  expect(JSON.parse(output)).toEqual({
    parent: `${unit}/berth`,
    again: `${unit}/berth`,
    memoryLimit: 64 << 20,
    pidsLimit: 5,
    own: `0::${unit}/berth-daemon`,
  });
});

test("outside a unit, or where the user says which, the parent is as configured", () => {
  expect(cgroupParent(facts, "/berth/", false)).toBe("/berth");
  expect(cgroupParent(facts, "a//b", true)).toBe("/a/b");
  expect(readFileSync("/proc/self/cgroup", "utf8")).not.toContain(unit);
});
