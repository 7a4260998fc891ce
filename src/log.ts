// The daemon's own log: one line per event on a writer that is handed in (stderr in the daemon). Not container logs.

export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A log that adds fields to each of its lines. */
  with(fields: LogFields): Log;
}

const ORDER: readonly LogLevel[] = ["debug", "info", "warn", "error", "fatal"];

/** COMPAT: `json` has dockerd's keys: time, level, msg, and the fields beside them. */
export type LogFormat = "text" | "json";

/** `level()` is read at each line, so that a reload takes effect at once. */
export function createLog(
  write: (line: string) => void,
  level: () => LogLevel,
  now: () => Date,
  format: LogFormat = "text",
  base: LogFields = {},
): Log {
  const at =
    (wanted: LogLevel) =>
    (message: string, fields: LogFields = {}): void => {
      if (ORDER.indexOf(wanted) < ORDER.indexOf(level())) return;
      const all = { ...base, ...fields };
      const time = now().toISOString();
      write(`${format === "json" ? jsonLine(time, wanted, message, all) : textLine(time, wanted, message, all)}\n`);
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => createLog(write, level, now, format, { ...base, ...fields }),
  };
}

function textLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${show(value)}`);
  return `time=${time} level=${level} msg=${JSON.stringify(message)}${pairs.join("")}`;
}

function jsonLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const shown = Object.entries(fields).map(([key, value]) => [key, value instanceof Error ? errorText(value) : value]);
  return JSON.stringify({ ...Object.fromEntries(shown), level, msg: message, time });
}

function show(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(errorText(value));
  return typeof value === "string" && /^[\w./:@+-]+$/.test(value) ? value : (JSON.stringify(value) ?? "undefined");
}

/**
 * An error is shown with its causes, so that one line tells the whole story: but for those whose words the message has
 * taken over, as it does where a client is to read them.
 */
function errorText(error: Error): string {
  if (error instanceof AggregateError) return `${error.message}: ${error.errors.map(String).join("; ")}`;
  const { cause, message } = error;
  if (cause === undefined) return message;
  if (!(cause instanceof Error) || cause.message === "" || !message.includes(cause.message)) {
    return `${message} (because ${show(cause)})`;
  }
  // What lies behind that cause is still news.
  const behind = errorText(cause);
  return behind.startsWith(cause.message) ? `${message}${behind.slice(cause.message.length)}` : message;
}
