// `--change` of `docker commit` and `docker import`: Dockerfile instructions that change an image's configuration. Pure.
// The instructions, their syntax and their refusals are the Dockerfile reference's.
import { posix } from "node:path";
import type { ImageConfig } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import {
  expandWord,
  type InstructionLine,
  parseExecForm,
  parseInstructionLines,
  splitWords,
} from "./instruction_text.ts";

export interface ChangeOptions {
  /** Throws Docker's 400 for what is no signal. */
  checkSignal(text: string): void;
}

/** Instructions of one request; a configuration with more of them than this is nobody's. */
const MAX_CHANGES = 4096;
const DEFAULT_SHELL = ["/bin/sh", "-c"];
const MIN_HEALTH_DURATION_NS = 1_000_000;

interface Draft {
  config: ImageConfig;
  /** There was a CMD among the changes: an ENTRYPOINT leaves it alone. */
  isCmdSet: boolean;
  options: ChangeOptions;
}

type Instruction = (draft: Draft, line: InstructionLine) => void;

/** The configuration with all changes done, in their order. Throws `invalid` with Docker's words; `config` stays as it is. */
export function applyChanges(config: ImageConfig, changes: readonly string[], options: ChangeOptions): ImageConfig {
  if (changes.length === 0) return config;
  const lines = parseInstructionLines(changes.join("\n"));
  if (lines.length === 0) throw invalid("file with no instructions");
  if (lines.length > MAX_CHANGES) throw invalid(`more than ${MAX_CHANGES} changes`);
  for (const { name } of lines) {
    // COMPAT: all names are looked at before any instruction is.
    if (!INSTRUCTIONS.has(name.toLowerCase())) throw invalid(`${name} is not a valid change command`);
  }
  const draft: Draft = { config: structuredClone(config), isCmdSet: false, options };
  for (const line of lines) {
    if (line.flags.length > 0 && line.name.toLowerCase() !== "healthcheck")
      throw invalid(`unknown flag: ${line.flags[0]?.split("=")[0]}`);
    INSTRUCTIONS.get(line.name.toLowerCase())?.(draft, line);
  }
  return draft.config;
}

const INSTRUCTIONS: ReadonlyMap<string, Instruction> = new Map<string, Instruction>([
  ["cmd", cmd],
  ["entrypoint", entrypoint],
  ["env", env],
  ["expose", expose],
  ["healthcheck", healthcheck],
  ["label", label],
  ["onbuild", onbuild],
  ["stopsignal", stopsignal],
  ["user", user],
  ["volume", volume],
  ["workdir", workdir],
]);

function cmd(draft: Draft, { rest }: InstructionLine): void {
  draft.config.Cmd = command(draft.config, rest);
  draft.isCmdSet = draft.isCmdSet || draft.config.Cmd.length > 0;
}

/** COMPAT: a new entrypoint drops the old command, unless that came with these very changes. */
function entrypoint(draft: Draft, { rest }: InstructionLine): void {
  draft.config.Entrypoint = command(draft.config, rest);
  if (!draft.isCmdSet) draft.config.Cmd = null;
}

/** A list as it is, or a line for the shell. */
function command(config: ImageConfig, rest: string): string[] {
  const words = parseExecForm(rest);
  if (words !== null) return words;
  if (rest === "") return [];
  const shell = config.Shell !== undefined && config.Shell.length > 0 ? config.Shell : DEFAULT_SHELL;
  return [...shell, rest];
}

function env(draft: Draft, { rest }: InstructionLine): void {
  const before = variables(draft.config);
  const values = [...(draft.config.Env ?? [])];
  for (const [name, value] of pairs("ENV", rest, before)) {
    const entry = `${name}=${value}`;
    const at = values.findIndex((each) => each.split("=", 1)[0] === name);
    if (at < 0) values.push(entry);
    else values[at] = entry;
  }
  draft.config.Env = values;
}

function label(draft: Draft, { rest }: InstructionLine): void {
  const labels = Object.fromEntries(pairs("LABEL", rest, variables(draft.config)));
  draft.config.Labels = { ...draft.config.Labels, ...labels };
}

