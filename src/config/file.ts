// daemon.json to option values: known keys only, none that a flag sets too, each of its kind. COMPAT: the messages are
// dockerd's, which people search for and test harnesses match.
import { ConfigError } from "./error.ts";
import type { Option } from "./option.ts";
import { OPTIONS } from "./options.ts";

/** Values by option, as JSON. `flags` are the options that the command line sets, with their texts. */
export function readFileOptions(
  text: string,
  path: string,
  flags: ReadonlyMap<Option, readonly string[]>,
): Map<Option, unknown> {
  const values = parseObject(text, path);
  const byKey = new Map(
    OPTIONS.flatMap((option): [string, Option][] => (option.key === null ? [] : [[option.key, option]])),
  );
  const unknown = [...values.keys()].filter((key) => !byKey.has(key)).sort();
  if (unknown.length > 0) {
    throw fileError(path, `the following directives don't match any configuration option: ${unknown.join(", ")}`);
  }
  const found = new Map<Option, unknown>();
  const conflicts: string[] = [];
  for (const [key, value] of values) {
    const option = byKey.get(key);
    if (!option) continue;
    found.set(option, value);
    const texts = flags.get(option);
    // COMPAT: runtimes may be named in both places.
    if (texts && key !== "runtimes") {
      const fromFlag = option.repeats ? `[${texts.join(" ")}]` : (texts.at(-1) ?? "");
      conflicts.push(`${key}: (from flag: ${fromFlag}, from file: ${show(value)})`);
    }
  }
  if (conflicts.length > 0) {
    const what = "the following directives are specified both as a flag and in the configuration file";
    throw fileError(path, `${what}: ${conflicts.join(", ")}`);
  }
  return found;
}

/** The value of one key, naming file and key when it is wrong. */
export function readFileValue(option: Option, json: unknown, path: string): ReturnType<Option["fromJSON"]> {
  try {
    return option.fromJSON(json);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw fileError(path, `${option.key}: ${error.message}`);
  }
}

/** The keys of the file. `proxies` is an object whose keys are options of their own. An empty file has no keys. */
function parseObject(text: string, path: string): Map<string, unknown> {
  // COMPAT: dockerd takes a byte order mark.
  const bare = text.replace(/^\uFEFF/, "");
  if (bare.trim() === "") return new Map();
  let json: unknown;
  try {
    json = JSON.parse(bare);
  } catch (error) {
    throw fileError(path, error instanceof Error ? error.message : String(error));
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw fileError(path, "an object is needed");
  const { proxies, ...others } = json as Record<string, unknown>;
  if (proxies !== undefined && (typeof proxies !== "object" || proxies === null))
    throw fileError(path, "proxies: an object is needed");
  return new Map([...Object.entries(others), ...Object.entries(proxies ?? {})]);
}

export function fileError(path: string, reason: string): ConfigError {
  return new ConfigError(`unable to configure the Docker daemon with file ${path}: ${reason}`);
}

/** As Go's %v prints what JSON holds. */
function show(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(show).join(" ")}]`;
  if (typeof value === "object" && value !== null) {
    return `map[${Object.entries(value)
      .map(([key, one]) => `${key}:${show(one)}`)
      .join(" ")}]`;
  }
  return String(value);
}
