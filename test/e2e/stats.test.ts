// docker stats with the real CLI: numbers that follow what a container does, many containers, those that do not run, and
// a stream that ends with its container. test/vm runs this again on cgroup v2.
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

/** Each look takes a second or two by itself, however fast the machine. */
const LOOKS_MS = 30_000;

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());
afterEach(async () => {
  const left = await berth.dockerOK("ps", "-aq");
  if (left !== "") await berth.dockerOK("rm", "-f", ...left.split("\n"));
});

interface Sample {
  name: string;
  id: string;
  read: string;
  preread: string;
  pids_stats: { current?: number; limit?: number };
  blkio_stats: { io_service_bytes_recursive: { op: string; value: number }[] | null };
  cpu_stats: Cpu;
  precpu_stats: Cpu;
  memory_stats: { usage?: number; limit?: number; stats?: Record<string, number> };
  networks?: Record<string, { rx_packets: number; tx_packets: number; tx_bytes: number }>;
}
interface Cpu {
  cpu_usage: { total_usage: number; percpu_usage?: number[] };
  system_cpu_usage?: number;
  online_cpus?: number;
  throttling_data: { periods: number; throttled_periods: number };
}

const stats = async (name: string, query: string): Promise<Sample> => {
  const reply = await berth.request("GET", `/containers/${name}/stats?${query}`);
  expect(reply.status).toBe(200);
  return (await reply.json()) as Sample;
};
const now = (name: string): Promise<Sample> => stats(name, "stream=0&one-shot=1");

test(
  "what a container does is what its numbers say",
  async () => {
    const options = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.2"];
    const work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000 & sleep 1000 & exec sleep 1000";
    await berth.dockerOK("run", "-d", "--name", "c1", ...options, "busybox", "sh", "-c", work);
    await until("it has three processes", async () => (await now("c1")).pids_stats.current === 3);
    const sample = await now("c1");
    expect(sample).toMatchObject({ name: "/c1", pids_stats: { limit: 50 }, memory_stats: { limit: 64 << 20 } });
    expect(sample.cpu_stats.cpu_usage.total_usage).toBeGreaterThan(1_000_000);
    expect(sample.cpu_stats.throttling_data.periods).toBeGreaterThan(0);
    expect(sample.cpu_stats.system_cpu_usage).toBeGreaterThan(sample.cpu_stats.cpu_usage.total_usage);
    expect(sample.cpu_stats.online_cpus).toBeGreaterThan(0);
    expect(sample.memory_stats.usage).toBeGreaterThan(0);
    expect(sample.memory_stats.usage).toBeLessThan(64 << 20);
    const before = sample.networks?.["eth0"]?.tx_packets ?? -1;
    expect(Object.keys(sample.networks ?? {})).toEqual(["eth0"]);
    await berth.docker(["exec", "c1", "ping", "-c", "3", "-i", "0.1", "-W", "1", "172.17.0.1"]);
    expect((await now("c1")).networks?.["eth0"]?.tx_packets).toBeGreaterThan(before);
  },
  LOOKS_MS,
);

test("a sample of one second knows the one before; one shot does not", async () => {
  await berth.dockerOK("run", "-d", "--name", "c1", "--network", "none", "busybox", "sleep", "1000");
  const pair = await stats("c1", "stream=0");
  expect(Date.parse(pair.read)).toBeGreaterThan(Date.parse(pair.preread));
  expect(pair.precpu_stats.system_cpu_usage).toBeLessThan(pair.cpu_stats.system_cpu_usage ?? 0);
  expect(pair).not.toHaveProperty("networks");
  expect((await now("c1")).preread).toBe("0001-01-01T00:00:00Z");
});

test(
  "docker stats shows what runs, and with -a what does not",
  async () => {
    await berth.dockerOK("run", "-d", "--name", "c1", "--memory", "32m", "busybox", "sleep", "1000");
    await berth.dockerOK("create", "--name", "c2", "busybox", "true");
    const format = ["--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}} {{.CPUPerc}}"];
    const shown = await berth.dockerOK("stats", ...format);
    expect(shown).toMatch(/^c1 [\d.]+[KM]iB \/ 32MiB 1 [\d.]+%$/);
    const all = (await berth.dockerOK("stats", "-a", ...format)).split("\n").toSorted();
    expect(all).toEqual([expect.stringMatching(/^c1 /), "c2 0B / 0B 0 0.00%"]);
    const table = await berth.dockerOK("stats", "--no-stream", "c1");
    expect(table).toMatch(/^CONTAINER ID +NAME +CPU % +MEM USAGE \/ LIMIT +MEM % +NET I\/O +BLOCK I\/O +PIDS\n/);
  },
  LOOKS_MS,
);

test("a shared network namespace shows its owner's interfaces, the host's none", async () => {
  await berth.dockerOK("run", "-d", "--name", "c1", "busybox", "sleep", "1000");
  await berth.dockerOK("run", "-d", "--name", "c2", "--network", "container:c1", "busybox", "sleep", "1000");
  await berth.dockerOK("run", "-d", "--name", "c3", "--network", "host", "busybox", "sleep", "1000");
  expect(Object.keys((await now("c2")).networks ?? {})).toEqual(["eth0"]);
  expect(await now("c3")).not.toHaveProperty("networks");
});

test("a paused container has its numbers still", async () => {
  await berth.dockerOK("run", "-d", "--name", "c1", "busybox", "sleep", "1000");
  await berth.dockerOK("pause", "c1");
  expect((await now("c1")).pids_stats.current).toBe(1);
  await berth.dockerOK("unpause", "c1");
});

test(
  "a stream tells of the end, of the next run, and ends with the container",
  async () => {
    await berth.dockerOK("run", "-d", "--name", "c1", "busybox", "sleep", "1000");
    const samples: Sample[] = [];
    const reply = await fetch("http://d/containers/c1/stats", { unix: berth.socket });
    const ended = (async () => {
      const decoder = new TextDecoder();
      let text = "";
      for await (const chunk of reply.body ?? []) {
        text += decoder.decode(chunk, { stream: true });
        const lines = text.split("\n");
        text = lines.pop() ?? "";
        samples.push(...lines.map((line) => JSON.parse(line) as Sample));
      }
    })();
    const last = () => samples.at(-1)?.pids_stats.current;
    await until("its one process is seen", () => last() === 1);
    expect(samples[0]?.preread).toBe("0001-01-01T00:00:00Z");
    await berth.dockerOK("kill", "c1");
    await until("its end is seen", () => samples.length > 1 && last() === undefined);
    await berth.dockerOK("start", "c1");
    await until("its next run is seen", () => last() === 1);
    await berth.dockerOK("rm", "-f", "c1");
    await ended;
    // Nobody is listening any more.
    expect((await berth.request("GET", "/containers/c1/stats")).status).toBe(404);
  },
  LOOKS_MS,
);

test(
  "twenty at once, each with its own numbers",
  async () => {
    const names = Array.from({ length: 20 }, (_, index) => `many${index}`);
    const start = (name: string) =>
      berth.dockerOK("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000");
    for (let from = 0; from < names.length; from += 4) await Promise.all(names.slice(from, from + 4).map(start));
    const shown = await berth.dockerOK("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}");
    expect(shown.split("\n").toSorted()).toEqual(names.map((name) => `${name} 1`).toSorted());
  },
  LOOKS_MS,
);