/** `name=value …`, or `name` and all the rest of the line. */
function pairs(
  instruction: "ENV" | "LABEL",
  rest: string,
  before: ReadonlyMap<string, string>,
): [name: string, value: string][] {
  const words = splitWords(rest);
  const [first] = words;
  if (first === undefined) throw invalid(`${instruction} requires at least one argument`);
  let raw: [string, string][];
  if (!first.includes("=")) {
    const parts = /^(\S+)\s+(.*)$/s.exec(rest);
    if (!parts) throw invalid(`${instruction} must have two arguments`);
    raw = [[parts[1] ?? "", parts[2] ?? ""]];
  } else {
    raw = words.map((word) => {
      const equals = word.indexOf("=");
      if (equals < 0) {
        throw invalid(`Syntax error - can't find = in ${JSON.stringify(word)}. Must be of the form: name=value`);
      }
      return [word.slice(0, equals), word.slice(equals + 1)];
    });
  }
  return raw.map(([rawName, rawValue]) => {
    const name = expandWord(rawName, before);
    if (name === "") throw invalid(`${instruction} names can not be blank`);
    return [name, expandWord(rawValue, before)];
  });
}

function variables(config: ImageConfig): Map<string, string> {
  return new Map(
    (config.Env ?? []).map((entry) => {
      const equals = entry.indexOf("=");
      return equals < 0 ? [entry, ""] : [entry.slice(0, equals), entry.slice(equals + 1)];
    }),
  );
}

function expose(draft: Draft, { rest }: InstructionLine): void {
  const words = splitWords(rest).flatMap((word) => splitWords(expandWord(word, variables(draft.config))));
  if (words.length === 0) throw invalid("EXPOSE requires at least one argument");
  const ports = words.flatMap(portsOf).toSorted();
  draft.config.ExposedPorts = { ...draft.config.ExposedPorts, ...Object.fromEntries(ports.map((port) => [port, {}])) };
}

/** `80`, `80/udp`, `8000-8010`; what stands before a colon is for the host, and nothing here. */
function portsOf(spec: string): string[] {
  const [, ports = "", protocol = "tcp"] = /^(?:.*:)?([^:/]*)(?:\/(.*))?$/s.exec(spec) ?? [];
  if (ports === "") throw invalid(`No port specified: ${spec}<empty>`);
  if (!["tcp", "udp", "sctp"].includes(protocol.toLowerCase())) throw invalid(`Invalid proto: ${protocol}`);
  const [, first = "", last = first] = /^(\d+)(?:-(\d+))?$/.exec(ports) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (first === "" || from > 65535 || to > 65535 || to < from) throw invalid(`Invalid containerPort: ${ports}`);
  return Array.from({ length: to - from + 1 }, (_, index) => `${from + index}/${protocol.toLowerCase()}`);
}

function user(draft: Draft, { rest }: InstructionLine): void {
  draft.config.User = expandWord(one("USER", rest), variables(draft.config));
}

function stopsignal(draft: Draft, { rest }: InstructionLine): void {
  const signal = expandWord(one("STOPSIGNAL", rest), variables(draft.config));
  draft.options.checkSignal(signal);
  draft.config.StopSignal = signal;
}

function workdir(draft: Draft, { rest }: InstructionLine): void {
  const path = expandWord(one("WORKDIR", rest), variables(draft.config));
  if (path === "") throw invalid("cannot normalize nothing");
  const whole = posix.resolve("/", draft.config.WorkingDir ?? "", path);
  draft.config.WorkingDir = whole;
}

function one(instruction: string, rest: string): string {
  if (rest === "") throw invalid(`${instruction} requires exactly one argument`);
  return rest;
}

