// The daemon's own log in both formats.
import { expect, test } from "bun:test";
import { createLog, type LogFormat } from "../../src/log.ts";

function lineOf(format: LogFormat): string {
  let written = "";
  const log = createLog(
    (line) => (written += line),
    () => "info",
    () => new Date(0),
    format,
  );
  log.debug("not this");
  log
    .with({ container: "abc" })
    .warn("it failed", { error: new Error("bad", { cause: new Error("worse") }), count: 2 });
  return written;
}

test("text is one line of pairs, json one object with dockerd's keys; an error comes with its cause", () => {
  expect(lineOf("text")).toBe(
    'time=1970-01-01T00:00:00.000Z level=warn msg="it failed" container=abc error="bad (because \\"worse\\")" count=2\n',
  );
  expect(JSON.parse(lineOf("json"))).toEqual({
    container: "abc",
    error: 'bad (because "worse")',
    count: 2,
    level: "warn",
    msg: "it failed",
    time: "1970-01-01T00:00:00.000Z",
  });
});

test("a cause whose words the message has taken over is not told again, but what lies behind it is", () => {
  let line = "";
  const log = createLog(
    (text) => (line = text),
    () => "info",
    () => new Date(0),
    "json",
  );
  const told = (error: Error): string => {
    log.error("request failed", { error });
    return (JSON.parse(line) as { error: string }).error;
  };
  const deep = new Error("worse", { cause: new Error("worst") });
  expect(told(new Error("setup: worse", { cause: new Error("worse") }))).toBe("setup: worse");
  expect(told(new Error("setup: worse", { cause: deep }))).toBe('setup: worse (because "worst")');
  expect(told(new Error("setup: worse", { cause: new Error("") }))).toBe('setup: worse (because "")');
});
