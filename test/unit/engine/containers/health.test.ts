// Health checks: which command runs, when a verdict turns, and how probes follow a container's life. Time is by hand.
import { describe, expect, test } from "bun:test";
import { durationText, healthCheck, type HealthReport, judge } from "../../../../src/engine/containers/health.ts";
import * as v from "valibot";
import { ContainerConfig } from "../../../../src/schema/container.ts";
import { createRoom, type Room, until } from "../../../support/engine_room.ts";

const config = (body: Record<string, unknown>) => v.parse(ContainerConfig, body);
const result = (ExitCode: number) => ({ Start: "", End: "", ExitCode, Output: "" });
const fresh: HealthReport = { status: "starting", failingStreak: 0, log: [] };

test("the command is run as it is, or by a shell; NONE and nothing mean no check", () => {
  expect(healthCheck(config({ Healthcheck: { Test: ["CMD", "a", "b"] } }))?.command).toEqual(["a", "b"]);
  expect(healthCheck(config({ Healthcheck: { Test: ["CMD-SHELL", "a b"] } }))?.command).toEqual([
    "/bin/sh",
    "-c",
    "a b",
  ]);
  expect(
    healthCheck(config({ Shell: ["/bin/bash", "-ec"], Healthcheck: { Test: ["CMD-SHELL", "a"] } }))?.command,
  ).toEqual(["/bin/bash", "-ec", "a"]);
  for (const test of [["NONE"], [], ["CMD"], ["OTHER", "x"]])
    expect(healthCheck(config({ Healthcheck: { Test: test } }))).toBeNull();
  expect(healthCheck(config({}))).toBeNull();
});

describe("the verdict", () => {
  test("turns after so many failures in a row, and back after one success", () => {
    let report = fresh;
    const seen: string[] = [];
    for (const code of [1, 1, 1, 1, 0, 1]) {
      report = judge(report, result(code), { retries: 3, isInStartPeriod: false });
      seen.push(`${report.status} ${report.failingStreak}`);
    }
    expect(seen).toEqual(["starting 1", "starting 2", "unhealthy 3", "unhealthy 4", "healthy 0", "healthy 1"]);
    expect(report.log).toHaveLength(5);
  });
  test("counts failures in the start period once it has been healthy", () => {
    const healthy = judge(fresh, result(0), { retries: 1, isInStartPeriod: true });
    expect(judge(healthy, result(1), { retries: 1, isInStartPeriod: true }).status).toBe("unhealthy");
  });
  test("does not count failures while the container may still be starting", () => {
    expect(judge(fresh, result(1), { retries: 1, isInStartPeriod: true })).toMatchObject({
      status: "starting",
      failingStreak: 0,
      log: [result(1)],
    });
  });
});

const SECOND = 1_000_000_000;

async function checked(room: Room, probe: string[], more: Record<string, unknown> = {}): Promise<string> {
  const id = await room.create({
    Cmd: ["sleep"],
    Healthcheck: { Test: ["CMD", ...probe], Interval: SECOND, Retries: 2, ...more },
  });
  await room.containers.start(id);
  return id;
}

async function probed(room: Room, id: string, times: number): Promise<void> {
  const before = room.containers.health(id)?.log.length ?? 0;
  for (let n = 1; n <= times; n++) {
    room.clock.advance(room.clock.pending[0] ?? 0);
    await until(() => room.containers.health(id)?.log.length === before + n && room.clock.pending.length > 0);
  }
}

test("a container is starting, then what its probes say, with an event at each change", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["true"]);
  expect(room.containers.health(id)?.status).toBe("starting");
  expect(room.clock.pending).toEqual([1000]);
  await probed(room, id, 2);
  expect(room.containers.health(id)).toMatchObject({ status: "healthy", failingStreak: 0 });
  expect(room.story.filter((line) => line.startsWith("container health_status"))).toEqual([
    "container health_status: healthy",
  ]);
});

test("failing probes make it unhealthy and leave it running; its end stops them", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["false"]);
  await probed(room, id, 2);
  expect(room.containers.health(id)).toMatchObject({ status: "unhealthy", failingStreak: 2 });
  expect(room.containers.get(id).state.status).toBe("running");
  await room.containers.kill(id, null);
  expect(room.clock.pending).toEqual([]);
});

test("a probe that cannot be started counts as failed, with the reason", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["nope"]);
  await probed(room, id, 1);
  const [first] = room.containers.health(id)?.log ?? [];
  expect(first?.ExitCode).toBe(-1);
  expect(first?.Output).toContain("executable file not found");
});

test("a probe that takes too long is killed", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["sleep"], { Timeout: 2 * SECOND });
  room.clock.advance(1000);
  await until(() => room.runtime.execs.length === 1 && room.clock.pending.includes(2000));
  room.clock.advance(2000);
  await until(() => (room.containers.health(id)?.log.length ?? 0) === 1);
  expect(room.containers.health(id)?.log[0]).toMatchObject({
    ExitCode: -1,
    Output: "Health check exceeded timeout (2s)",
  });
});

