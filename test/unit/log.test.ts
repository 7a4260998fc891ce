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
