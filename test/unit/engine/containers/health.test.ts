// Health checks: which command runs, when a verdict turns, and how probes follow a container's life. Time is by hand.
import { describe, expect, test } from "bun:test";
import { healthCheck, type HealthReport, judge } from "../../../../src/engine/containers/health.ts";
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
      report = judge(report, result(code), { retries: 3, counts: true });
      seen.push(`${report.status} ${report.failingStreak}`);
    }
    expect(seen).toEqual(["starting 1", "starting 2", "unhealthy 3", "unhealthy 4", "healthy 0", "healthy 1"]);
    expect(report.log).toHaveLength(5);
  });
  test("does not count failures while the container may still be starting", () => {
    expect(judge(fresh, result(1), { retries: 1, counts: false })).toMatchObject({
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
  for (let n = 1; n <= times; n++) {
    room.clock.advance(room.clock.pending[0] ?? 0);
    await until(() => (room.containers.health(id)?.log.length ?? 0) === n && room.clock.pending.length > 0);
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
  expect(first?.ExitCode).toBe(127);
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
    Output: "Health check exceeded timeout (2s): ",
  });
});

test("in the start period probes come at its own pace and failures do not count", async () => {
  await using room = await createRoom();
  const id = await checked(room, ["false"], { StartPeriod: 10 * SECOND, StartInterval: SECOND / 2, Retries: 1 });
  expect(room.clock.pending).toEqual([500]);
  await probed(room, id, 1);
  expect(room.containers.health(id)).toMatchObject({ status: "starting", failingStreak: 0 });
});
