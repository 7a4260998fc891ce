// Cgroups on the real kernel, v1 and v2 alike: each test under a parent of its own, removed at the end. What needs no
// controller of v2 runs twice on a hybrid machine, the second time on its unified mount.
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { OciDeviceRule, OciResources } from "../../../../runtime/bundle.ts";
import { type CgroupHandle, createCgroup, openCgroup } from "../../../../runtime/cgroup/cgroup.ts";
import { cgroupDirectories } from "../../../../runtime/cgroup/place.ts";
import { readHostFacts } from "../../../../runtime/facts.ts";
import type { HostFacts } from "../../../../runtime/mod.ts";

const machine = readHostFacts();
const unified = /^\S+ \S+ \S+ \S+ (\S+) .* - cgroup2 /m.exec(readFileSync("/proc/self/mountinfo", "utf8"))?.[1];
const hybrid: HostFacts | null =
  machine.cgroupVersion === 1 && unified
    ? { ...machine, cgroupVersion: 2, controllers: new Map([["core", unified]]) }
    : null;
const kinds: [string, HostFacts][] = [[`cgroup v${machine.cgroupVersion}`, machine]];
if (hybrid) kinds.push(["the unified mount", hybrid]);
const parent = `/berth-test-${process.pid}`;
const MiB = 1 << 20;
const ALL_DEVICES: OciDeviceRule[] = [{ allow: true, type: "a", access: "rwm" }];
let count = 0;

afterAll(async () => {
  for (const [, facts] of kinds) {
    const left = cgroupDirectories(facts, parent).flatMap((directory) =>
      existsSync(directory)
        ? readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory())
        : [],
    );
    await openCgroup(facts, parent).remove();
    expect(left.map((entry) => entry.name)).toEqual([]);
  }
});

async function create(resources: Partial<OciResources> = {}, facts = machine): Promise<CgroupHandle & AsyncDisposable> {
  const cgroup = await createCgroup(facts, `${parent}/c${count++}`, { devices: ALL_DEVICES, ...resources });
  return Object.assign(cgroup, {
    async [Symbol.asyncDispose]() {
      await cgroup.kill();
      await cgroup.remove();
    },
  });
}

/** Runs a shell script inside the cgroup. */
function spawnIn(cgroup: CgroupHandle, script: string, facts = machine) {
  const files = cgroupDirectories(facts, cgroup.path).map((directory) => `${directory}/cgroup.procs`);
  const join = files.map((file) => `echo $$ > ${file}`).join(" && ");
  return Bun.spawn(["sh", "-c", `${join} && exec sh -c "$0"`, script], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    if (isTrue()) return;
    await sleep(2);
  }
  throw new Error("the condition never came true");
}

const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

describe("createCgroup()", () => {
  const facts = machine;
  test("makes the directories with the limits in force, and remove() takes them away", async () => {
    const cgroup = await create({
      memory: { limit: 64 * MiB, swap: 64 * MiB },
      cpu: { shares: 512, quota: 50_000, period: 100_000, cpus: "0" },
      pids: { limit: 7 },
    });
    const stats = cgroup.stats();
    expect(stats.memoryLimit).toBe(64 * MiB);
    expect(stats.pidsLimit).toBe(7);
    const read = (controller: string, file: string) =>
      readFileSync(`${facts.controllers.get(controller)}${cgroup.path}/${file}`, "utf8").trim();
    expect(read("cpuset", "cpuset.cpus")).toBe("0");
    if (facts.cgroupVersion === 2) expect(read("cpu", "cpu.max")).toBe("50000 100000");
    else {
      expect(read("cpu", "cpu.cfs_quota_us")).toBe("50000");
      expect(read("memory", "memory.memsw.limit_in_bytes")).toBe(String(64 * MiB));
      expect(read("cpuset", "cpuset.mems")).not.toBe("");
    }
    await cgroup.remove();
    for (const directory of cgroupDirectories(facts, cgroup.path)) expect(existsSync(directory)).toBe(false);
    await cgroup.remove();
  });

  test("a limit the kernel refuses is an error that names file and value, and leaves nothing behind", async () => {
    const path = `${parent}/refused`;
    const refused = await createCgroup(facts, path, { devices: ALL_DEVICES, cpu: { cpus: "4095" } }).catch(String);
    expect(refused).toMatch(/cpuset\.cpus.*4095/);
    for (const directory of cgroupDirectories(facts, path)) expect(existsSync(directory)).toBe(false);
  });

  test("a stale cgroup of the same name is made afresh, one with processes is refused", async () => {
    await using cgroup = await create({ pids: { limit: 3 } });
    using again = await createCgroup(facts, cgroup.path, { devices: ALL_DEVICES });
    expect(again.stats().pidsLimit).toBeNull();
    const child = spawnIn(again, "sleep 60");
    await until(() => again.pids().includes(child.pid));
    expect(await createCgroup(facts, cgroup.path, { devices: ALL_DEVICES }).catch(String)).toMatch(/in use/);
    expect(again.pids()).toContain(child.pid);
    await again.kill();
    await child.exited;
  });
});

