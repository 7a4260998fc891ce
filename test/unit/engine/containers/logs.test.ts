// Log configuration: what is refused at create, in whose words, and what the runtime is told.
import { expect, test } from "bun:test";
import { retryOf, toSinkTarget } from "../../../../src/engine/containers/log_drivers.ts";
import { logPath, readLogs, toLogOptions, validateLogConfig } from "../../../../src/engine/containers/logs.ts";

test("bad configurations are refused in Docker's words", () => {
  const table: [type: string, options: Record<string, string>, message: string][] = [
    ["nope", {}, "logger: no log driver named 'nope' is registered"],
    ["splunk", {}, "logger: no log driver named 'splunk' is registered"],
    ["awslogs", { x: "1" }, "logger: no log driver named 'awslogs' is registered"],
    ["syslog", { x: "1" }, "unknown log opt 'x' for syslog log driver"],
    ["syslog", { "syslog-format": "x" }, "Invalid syslog format"],
    ["syslog", { "syslog-facility": "x" }, "invalid syslog facility"],
    ["syslog", { "syslog-address": "127.0.0.1" }, "unsupported scheme: ''"],
    ["syslog", { "syslog-address": "unix:///nowhere" }, "stat /nowhere: no such file or directory"],
    ["gelf", {}, "gelf-address is a required parameter"],
    ["gelf", { "gelf-address": "unix:///x" }, "gelf: endpoint needs to be TCP or UDP"],
    ["gelf", { "gelf-address": "tcp://x:1", "gelf-compression-type": "gzip" }, "compression is only supported on UDP"],
    ["fluentd", { "fluentd-address": "udp://x:1" }, "unsupported scheme: 'udp'"],
    ["fluentd", { "fluentd-request-ack": "x" }, 'strconv.ParseBool: parsing "x": invalid syntax'],
    ["syslog", { "syslog-address": "http://x" }, "unsupported scheme: 'http'"],
    [
      "gelf",
      { "gelf-address": "127.0.0.1:12201" },
      'parse "127.0.0.1:12201": first path segment in URL cannot contain colon',
    ],
    ["gelf", { "gelf-address": "udp://x" }, "gelf: please provide gelf-address as proto://host:port"],
    ["gelf", { "gelf-address": "udp://x:1", x: "1" }, 'unknown log opt "x" for gelf log driver'],
    [
      "gelf",
      { "gelf-address": "udp://x:1", "gelf-compression-type": "x" },
      'unknown value "x" for log opt "gelf-compression-type" for gelf log driver',
    ],
    [
      "gelf",
      { "gelf-address": "udp://x:1", "gelf-compression-level": "99" },
      'unknown value "99" for log opt "gelf-compression-level" for gelf log driver',
    ],
    [
      "gelf",
      { "gelf-address": "udp://x:1", "gelf-tcp-max-reconnect": "3" },
      '"gelf-tcp-max-reconnect" is only valid for TCP',
    ],
    [
      "gelf",
      { "gelf-address": "tcp://x:1", "gelf-tcp-reconnect-delay": "-1" },
      '"gelf-tcp-reconnect-delay" must be a positive integer',
    ],
    ["fluentd", { "fluentd-async-connect": "true" }, "unknown log opt 'fluentd-async-connect' for fluentd log driver"],
    [
      "fluentd",
      { "fluentd-address": "127.0.0.1:x" },
      'invalid fluentd-address (127.0.0.1:x): parse "tcp://127.0.0.1:x": invalid port ":x" after host',
    ],
    ["fluentd", { "fluentd-address": "unix://" }, "invalid fluentd-address (unix://): path is empty"],
    [
      "fluentd",
      { "fluentd-address": "tcp://h/p" },
      "invalid fluentd-address (tcp://h/p): should not contain a path element",
    ],
    ["fluentd", { "fluentd-buffer-limit": "-1" }, "invalid size: '-1'"],
    ["fluentd", { "fluentd-max-retries": "-1" }, 'strconv.ParseUint: parsing "-1": invalid syntax'],
    ["fluentd", { "fluentd-retry-wait": "x" }, 'time: invalid duration "x"'],
    ["fluentd", { "fluentd-retry-wait": "10" }, 'time: missing unit in duration "10"'],
    [
      "fluentd",
      { "fluentd-write-timeout": "x" },
      'invalid value for fluentd-write-timeout: value must be a duration: time: invalid duration "x"',
    ],
    [
      "fluentd",
      { "fluentd-write-timeout": "-1s" },
      "invalid value for fluentd-write-timeout: value must be a duration that is non-negative",
    ],
    [
      "fluentd",
      { "fluentd-async-reconnect-interval": "11s" },
      'invalid value for fluentd-async-reconnect-interval: value ("11s") must be between 100ms and 10s',
    ],
    ["journald", { "cache-disabled": "x" }, "invalid value for option cache-disabled: x"],
    ["json-file", { tag: "{{.Nope}}" }, "can't evaluate field Nope in type *logger.Info"],
    ["json-file", { "labels-regex": "(" }, "error parsing regexp"],
    ["json-file", { x: "1" }, "unknown log opt 'x' for json-file log driver"],
    ["local", { x: "1" }, "unknown log opt 'x' for log driver local"],
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
      { mode: "non-blocking", "max-buffer-size": "-1" },
      "error parsing option max-buffer-size: invalid size: '-1'",
    ],
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

test("how often and when a batch is tried again is what the options say", () => {
  expect(retryOf("fluentd", {})).toEqual({});
  expect(retryOf("fluentd", { "fluentd-retry-wait": "1.5s", "fluentd-max-retries": "3" })).toEqual({
    firstWaitMs: 1500,
    maxRetries: 3,
  });
  expect(retryOf("fluentd", { "fluentd-retry-wait": "1m1s500ms" })).toEqual({ firstWaitMs: 61_500 });
  expect(retryOf("gelf", { "gelf-address": "tcp://x:1" })).toEqual({});
  expect(retryOf("gelf", { "gelf-tcp-max-reconnect": "5" })).toEqual({ firstWaitMs: 1000, growth: 1, maxRetries: 5 });
  expect(retryOf("gelf", { "gelf-tcp-reconnect-delay": "0" })).toEqual({
    firstWaitMs: 100,
    growth: 1,
    maxRetries: null,
  });
  expect(
    toSinkTarget("fluentd", { "fluentd-write-timeout": "2s", "fluentd-async-reconnect-interval": "100ms" }),
  ).toMatchObject({ timeoutMs: 2000, reconnectMs: 100 });
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
