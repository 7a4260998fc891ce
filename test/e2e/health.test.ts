// Health checks with real processes: verdicts, events, time-outs that leave nothing behind, pause, and a daemon that is
// killed in the middle.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { busyboxWith, loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

interface Health {
  Status: string;
  FailingStreak: number;
  Log: { Start: string; End: string; ExitCode: number; Output: string }[];
}

async function healthOf(name: string): Promise<Health> {
  const answer = await berth.request("GET", `/containers/${name}/json`);
  return ((await answer.json()) as { State: { Health: Health } }).State.Health;
}

const becomes = (name: string, status: string): Promise<void> =>
  until(`${name} is ${status}`, async () => (await healthOf(name)).Status === status);

/** Events of one container since a time, as `action attributes…`. */
async function eventsOf(
  name: string,
  since: number,
): Promise<{ Action: string; Attributes: Record<string, string> }[]> {
  const until = (Date.now() / 1000).toFixed(3);
  const filters = encodeURIComponent(JSON.stringify({ container: [name] }));
  const answer = await berth.request("GET", `/events?since=${since}&until=${until}&filters=${filters}`);
  return (await answer.text())
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { Action: string; Actor: { Attributes: Record<string, string> } })
    .map(({ Action, Actor }) => ({ Action, Attributes: Actor.Attributes }));
}

const run = (name: string, flags: string[], ...command: string[]): Promise<string> =>
  berth.dockerOK("run", "-d", "--network", "none", "--name", name, ...flags, "busybox", ...command);

test("a container turns healthy and unhealthy as its probe says, with Docker's events and filters", async () => {
  const since = Math.floor(Date.now() / 1000);
  const flags = ["--health-cmd", "cat /tmp/ok", "--health-interval", "100ms", "--health-retries", "2"];
  await run("turning", flags, "sh", "-c", "echo fine > /tmp/ok; exec sleep 1000");
  await becomes("turning", "healthy");
  const healthy = await healthOf("turning");
  expect(healthy.FailingStreak).toBe(0);
  expect(healthy.Log.at(-1)).toMatchObject({ ExitCode: 0, Output: "fine\n" });
  expect(await berth.dockerOK("ps", "--filter", "health=healthy", "--format", "{{.Names}} {{.Status}}")).toMatch(
    /^turning Up .* \(healthy\)$/,
  );
  await berth.dockerOK("exec", "turning", "rm", "/tmp/ok");
  await becomes("turning", "unhealthy");
  const { Log, FailingStreak } = await healthOf("turning");
  expect(FailingStreak).toBeGreaterThanOrEqual(2);
  expect(Log.at(-1)?.ExitCode).toBe(1);
  expect(Log.at(-1)?.Output).toContain("No such file");
  expect(await berth.dockerOK("ps", "--filter", "health=unhealthy", "--format", "{{.Names}}")).toBe("turning");
  expect(await berth.dockerOK("ps", "--filter", "health=healthy", "-q")).toBe("");
  await until("five results are kept", async () => (await healthOf("turning")).Log.length === 5);
  const events = await eventsOf("turning", since);
  const actions = events.map(({ Action }) => Action);
  expect(actions.filter((action) => action.startsWith("health_status"))).toEqual([
    "health_status: healthy",
    "health_status: unhealthy",
  ]);
  const at = actions.indexOf("exec_create: /bin/sh -c cat /tmp/ok");
  expect(at).toBeGreaterThan(0);
  expect(actions[at + 1]).toBe("exec_start: /bin/sh -c cat /tmp/ok");
  const died = events.find(({ Action }) => Action === "exec_die");
  expect(died?.Attributes["exitCode"]).toBe("0");
  expect(died?.Attributes["execID"]).toBe(events[at]?.Attributes["execID"] ?? "");
  await berth.dockerOK("rm", "-f", "turning");
});

