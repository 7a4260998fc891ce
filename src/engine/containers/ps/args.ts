// The options of ps(1), in its three dialects: `-ef` of SysV, `aux` of BSD, `--sort` of GNU; dialects can be mixed. What is
// said about an option that ps does not know is what ps says. COMPAT: Docker runs the host's ps and tells its first line.
import { type EngineError, internal } from "../../../errors.ts";
import { type Column, columnNamed } from "./columns.ts";
import type { Process, ProcSource } from "./process.ts";

export interface SortKey {
  column: Column;
  isDescending: boolean;
}

type Selector = (process: Process, source: ProcSource) => boolean;

export interface PsRequest {
  columns: Column[];
  sort: SortKey[];
  /** A child after its parent: with an indentation (-H), or with a line that leads to it (f). */
  hasTree: boolean;
  hasThreads: boolean;
  /** One of them must hold; none: every process. */
  selectors: Selector[];
  isNegated: boolean;
  onlyRunning: boolean;
  hasEnvironment: boolean;
}

/** What has been read so far. */
interface Reading extends PsRequest {
  flags: Set<string>;
  isAll: boolean;
  isBSD: boolean;
  own: Column[];
  extra: Column[];
  hasTitles: boolean;
}

export function parsePsArgs(text: string): PsRequest {
  refuseOtherPIDs(text);
  const words = text.split(/\s+/).filter((word) => word !== "");
  try {
    return finish(readWords(words));
  } catch (error) {
    // As ps does: `-aux` means `aux` where it can mean nothing else.
    if (!words.some((word) => /^-[a-zA-Z]+$/.test(word))) throw error;
    try {
      return finish(readWords(words.map((word) => word.replace(/^-(?!-)/, ""))));
    } catch {
      throw error;
    }
  }
}

/** COMPAT: another column under the title PID would be taken for it. */
function refuseOtherPIDs(text: string): void {
  for (const [, name = "", title = ""] of ` ${text}`.matchAll(/\s+(\S*)=\s*(PID\S*)/g)) {
    if (name !== "pid") throw internal(`specifying "${name}=${title}" is not allowed`);
  }
}

function psError(text: string): EngineError {
  return internal(`ps: error: ${text}`);
}

function readWords(words: readonly string[]): Reading {
  const reading: Reading = {
    columns: [],
    sort: [],
    hasTree: false,
    hasThreads: false,
    selectors: [],
    isNegated: false,
    onlyRunning: false,
    hasEnvironment: false,
    flags: new Set(),
    isAll: false,
    isBSD: false,
    own: [],
    extra: [],
    hasTitles: true,
  };
  const left = words.values();
  for (let next = left.next(); next.done !== true; next = left.next()) {
    const word = next.value;
    if (word.startsWith("--")) readLong(reading, word.slice(2), left);
    else if (word.startsWith("-") && word.length > 1) readLetters(reading, word.slice(1), left, SYSV);
    else if (/^[\d,]+$/.test(word)) reading.selectors.push(byPID(word));
    else {
      reading.isBSD = true;
      readLetters(reading, word, left, BSD);
    }
  }
  return reading;
}

/** What a letter does; with `value` it takes the rest of the word, or the next one. */
type Option = { flag?: string; value?: (reading: Reading, text: string) => void; missing?: string };
interface Dialect {
  options: ReadonlyMap<string, Option>;
  unknown: string;
}

function readLetters(reading: Reading, letters: string, left: Iterator<string>, { options, unknown }: Dialect): void {
  for (let at = 0; at < letters.length; at++) {
    const option = options.get(letters[at] ?? "");
    if (option === undefined) throw psError(/[a-zA-Z]/.test(letters[at] ?? "") ? unknown : "garbage option");
    if (option.flag !== undefined) reading.flags.add(option.flag);
    if (option.value === undefined) continue;
    const text = letters.slice(at + 1) || (left.next().value ?? "");
    if (text === "") throw psError(option.missing ?? "");
    return option.value(reading, text);
  }
}

