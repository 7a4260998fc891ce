// Who is started again, and after how long a pause.
import { expect, test } from "bun:test";
import { delayBeforeRestart, type Ended, startsWithEngine } from "../../../../src/engine/containers/restart_policy.ts";

const policy = (Name: string, MaximumRetryCount = 0) => ({ Name, MaximumRetryCount });
const crashed: Ended = { exitCode: 1, ranMs: 5, restartCount: 0, lastDelayMs: 0, wasStopped: false };

test("the pause doubles from 100 ms to a minute", () => {
  const delays: number[] = [];
  for (let lastDelayMs = 0; delays.length < 12;) {
    lastDelayMs = delayBeforeRestart(policy("always"), { ...crashed, lastDelayMs }) ?? -1;
    delays.push(lastDelayMs);
  }
  expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
});

test("a run of ten seconds starts the pauses anew", () => {
  expect(delayBeforeRestart(policy("always"), { ...crashed, lastDelayMs: 6400, ranMs: 10_000 })).toBe(100);
  expect(delayBeforeRestart(policy("always"), { ...crashed, lastDelayMs: 6400, ranMs: 9_999 })).toBe(12_800);
});

test("on-failure wants a non-zero code and counts its restarts", () => {
  expect(delayBeforeRestart(policy("on-failure", 2), { ...crashed, exitCode: 0 })).toBeNull();
  expect(delayBeforeRestart(policy("on-failure", 2), { ...crashed, restartCount: 1 })).toBe(100);
  expect(delayBeforeRestart(policy("on-failure", 2), { ...crashed, restartCount: 2 })).toBeNull();
  expect(delayBeforeRestart(policy("on-failure"), { ...crashed, restartCount: 1000 })).toBe(100);
});

test("what was stopped by hand stays down, always included; no policy means no restart", () => {
  for (const name of ["always", "unless-stopped", "on-failure"]) {
    expect(delayBeforeRestart(policy(name), { ...crashed, wasStopped: true })).toBeNull();
  }
  expect(delayBeforeRestart(policy("no"), crashed)).toBeNull();
  expect(delayBeforeRestart(policy(""), crashed)).toBeNull();
});

test("with the engine start those that ran before, each policy by its own rule", () => {
  const found = { hasBeenStartedBefore: true, hasBeenManuallyStopped: false, exitCode: 1, restartCount: 0 };
  const stopped = { ...found, hasBeenManuallyStopped: true };
  expect(startsWithEngine(policy("always"), stopped)).toBe(true);
  expect(startsWithEngine(policy("unless-stopped"), found)).toBe(true);
  expect(startsWithEngine(policy("unless-stopped"), stopped)).toBe(false);
  expect(startsWithEngine(policy("on-failure"), found)).toBe(true);
  expect(startsWithEngine(policy("on-failure"), { ...found, exitCode: 0 })).toBe(false);
  expect(startsWithEngine({ Name: "on-failure", MaximumRetryCount: 3 }, { ...found, restartCount: 3 })).toBe(false);
  expect(startsWithEngine(policy("no"), found)).toBe(false);
  expect(startsWithEngine(policy("always"), { ...found, hasBeenStartedBefore: false })).toBe(false);
});
