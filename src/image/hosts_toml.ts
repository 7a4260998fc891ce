// hosts.toml: where a registry's content is really fetched from, as containerd and dockerd read it (containerd,
// docs/hosts.md). A reader for the part of TOML that such files use: tables, strings, booleans, integers, arrays of these.
//
//   server = "https://registry-1.docker.io"
//   [host."https://mirror.lan:5000"]
//     capabilities = ["pull", "resolve"]
//     ca = "mirror.crt"
//     client = [["client.cert", "client.key"]]
//     skip_verify = false
//     override_path = false
//     [host."https://mirror.lan:5000".header]
//       Authorization = "Basic …"
import { invalid } from "../errors.ts";

export type Capability = "pull" | "resolve" | "push";

export interface HostEntry {
  url: URL;
  capabilities: ReadonlySet<Capability>;
  /** Files, as the entry names them. */
  ca: string[];
  client: { cert: string; key: string }[];
  skipVerify: boolean;
  overridePath: boolean;
  headers: Record<string, string>;
}

export interface HostsFile {
  /** null: the registry's own name. */
  server: HostEntry | null;
  /** In the file's order, to be asked before the server. */
  hosts: HostEntry[];
  /** Keys that mean nothing here. */
  unknown: string[];
}

type Value = string | number | boolean | Value[];
interface Table {
  path: string[];
  values: Map<string, Value>;
}

const ALL: readonly Capability[] = ["pull", "resolve", "push"];
const KNOWN = ["server", "capabilities", "ca", "client", "skip_verify", "override_path"];

export function parseHostsFile(text: string, file: string): HostsFile {
  const tables = parseTables(text, file);
  const top = tables.find(({ path }) => path.length === 0)?.values ?? new Map<string, Value>();
  const server = top.get("server");
  if (server !== undefined && typeof server !== "string") throw bad(file, "server is not a string");
  const headersOf = (url: string | null): Table | undefined =>
    tables.find(({ path }) =>
      url === null ? path.join("\0") === "header" : path.join("\0") === ["host", url, "header"].join("\0"),
    );
  const hosts = tables
    .filter(({ path }) => path[0] === "host" && path.length === 2)
    .map(({ path, values }) => toEntry(path[1] ?? "", values, headersOf(path[1] ?? "")?.values, file));
  const unknown = tables
    .filter(({ path }) => path.at(-1) !== "header")
    .flatMap(({ values }) => [...values.keys()].filter((key) => !KNOWN.includes(key)));
  return {
    server: server === undefined || server === "" ? null : toEntry(server, top, headersOf(null)?.values, file),
    hosts,
    unknown,
  };
}

function toEntry(
  text: string,
  values: ReadonlyMap<string, Value>,
  headers: ReadonlyMap<string, Value> | undefined,
  file: string,
): HostEntry {
  const full = /^https?:\/\//.test(text) ? text : `https://${text}`;
  if (!URL.canParse(full)) throw bad(file, `${JSON.stringify(text)} is not a host`);
  const flag = (name: string): boolean => {
    const value = values.get(name) ?? false;
    return typeof value === "boolean" ? value : fail(file, `${name} is not a boolean`);
  };
  return {
    url: new URL(full),
    capabilities: capabilitiesOf(values.get("capabilities"), file),
    ca: stringsOf(values.get("ca"), "ca", file),
    client: clientsOf(values.get("client"), file),
    skipVerify: flag("skip_verify"),
    overridePath: flag("override_path"),
    headers: Object.fromEntries(
      [...(headers ?? [])].map(([name, value]) => [name.toLowerCase(), stringsOf(value, name, file).join(", ")]),
    ),
  };
}

function capabilitiesOf(value: Value | undefined, file: string): Set<Capability> {
  if (value === undefined) return new Set(ALL);
  const names = stringsOf(value, "capabilities", file);
  const unknown = names.find((name) => !ALL.some((each) => each === name));
  if (unknown !== undefined) throw bad(file, `unknown capability ${JSON.stringify(unknown)}`);
  return new Set(ALL.filter((each) => names.includes(each)));
}