test("in the start period probes come at its own pace and failures do not count", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["false"], { StartPeriod: 10 * SECOND, StartInterval: SECOND / 2, Retries: 1 });
  expect(room.clock.pending).toEqual([500]);
  await probed(room, id, 1);
  expect(room.containers.health(id)).toMatchObject({ status: "starting", failingStreak: 0 });
});

test("durations read as Go prints them", () => {
  expect([0.5, 1, 500, 1500, 30_000, 60_000, 90_500, 3_600_000].map(durationText)).toEqual([
    "500µs",
    "1ms",
    "500ms",
    "1.5s",
    "30s",
    "1m0s",
    "1m30.5s",
    "1h0m0s",
  ]);
});

test("a pause ends the probes and leaves the verdict at unhealthy until a probe after it says otherwise", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["true"]);
  await probed(room, id, 1);
  await room.containers.pause(id);
  expect(room.containers.health(id)?.status).toBe("unhealthy");
  expect(room.clock.pending).toEqual([]);
  await room.containers.unpause(id);
  expect(room.containers.health(id)?.status).toBe("unhealthy");
  await probed(room, id, 1);
  expect(room.containers.health(id)?.status).toBe("healthy");
  expect(room.story.filter((line) => line.includes("health_status"))).toEqual([
    "container health_status: healthy",
    "container health_status: healthy",
  ]);
});

test("a pause in the middle of a probe kills it, and its result does not count", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["sleep"]);
  room.clock.advance(1000);
  await until(() => room.runtime.execs.length === 1 && room.runtime.execs[0]?.task.pid !== undefined);
  await until(() => room.clock.pending.length === 1);
  await room.containers.pause(id);
  await until(() => room.runtime.execs[0]?.task.signals.includes(9) === true);
  expect(room.containers.health(id)?.log).toEqual([]);
});

test("the verdict of a run stays with the container that has ended, and its log with the next run", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["true"]);
  await probed(room, id, 1);
  await room.containers.kill(id, null);
  expect(room.containers.health(id)).toMatchObject({ status: "unhealthy", log: [{ ExitCode: 0 }] });
  const { records } = await room.store.all();
  expect(records[0]?.state).toMatchObject({ exit: { health: { status: "unhealthy", log: [{ ExitCode: 0 }] } } });
  await room.containers.start(id);
  expect(room.containers.health(id)).toMatchObject({ status: "starting", failingStreak: 0, log: [{ ExitCode: 0 }] });
});

test("the next daemon goes on with the verdict, the streak and the log", async () => {
  await using first = await createRoom();
  const id = await checked(first, ["false"]);
  await probed(first, id, 1);
  await using second = await createRoom({ directory: first.config.dataRoot, runtime: first.runtime });
  await second.containers.load();
  await second.containers.regain();
  expect(second.containers.health(id)).toMatchObject({ status: "starting", failingStreak: 1, log: [{ ExitCode: 1 }] });
  second.clock.advance(1000);
  await until(() => second.containers.health(id)?.status === "unhealthy");
});

describe("the label that asks for a restart", () => {
  const label = (value: string) => ({ Labels: { "berth.health.restart": value } });
  const start = async (room: Room, value: string): Promise<string> => {
    const id = await room.create({
      Cmd: ["trap"],
      Healthcheck: { Test: ["CMD", "false"], Interval: SECOND, Retries: 2 },
      ...label(value),
    });
    await room.containers.start(id);
    return id;
  };
  test("ends what has become unhealthy and starts it again after the pause of a policy", async () => {
    await using room = await createRoom();
    const id = await start(room, "true");
    await probed(room, id, 1);
    room.clock.advance(1000);
    await until(() => room.containers.get(id).state.status === "restarting");
    expect(room.story.slice(-3)).toEqual(["container kill", "networks left", "container die"]);
    expect(room.story).toContain("container health_restart");
    expect(room.clock.pending).toEqual([100]);
    room.clock.advance(100);
    await until(() => room.containers.get(id).state.status === "running");
    expect(room.containers.get(id).restartCount).toBe(1);
    expect(room.containers.health(id)).toMatchObject({ status: "starting", failingStreak: 0 });
  });
  test("may ask for more failures than make it unhealthy", async () => {
    await using room = await createRoom();
    const id = await start(room, "4");
    await probed(room, id, 3);
    expect(room.containers.get(id).state.status).toBe("running");
    expect(room.containers.health(id)).toMatchObject({ status: "unhealthy", failingStreak: 3 });
    room.clock.advance(1000);
    await until(() => room.containers.get(id).state.status === "restarting");
  });
  test("means nothing with another value, and does not bring back what was stopped by hand", async () => {
    await using room = await createRoom();
    const other = await start(room, "yes");
    await probed(room, other, 2);
    expect(room.containers.get(other).state.status).toBe("running");
    await room.containers.kill(other, null);
    const id = await start(room, "true");
    await room.containers.kill(id, null);
    expect(room.containers.get(id).state.status).toBe("exited");
  });
});
