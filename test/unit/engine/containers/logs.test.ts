// Log configuration: what is refused at create, in whose words, and what the runtime is told.
import { expect, test } from "bun:test";
import { logPath, readLogs, toLogOptions, validateLogConfig } from "../../../../src/engine/containers/logs.ts";

test("bad configurations are refused in Docker's words", () => {
  const table: [type: string, options: Record<string, string>, message: string][] = [
    ["nope", {}, 'error looking up logging plugin nope: plugin "nope" not found'],
    ["json-file", { x: "1" }, "unknown log opt 'x' for json-file log driver"],
    ["local", { x: "1" }, "unknown log opt 'x' for local log driver"],
    ["json-file", { "max-size": "0" }, "max-size must be a positive number"],
    ["json-file", { "max-size": "-5m" }, "max-size must be a positive number"],
    ["json-file", { "max-size": "big" }, "invalid size: 'big'"],
    ["json-file", { "max-file": "0" }, "max-file cannot be less than 1"],
    ["json-file", { "max-file": "many" }, 'strconv.Atoi: parsing "many": invalid syntax'],
    ["json-file", { compress: "maybe" }, 'strconv.ParseBool: parsing "maybe": invalid syntax'],
    [
      "json-file",
      { compress: "true", "max-size": "1m" },
      "compress cannot be true when max-file is less than 2 or max-size is not set",
    ],
    ["json-file", { mode: "sometimes" }, "logger: logging mode not supported: sometimes"],
    [
      "json-file",
      { "max-buffer-size": "1m" },
      "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
    ],
  ];
  for (const [type, options, message] of table) expect(() => validateLogConfig(type, options)).toThrow(message);
});

test("good ones pass", () => {
  validateLogConfig("none", {});
  validateLogConfig("local", { "max-size": "10m", "max-file": "3", compress: "false" });
  validateLogConfig("json-file", {
    "max-size": "-1",
    labels: "a,b",
    env: "C",
    tag: "{{.Name}}",
    mode: "non-blocking",
    "max-buffer-size": "4m",
  });
});

test("limits are Docker's where given, and bounded where not", () => {
  const limits = (type: string, options: Record<string, string>): unknown => {
    const { compresses, maxFiles, maxSizeBytes } = toLogOptions("x", "/c/x", { type, options }) ?? {};
    return [maxSizeBytes, maxFiles, compresses];
  };
  expect(limits("json-file", {})).toEqual([20_000_000, 5, false]);
  expect(limits("json-file", { "max-size": "10m" })).toEqual([10 << 20, 1, false]);
  expect(limits("json-file", { "max-size": "1.5kb", "max-file": "3", compress: "true" })).toEqual([1536, 3, true]);
  expect(limits("json-file", { "max-size": "-1" })).toEqual([null, 1, false]);
  expect(limits("local", {})).toEqual([20_000_000, 5, true]);
  expect(toLogOptions("x", "/c/x", { type: "none", options: {} })).toBeNull();
  expect(logPath("x", "/c/x", "json-file")).toBe("/c/x/x-json.log");
  expect(logPath("x", "/c/x", "none")).toBe("");
});

test("a driver that keeps no log cannot be read", () => {
  const query = {
    follow: false,
    stdout: true,
    stderr: true,
    sinceNano: null,
    untilNano: null,
    tail: null,
    timestamps: false,
    details: false,
  };
  expect(() =>
    readLogs(null, query, { ended: Promise.resolve(), isFramed: true }, new AbortController().signal),
  ).toThrow("configured logging driver does not support reading");
});
