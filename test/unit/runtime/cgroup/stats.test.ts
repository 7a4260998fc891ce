// Counters of both cgroup versions, from files as the kernel writes them.
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  parseBlockIO,
  parseIOStat,
  parseKeyed,
  parseLimit,
  readStatsV1,
  readStatsV2,
} from "../../../../runtime/cgroup/stats.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-stats-"));
afterAll(() => rmSync(directory, { recursive: true }));
const put = (files: Record<string, string>): void => {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
};

test("parseKeyed() takes key-value lines and passes over the rest", () => {
  expect(parseKeyed("cache 12\nrss 4096\n\nbad\nword x\n 5\n")).toEqual({ cache: 12, rss: 4096 });
});

test("parseLimit() knows both ways to say unlimited", () => {
  expect(parseLimit("max\n")).toBeNull();
  expect(parseLimit("9223372036854771712\n")).toBeNull();
  expect(parseLimit("")).toBeNull();
  expect(parseLimit("nonsense")).toBeNull();
  expect(parseLimit("67108864\n")).toBe(67108864);
});

test("block I/O lines of both versions, without the total", () => {
  expect(parseBlockIO("8:0 Read 10\n8:0 Write 20\nTotal 30\nx\n")).toEqual([
    { major: 8, minor: 0, op: "Read", value: 10 },
    { major: 8, minor: 0, op: "Write", value: 20 },
  ]);
  expect(parseIOStat("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n9:0 \n7:1 wbytes=5\n")).toEqual([
    { major: 8, minor: 16, op: "read", value: 1 },
    { major: 8, minor: 16, op: "write", value: 2 },
    { major: 7, minor: 1, op: "write", value: 5 },
  ]);
});

test("v2 counters become the Engine API's units", () => {
  put({
    "cpu.stat": "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "memory.events": "low 0\noom 3\noom_kill 1\n",
    "memory.stat": "anon 1\ninactive_file 2\n",
    "pids.current": "4\n",
    "pids.max": "20\n",
    "io.stat": "8:0 rbytes=1 wbytes=2\n",
  });
  expect(readStatsV2(directory)).toEqual({
    version: 2,
    cpuTotalNs: 3_000_000,
    cpuKernelNs: 1_000_000,
    cpuUserNs: 2_000_000,
    perCpuNs: null,
    throttling: { periods: 5, throttledPeriods: 2, throttledTimeNs: 7000 },
    memoryUsage: 4096,
    memoryMaxUsage: null,
    memoryLimit: null,
    memoryFailCount: 3,
    memoryStats: { anon: 1, inactive_file: 2 },
    pidsCurrent: 4,
    pidsLimit: 20,
    blockBytes: [
      { major: 8, minor: 0, op: "read", value: 1 },
      { major: 8, minor: 0, op: "write", value: 2 },
    ],
    blockOperations: null,
  });
});

test("v1 counters come from each controller, and one that is not mounted counts nothing", () => {
  put({
    "cpuacct.usage": "123456789\n",
    "cpuacct.usage_percpu": "100 23 \n",
    "cpuacct.stat": "user 3\nsystem 2\n",
    "memory.usage_in_bytes": "8192\n",
    "memory.max_usage_in_bytes": "9000\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.failcnt": "6\n",
    "memory.stat": "cache 1\ntotal_inactive_file 2\n",
  });
  const stats = readStatsV1((controller) => (controller === "pids" || controller === "blkio" ? null : directory));
  expect(stats).toMatchObject({
    version: 1,
    cpuTotalNs: 123456789,
    cpuKernelNs: 20_000_000,
    cpuUserNs: 30_000_000,
    perCpuNs: [100, 23],
    memoryUsage: 8192,
    memoryMaxUsage: 9000,
    memoryLimit: null,
    memoryFailCount: 6,
    memoryStats: { cache: 1, total_inactive_file: 2 },
    pidsCurrent: 0,
    pidsLimit: null,
    blockBytes: [],
    blockOperations: [],
  });
});
