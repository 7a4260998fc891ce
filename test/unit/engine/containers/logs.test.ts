// Log configuration: what is refused at create, in whose words, and what the runtime is told.
import { expect, test } from "bun:test";
import { logPath, readLogs, toLogOptions, validateLogConfig } from "../../../../src/engine/containers/logs.ts";

test("bad configurations are refused in Docker's words", () => {
  const table: [type: string, options: Record<string, string>, message: string][] = [
    ["nope", {}, "logger: no log driver named 'nope' is registered"],
    ["splunk", {}, "logger: no log driver named 'splunk' is registered"],
    ["awslogs", { x: "1" }, "logger: no log driver named 'awslogs' is registered"],
    ["syslog", { x: "1" }, "unknown log opt 'x' for syslog log driver"],
    ["syslog", { "syslog-format": "x" }, "Invalid syslog format"],
    ["syslog", { "syslog-facility": "x" }, "invalid syslog facility"],
    ["syslog", { "syslog-address": "127.0.0.1" }, "syslog-address should be in form proto://address, got 127.0.0.1"],
    ["syslog", { "syslog-address": "unix:///nowhere" }, "stat /nowhere: no such file or directory"],
    ["gelf", {}, "gelf-address is a required parameter"],
    ["gelf", { "gelf-address": "unix:///x" }, "gelf: endpoint needs to be TCP or UDP"],
    ["gelf", { "gelf-address": "tcp://x:1", "gelf-compression-type": "gzip" }, "compression is only supported on UDP"],
    ["fluentd", { "fluentd-address": "udp://x:1" }, "unsupported scheme: 'udp'"],
    ["fluentd", { "fluentd-request-ack": "x" }, 'strconv.ParseBool: parsing "x": invalid syntax'],
    ["journald", { "cache-disabled": "x" }, "invalid value for option cache-disabled: x"],
    ["json-file", { tag: "{{.Nope}}" }, "can't evaluate field Nope in type logger.Info"],
    ["json-file", { "labels-regex": "(" }, "error parsing regexp"],
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
    const { compresses, maxFiles, maxSizeBytes } = toLogOptions("x", "/c/x", { type, options }, {}) ?? {};
    return [maxSizeBytes, maxFiles, compresses];
  };
  expect(limits("json-file", {})).toEqual([20_000_000, 5, false]);
  expect(limits("json-file", { "max-size": "10m" })).toEqual([10 << 20, 1, false]);
  expect(limits("json-file", { "max-size": "1.5kb", "max-file": "3", compress: "true" })).toEqual([1536, 3, true]);
  expect(limits("json-file", { "max-size": "-1" })).toEqual([null, 1, false]);
  expect(limits("local", {})).toEqual([20_000_000, 5, true]);
  expect(toLogOptions("x", "/c/x", { type: "none", options: {} }, {})).toBeNull();
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