test("a probe that takes too long is killed with its children, and so is one that forks on", async () => {
  const flags = ["--health-interval", "100ms", "--health-timeout", "300ms", "--health-retries", "1"];
  await run("hanging", [...flags, "--health-cmd", "echo begun; (sleep 7001; true); true"], "sleep", "1000");
  await becomes("hanging", "unhealthy");
  const first = (await healthOf("hanging")).Log[0];
  expect(first).toMatchObject({ ExitCode: -1, Output: "Health check exceeded timeout (300ms): begun\n" });
  await berth.dockerOK("pause", "hanging");
  expect((await healthOf("hanging")).Status).toBe("unhealthy");
  await berth.dockerOK("unpause", "hanging");
  await berth.dockerOK("rm", "-f", "hanging");
  await run("forking", [...flags, "--health-cmd", "while :; do sleep 7002 & sleep 0.05; done"], "sleep", "1000");
  await until("two were killed", async () => (await healthOf("forking")).Log.length >= 2);
  await berth.dockerOK("update", "--restart", "no", "forking");
  // At most those of the probe that runs now.
  await until("the killed ones' children are gone", () => processesOf("sleep\x007002").length < 8);
  await berth.dockerOK("rm", "-f", "forking");
  expect(processesOf("sleep\x007001").concat(processesOf("sleep\x007002"))).toEqual([]);
});

test("a probe that leaves a process with its streams behind does not hold up the next one", async () => {
  await run("leaving", ["--health-cmd", "sleep 7003 & echo left", "--health-interval", "50ms"], "sleep", "1000");
  await until("two results", async () => (await healthOf("leaving")).Log.length >= 2);
  expect((await healthOf("leaving")).Log[0]).toMatchObject({ ExitCode: 0, Output: "left\n" });
  await berth.dockerOK("rm", "-f", "leaving");
});

test("output is kept to 4096 bytes; a command that is not there fails with its reason", async () => {
  const flags = ["--health-interval", "50ms"];
  await run("loud", [...flags, "--health-cmd", "head -c 5000 /dev/zero | tr '\\0' x"], "sleep", "1000");
  await becomes("loud", "healthy");
  expect((await healthOf("loud")).Log[0]?.Output).toBe(`${"x".repeat(4096)}...`);
  await berth.dockerOK("rm", "-f", "loud");
  const created = await berth.request("POST", "/containers/create?name=missing", {
    body: {
      Image: "busybox",
      Cmd: ["sleep", "1000"],
      Healthcheck: { Test: ["CMD", "/nope"], Interval: 5e7, Retries: 1 },
    },
  });
  expect(created.status).toBe(201);
  await berth.dockerOK("start", "missing");
  await becomes("missing", "unhealthy");
  expect((await healthOf("missing")).Log[0]).toMatchObject({ ExitCode: -1 });
  expect((await healthOf("missing")).Log[0]?.Output).toContain('exec: "/nope": stat /nope: no such file or directory');
  await berth.dockerOK("rm", "-f", "missing");
});

test("an image's check is taken field by field, with its SHELL, and NONE takes it away", async () => {
  const archive = await busyboxWith("checked:latest", {
    Shell: ["/bin/sh", "-xc"],
    Healthcheck: { Test: ["CMD-SHELL", "true by $0"], Interval: 2e8, Retries: 7 },
  });
  await berth.dockerOK("load", "-i", archive);
  await berth.dockerOK("run", "-d", "--name", "inherits", "--health-retries", "2", "checked", "sleep", "1000");
  const config = await berth.dockerOK("inspect", "inherits", "--format", "{{json .Config.Healthcheck}}");
  expect(JSON.parse(config)).toEqual({ Test: ["CMD-SHELL", "true by $0"], Interval: 2e8, Retries: 2 });
  await becomes("inherits", "healthy");
  expect((await healthOf("inherits")).Log[0]?.Output).toContain("+ true by");
  await berth.dockerOK("run", "-d", "--name", "without", "--no-healthcheck", "checked", "sleep", "1000");
  expect(await berth.dockerOK("inspect", "without", "--format", "{{.State.Health}}")).toBe("<nil>");
  expect(await berth.dockerOK("ps", "--filter", "health=none", "--format", "{{.Names}}")).toBe("without");
  await berth.dockerOK("rm", "-f", "inherits", "without");
});

test("failures in the start period do not count, and it has a pace of its own", async () => {
  const flags = ["--health-cmd", "test -e /tmp/up", "--health-retries", "1", "--health-interval", "1h"];
  const own = ["--health-start-period", "1h", "--health-start-interval", "50ms"];
  await run("slow", [...flags, ...own], "sleep", "1000");
  await until("three failures", async () => (await healthOf("slow")).Log.length >= 3);
  expect(await healthOf("slow")).toMatchObject({ Status: "starting", FailingStreak: 0 });
  await berth.dockerOK("exec", "slow", "touch", "/tmp/up");
  await becomes("slow", "healthy");
  await berth.dockerOK("rm", "-f", "slow");
});