function stringsOf(value: Value | undefined, name: string, file: string): string[] {
  if (value === undefined) return [];
  const list = Array.isArray(value) ? value : [value];
  return list.map((each) => (typeof each === "string" ? each : fail(file, `${name} is not a string`)));
}

/** One file with both, a list of such, or pairs. */
function clientsOf(value: Value | undefined, file: string): { cert: string; key: string }[] {
  if (value === undefined) return [];
  const list = Array.isArray(value) ? value : [value];
  return list.map((each) => {
    const [cert = "", key = ""] = stringsOf(each, "client", file);
    return { cert, key: key === "" ? cert : key };
  });
}

// ---- TOML

function parseTables(text: string, file: string): Table[] {
  const reader = new Reader(text, file);
  let current: Table = { path: [], values: new Map() };
  const tables = [current];
  while (reader.skipBlank()) {
    if (reader.takes("[")) {
      current = { path: reader.keyPath(), values: new Map() };
      reader.needs("]");
      tables.push(current);
    } else {
      const path = reader.keyPath();
      reader.needs("=");
      const name = path.join(".");
      if (current.values.has(name)) throw reader.bad(`${name} stands there twice`);
      current.values.set(name, reader.value(0));
    }
    reader.lineEnd();
  }
  return tables;
}

/** Arrays in arrays, as deep as `client` needs them, and a little more. */
const MAX_DEPTH = 4;

class Reader {
  #at = 0;
  constructor(
    private readonly text: string,
    private readonly file: string,
  ) {}

  /** Past white space, line ends and comments. False at the end. */
  skipBlank(): boolean {
    this.#match(/(?:\s|#[^\n]*)*/y);
    return this.#at < this.text.length;
  }

  takes(mark: string): boolean {
    this.#match(/[ \t]*/y);
    if (!this.text.startsWith(mark, this.#at)) return false;
    this.#at += mark.length;
    return true;
  }

  needs(mark: string): void {
    if (!this.takes(mark)) throw this.bad(`${JSON.stringify(mark)} is missing`);
  }

  lineEnd(): void {
    if (this.#match(/[ \t]*(?:#[^\n]*)?(?:\r?\n|$)/y) === null) throw this.bad("the line does not end where it should");
  }

  keyPath(): string[] {
    const path: string[] = [];
    do {
      this.#match(/[ \t]*/y);
      path.push(this.#quoted() ?? this.#match(/[A-Za-z0-9_-]+/y) ?? fail(this.file, this.#place("a key is missing")));
    } while (this.takes("."));
    return path;
  }

  value(depth: number): Value {
    this.#match(/[ \t]*/y);
    const quoted = this.#quoted();
    if (quoted !== null) return quoted;
    const word = this.#match(/(?:true|false)\b|[+-]?\d[\d_]*\b/y);
    if (word === "true" || word === "false") return word === "true";
    if (word !== null) return Number(word.replaceAll("_", ""));
    if (depth >= MAX_DEPTH || !this.takes("[")) throw this.bad("no value that is known here");
    const list: Value[] = [];
    for (;;) {
      this.skipBlank();
      if (this.takes("]")) return list;
      list.push(this.value(depth + 1));
      this.skipBlank();
      if (!this.takes(",") && !this.text.startsWith("]", this.#at)) throw this.bad('"," is missing');
    }
  }

  bad(what: string): Error {
    return bad(this.file, this.#place(what));
  }

  #place(what: string): string {
    return `line ${this.text.slice(0, this.#at).split("\n").length}: ${what}`;
  }

  #quoted(): string | null {
    const literal = this.#match(/'[^'\n]*'/y);
    if (literal !== null) return literal.slice(1, -1);
    const basic = this.#match(/"(?:[^"\\\x00-\x08\x0a-\x1f]|\\["\\bfnrt]|\\u[0-9A-Fa-f]{4})*"/y);
    // What TOML escapes here is what JSON escapes, but for tabs, which JSON does not take as they are.
    return basic === null ? null : String(JSON.parse(basic.replaceAll("\t", "\\t")));
  }

  #match(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.text);
    if (match === null) return null;
    this.#at += match[0].length;
    return match[0];
  }
}

function bad(file: string, what: string): Error {
  return invalid(`${file}: ${what}`);
}

function fail(file: string, what: string): never {
  throw bad(file, what);
}
