// Work that repeats leaves the daemon as it was: descriptors, processes, rows. The small form of bench/soak.ts, which does it a
// hundred thousand times and looks at memory too.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";
import { attachSlowly, execs, followers, held, probes } from "../support/soak.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

async function leavesNothing(work: (times: number) => Promise<string>, times: number): Promise<void> {
  await work(Math.ceil(times / 10));
  await until("containers are cleared away", async () => (await berth.leftovers()).length === 0);
  const before = await held(berth);
  await work(times);
  await until("descriptors and processes are those of before", async () => {
    const { descriptors, processes } = await held(berth);
    return descriptors <= before.descriptors && processes <= before.processes;
  });
  expect((await held(berth)).rows).toBe(before.rows);
}

test("probes", () => leavesNothing((times) => probes(berth, times), 200), 60_000);
test("exec sessions", () => leavesNothing((times) => execs(berth, times), 200), 60_000);
test("log followers that come and go", () => leavesNothing((times) => followers(berth, times), 100), 60_000);
test(
  "a slow attach reader gets every line once and in order",
  () => leavesNothing((times) => attachSlowly(berth, times), 30_000),
  60_000,
);
