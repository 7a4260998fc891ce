// What is written beside each line of a container's log: labels and environment that its options choose, and its tag. Pure.
import { invalid } from "../../errors.ts";
import type { ContainerRecord } from "./container.ts";
import { envKey } from "./defaults.ts";
import { parseTag, type TagFacts } from "./log_tag.ts";

type Options = Readonly<Record<string, string>>;

/** `labels`, `labels-regex`, `env`, `env-regex`. Throws invalid for an expression that is none. */
export function extraAttributes({ config }: Pick<ContainerRecord, "config">, options: Options): Record<string, string> {
  const extra: Record<string, string> = {};
  const labels = chosenBy(options, "labels");
  for (const [key, value] of Object.entries(config.Labels)) if (labels(key)) extra[key] = value;
  const env = chosenBy(options, "env");
  for (const entry of config.Env) {
    const key = envKey(entry);
    if (entry.includes("=") && env(key)) extra[key] = entry.slice(key.length + 1);
  }
  return extra;
}

function chosenBy(options: Options, name: "labels" | "env"): (key: string) => boolean {
  const names = new Set((options[name] ?? "").split(","));
  const expression = parseExpression(options[`${name}-regex`] ?? "");
  return (key) => names.has(key) || (expression?.test(key) ?? false);
}

export function parseExpression(text: string): RegExp | null {
  if (text === "") return null;
  try {
    return new RegExp(text, "u");
  } catch (error) {
    throw invalid(`error parsing regexp: ${error instanceof Error ? error.message : String(error)}: \`${text}\``);
  }
}

/** The tag of a container's log; "" where neither options nor `fallback` say one. */
export function tagOf(record: ContainerRecord, hostName: string, options: Options, fallback: string): string {
  const template = options["tag"] || fallback;
  return template === "" ? "" : parseTag(template)(tagFacts(record, hostName, options));
}

function tagFacts(record: ContainerRecord, hostName: string, options: Options): TagFacts {
  return {
    containerID: record.id,
    name: record.name,
    entrypoint: record.path,
    args: record.args,
    imageID: record.imageID,
    imageName: record.image,
    createdAt: record.createdAt,
    hostName,
    env: record.config.Env,
    labels: record.config.Labels,
    config: options,
    extra: extraAttributes(record, options),
  };
}

/** What json-file and local write as `attrs`. COMPAT: a tag only where one was asked for. */
export function attributesOf(record: ContainerRecord, hostName: string, options: Options): Record<string, string> {
  const tag = tagOf(record, hostName, options, "");
  return { ...extraAttributes(record, options), ...(tag === "" ? {} : { tag }) };
}
