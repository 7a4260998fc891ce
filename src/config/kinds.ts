// What kinds of value an option takes, and how each is read: from the texts of its flag, and from JSON in daemon.json.
import { ConfigError } from "./error.ts";
import * as values from "./values.ts";

export interface Kind<Value> {
  /** How --help shows it; "" for a switch. */
  readonly placeholder: string;
  readonly repeats: boolean;
  fromFlags(texts: readonly string[]): Value;
  fromJSON(json: unknown): Value;
}

export const bool: Kind<boolean> = {
  placeholder: "",
  repeats: false,
  fromFlags: (texts) => values.parseBool(texts.at(-1) ?? ""),
  fromJSON: (json) => (typeof json === "boolean" ? json : mismatch(json, "true or false")),
};

export const int: Kind<number> = {
  placeholder: "int",
  repeats: false,
  fromFlags: (texts) => values.parseInteger(texts.at(-1) ?? ""),
  fromJSON: (json) =>
    typeof json === "number" && Number.isSafeInteger(json) ? json : mismatch(json, "a whole number"),
};

/** A text that `parse` checks and brings into its full form. */
export function text<Value = string>(parse: (text: string) => Value, placeholder = "string"): Kind<Value> {
  return {
    placeholder,
    repeats: false,
    fromFlags: (texts) => parse(texts.at(-1) ?? ""),
    fromJSON: (json) => (typeof json === "string" ? parse(json) : mismatch(json, "a string")),
  };
}

export const string = text((value) => value);

export const size: Kind<number> = {
  placeholder: "bytes",
  repeats: false,
  fromFlags: (texts) => values.parseSize(texts.at(-1) ?? ""),
  fromJSON: (json) =>
    typeof json === "number" || typeof json === "string" ? values.parseSize(String(json)) : mismatch(json, "a size"),
};

/** A flag that may be given several times; a list in the file. */
export function list<Value = string>(parse: (text: string) => Value): Kind<Value[]> {
  return {
    placeholder: "list",
    repeats: true,
    fromFlags: (texts) => texts.map(parse),
    fromJSON: (json) => strings(json).map(parse),
  };
}

export const texts = list((value) => value);

/** A list that is checked as a whole. */
export function checkedList(check: (texts: readonly string[]) => string[]): Kind<string[]> {
  return { placeholder: "list", repeats: true, fromFlags: check, fromJSON: (json) => check(strings(json)) };
}

/** `key=value` flags; an object of strings in the file. */
export const map: Kind<Record<string, string>> = {
  placeholder: "map",
  repeats: true,
  fromFlags: (texts) => Object.fromEntries(texts.map(values.parsePair)),
  fromJSON: (json) =>
    Object.fromEntries(
      Object.entries(object(json)).map(([key, value]) => [
        key,
        typeof value === "string" ? value : mismatch(value, `a string for ${key}`),
      ]),
    ),
};

export const ulimits: Kind<Record<string, values.Ulimit>> = {
  placeholder: "ulimit",
  repeats: true,
  fromFlags: (texts) => Object.fromEntries(texts.map(values.parseUlimit)),
  fromJSON: (json) =>
    Object.fromEntries(
      Object.entries(object(json)).map(([name, value]) => {
        const { Soft, Hard } = object(value);
        if (typeof Soft !== "number" || typeof Hard !== "number")
          return mismatch(value, `numbers Soft and Hard for ${name}`);
        return values.checkUlimit(name, Soft, Hard);
      }),
    ),
};

export const addressPools: Kind<values.AddressPool[]> = {
  placeholder: "pool-options",
  repeats: true,
  fromFlags: (texts) => texts.map(values.parseAddressPool),
  fromJSON: (json) =>
    array(json).map((value) => {
      const { base, size } = object(value);
      if (typeof base !== "string" || typeof size !== "number") return mismatch(value, "base and size");
      return values.checkAddressPool(base, size);
    }),
};

/** `bridge=com.docker.network.driver.mtu=1400` flags; options by driver in the file. */
export const networkOptions: Kind<Record<string, Record<string, string>>> = {
  placeholder: "mapmap",
  repeats: true,
  fromFlags(texts) {
    const found: Record<string, Record<string, string>> = {};
    for (const one of texts) {
      const [, driver = "", key = "", value = ""] = /^([^=]+)=([^=]+)=(.*)$/.exec(one) ?? [];
      if (driver === "") throw new ConfigError(`invalid default network option: ${one}: driver=option=value is needed`);
      (found[driver] ??= {})[key] = value;
    }
    return found;
  },
  fromJSON: (json) =>
    Object.fromEntries(Object.entries(object(json)).map(([driver, options]) => [driver, map.fromJSON(options)])),
};

/** An object (or list) that only the file can hold, or that we pass over: taken as it is. */
export const anything: Kind<unknown> = {
  placeholder: "value",
  repeats: true,
  fromFlags: (texts) => texts,
  fromJSON: (json) => json,
};

function strings(json: unknown): string[] {
  return array(json).map((value) => (typeof value === "string" ? value : mismatch(value, "a string")));
}

function array(json: unknown): unknown[] {
  return Array.isArray(json) ? json : mismatch(json, "a list");
}

function object(json: unknown): Record<string, unknown> {
  return typeof json === "object" && json !== null && !Array.isArray(json)
    ? (json as Record<string, unknown>)
    : mismatch(json, "an object");
}

function mismatch(json: unknown, wanted: string): never {
  throw new ConfigError(`${wanted} is needed, not ${JSON.stringify(json)}`);
}