test("update() raises and lowers limits in an order the kernel takes", async () => {
  await using cgroup = await create({ memory: { limit: 32 * MiB, swap: 32 * MiB } });
  for (const size of [256 * MiB, 16 * MiB, 512 * MiB]) {
    cgroup.update({ devices: [], memory: { limit: size, swap: size } });
    expect(cgroup.stats().memoryLimit).toBe(size);
  }
  cgroup.update({ devices: [], memory: { limit: -1, swap: -1 }, pids: { limit: 9 } });
  expect(cgroup.stats()).toMatchObject({ memoryLimit: null, pidsLimit: 9 });
});

describe.each(kinds)("on %s", (_, facts) => {
  test("pids() lists the processes of the cgroup and of those below it", async () => {
    await using cgroup = await create({}, facts);
    expect(cgroup.pids()).toEqual([]);
    const below = `${cgroup.path}/below`;
    await using inner = await createCgroup(facts, below, { devices: ALL_DEVICES }).then((handle) =>
      Object.assign(handle, { [Symbol.asyncDispose]: () => handle.kill() }),
    );
    const child = spawnIn(inner, "sleep 60", facts);
    await until(() => cgroup.pids().includes(child.pid));
    await cgroup.kill();
    await child.exited;
    await cgroup.remove();
    expect(existsSync(cgroupDirectories(facts, below)[0] ?? "")).toBe(false);
  });

  test("freeze() stops a busy loop, thaw() lets it go on, and kill() ends even a frozen one", async () => {
    await using cgroup = await create({}, facts);
    const child = spawnIn(cgroup, "while :; do :; done", facts);
    const usage = () => cgroup.stats().cpuTotalNs;
    await until(() => usage() > 1_000_000);
    await cgroup.freeze();
    const frozen = usage();
    await sleep(30);
    expect(usage()).toBe(frozen);
    await cgroup.thaw();
    await until(() => usage() > frozen);
    await cgroup.freeze();
    await cgroup.kill();
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
  });

  const NULL_ONLY: OciDeviceRule[] = [
    { allow: false, type: "a", access: "rwm" },
    { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
  ];
  const PROBE = "(: < /dev/null) 2>/dev/null && echo null; (head -c1 < /dev/zero >/dev/null) 2>/dev/null && echo zero";
  const allowed = async (cgroup: CgroupHandle) => {
    const child = spawnIn(cgroup, PROBE, facts);
    await child.exited;
    return (await new Response(child.stdout).text()).trim().split("\n");
  };

  test("every device is denied but what is allowed", async () => {
    await using cgroup = await create({ devices: NULL_ONLY }, facts);
    expect(await allowed(cgroup)).toEqual(["null"]);
  });

  test("update() replaces them, and leaves them alone when it is given none", async () => {
    await using cgroup = await create({ devices: NULL_ONLY }, facts);
    cgroup.update({ devices: [], cpu: {} });
    expect(await allowed(cgroup)).toEqual(["null"]);
    cgroup.update({ devices: [...NULL_ONLY, { allow: true, type: "c", major: 1, minor: 5, access: "r" }] });
    expect(await allowed(cgroup)).toEqual(["null", "zero"]);
  });
});

test("kill() ends a tree of processes that keeps forking", async () => {
  await using cgroup = await create({ pids: { limit: 40 } });
  const child = spawnIn(cgroup, "while :; do sleep 60 & sleep 0.01; done 2>/dev/null");
  await until(() => cgroup.pids().length > 5);
  const pids = cgroup.pids();
  await cgroup.kill();
  await child.exited;
  await until(() => pids.every((pid) => !isAlive(pid)));
  await until(() => cgroup.pids().length === 0);
});

test("the pids limit holds", async () => {
  await using cgroup = await create({ pids: { limit: 3 } });
  const child = spawnIn(cgroup, "for i in 1 2 3 4 5; do sleep 0.2 & done; wait");
  await child.exited;
  expect(await new Response(child.stderr).text()).toMatch(/fork|Resource temporarily unavailable/i);
});

test("an OOM kill is counted and told to the watcher", async () => {
  await using cgroup = await create({ memory: { limit: 16 * MiB, swap: 16 * MiB } });
  let told = 0;
  const stop = cgroup.watchOom(() => told++);
  expect(cgroup.oomKills()).toBe(0);
  const child = spawnIn(cgroup, "exec dd if=/dev/zero of=/dev/null bs=64M count=2");
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  await until(() => told > 0);
  expect(cgroup.oomKills()).toBeGreaterThan(0);
  stop();
  stop();
});

test("watchOom() ends quietly when its cgroup is removed", async () => {
  await using cgroup = await create();
  let told = 0;
  const stop = cgroup.watchOom(() => told++);
  await cgroup.remove();
  await sleep(20);
  expect(told).toBe(0);
  expect(cgroup.oomKills()).toBe(0);
  stop();
});

test("stats() counts CPU time and memory of a process that worked", async () => {
  await using cgroup = await create();
  const child = spawnIn(cgroup, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
  await child.exited;
  const stats = cgroup.stats();
  expect(stats.cpuTotalNs).toBeGreaterThan(1_000_000);
  expect(Object.keys(stats.memoryStats).length).toBeGreaterThan(5);
  expect(stats.pidsCurrent).toBe(0);
});
