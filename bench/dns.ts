// `bun bench/dns.ts [queries]`: a container's resolver under a million queries: how many it answers a second, own names and
// forwarded ones, and what the daemon's memory and descriptors are before and after. Needs root and a C compiler.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { loadBusybox } from "../test/support/busybox.ts";
import { run, TestDaemon } from "../test/support/daemon.ts";

const QUERIES = Number(process.argv[2] ?? 1_000_000);
const ROUNDS = 5;

await using berth = await TestDaemon.start();
await loadBusybox(berth);
const program = join(berth.directory, "dns_load");
await run(["cc", "-O2", "-static", "-o", program, join(import.meta.dir, "dns_load.c")]);
await berth.dockerOK("network", "create", "n1");
await berth.dockerOK("run", "-d", "--name", "web", "--network", "n1", "busybox", "sleep", "86400");
await berth.dockerOK(
  "run",
  "-d",
  "--name",
  "asking",
  "--network",
  "n1",
  "--dns",
  "127.0.0.99",
  "busybox",
  "sleep",
  "86400",
);
const pid = await berth.dockerOK("inspect", "-f", "{{.State.Pid}}", "asking");
const script = join(import.meta.dir, "../test/support/dns_upstream.ts");
const upstream = Bun.spawn(["nsenter", "-t", pid, "-n", process.execPath, script, "127.0.0.99"], { stdout: "ignore" });
await Bun.sleep(500);

const footprint = (): string => {
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${berth.pid}/status`, "utf8"))?.[1]);
  return `${(rss / 1024).toFixed(0)} MB, ${readdirSync(`/proc/${berth.pid}/fd`).length} descriptors`;
};
console.log(`idle: ${footprint()}`);
for (const [name, count] of [
  ["web", QUERIES],
  ["one.example", Math.floor(QUERIES / 20)],
] as const) {
  for (let round = 1; round <= ROUNDS; round++) {
    const part = String(Math.floor(count / ROUNDS));
    const { stdout } = await run(["nsenter", "-t", pid, "-n", program, part, name], { timeoutMs: 600_000 });
    console.log(`${name}: ${stdout.trim()}; ${footprint()}`);
  }
}
await Bun.sleep(10_000);
console.log(`idle again: ${footprint()}`);
upstream.kill();
