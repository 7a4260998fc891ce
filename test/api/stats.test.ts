// The stats route over a fake engine: parameters, the document of each cgroup version and API version, streams.
import { describe, expect, test } from "bun:test";
import type { Containers, StatsFrame, StatsSample } from "../../src/engine/mod.ts";
import { testAPI } from "../support/api.ts";
import { FAKE_ID, fakeEngine, fakeRecord } from "../support/fake_engine.ts";
import { NO_STATS } from "../support/fake_runtime.ts";

const V1: StatsSample = {
  readAt: "2026-01-02T03:04:05.678Z",
  counters: {
    ...NO_STATS,
    cpuTotalNs: 5e9,
    cpuKernelNs: 2e9,
    cpuUserNs: 3e9,
    perCpuNs: [2e9, 3e9],
    memoryStats: { cache: 7, rss: 0, total_inactive_file: 3, hierarchical_memory_limit: 2 ** 63 - 4096, shmem: 9 },
    blockBytes: [{ major: 8, minor: 0, op: "Read", value: 4096 }],
    blockOperations: [{ major: 8, minor: 0, op: "Read", value: 1 }],
  },
  memoryLimitBytes: 1 << 20,
  systemCpuNs: 8e9,
  onlineCpus: 2,
  interfaces: new Map([
    [
      "eth0",
      { rxBytes: 1, rxPackets: 2, rxErrors: 3, rxDropped: 4, txBytes: 5, txPackets: 6, txErrors: 7, txDropped: 8 },
    ],
  ]),
};
const V2: StatsSample = {
  ...V1,
  counters: {
    ...V1.counters,
    version: 2,
    perCpuNs: null,
    memoryFailCount: 2,
    memoryStats: { anon: 5, inactive_file: 3, workingset_refault_anon: 1, workingset_refault_file: 2, zswap: 9 },
    pidsLimit: null,
    blockBytes: [],
    blockOperations: null,
  },
  interfaces: new Map(),
};

const frame = (sample: StatsSample | null, previous: StatsSample | null = null): StatsFrame => ({
  id: FAKE_ID,
  name: "web",
  sample,
  previous,
});

function apiWith(containers: Partial<Containers>) {
  return testAPI(fakeEngine({ records: [fakeRecord()], containers }));
}

const NO_CPU = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};
const NO_BLOCK_IO = {
  io_service_bytes_recursive: null,
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
};

describe("one document", () => {
  test("on cgroup v1", async () => {
    const reply = await apiWith({ stats: async () => frame(V1, { ...V1, readAt: "2026-01-02T03:04:04Z" }) }).call(
      "GET",
      "/v1.51/containers/web/stats?stream=0",
    );
    expect([reply.status, reply.headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(reply.body).toMatchObject({
      name: "/web",
      id: FAKE_ID,
      read: "2026-01-02T03:04:05.678Z",
      preread: "2026-01-02T03:04:04Z",
      pids_stats: { current: 1 },
      blkio_stats: {
        io_service_bytes_recursive: [{ major: 8, minor: 0, op: "Read", value: 4096 }],
        io_serviced_recursive: [{ major: 8, minor: 0, op: "Read", value: 1 }],
        io_queue_recursive: [],
      },
      num_procs: 0,
      storage_stats: {},
      cpu_stats: {
        cpu_usage: {
          total_usage: 5e9,
          percpu_usage: [2e9, 3e9],
          usage_in_kernelmode: 2e9,
          usage_in_usermode: 3e9,
        },
        system_cpu_usage: 8e9,
        online_cpus: 2,
      },
      memory_stats: { usage: 4096, max_usage: 8192, limit: 1 << 20 },
      networks: {
        eth0: {
          rx_bytes: 1,
          rx_packets: 2,
          rx_errors: 3,
          rx_dropped: 4,
          tx_bytes: 5,
          tx_packets: 6,
          tx_errors: 7,
          tx_dropped: 8,
        },
      },
    });
    // Docker's names and no others; numbers to the last digit.
    const { stats } = (reply.body as { memory_stats: { stats: Record<string, number> } }).memory_stats;
    expect(Object.keys(stats)).toHaveLength(32);
    expect(stats).toMatchObject({ cache: 7, rss: 0, total_inactive_file: 3 });
    expect(stats).not.toHaveProperty("shmem");
    expect(reply.text).toContain('"hierarchical_memory_limit":9223372036854771712,');
    expect(reply.text).not.toContain("failcnt");
    expect(reply.text.match(/\n/g)).toHaveLength(1);
  });

  test("on cgroup v2", async () => {
    const reply = await apiWith({ stats: async () => frame(V2) }).call("GET", "/containers/web/stats?stream=false");
    expect(reply.body).toMatchObject({
      os_type: "linux",
      preread: "0001-01-01T00:00:00Z",
      precpu_stats: NO_CPU,
      blkio_stats: NO_BLOCK_IO,
      memory_stats: { stats: { anon: 5, inactive_file: 3, workingset_refault: 3 }, failcnt: 2 },
    });
    expect(reply.body).not.toHaveProperty("networks");
    expect(reply.text).toContain('"pids_stats":{"current":1,"limit":18446744073709551615}');
    for (const name of ["percpu_usage", "max_usage", "zswap"]) expect(reply.text).not.toContain(name);
  });

  test("of a container that does not run is zeroes", async () => {
    const reply = await apiWith({ stats: async () => frame(null) }).call("GET", "/v1.51/containers/web/stats?stream=0");
    expect(reply.body).toEqual({
      name: "/web",
      id: FAKE_ID,
      read: "0001-01-01T00:00:00Z",
      preread: "0001-01-01T00:00:00Z",
      pids_stats: {},
      blkio_stats: NO_BLOCK_IO,
      num_procs: 0,
      storage_stats: {},
      cpu_stats: NO_CPU,
      precpu_stats: NO_CPU,
      memory_stats: {},
    });
  });

  test("at once with one-shot, which 1.40 does not know", async () => {
    const api = apiWith({ statsNow: () => frame(V1), stats: async () => frame(V1, V1) });
    const preread = async (path: string) => ((await api.call("GET", path)).body as { preread: string }).preread;
    expect(await preread("/v1.41/containers/web/stats?stream=0&one-shot=1")).toBe("0001-01-01T00:00:00Z");
    expect(await preread("/v1.40/containers/web/stats?stream=0&one-shot=1")).toBe(V1.readAt);
  });
});

test("a stream is one line for each sample", async () => {
  async function* frames(): AsyncGenerator<StatsFrame> {
    yield frame(V1);
    yield frame(null, V1);
  }
  const reply = await apiWith({ followStats: frames }).call("GET", "/containers/web/stats");
  expect(reply.headers.get("content-type")).toBe("application/json");
  expect(
    reply.text
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { read: string }).read),
  ).toEqual([V1.readAt, "0001-01-01T00:00:00Z"]);
});

test("what cannot be is refused before anything is sent", async () => {
  const api = apiWith({});
  for (const query of ["?one-shot=1", "?stream=1&one-shot=true"]) {
    expect(await api.call("GET", `/containers/web/stats${query}`)).toMatchObject({
      status: 400,
      body: { message: "cannot have stream=true and one-shot=true" },
    });
  }
  expect(await api.call("GET", "/containers/nope/stats?one-shot=1")).toMatchObject({
    status: 404,
    body: { message: "No such container: nope" },
  });
});
