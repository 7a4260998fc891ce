// What an option is, and how the tables of options.ts and network_options.ts say it.
import { ConfigError } from "./error.ts";
import { bool, type Kind, text } from "./kinds.ts";
import type { Config } from "./types.ts";
import { parseHost } from "./values.ts";

export type Apply = (config: Config) => void;

export interface Option {
  /** Without the dashes; null: only in the file. */
  flag: string | null;
  short: string | null;
  /** null: only as a flag. */
  key: string | null;
  help: string;
  placeholder: string;
  isSwitch: boolean;
  repeats: boolean;
  /** Acts now, or what to say when it is used in a way that berth does not follow. */
  standing: "acts" | "later" | "foreign";
  /** Checks the values and answers what they do, or null where they ask for nothing that berth does not do anyway. */
  fromFlags(texts: readonly string[]): Apply | null;
  fromJSON(json: unknown): Apply | null;
}

type Names = string | { flag: string | null; key: string | null; short?: string };

function names(given: Names): Pick<Option, "flag" | "key" | "short"> {
  return typeof given === "string" ? { flag: given, key: given, short: null } : { short: null, ...given };
}

export function acts<Value>(
  given: Names,
  kind: Kind<Value>,
  help: string,
  set: (config: Config, value: Value) => void,
): Option {
  const apply =
    (value: Value): Apply =>
    (config) =>
      set(config, value);
  return {
    ...names(given),
    help,
    placeholder: kind.placeholder,
    isSwitch: kind.placeholder === "",
    repeats: kind.repeats,
    standing: "acts",
    fromFlags: (values) => apply(kind.fromFlags(values)),
    fromJSON: (json) => apply(kind.fromJSON(json)),
  };
}

/** `quiet` lists the values that ask for what berth does anyway. */
function passedOver<Value>(
  standing: "later" | "foreign",
  given: Names,
  kind: Kind<Value>,
  help: string,
  quiet: readonly Value[] = [],
): Option {
  const judge = (value: Value): Apply | null =>
    quiet.some((one) => JSON.stringify(one) === JSON.stringify(value)) ? null : () => {};
  return {
    ...names(given),
    help,
    placeholder: kind.placeholder,
    isSwitch: kind.placeholder === "",
    repeats: kind.repeats,
    standing,
    fromFlags: (values) => judge(kind.fromFlags(values)),
    fromJSON: (json) => judge(kind.fromJSON(json)),
  };
}

export const later = <Value>(given: Names, kind: Kind<Value>, help: string, quiet?: readonly Value[]) =>
  passedOver("later", given, kind, help, quiet);
export const foreign = <Value>(given: Names, kind: Kind<Value>, help: string, quiet?: readonly Value[]) =>
  passedOver("foreign", given, kind, help, quiet);

export const both = (flag: string, key: string, short?: string): Names => ({
  flag,
  key,
  ...(short === undefined ? {} : { short }),
});
export const fileOnly = (key: string): Names => ({ flag: null, key });
export const atLeast =
  (least: number, what: string) =>
  (value: number): number => {
    if (value < least) throw new ConfigError(`invalid ${what}: ${value}`);
    return value;
  };
export const within =
  (least: number, most: number, what: string) =>
  (value: number): number => {
    if (value < least || value > most)
      throw new ConfigError(`invalid ${what}: ${value}: ${least} to ${most} is needed`);
    return value;
  };
export const checked = (kind: Kind<number>, check: (value: number) => number): Kind<number> => ({
  ...kind,
  fromFlags: (values) => check(kind.fromFlags(values)),
  fromJSON: (json) => check(kind.fromJSON(json)),
});
export const oneOf = (what: string, allowed: readonly string[]) =>
  text((value) => {
    if (!allowed.includes(value))
      throw new ConfigError(`invalid ${what}: ${value}: one of ${allowed.join(", ")} is needed`);
    return value;
  });
/** A switch that can only be off. */
export const refusedSwitch = (why: string): Kind<boolean> => {
  const check = (value: boolean): boolean => {
    if (value) throw new ConfigError(why);
    return value;
  };
  return {
    ...bool,
    fromFlags: (values) => check(bool.fromFlags(values)),
    fromJSON: (json) => check(bool.fromJSON(json)),
  };
};
/** "" switches a value off, as under dockerd. */
export const orEmpty =
  (parse: (value: string) => string) =>
  (value: string): string =>
    value === "" ? "" : parse(value);

/** Checks an address; config.ts brings it into its full form, which depends on --tls. */
export function checkHost(value: string): string {
  parseHost(value, { socket: "/", isTLS: false });
  return value;
}

export function checkSpecDir(value: string): string {
  if (value !== "" && !value.startsWith("/"))
    throw new ConfigError(`invalid cdi-spec-dir: ${JSON.stringify(value)}: an absolute path is needed`);
  return value;
}
