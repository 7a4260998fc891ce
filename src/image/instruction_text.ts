// The text of Dockerfile instructions, as far as `docker commit -c` and `docker import -c` take them: lines with their
// continuations, words with quotes, and variables. Pure. The syntax is that of the Dockerfile reference.
import { invalid } from "../errors.ts";

export interface InstructionLine {
  /** As it was written: `CMD`, `cmd`. */
  name: string;
  /** `--interval=5s` and the like, in front of the arguments. */
  flags: string[];
  rest: string;
}

/** Instructions one a line; comments and blank lines are none. A backslash at a line's end joins it with the next. */
export function parseInstructionLines(text: string): InstructionLine[] {
  const lines: InstructionLine[] = [];
  let pending = "";
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*#/.test(line) || (pending === "" && line.trim() === "")) continue;
    const joined = pending + (pending === "" ? line.trimStart() : line);
    const continued = /\\[ \t]*$/.exec(joined);
    if (continued) {
      pending = joined.slice(0, continued.index);
      continue;
    }
    pending = "";
    lines.push(parseLine(joined));
  }
  if (pending.trim() !== "") lines.push(parseLine(pending));
  return lines;
}

function parseLine(line: string): InstructionLine {
  const [, name = "", args = ""] = /^\s*(\S+)\s*(.*?)\s*$/s.exec(line) ?? [];
  let rest = args;
  const flags: string[] = [];
  for (let flag = /^--\S*/.exec(rest); flag; flag = /^--\S*/.exec(rest)) {
    rest = rest.slice(flag[0].length).trimStart();
    if (flag[0] === "--") break;
    flags.push(flag[0]);
  }
  return { name, flags, rest };
}

/** Words with their quotes and backslashes as they are: those are taken away when variables are filled in. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? "";
    if (character === "\\" && quote !== "'") word += character + (text[++at] ?? "");
    else if (quote !== "") {
      word += character;
      if (character === quote) quote = "";
    } else if (/\s/.test(character)) {
      if (word !== "") words.push(word);
      word = "";
    } else {
      if (character === "'" || character === '"') quote = character;
      word += character;
    }
  }
  return word === "" ? words : [...words, word];
}

/** `["a", "b"]` as a list; null for anything else, which is then meant for a shell. */
export function parseExecForm(text: string): string[] | null {
  if (!text.startsWith("[")) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (!Array.isArray(value)) return null;
  if (value.every((word): word is string => typeof word === "string")) return value;
  throw invalid("when using JSON array syntax, arrays must be comprised of strings only");
}

/** Takes quotes and backslashes away, and fills variables in: `$name`, `${name}`, `${name:-else}`, `${name:+then}`. */
export function expandWord(text: string, variables: ReadonlyMap<string, string>): string {
  const expansion = new Expansion(text, variables);
  try {
    return expansion.until("");
  } catch (error) {
    if (error instanceof BadWord) throw invalid(`failed to process ${JSON.stringify(text)}: ${error.message}`);
    throw error;
  }
}

class BadWord extends Error {}

/** Modifiers inside modifiers; real ones have one. */
const MAX_NESTING = 32;

class Expansion {
  #at = 0;
  #depth = 0;

  constructor(
    private readonly text: string,
    private readonly variables: ReadonlyMap<string, string>,
  ) {}

  /** Up to a character outside quotes, which is passed; "" is the end of the text. */
  until(stop: string): string {
    let result = "";
    for (;;) {
      const character = this.text[this.#at];
      if (character === undefined) {
        if (stop === "") return result;
        throw new BadWord(`syntax error: missing '${stop}'`);
      }
      this.#at++;
      if (character === stop) return result;
      if (character === "'") result += this.#singleQuoted();
      else if (character === '"') result += this.#doubleQuoted();
      else if (character === "$") result += this.#variable();
      else if (character === "\\") {
        const next = this.text[this.#at];
        // A backslash at the very end is nothing.
        if (next === undefined) return result;
        this.#at++;
        result += next;
      } else result += character;
    }
  }

  #singleQuoted(): string {
    const end = this.text.indexOf("'", this.#at);
    if (end < 0) throw new BadWord("unexpected end of statement while looking for matching single-quote");
    const quoted = this.text.slice(this.#at, end);
    this.#at = end + 1;
    return quoted;
  }

  #doubleQuoted(): string {
    let result = "";
    for (;;) {
      const character = this.text[this.#at++];
      if (character === undefined)
        throw new BadWord("unexpected end of statement while looking for matching double-quote");
      if (character === '"') return result;
      if (character === "$") result += this.#variable();
      else if (character === "\\") {
        const next = this.text[this.#at] ?? "";
        // Inside quotes a backslash stands for itself before everything else.
        if (next !== '"' && next !== "$" && next !== "\\") result += character;
        else {
          result += next;
          this.#at++;
        }
      } else result += character;
    }
  }

  /** After the dollar sign. */
  #variable(): string {
    if (this.text[this.#at] !== "{") {
      const name = /^(?:[A-Za-z_]\w*|\d|[@*#?$!-])/.exec(this.text.slice(this.#at))?.[0];
      if (name === undefined) return "$";
      this.#at += name.length;
      return this.variables.get(name) ?? "";
    }
    this.#at++;
    const name = /^[A-Za-z_]\w*|^\d/.exec(this.text.slice(this.#at))?.[0] ?? "";
    if (name === "") throw new BadWord("bad substitution");
    this.#at += name.length;
    const value = this.variables.get(name);
    if (this.text[this.#at] === "}") {
      this.#at++;
      return value ?? "";
    }
    const modifier = /^:?[-+?]/.exec(this.text.slice(this.#at))?.[0];
    if (modifier === undefined)
      throw new BadWord(`unsupported modifier (${this.text[this.#at] ?? ""}) in substitution`);
    this.#at += modifier.length;
    if (++this.#depth > MAX_NESTING) throw new BadWord("bad substitution");
    const word = this.until("}");
    this.#depth--;
    const isSet = value !== undefined && (value !== "" || !modifier.startsWith(":"));
    if (modifier.endsWith("+")) return isSet ? word : "";
    if (isSet) return value;
    if (modifier.endsWith("-")) return word;
    throw new BadWord(`${name}: ${word || "not allowed to be unset"}`);
  }
}