function readLong(reading: Reading, word: string, left: Iterator<string>): void {
  const [name = "", ...rest] = word.split("=");
  const matching = Object.keys(LONG).filter((known) => known === name || (name.length > 1 && known.startsWith(name)));
  const known = matching.includes(name) ? name : matching[0];
  const option = known === undefined ? undefined : LONG[known];
  if (option === undefined) throw psError("unknown gnu long option");
  if (option.flag !== undefined) reading.flags.add(option.flag);
  if (option.value === undefined) return;
  const text = rest.length > 0 ? rest.join("=") : (left.next().value ?? "");
  if (text === "") throw psError(option.missing ?? "");
  option.value(reading, text);
}

// ---- what options take

const format = (reading: Reading, text: string): void => void reading.own.push(...parseColumns(text));
const extraFormat = (reading: Reading, text: string): void => void reading.extra.push(...parseColumns(text));
const select =
  (make: (text: string) => Selector) =>
  (reading: Reading, text: string): void =>
    void reading.selectors.push(make(text));

function parseColumns(text: string): Column[] {
  // A title reaches to the end of its word, commas and all; spaces that it might hold were lost before.
  const [list = "", title] = /^([^=]*)=(.*)$/s.exec(text)?.slice(1) ?? [text];
  const names = list.split(",").filter((name) => name !== "");
  return names.map((name, index) => {
    const column = namedOrRefused(name);
    return title !== undefined && title !== "" && index === names.length - 1 ? { ...column, title } : column;
  });
}

function namedOrRefused(item: string): Column {
  // `args:20` gives a width, which a table of cells has no use for.
  const column = columnNamed(item.replace(/:\d+$/, "").toLowerCase());
  if (column === null) throw psError(`unknown user-defined format specifier "${item}"`);
  return column;
}

function sortBy(reading: Reading, text: string): void {
  for (const item of text.split(",")) {
    const column = columnNamed(item.replace(/^[+-]/, "").toLowerCase());
    if (column === null) throw psError("unknown sort specifier");
    reading.sort.push({ column, isDescending: item.startsWith("-") });
  }
}

function numbers(text: string): ReadonlySet<number> {
  const values = text.split(",").map(Number);
  if (!values.every((value) => Number.isInteger(value) && value >= 0)) throw psError("process ID list syntax error");
  return new Set(values);
}

function byPID(text: string): Selector {
  const wanted = numbers(text);
  return ({ pid }) => wanted.has(pid);
}

function byParent(text: string): Selector {
  const wanted = numbers(text);
  return ({ ppid }) => wanted.has(ppid);
}

function bySession(text: string): Selector {
  const wanted = numbers(text);
  return ({ sid }) => wanted.has(sid);
}

const byUser =
  (which: 0 | 1) =>
  (text: string): Selector => {
    // `-aux`: there is hardly a user x, and ps takes it for `aux` then.
    if (text === "x") throw psError("user name does not exist");
    const wanted = text.split(",");
    return ({ uids }, source) => wanted.includes(String(uids[which])) || wanted.includes(source.userName(uids[which]));
  };

const byGroup =
  (which: 0 | 1) =>
  (text: string): Selector => {
    const wanted = text.split(",");
    return ({ gids }, source) => wanted.includes(String(gids[which])) || wanted.includes(source.groupName(gids[which]));
  };

/** `-g`: a session's number, or an effective group's name. */
function bySessionOrGroup(text: string): Selector {
  return /^[\d,]+$/.test(text) ? bySession(text) : byGroup(1)(text);
}

function byCommand(text: string): Selector {
  // The kernel keeps 15 bytes of a name.
  const wanted = text.split(",").map((name) => name.slice(0, 15));
  return ({ command }) => wanted.includes(command);
}

