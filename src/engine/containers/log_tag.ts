// The templates of log-opt `tag`: the part of Go's text/template that tags use. `{{.Name}}`, `{{index .ContainerLabels "k"}}`,
// `{{.ID | upper}}`; what else a template could do is refused at create. Pure.
// COMPAT: Docker's names, and its odd ones: ImageID is the first twelve characters with `sha256:`; DaemonName is "docker".
import { invalid } from "../../errors.ts";

/** What a template may name. */
export interface TagFacts {
  containerID: string;
  /** Without the slash. */
  name: string;
  entrypoint: string;
  args: readonly string[];
  imageID: string;
  imageName: string;
  createdAt: string;
  hostName: string;
  env: readonly string[];
  labels: Readonly<Record<string, string>>;
  config: Readonly<Record<string, string>>;
  /** Chosen labels and environment. */
  extra: Readonly<Record<string, string>>;
}

type Value = string | readonly string[] | Readonly<Record<string, string>>;
type Pipe = (facts: TagFacts) => Value;

const FIELDS: Readonly<Record<string, Pipe>> = {
  ID: ({ containerID }) => containerID.slice(0, 12),
  FullID: ({ containerID }) => containerID,
  Name: ({ name }) => name,
  ImageID: ({ imageID }) => imageID.slice(0, 12),
  ImageFullID: ({ imageID }) => imageID,
  ImageName: ({ imageName }) => imageName,
  Command: ({ args, entrypoint }) => [entrypoint, ...args].join(" "),
  Hostname: ({ hostName }) => hostName,
  DaemonName: () => "docker",
  ContainerID: ({ containerID }) => containerID,
  ContainerName: ({ name }) => `/${name}`,
  ContainerEntrypoint: ({ entrypoint }) => entrypoint,
  ContainerArgs: ({ args }) => args,
  ContainerImageID: ({ imageID }) => imageID,
  ContainerImageName: ({ imageName }) => imageName,
  ContainerCreated: ({ createdAt }) => createdAt,
  ContainerEnv: ({ env }) => env,
  ContainerLabels: ({ labels }) => labels,
  Config: ({ config }) => config,
  ExtraAttributes: ({ extra }) => extra,
};

const FUNCTIONS: Readonly<Record<string, (value: Value, args: readonly string[]) => Value>> = {
  upper: (value) => shown(value).toUpperCase(),
  lower: (value) => shown(value).toLowerCase(),
  title: (value) => shown(value).replace(/(^|\s)(\p{L})/gu, (all) => all.toUpperCase()),
  json: (value) => JSON.stringify(value),
  truncate: (value, [length]) => shown(value).slice(0, Number(length)),
  join: (value, [separator]) => (Array.isArray(value) ? value.join(separator ?? "") : shown(value)),
  split: (value, [separator]) => shown(value).split(separator ?? ""),
  print: (value) => shown(value),
};

/** Reads a template; what it returns fills it in. Throws invalid. */
export function parseTag(template: string): (facts: TagFacts) => string {
  const parts: Pipe[] = [];
  let at = 0;
  for (const match of template.matchAll(/\{\{-?\s*(.*?)\s*-?\}\}/gs)) {
    const literal = template.slice(at, match.index);
    parts.push(() => literal, parsePipeline(template, match[1] ?? ""));
    at = match.index + match[0].length;
  }
  const rest = template.slice(at);
  if (rest.includes("{{")) throw refused(template, "unclosed action");
  return (facts) => parts.map((part) => shown(part(facts))).join("") + rest;
}

function parsePipeline(template: string, text: string): Pipe {
  const [first, ...commands] = splitWords(text).reduce<string[][]>(
    (all, word) => (word === "|" ? [...all, []] : [...all.slice(0, -1), [...(all.at(-1) ?? []), word]]),
    [[]],
  );
  return commands.reduce<Pipe>(
    (inner, [name, ...args]) => {
      const act = FUNCTIONS[name ?? ""];
      if (!act) throw refused(template, `function "${name ?? ""}" not defined`);
      return (facts) => act(inner(facts), args.map(unquoted));
    },
    parseCommand(template, first ?? []),
  );
}

function parseCommand(template: string, [head = "", ...args]: readonly string[]): Pipe {
  if (head.startsWith('"') || head.startsWith("`")) return () => unquoted(head);
  if (head.startsWith(".")) {
    const [name = "", key] = head.slice(1).split(/\.(.*)/s);
    const field = FIELDS[name];
    if (!field) {
      const place = `${Math.max(0, template.split("\n").at(-1)?.indexOf(head) ?? 0)}: executing "log-tag" at <${head}>`;
      throw refused(template, `can't evaluate field ${name} in type *logger.Info`, place);
    }
    return key === undefined ? field : (facts) => entry(field(facts), key);
  }
  if (head === "index") {
    const [subject = "", key = ""] = args;
    const inner = parseCommand(template, [subject]);
    return (facts) => entry(inner(facts), unquoted(key));
  }
  const act = FUNCTIONS[head];
  if (!act) throw refused(template, `function "${head}" not defined`);
  // Docker's truncate takes the value first, join and split too.
  const inner = parseCommand(template, args.slice(0, 1));
  return (facts) => act(inner(facts), args.slice(1).map(unquoted));
}

/** Words, quoted texts and bars. */
function splitWords(text: string): string[] {
  return text.match(/"(?:[^"\\]|\\.)*"|`[^`]*`|\||[^\s|]+/g) ?? [];
}

function unquoted(word: string): string {
  if (word.startsWith("`")) return word.slice(1, -1);
  if (!word.startsWith('"')) return word;
  try {
    return String(JSON.parse(word));
  } catch {
    return word.slice(1, -1);
  }
}

function entry(value: Value, key: string): Value {
  if (typeof value === "string") return "";
  return (Array.isArray(value) ? value[Number(key)] : Object.entries(value).find(([name]) => name === key)?.[1]) ?? "";
}

/** As Go prints it. */
function shown(value: Value): string {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return `[${value.join(" ")}]`;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return `map[${entries.map(([key, text]) => `${key}:${String(text)}`).join(" ")}]`;
}

/** COMPAT: in the words of Go's templates, with the last line's number. `place`: where in it. */
function refused(template: string, why: string, place = ""): Error {
  const line = `${template.split("\n").length}${place === "" ? "" : `:${place}`}`;
  return invalid(`failed to initialize logging driver: template: log-tag:${line}: ${why}`);
}
