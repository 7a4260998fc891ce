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

/** `level()` is read at each line, so that a reload takes effect at once. */
export function createLog(
  write: (line: string) => void,
  level: () => LogLevel,
  now: () => Date,
  base: LogFields = {},
): Log {
  const at =
    (wanted: LogLevel) =>
    (message: string, fields: LogFields = {}): void => {
      if (ORDER.indexOf(wanted) < ORDER.indexOf(level())) return;
      const pairs = Object.entries({ ...base, ...fields })
        .map(([key, value]) => ` ${key}=${show(value)}`)
        .join("");
      write(`time=${now().toISOString()} level=${wanted} msg=${JSON.stringify(message)}${pairs}\n`);
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => createLog(write, level, now, { ...base, ...fields }),
  };
}

/** An error is shown with its causes, so that one line tells the whole story. */
function show(value: unknown): string {
  if (value instanceof AggregateError)
    return JSON.stringify(`${value.message}: ${value.errors.map(String).join("; ")}`);
  if (value instanceof Error) {
    const cause = value.cause === undefined ? "" : ` (because ${show(value.cause)})`;
    return JSON.stringify(`${value.message}${cause}`);
  }
  return typeof value === "string" && /^[\w./:@+-]+$/.test(value) ? value : (JSON.stringify(value) ?? "undefined");
}
