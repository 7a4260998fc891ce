// A reboot: nothing runs any more and the exec root is empty. What comes back, in which order, and what stays down.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

const ALWAYS = ["--restart", "always"];

const run = (name: string, ...flags: string[]): Promise<string> =>
  berth.dockerOK("run", "-d", "--name", name, ...flags, "busybox", "sleep", "1000");

/** Kills the daemon, every container with its shim, and takes the exec root away. */
async function reboot(): Promise<void> {
  const ids = (await berth.dockerOK("ps", "-q")).split("\n").filter(Boolean);
  const pids = (await berth.dockerOK("inspect", "--format", "{{.State.Pid}}", ...ids)).split("\n").map(Number);
  const shims = pids.map((pid) => Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]));
  await berth.kill();
  for (const pid of [...shims, ...pids]) process.kill(pid, "SIGKILL");
  await until("they are gone", () => pids.every((pid) => !isAlive(pid)));
  rmSync(berth.execRoot, { recursive: true });
  await berth.boot();
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

const status = (name: string): Promise<string> => berth.dockerOK("inspect", "--format", "{{.State.Status}}", name);

/** Names in the order of their start events since a time. */
async function started(since: number): Promise<string[]> {
  const filters = encodeURIComponent(JSON.stringify({ event: ["start"] }));
  const now = (Date.now() / 1000).toFixed(3);
  const answer = await berth.request("GET", `/events?since=${since.toFixed(3)}&until=${now}&filters=${filters}`);
  return (await answer.text())
    .split("\n")
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { Actor: { Attributes: { name: string } } }).Actor.Attributes.name);
}

test("policies decide what comes back, and a stop by hand is remembered", async () => {
  await run("always", ...ALWAYS);
  await run("always-stopped", ...ALWAYS, "--stop-timeout", "0");
  await run("unless", "--restart", "unless-stopped");
  await run("unless-stopped", "--restart", "unless-stopped", "--stop-timeout", "0");
  await run("on-failure", "--restart", "on-failure");
  await run("on-failure-stopped", "--restart", "on-failure", "--stop-timeout", "0");
  await berth.dockerOK("run", "--name", "succeeded", "--restart", "on-failure", "busybox", "true");
  await run("changed", "--restart", "no");
  await berth.dockerOK("update", "--restart", "unless-stopped", "changed");
  await run("none");
  await run("passing", "--rm");
  await berth.dockerOK("create", "--name", "never-started", ...ALWAYS, "busybox", "sleep", "1000");
  await berth.dockerOK("stop", "always-stopped", "unless-stopped", "on-failure-stopped");
  await reboot();
  for (const name of ["always", "always-stopped", "unless", "on-failure", "changed"]) {
    await until(`${name} runs`, async () => (await status(name)) === "running");
  }
  await until("what was to be removed is gone", async () => (await berth.docker(["inspect", "passing"])).code !== 0);
  for (const name of ["unless-stopped", "on-failure-stopped", "succeeded", "none"]) {
    expect(`${name} ${await status(name)}`).toBe(`${name} exited`);
  }
  expect(await status("never-started")).toBe("created");
  expect(await berth.dockerOK("inspect", "--format", "{{.State.ExitCode}}", "none")).toBe("255");
  await berth.dockerOK("rm", "-f", ...(await berth.dockerOK("ps", "-aq")).split("\n"));
}, 60_000);

const compose = (service: string, dependsOn: string): string[] =>
  [
    "com.docker.compose.project=p",
    `com.docker.compose.service=${service}`,
    `com.docker.compose.depends_on=${dependsOn}`,
  ].flatMap((label) => ["--label", label]);