function volume(draft: Draft, { rest }: InstructionLine): void {
  const words = parseExecForm(rest) ?? splitWords(rest);
  if (words.length === 0) throw invalid("VOLUME requires at least one argument");
  const paths = words.map((word) => expandWord(word, variables(draft.config)).trim());
  if (paths.includes("")) throw invalid("VOLUME specified can not be an empty string");
  draft.config.Volumes = { ...draft.config.Volumes, ...Object.fromEntries(paths.map((path) => [path, {}])) };
}

function onbuild(draft: Draft, { rest }: InstructionLine): void {
  const trigger = /^\S+/.exec(rest)?.[0].toUpperCase();
  if (trigger === undefined) throw invalid("ONBUILD requires at least one argument");
  if (trigger === "ONBUILD") throw invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (trigger === "MAINTAINER" || trigger === "FROM") throw invalid(`${trigger} isn't allowed as an ONBUILD trigger`);
  draft.config.OnBuild = [...(draft.config.OnBuild ?? []), rest];
}

// ---- healthcheck

const HEALTH_FLAGS = {
  "--interval": "Interval",
  "--timeout": "Timeout",
  "--start-period": "StartPeriod",
  "--start-interval": "StartInterval",
} as const;

function healthcheck(draft: Draft, { flags, rest }: InstructionLine): void {
  const [, type = "", args = ""] = /^(\S*)\s*(.*)$/s.exec(rest) ?? [];
  if (type === "") throw invalid("HEALTHCHECK requires at least one argument");
  if (type.toUpperCase() === "NONE") {
    if (args !== "") throw invalid("HEALTHCHECK NONE takes no arguments");
    draft.config.Healthcheck = { Test: ["NONE"] };
    return;
  }
  const check: NonNullable<ImageConfig["Healthcheck"]> = {};
  for (const flag of flags) healthFlag(check, flag);
  if (type.toUpperCase() !== "CMD") throw invalid(`Unknown type ${JSON.stringify(type)} in HEALTHCHECK (try CMD)`);
  const words = parseExecForm(args);
  if (words === null ? args === "" : words.length === 0) throw invalid("Missing command after HEALTHCHECK CMD");
  check.Test = words === null ? ["CMD-SHELL", args] : ["CMD", ...words];
  draft.config.Healthcheck = check;
}

function healthFlag(check: NonNullable<ImageConfig["Healthcheck"]>, flag: string): void {
  const [, name = "", value] = /^([^=]+)(?:=(.*))?$/s.exec(flag) ?? [];
  const isKnown = name === "--retries" || Object.hasOwn(HEALTH_FLAGS, name);
  if (!isKnown) throw invalid(`unknown flag: ${name}`);
  if (value === undefined) throw invalid(`missing a value on flag: ${name}`);
  if (name === "--retries") {
    if (!/^[+-]?\d{1,9}$/.test(value))
      throw invalid(`strconv.ParseInt: parsing ${JSON.stringify(value)}: invalid syntax`);
    if (Number(value) < 0) throw invalid(`--retries cannot be negative (${Number(value)})`);
    check.Retries = Number(value);
    return;
  }
  const duration = parseDuration(value);
  if (duration === null) throw invalid(`time: invalid duration ${JSON.stringify(value)}`);
  if (duration !== 0 && duration < MIN_HEALTH_DURATION_NS)
    throw invalid(`Interval ${JSON.stringify(name.slice(2))} cannot be less than 1ms`);
  check[HEALTH_FLAGS[name as keyof typeof HEALTH_FLAGS]] = duration;
}

const UNITS_NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  "\u00b5s": 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Nanoseconds of a duration as Go writes it: `1h30m`, `1.5s`; null for anything else. */
function parseDuration(text: string): number | null {
  if (text === "0") return 0;
  if (!/^[+-]?(?:\d+(?:\.\d*)?(?:ns|us|\u00b5s|ms|s|m|h))+$/.test(text)) return null;
  let sum = 0;
  for (const [, number = "", unit = ""] of text.matchAll(/(\d+(?:\.\d*)?)(ns|us|\u00b5s|ms|s|m|h)/g))
    sum += Number(number) * (UNITS_NS[unit] ?? 0);
  return Math.round(text.startsWith("-") ? -sum : sum);
}
