// A command line to option texts, by the rules of the flag library that dockerd uses: `--flag=value`, `--flag value`,
// switches alone or with `=value`, `-H value`, `-Hvalue`, `-H=value`, several short switches in one word, `--` ends flags.
import { ConfigError } from "./error.ts";
import type { Option } from "./option.ts";
import { OPTIONS } from "./options.ts";

/** Flags that are about the command line itself, beside the options. */
type Special = "help" | "version" | "validate" | "config-file" | "repair";

export interface FlagTexts {
  /** In the order in which they first came. */
  options: Map<Option, string[]>;
  special: Map<Special, string>;
  positionals: string[];
}

interface Target {
  isSwitch: boolean;
  take(text: string): void;
}

const SPECIALS: readonly { name: Special; short: string | null; isSwitch: boolean }[] = [
  { name: "help", short: "h", isSwitch: true },
  { name: "version", short: "v", isSwitch: true },
  { name: "validate", short: null, isSwitch: true },
  { name: "config-file", short: null, isSwitch: false },
  { name: "repair", short: null, isSwitch: true },
];

export function parseFlags(argv: readonly string[]): FlagTexts {
  const found: FlagTexts = { options: new Map(), special: new Map(), positionals: [] };
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "--") {
      found.positionals.push(...words);
      break;
    }
    if (word.startsWith("--")) parseLong(word, words, found);
    else if (word.startsWith("-") && word.length > 1) parseShort(word, words, found);
    else found.positionals.push(word);
  }
  return found;
}

function parseLong(word: string, rest: string[], found: FlagTexts): void {
  const [, name = "", , value] = /^--([^=]*)(=([^]*))?$/.exec(word) ?? [];
  const target = findTarget(
    found,
    (flag) => flag === name,
    () => false,
  );
  if (name === "" || !target) throw new ConfigError(`unknown flag: --${name}`);
  if (value !== undefined) target.take(value);
  else if (target.isSwitch) target.take("true");
  else target.take(rest.shift() ?? missing(`--${name}`));
}

function parseShort(word: string, rest: string[], found: FlagTexts): void {
  for (let letters = word.slice(1); letters !== "";) {
    const letter = letters[0] ?? "";
    const target = findTarget(
      found,
      () => false,
      (short) => short === letter,
    );
    if (!target) throw new ConfigError(`unknown shorthand flag: '${letter}' in ${word}`);
    letters = letters.slice(1);
    if (letters.startsWith("=")) return target.take(letters.slice(1));
    if (!target.isSwitch)
      return target.take(letters === "" ? (rest.shift() ?? missing(`'${letter}' in ${word}`)) : letters);
    target.take("true");
  }
}

function missing(what: string): never {
  throw new ConfigError(`flag needs an argument: ${what}`);
}

function findTarget(
  found: FlagTexts,
  isLong: (flag: string) => boolean,
  isShort: (short: string) => boolean,
): Target | null {
  const special = SPECIALS.find(({ name, short }) => isLong(name) || (short !== null && isShort(short)));
  if (special) {
    const take = (text: string): void => void found.special.set(special.name, text);
    return { isSwitch: special.isSwitch, take };
  }
  const option = OPTIONS.find(
    ({ flag, short }) => (flag !== null && isLong(flag)) || (short !== null && isShort(short)),
  );
  if (!option) return null;
  const take = (text: string): void => {
    const texts = found.options.get(option) ?? [];
    texts.push(text);
    found.options.set(option, texts);
    // A bad value is told for the word it stands in, before those that follow.
    checkTexts(option, [text]);
  };
  return { isSwitch: option.isSwitch, take };
}

/** Reads an option's texts, naming the flag when they are wrong. */
export function checkTexts(option: Option, texts: readonly string[]): ReturnType<Option["fromFlags"]> {
  try {
    return option.fromFlags(texts);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(
      `invalid argument ${JSON.stringify(texts.at(-1))} for "${flagLabel(option)}" flag: ${error.message}`,
    );
  }
}

function flagLabel({ flag, short }: Option): string {
  return short === null ? `--${flag}` : `-${short}, --${flag}`;
}
