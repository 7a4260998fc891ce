// `bun bench/soak.ts [part …]`: work that repeats a hundred thousand times must leave the daemon as it was. Parts: `probes`
// (health checks at a fast pace), `execs`, `followers` (log followers that come and go), `attach` (lines through a reader
// that is slow; every byte arrives once and in order). Each prints what the daemon holds before and after: memory (PSS),
// descriptors, processes, rows. BERTH_SOAK scales the counts (1: in full); test/e2e/soak.test.ts runs a small form. Root.
import process from "node:process";
import { loadBusybox } from "../test/support/busybox.ts";
import { TestDaemon } from "../test/support/daemon.ts";
import { attachSlowly, execs, followers, held, type Held, probes } from "../test/support/soak.ts";

const scale = Number(process.env["BERTH_SOAK"] ?? 1);
const count = (whole: number): number => Math.max(1, Math.round(whole * scale));
const PARTS: Record<string, (berth: TestDaemon) => Promise<string>> = {
  probes: (berth) => probes(berth, count(100_000)),
  execs: (berth) => execs(berth, count(100_000)),
  followers: (berth) => followers(berth, count(1000)),
  attach: (berth) => attachSlowly(berth, count(1_000_000)),
};

const wanted = process.argv.slice(2);
for (const name of wanted.length > 0 ? wanted : Object.keys(PARTS)) {
  const part = PARTS[name];
  if (!part) throw new Error(`no part ${name}; there are ${Object.keys(PARTS).join(", ")}`);
  await using berth = await TestDaemon.start({ args: ["--log-level", "info"] });
  await loadBusybox(berth);
  // The engine's code and heap settle with the first hundreds.
  const started = performance.now();
  const warm = await warmUp(name, berth);
  const begun = performance.now();
  const told = await part(berth);
  const seconds = (performance.now() - begun) / 1000;
  const after = await settled(berth, warm);
  console.log(`${name}: ${told}, ${seconds.toFixed(1)} s (warm-up ${((begun - started) / 1000).toFixed(1)} s)`);
  for (const [what, value] of Object.entries(warm)) {
    console.log(`  ${what.padEnd(12)} ${value} -> ${after[what as keyof Held]}`);
  }
}

async function warmUp(name: string, berth: TestDaemon): Promise<Held> {
  if (name === "probes") await probes(berth, 2000);
  else if (name === "execs") await execs(berth, 2000);
  else if (name === "followers") await followers(berth, 100);
  else await attachSlowly(berth, 100_000);
  return await settled(berth, null);
}

/** The lowest that is seen in a while: garbage is collected when there is time. */
async function settled(berth: TestDaemon, goal: Held | null): Promise<Held> {
  let least = await held(berth);
  for (let look = 0; look < 10; look++) {
    await Bun.sleep(1500);
    const now = await held(berth);
    if (now.pssKiB < least.pssKiB) least = now;
    if (goal && least.pssKiB <= goal.pssKiB) break;
  }
  return least;
}
