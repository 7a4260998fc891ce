// `bun bench/start.ts [rounds]`: how long a container takes, and what it costs while it runs. One interleaved run of the
// kernel's own floor (bench/floor.c), crun and runc alone on one bundle, and berth through its API; medians, and berth as a
// ratio of the floor. Then the memory of running containers. Needs root, a C compiler, crun and runc; prints tables.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { busyboxArchive, loadBusybox } from "../test/support/busybox.ts";
import { run, TestDaemon } from "../test/support/daemon.ts";

const ROUNDS = Number(process.argv[2] ?? 30);
const RUNNING = 50;

await using berth = await TestDaemon.start();
await loadBusybox(berth);
const work = join(berth.directory, "bench");
const bundle = await makeBundle();
const floor = join(work, "floor");
await must(["cc", "-O2", "-static", "-o", floor, join(import.meta.dir, "floor.c")]);

const samples = new Map<string, number[]>();
for (let round = -3; round < ROUNDS; round++) {
  const measured = new Map<string, number>();
  for (const [level, ms] of await floorLevels()) measured.set(`floor ${level}`, ms);
  for (const [name, ms] of await runtimes(round)) measured.set(name, ms);
  for (const network of ["none", "bridge"]) {
    for (const [step, ms] of await lifecycle(network)) measured.set(`berth ${network} ${step}`, ms);
  }
  if (round < 0) continue;
  for (const [name, ms] of measured) samples.set(name, [...(samples.get(name) ?? []), ms]);
}
const reference = median(samples.get("floor seccomp") ?? []);
console.log(`${"".padEnd(28)} median ms   min ms   of floor seccomp   (${ROUNDS} rounds)`);
for (const [name, values] of samples) {
  const middle = median(values);
  console.log(
    `${name.padEnd(28)} ${middle.toFixed(2).padStart(9)} ${Math.min(...values)
      .toFixed(2)
      .padStart(8)} ${(middle / reference).toFixed(2).padStart(12)}×`,
  );
}
await memory();

/** Each level of the floor program: milliseconds until its process has been waited for. */
async function floorLevels(): Promise<[string, number][]> {
  const ran = await berth.inside([floor, join(bundle, "rootfs"), join(work, "floor-work"), "1", "json"]);
  if (ran.code !== 0) throw new Error(`floor: ${ran.stderr}`);
  const levels = JSON.parse(ran.stdout) as Record<string, { up_ms: number }>;
  return Object.entries(levels).map(([level, { up_ms }]) => [level, up_ms]);
}

/** crun and runc, run on the same bundle as whole processes. */
async function runtimes(round: number): Promise<[string, number][]> {
  const found: [string, number][] = [];
  for (const name of ["crun", "runc"]) {
    const started = performance.now();
    const hide = "umount /sys/fs/cgroup/unified 2>/dev/null; mount -t proc proc /proc;";
    const ran = await berth.inside([
      "unshare",
      "--mount",
      "sh",
      "-c",
      `${name === "crun" ? hide : ""} exec ${name} run -b ${bundle} bench-${name}-${berth.id}-${round + 3}`,
    ]);
    if (ran.code === 0) found.push([`${name} run`, performance.now() - started]);
  }
  return found;
}

/** create, start, wait, remove of `true` through the API, each step by itself and all together. */
async function lifecycle(network: string): Promise<[string, number][]> {
  const steps: [string, number][] = [];
  const begun = performance.now();
  let last = begun;
  const mark = (step: string): void => {
    const now = performance.now();
    steps.push([step, now - last]);
    last = now;
  };
  const created = await berth.request("POST", "/containers/create", {
    body: { Image: "busybox", Cmd: ["true"], HostConfig: { NetworkMode: network } },
  });
  const { Id } = (await created.json()) as { Id: string };
  mark("create");
  await (await berth.request("POST", `/containers/${Id}/start`)).text();
  mark("start");
  await (await berth.request("POST", `/containers/${Id}/wait`)).text();
  mark("wait");
  await (await berth.request("DELETE", `/containers/${Id}`)).text();
  mark("remove");
  steps.push(["whole", performance.now() - begun]);
  return steps;
}

/** What running containers cost: the daemon's growth, and each shim's proportional set size. */
async function memory(): Promise<void> {
  const before = pssKiB(berth.pid);
  for (let index = 0; index < RUNNING; index++)
    await berth.dockerOK("run", "-d", "--network", "none", "--label", "bench", "busybox", "sleep", "1000");
  await Bun.sleep(1000);
  const shims = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && commandOf(name).startsWith("berth-shim"));
  const each = shims.map((pid) => pssKiB(Number(pid)));
  const growth = pssKiB(berth.pid) - before;
  console.log(
    `\n${RUNNING} running: daemon ${before} KiB PSS idle, +${(growth / RUNNING).toFixed(0)} KiB a container; shim ${median(each).toFixed(0)} KiB PSS each`,
  );
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8");
  } catch {
    return "";
  }
}

function pssKiB(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1]);
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}

/** An OCI bundle of the busybox image: runc's own default configuration, no terminal, `true`. */
async function makeBundle(): Promise<string> {
  const path = join(work, "bundle");
  mkdirSync(join(path, "rootfs"), { recursive: true });
  await must(["tar", "-C", path, "--strip-components=1", "--wildcards", "-xf", await busyboxArchive(), "*/layer.tar"]);
  await must(["tar", "-C", join(path, "rootfs"), "-xf", join(path, "layer.tar")]);
  for (const name of ["proc", "dev", "sys"]) mkdirSync(join(path, "rootfs", name), { recursive: true });
  await must(["runc", "spec", "-b", path]);
  const spec = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as {
    process: { terminal: boolean; args: string[] };
    linux: { cgroupsPath?: string };
  };
  spec.process.terminal = false;
  spec.process.args = ["/bin/true"];
  spec.linux.cgroupsPath = `${berth.cgroupParent}/oci`;
  writeFileSync(join(path, "config.json"), JSON.stringify(spec));
  return path;
}

async function must(command: string[]): Promise<void> {
  const ran = await run(command);
  if (ran.code !== 0) throw new Error(`${command.join(" ")}: ${ran.stderr}`);
}