test("a killed daemon's successor goes on with verdict, streak and log, and a stopped container keeps them", async () => {
  const flags = ["--health-cmd", "echo probe; exit 1", "--health-interval", "100ms", "--health-retries", "1000000"];
  await run("going", flags, "sleep", "1000");
  await until("it has failed three times", async () => (await healthOf("going")).FailingStreak >= 3);
  await berth.kill();
  await berth.boot();
  const after = await healthOf("going");
  expect(after.FailingStreak).toBeGreaterThanOrEqual(3);
  expect(after.Log.length).toBeGreaterThanOrEqual(3);
  await until("probes go on", async () => (await healthOf("going")).FailingStreak > after.FailingStreak);
  await berth.dockerOK("stop", "-t", "0", "going");
  const stopped = await healthOf("going");
  expect(stopped.Status).toBe("unhealthy");
  await berth.stop();
  await berth.boot();
  expect(await healthOf("going")).toEqual(stopped);
  await berth.dockerOK("rm", "going");
});

test("a pause ends probes; after it a success makes the container healthy again, with an event", async () => {
  const since = Math.floor(Date.now() / 1000);
  await run("pausing", ["--health-cmd", "true", "--health-interval", "100ms"], "sleep", "1000");
  await becomes("pausing", "healthy");
  await berth.dockerOK("pause", "pausing");
  const { Status, Log } = await healthOf("pausing");
  expect(Status).toBe("unhealthy");
  expect((await healthOf("pausing")).Log).toEqual(Log);
  await berth.dockerOK("unpause", "pausing");
  await becomes("pausing", "healthy");
  const turns = (await eventsOf("pausing", since)).filter(({ Action }) => Action.startsWith("health_status"));
  expect(turns.map(({ Action }) => Action)).toEqual(["health_status: healthy", "health_status: healthy"]);
  await berth.dockerOK("rm", "-f", "pausing");
});

test("the label restarts a container that stays unhealthy, and tells why", async () => {
  const since = Math.floor(Date.now() / 1000);
  const flags = ["--health-cmd", "test ! -e /tmp/sick", "--health-interval", "100ms", "--health-retries", "2"];
  await run(
    "healing",
    [...flags, "--label", "berth.health.restart=true", "--tmpfs", "/tmp", "--stop-timeout", "1"],
    "sleep",
    "1000",
  );
  await becomes("healing", "healthy");
  const pid = await berth.dockerOK("inspect", "healing", "--format", "{{.State.Pid}}");
  await berth.dockerOK("exec", "healing", "touch", "/tmp/sick");
  await until(
    "it runs anew",
    async () => !["0", pid].includes(await berth.dockerOK("inspect", "healing", "--format", "{{.State.Pid}}")),
  );
  await becomes("healing", "healthy");
  expect(await berth.dockerOK("inspect", "healing", "--format", "{{.RestartCount}}")).toBe("1");
  const events = (await eventsOf("healing", since)).filter(({ Action }) => !Action.startsWith("exec_"));
  const from = events.findIndex(({ Action }) => Action === "health_status: unhealthy");
  expect(events.slice(from, from + 5).map(({ Action }) => Action)).toEqual([
    "health_status: unhealthy",
    "health_restart",
    "kill",
    // sleep as process 1 does not heed SIGTERM.
    "kill",
    "die",
  ]);
  await berth.dockerOK("rm", "-f", "healing");
}, 60_000);

test("settings that mean nothing are refused in Docker's words", async () => {
  const refusal = async (healthcheck: object): Promise<string> => {
    const answer = await berth.request("POST", "/containers/create", {
      body: { Image: "busybox", Healthcheck: healthcheck },
    });
    expect(answer.status).toBe(400);
    return ((await answer.json()) as { message: string }).message;
  };
  for (const field of ["Interval", "Timeout", "StartPeriod", "StartInterval"]) {
    expect(await refusal({ Test: ["CMD", "true"], [field]: 999_999 })).toBe(
      `${field} in Healthcheck cannot be less than 1ms`,
    );
    expect(await refusal({ Test: ["CMD", "true"], [field]: -1 })).toBe(
      `${field} in Healthcheck cannot be less than 1ms`,
    );
  }
  expect(await refusal({ Test: ["CMD", "true"], Retries: -1 })).toBe("Retries in Healthcheck cannot be negative");
});

/** Pids on this machine whose command line begins so: workloads of containers, too. */
function processesOf(commandLine: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "latin1").startsWith(commandLine);
    } catch {
      return false;
    }
  });
}