test("what another one needs comes first; a broken one delays nobody; a circle is cut", async () => {
  const host = join(berth.directory, "bound");
  mkdirSync(host);
  // Created before what they wait for.
  await run("web", ...ALWAYS, ...compose("web", "db:service_healthy:false,gone:service_started:true"));
  await run("round-a", ...ALWAYS, ...compose("a", "b:service_started:false"));
  await run("round-b", ...ALWAYS, ...compose("b", "a:service_started:false"));
  await run("broken", ...ALWAYS, "-v", `${host}:/mnt`, ...compose("broken", ""));
  await run("after-broken", ...ALWAYS, ...compose("after", "broken:service_started:true"));
  const health = ["--health-cmd", "test -e /tmp/up", "--health-interval", "100ms", "--health-retries", "100"];
  await berth.dockerOK(
    "run",
    "-d",
    "--name",
    "db",
    ...ALWAYS,
    ...compose("db", ""),
    ...health,
    "busybox",
    "sh",
    "-c",
    "rm -f /tmp/up; sleep 0.5; touch /tmp/up; exec sleep 1000",
  );
  await run("base", ...ALWAYS, "-v", "/shared", "--ipc", "shareable");
  await run("in-net", ...ALWAYS, "--network", "container:base");
  await run("in-ipc", ...ALWAYS, "--ipc", "container:base");
  await run("in-pid", ...ALWAYS, "--pid", "container:in-net");
  await run("volumes", ...ALWAYS, "--volumes-from", "base");
  rmSync(host, { recursive: true });
  const since = Date.now() / 1000;
  await reboot();
  const wanted = ["web", "round-a", "round-b", "after-broken", "db", "base", "in-net", "in-ipc", "in-pid", "volumes"];
  await until("all that can run do", async () => {
    const running = (await berth.dockerOK("ps", "--format", "{{.Names}}")).split("\n");
    return wanted.every((name) => running.includes(name));
  });
  const order = await started(since);
  const isBefore = (first: string, second: string): boolean => order.indexOf(first) < order.indexOf(second);
  expect(order.toSorted()).toEqual(wanted.toSorted());
  for (const name of ["in-net", "in-ipc", "volumes"]) expect(isBefore("base", name)).toBe(true);
  expect(isBefore("in-net", "in-pid")).toBe(true);
  expect(isBefore("db", "web")).toBe(true);
  expect(await berth.dockerOK("inspect", "--format", "{{.State.Health.Status}}", "db")).toBe("healthy");
  expect(await status("broken")).toBe("exited");
  expect(await berth.dockerOK("inspect", "--format", "{{.State.Error}}", "broken")).toContain(host);
  expect(berth.log).toContain("depend on each other in a circle");
  // Nobody but web waits for the database to be healthy, and so web is the last.
  expect(order.at(-1)).toBe("web");
}, 60_000);

const restarts = async (): Promise<number> =>
  Number(await berth.dockerOK("inspect", "--format", "{{.RestartCount}}", "failing"));

test("a pause between restarts goes on where it was, and gets no shorter", async () => {
  await berth.dockerOK("run", "-d", "--name", "failing", "--restart", "always", "busybox", "false");
  await until("it has failed a few times", async () => (await restarts()) >= 4);
  await until("it waits", async () => (await status("failing")) === "restarting");
  await berth.kill();
  await berth.boot();
  const before = await restarts();
  await until("it goes on", async () => (await restarts()) > before);
  expect(await restarts()).toBeGreaterThan(4);
  await berth.dockerOK("update", "--restart", "no", "failing");
  await until("it stays down", async () => (await status("failing")) === "exited");
  await berth.dockerOK("rm", "failing");
}, 60_000);

test("a removal in the pause between restarts ends them", async () => {
  await berth.dockerOK("run", "-d", "--name", "failing", "--restart", "always", "busybox", "false");
  await until("it waits", async () => (await status("failing")) === "restarting");
  expect((await berth.docker(["rm", "failing"])).stderr).toContain("container is restarting: stop the container");
  await berth.dockerOK("rm", "-f", "failing");
  expect((await berth.docker(["inspect", "failing"])).code).toBe(1);
});

test("a forced removal does not wait for an attached client that reads nothing", async () => {
  await berth.dockerOK("run", "-d", "--name", "talking", "busybox", "yes");
  const client = connect({ path: berth.socket });
  client.write(
    "POST /containers/talking/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
  );
  // It reads the first bytes, and no more.
  await new Promise<void>((resolve) => client.once("data", () => resolve()));
  client.pause();
  await berth.dockerOK("rm", "-f", "talking");
  expect((await berth.docker(["inspect", "talking"])).code).toBe(1);
  client.destroy();
});

test("times are to the nanosecond, as Docker's", async () => {
  await berth.dockerOK("run", "--name", "timed", "busybox", "true");
  const shown = await berth.dockerOK(
    "inspect",
    "--format",
    "{{.Created}} {{.State.StartedAt}} {{.State.FinishedAt}}",
    "timed",
  );
  const times = shown.split(" ");
  for (const time of times) expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  expect(times.toSorted()).toEqual(times);
  // Not milliseconds with zeroes behind them.
  expect(times.some((time) => !time.endsWith("000000Z"))).toBe(true);
  await berth.dockerOK("rm", "timed");
});

test("a daemon that refuses to start leaves nothing of its test behind", async () => {
  const children = (): string[] => readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ");
  const before = children();
  await expect(TestDaemon.start({ args: ["--no-such-flag"] })).rejects.toThrow("the daemon ended");
  await until("its processes have ended", () => children().every((pid) => before.includes(pid)));
});
