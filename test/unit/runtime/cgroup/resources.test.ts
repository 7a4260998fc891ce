// Limits to file writes, for both cgroup versions.
import { describe, expect, test } from "bun:test";
import type { OciResources } from "../../../../runtime/bundle.ts";
import { planResources, type ResourcePlan, weightFromShares } from "../../../../runtime/cgroup/resources.ts";

const MiB = 1 << 20;
const plan = (
  resources: Omit<OciResources, "devices">,
  version: 1 | 2,
  inForce?: Parameters<typeof planResources>[2],
) => planResources({ devices: [], ...resources }, version, inForce);
const lines = ({ writes }: ResourcePlan): string[] =>
  writes.flatMap((write) => write.values.map((value) => `${write.file} ${value}`));

describe("planResources() for cgroup v1", () => {
  test("writes every limit to its file", () => {
    const all = plan(
      {
        memory: { limit: 64 * MiB, reservation: 32 * MiB, swap: 128 * MiB, swappiness: 0, disableOOMKiller: true },
        cpu: {
          shares: 512,
          quota: 50_000,
          period: 100_000,
          cpus: "0-1",
          mems: "0",
          realtimePeriod: 1_000_000,
          realtimeRuntime: 950_000,
        },
        pids: { limit: 20 },
        blockIO: {
          weight: 300,
          weightDevice: [{ major: 8, minor: 0, weight: 200 }],
          throttleReadBpsDevice: [
            { major: 8, minor: 0, rate: 1000 },
            { major: 8, minor: 16, rate: 2000 },
          ],
          throttleWriteIOPSDevice: [{ major: 8, minor: 0, rate: 5 }],
        },
      },
      1,
    );
    expect(all.warnings).toEqual([]);
    expect(lines(all)).toEqual([
      "memory.limit_in_bytes 67108864",
      "memory.memsw.limit_in_bytes 134217728",
      "memory.soft_limit_in_bytes 33554432",
      "memory.swappiness 0",
      "memory.oom_control 1",
      "cpu.shares 512",
      "cpu.rt_period_us 1000000",
      "cpu.rt_runtime_us 950000",
      "cpu.cfs_period_us 100000",
      "cpu.cfs_quota_us 50000",
      "cpuset.cpus 0-1",
      "cpuset.mems 0",
      "pids.max 20",
      "blkio.weight 300",
      "blkio.weight_device 8:0 200",
      "blkio.throttle.read_bps_device 8:0 1000",
      "blkio.throttle.read_bps_device 8:16 2000",
      "blkio.throttle.write_iops_device 8:0 5",
    ]);
  });

  test("a growing total is written before the limit, a shrinking one after it", () => {
    const inForce = { limit: 64 * MiB, total: 128 * MiB };
    const files = (limit: number, swap: number) =>
      plan({ memory: { limit, swap } }, 1, inForce).writes.map((write) => write.file);
    const limitFirst = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"];
    expect(files(32 * MiB, 32 * MiB)).toEqual(limitFirst);
    expect(files(100 * MiB, 110 * MiB)).toEqual(limitFirst);
    expect(files(200 * MiB, 400 * MiB)).toEqual(limitFirst.toReversed());
    expect(files(200 * MiB, -1)).toEqual(limitFirst.toReversed());
  });

  test("zero and an empty set of CPUs mean that nothing was asked for", () => {
    const none = plan(
      { memory: { limit: 0, swap: 0 }, cpu: { shares: 0, quota: 0, period: 0, cpus: "", mems: "" }, blockIO: {} },
      1,
    );
    expect(none.writes).toEqual([]);
  });

  test("a missing limit is an error, but for those that Docker drops with a warning", () => {
    const { writes } = plan({ memory: { limit: MiB, swap: MiB, swappiness: 3 }, pids: { limit: -1 } }, 1);
    const optional = writes.filter((write) => write.ifMissing !== undefined).map((write) => write.file);
    expect(optional).toEqual(["memory.memsw.limit_in_bytes", "memory.swappiness"]);
    expect(lines({ writes, warnings: [] })).toContain("pids.max max");
  });
});

describe("planResources() for cgroup v2", () => {
  test("writes every limit in v2's own terms", () => {
    const all = plan(
      {
        memory: { limit: 64 * MiB, reservation: 32 * MiB, swap: 128 * MiB },
        cpu: { shares: 1024, quota: 50_000, period: 100_000, cpus: "0", mems: "0" },
        pids: { limit: 20 },
        blockIO: {
          weight: 1000,
          throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1000 }],
          throttleWriteBpsDevice: [{ major: 8, minor: 0, rate: 0 }],
          throttleReadIOPSDevice: [{ major: 8, minor: 0, rate: 7 }],
        },
      },
      2,
    );
    expect(lines(all)).toEqual([
      "memory.max 67108864",
      "memory.swap.max 67108864",
      "memory.low 33554432",
      "cpu.weight 100",
      "cpu.max 50000 100000",
      "cpuset.cpus 0",
      "cpuset.mems 0",
      "pids.max 20",
      "io.bfq.weight default 1000",
      "io.max 8:0 rbps=1000",
      "io.max 8:0 wbps=max",
      "io.max 8:0 riops=7",
    ]);
    expect(all.writes.find((write) => write.file === "io.bfq.weight")?.otherwise).toEqual({
      file: "io.weight",
      values: ["default 10000"],
    });
  });

  test("unlimited is max, and swap equal to memory is none", () => {
    expect(lines(plan({ memory: { limit: -1, swap: -1 }, pids: { limit: -1 } }, 2))).toEqual([
      "memory.max max",
      "memory.swap.max max",
      "pids.max max",
    ]);
    expect(lines(plan({ memory: { limit: MiB, swap: MiB } }, 2))).toContain("memory.swap.max 0");
  });

  test("a quota alone keeps the period, a period alone keeps no quota, and -1 lifts it", () => {
    expect(lines(plan({ cpu: { quota: 20_000 } }, 2))).toEqual(["cpu.max 20000"]);
    expect(lines(plan({ cpu: { period: 50_000 } }, 2))).toEqual(["cpu.max max 50000"]);
    expect(lines(plan({ cpu: { quota: -1 } }, 2))).toEqual(["cpu.max max"]);
  });

  test("a swap limit alone counts from the memory limit in force, and is refused without one", () => {
    expect(lines(plan({ memory: { swap: 3 * MiB } }, 2, { limit: MiB, total: null }))).toEqual([
      `memory.swap.max ${2 * MiB}`,
    ]);
    expect(() => plan({ memory: { swap: MiB } }, 2)).toThrow("needs a memory limit");
    expect(() => plan({ memory: { limit: 2 * MiB, swap: MiB } }, 2)).toThrow("below the memory limit");
  });

  test("what v2 does not have becomes a warning", () => {
    const { writes, warnings } = plan(
      { memory: { swappiness: 60, disableOOMKiller: true }, cpu: { realtimeRuntime: 1 } },
      2,
    );
    expect(writes).toEqual([]);
    expect(warnings.join("\n")).toMatch(/swappiness[^]*OomKillDisable[^]*real-time/);
  });
});

test("weightFromShares() keeps the smallest, the normal and the largest share where they belong", () => {
  expect([0, 2, 1024, 262144, 1e9].map(weightFromShares)).toEqual([1, 1, 100, 10000, 10000]);
  let last = 0;
  for (let shares = 2; shares <= 262144; shares *= 2) {
    const weight = weightFromShares(shares);
    expect(weight).toBeGreaterThanOrEqual(last);
    last = weight;
  }
});