function byTerminal(text: string): Selector {
  const wanted = text.split(",").map((name) => name.replace(/^\/dev\//, "").replace(/^-$/, "?"));
  return ({ terminal }) => wanted.includes(terminal) || wanted.includes(terminal.replace(/^tty|^pts\//, ""));
}

const PIDS = { value: select(byPID), missing: "list of process IDs must follow -p" };
const FORMAT = { value: format, missing: "format specification must follow -o" };
const EXTRA = { value: extraFormat, missing: "no format specification" };
const users = (which: 0 | 1, option: string): Option => ({
  value: select(byUser(which)),
  missing: `list of users must follow ${option}`,
});

const flags = (letters: string): [string, Option][] => letters.split("").map((letter) => [letter, { flag: letter }]);

const SYSV: Dialect = {
  unknown: "unsupported SysV option",
  options: new Map<string, Option>([
    ...flags("fFjlcyLTPM"),
    ["A", { flag: "all" }],
    ["e", { flag: "all" }],
    ["a", { flag: "all" }],
    ["d", { flag: "all" }],
    ["x", { flag: "all" }],
    ["m", { flag: "threads" }],
    ["H", { flag: "tree" }],
    ["N", { flag: "negated" }],
    ["w", {}],
    ["Z", { flag: "M" }],
    ["o", FORMAT],
    ["O", EXTRA],
    ["p", PIDS],
    ["q", { ...PIDS, missing: "list of process IDs must follow -q" }],
    ["s", { value: select(bySession), missing: "list of session leaders OR effective group IDs must follow -s" }],
    [
      "g",
      { value: select(bySessionOrGroup), missing: "list of session leaders OR effective group IDs must follow -g" },
    ],
    ["G", { value: select(byGroup(0)), missing: "list of real groups must follow -G" }],
    ["u", users(1, "-u")],
    ["U", users(0, "-U")],
    ["C", { value: select(byCommand), missing: "list of command names must follow -C" }],
    ["t", { value: select(byTerminal), missing: "list of terminals (pty, tty...) must follow -t" }],
  ]),
};

const BSD: Dialect = {
  unknown: "unsupported option (BSD syntax)",
  options: new Map<string, Option>([
    ["a", { flag: "all" }],
    ["x", { flag: "all" }],
    ["g", {}],
    ["n", {}],
    ["w", {}],
    ["S", {}],
    ["c", { flag: "names" }],
    ["e", { flag: "environment" }],
    ["f", { flag: "tree" }],
    ["h", { flag: "headless" }],
    ["H", { flag: "threads" }],
    ["m", { flag: "threads" }],
    ["r", { flag: "running" }],
    ["Z", { flag: "M" }],
    ["u", { flag: "bsd u" }],
    ["l", { flag: "bsd l" }],
    ["j", { flag: "bsd j" }],
    ["s", { flag: "bsd s" }],
    ["v", { flag: "bsd v" }],
    ["o", FORMAT],
    ["O", EXTRA],
    ["k", { value: sortBy, missing: "long sort specification must follow 'k'" }],
    ["p", PIDS],
    ["q", PIDS],
    ["U", users(1, "U")],
    ["t", { value: select(byTerminal), missing: "list of terminals (pty, tty...) must follow t" }],
  ]),
};

const HEADLESS = { flag: "headless" };
const LONG: Readonly<Record<string, Option>> = {
  Group: { value: select(byGroup(0)), missing: "list of real groups must follow --Group" },
  User: users(0, "--User"),
  cols: { value: () => undefined, missing: "number of columns must follow --cols, --width, or --columns" },
  columns: { value: () => undefined, missing: "number of columns must follow --cols, --width, or --columns" },
  context: { flag: "M" },
  cumulative: {},
  deselect: { flag: "negated" },
  forest: { flag: "tree" },
  format: { value: format, missing: "format specification must follow --format" },
  group: { value: select(byGroup(1)), missing: "list of effective groups must follow --group" },
  headers: {},
  "no-headers": HEADLESS,
  "no-heading": HEADLESS,
  noheaders: HEADLESS,
  noheading: HEADLESS,
  pid: { value: select(byPID), missing: "list of process IDs must follow --pid" },
  ppid: { value: select(byParent), missing: "list of process IDs must follow --ppid" },
  "quick-pid": { value: select(byPID), missing: "list of process IDs must follow --quick-pid" },
  sid: { value: select(bySession), missing: "some sid thing(s) must follow --sid" },
  sort: { value: sortBy, missing: "long sort specification must follow --sort" },
  tty: { value: select(byTerminal), missing: "list of terminals (pty, tty...) must follow --tty" },
  user: users(1, "--user"),
  width: { value: () => undefined, missing: "number of columns must follow --cols, --width, or --columns" },
};

// ---- which columns

function finish(reading: Reading): PsRequest {
  const { flags: given, own, extra } = reading;
  const named = "fFjl".split("").some((flag) => given.has(flag)) || [...given].some((flag) => flag.startsWith("bsd "));
  if (own.length > 0 && (named || extra.length > 0)) throw psError("conflicting format options");
  const listed = listing(reading);
  const columns = own.length > 0 ? own : extra.length > 0 ? aroundExtra(extra) : listed;
  // COMPAT: the line of titles is where Docker looks for this one.
  if (given.has("headless") || !columns.some(({ title }) => title === "PID")) {
    throw internal("Couldn't find PID field in ps output");
  }
  return {
    columns,
    sort: reading.sort,
    hasTree: given.has("tree"),
    hasThreads: ["L", "T", "threads"].some((flag) => given.has(flag)),
    selectors: given.has("all") ? [] : reading.selectors,
    isNegated: given.has("negated"),
    onlyRunning: given.has("running"),
    hasEnvironment: given.has("environment"),
  };
}

function aroundExtra(extra: readonly Column[]): Column[] {
  return [...named("pid"), ...extra, ...named("s tname time args")];
}

const named = (names: string): Column[] => names.split(" ").map(namedColumn);

function namedColumn(name: string): Column {
  const column = columnNamed(name);
  if (column === null) throw new Error(`no column ${name}`);
  return column;
}

const BSD_LISTINGS: Readonly<Record<string, string>> = {
  "bsd u": "user pid %cpu %mem vsz rss tname stat bsdstart bsdtime args",
  "bsd l": "f uid pid ppid priority ni vsz rss wchan stat tname bsdtime args",
  "bsd j": "ppid pid pgid sid tname tpgid stat uid bsdtime args",
  "bsd s": "uid pid pending blocked ignored caught stat tname bsdtime args",
  "bsd v": "pid tname stat bsdtime majflt trs drs rss %mem args",
};

function listing({ flags: given, isBSD }: Reading): Column[] {
  const has = (flag: string): boolean => given.has(flag);
  const bsd = Object.keys(BSD_LISTINGS).find(has);
  const isSysV = ["f", "F", "j", "l", "c", "L", "T"].some(has);
  if (isBSD && !isSysV) {
    const text = BSD_LISTINGS[bsd ?? ""] ?? "pid tname stat bsdtime args";
    return named(`${has("M") ? "label " : ""}${has("names") ? text.replace("args", "ucomm") : text}`);
  }
  return named(
    sysvListing(has)
      .filter((name) => name !== "")
      .join(" "),
  );
}

/** In the order in which ps puts them together. */
function sysvListing(has: (flag: string) => boolean): string[] {
  const [isFull, isLong, isJobs] = [has("f") || has("F"), has("l"), has("j")];
  const when = (isThere: boolean, names: string): string => (isThere ? names : "");
  return [
    when(has("M"), "label"),
    when(isLong && !has("y"), "f"),
    when(isLong, "s"),
    when(isFull, "user:UID"),
    when(isLong && !isFull, "uid"),
    "pid",
    when(has("T"), "spid"),
    when(isFull || isLong, "ppid"),
    when(isJobs, "pgid sid"),
    when(has("L"), "lwp"),
    when(has("P") && !has("F"), "psr"),
    when(!has("c") && (isFull || isLong), "c"),
    when(has("L"), "nlwp"),
    when(has("c"), "cls pri"),
    when(isLong && !has("c"), "opri ni"),
    when(isLong && !has("y"), "addr"),
    when(isLong && has("y"), "rss"),
    when(isLong || has("F"), "sz"),
    when(isLong, "wchan"),
    when(has("F") && !(isLong && has("y")), "rss"),
    when(has("F"), "psr"),
    when(isFull, "stime"),
    "tname time",
    isFull ? "cmd" : "ucmd",
  ];
}
