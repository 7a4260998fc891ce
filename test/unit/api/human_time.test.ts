// src/api/human_time.ts: every step of Docker's rounding.
import { expect, test } from "bun:test";
import { humanDuration, since } from "../../../src/api/human_time.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const steps: [number, string][] = [
  [0, "Less than a second"],
  [999, "Less than a second"],
  [SECOND, "1 second"],
  [59.9 * SECOND, "59 seconds"],
  [MINUTE, "About a minute"],
  [2 * MINUTE - 1, "About a minute"],
  [2 * MINUTE, "2 minutes"],
  [HOUR - 1, "59 minutes"],
  [HOUR, "About an hour"],
  [1.5 * HOUR, "2 hours"],
  [47.4 * HOUR, "47 hours"],
  [2 * DAY, "2 days"],
  [13.9 * DAY, "13 days"],
  [14 * DAY, "2 weeks"],
  [59 * DAY, "8 weeks"],
  [60 * DAY, "2 months"],
  [729 * DAY, "24 months"],
  [730 * DAY, "2 years"],
];
for (const [milliseconds, text] of steps) {
  test(`${milliseconds} ms are "${text}"`, () => expect(humanDuration(milliseconds)).toBe(text));
}

test("a clock that was set back gives no negative time", () => {
  expect(since("2026-01-02T00:00:00Z", new Date("2026-01-01T00:00:00Z"))).toBe(0);
});
