// `bun bench/lag.ts`: how long the daemon's event loop is held while it works. A second process pings it without a pause;
// the longest answer is an upper bound of what held the loop (on a busy machine, of what held the processor, too: read the
// percentiles). One line for each kind of work. Needs root.
import { connect } from "node:net";
import process from "node:process";
import { loadBusybox } from "../test/support/busybox.ts";
import { TestDaemon } from "../test/support/daemon.ts";
import { directory, file, tarOf } from "../test/support/images.ts";

if (process.argv[2] === "ping") {
  await ping(process.argv[3] ?? "");
  process.exit(0);
}

await using berth = await TestDaemon.start({ args: ["--log-level", "info"] });
await loadBusybox(berth);
await berth.dockerOK("run", "-d", "--name", "target", "--network", "none", "busybox", "sleep", "100000");
const big = tarOf([file("big", crypto.getRandomValues(new Uint8Array(65536)).toString().repeat(400))]);
const tree = tarOf([
  directory("tree"),
  ...Array.from({ length: 10_000 }, (_, at) => file(`tree/${at}`, "x".repeat(512))),
]);

await measure("nothing", () => Bun.sleep(2000));
await measure("starts and removals", () => repeat(40, () => berth.dockerOK("run", "--rm", "busybox", "true")));
await measure("exec sessions", () => repeat(100, () => berth.dockerOK("exec", "target", "true")));
await measure("copy in, one file", () => repeat(3, () => copyIn(big)));
await measure("copy in, 10,000 files", () => copyIn(tree));
await measure("copy out, 10,000 files", () => copyOut("/tmp/tree"));
await measure("copy out, one file", () => repeat(3, () => copyOut("/tmp/big")));
const write = "i=0; while [ $i -lt 300000 ]; do echo a line of some length that is logged $i; i=$((i+1)); done";
await measure("300,000 lines of log", () => berth.dockerOK("exec", "target", "true").then(() => logged(write)));
await measure(
  "the log read out",
  async () => void (await (await berth.request("GET", "/containers/loud/logs?stdout=1")).bytes()),
);

async function logged(command: string): Promise<void> {
  await berth.dockerOK("run", "-d", "--name", "loud", "--network", "none", "busybox", "sh", "-c", command);
  await berth.dockerOK("wait", "loud");
}

async function copyIn(archive: Uint8Array): Promise<void> {
  const headers = { "Content-Type": "application/x-tar" };
  await (await berth.request("PUT", "/containers/target/archive?path=/tmp", { body: archive, headers })).text();
}

async function copyOut(path: string): Promise<void> {
  await (await berth.request("GET", `/containers/target/archive?path=${path}`)).bytes();
}

async function repeat(times: number, work: () => Promise<unknown>): Promise<void> {
  for (let time = 0; time < times; time++) await work();
}

async function measure(what: string, work: () => Promise<unknown>): Promise<void> {
  const pinger = Bun.spawn([process.execPath, import.meta.path, "ping", berth.socket], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await Bun.sleep(500);
  const begun = performance.now();
  await work();
  const seconds = (performance.now() - begun) / 1000;
  pinger.kill("SIGTERM");
  console.log(
    `${what.padEnd(24)} ${seconds.toFixed(1).padStart(6)} s   ${await new Response(pinger.stdout).text()}`.trim(),
  );
}

/** Until SIGTERM: one ping after the other; then what the answers took. */
async function ping(path: string): Promise<void> {
  const socket = connect({ path });
  const taken: number[] = [];
  let isOver = false;
  process.on("SIGTERM", () => {
    isOver = true;
  });
  const chunks = socket[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  while (!isOver) {
    const begun = performance.now();
    socket.write("GET /_ping HTTP/1.1\r\nHost: berth\r\n\r\n");
    await chunks.next();
    taken.push(performance.now() - begun);
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
  }
  const sorted = taken.toSorted((a, b) => a - b);
  const at = (part: number): string => `${(sorted[Math.floor((sorted.length - 1) * part)] ?? 0).toFixed(1)} ms`;
  console.log(`${taken.length} pings: median ${at(0.5)}, 99% ${at(0.99)}, 99.9% ${at(0.999)}, longest ${at(1)}`);
}
