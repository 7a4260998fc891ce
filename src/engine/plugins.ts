// Plugins of the first kind: programs that the administrator runs, found by name and asked by HTTP on their socket. What
// they are asked for (volumes) is its user's business; here is how they are found, greeted and called.
//
//   <name>.sock, <name>/<name>.sock   in the sockets' directory
//   <name>.spec                       a file with one address: unix:///path or tcp://host:port
//   <name>.json                       {"Name", "Addr", "TLSConfig": {"CAFile", "CertFile", "KeyFile", "InsecureSkipVerify"}}
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { request as requestPlain } from "node:http";
import { request as requestTLS } from "node:https";
import { basename, join } from "node:path";
import * as v from "valibot";
import { EngineError, internal, notFound } from "../errors.ts";
import { PLUGIN_REPLY_BYTES, PLUGIN_TIMEOUT_MS } from "../limits.ts";

export interface Plugin {
  readonly name: string;
  /** What it answered when it was greeted: `VolumeDriver`, `NetworkDriver`, `authz`. */
  readonly implements: readonly string[];
  /** POST with a JSON document. Throws internal with the plugin's own words where it says `Err`. */
  call(method: string, body: object): Promise<Readonly<Record<string, unknown>>>;
}

export interface Plugins {
  /** Throws notFound when there is none of this name, or it does not do this. */
  find(name: string, capability: string): Promise<Plugin>;
  /** Those that lie there and answer. */
  all(capability: string): Promise<Plugin[]>;
}

export interface PluginPlaces {
  /** Where sockets lie: `<execRoot>/plugins`, `/run/docker/plugins`. */
  sockets: readonly string[];
  /** Where .spec and .json files lie; the first that has a name wins. */
  files: readonly string[];
}

/** What a plugin itself says against a call, in its own words. */
export class PluginRefusal extends EngineError {
  constructor(message: string) {
    super("internal", message);
  }
}

const MEDIA_TYPE = "application/vnd.docker.plugins.v1.2+json";

interface Address {
  socketPath: string | null;
  url: URL;
  tls: { ca?: string; cert?: string; key?: string; rejectUnauthorized: boolean } | null;
}

export function createPlugins(places: PluginPlaces): Plugins {
  /** Greeted once; greeted anew when its socket or file is another one. */
  const known = new Map<string, { mark: string; plugin: Plugin }>();

  const open = async (name: string): Promise<Plugin | null> => {
    const path = whereIs(places, name);
    if (path === null) return null;
    const mark = markOf(path);
    const before = known.get(name);
    if (before?.mark === mark) return before.plugin;
    const address = readAddress(path);
    const greeting = await call(address, "/Plugin.Activate", {});
    const parsed = v.safeParse(v.object({ Implements: v.array(v.string()) }), greeting);
    const plugin: Plugin = {
      name,
      implements: parsed.success ? parsed.output.Implements : [],
      call: (method, body) => call(address, `/${method}`, body),
    };
    known.set(name, { mark, plugin });
    return plugin;
  };

  return {
    async find(name, capability) {
      let plugin: Plugin | null;
      try {
        plugin = /^[\w.:-]+$/.test(name) ? await open(name) : null;
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw internal(`error looking up plugin ${name}: ${why}`, { cause: error });
      }
      if (plugin === null) throw notFound(`plugin ${JSON.stringify(name)} not found`);
      if (!plugin.implements.includes(capability)) {
        throw notFound(`plugin ${JSON.stringify(name)} does not implement the interface ${JSON.stringify(capability)}`);
      }
      return plugin;
    },
    async all(capability) {
      const opened = await Promise.allSettled(namesIn(places).map(open));
      return opened.flatMap((one) =>
        one.status === "fulfilled" && one.value?.implements.includes(capability) ? [one.value] : [],
      );
    },
  };
}

// ---- finding

function whereIs({ sockets, files }: PluginPlaces, name: string): string | null {
  const candidates = [
    ...sockets.flatMap((directory) => [join(directory, `${name}.sock`), join(directory, name, `${name}.sock`)]),
    ...files.flatMap((directory) => [join(directory, `${name}.spec`), join(directory, `${name}.json`)]),
  ];
  return candidates.find((path) => existsSync(path)) ?? null;
}

function namesIn({ sockets, files }: PluginPlaces): string[] {
  const names = new Set<string>();
  for (const directory of sockets) for (const entry of entriesOf(directory)) names.add(entry.replace(/\.sock$/, ""));
  for (const directory of files) {
    for (const entry of entriesOf(directory)) {
      if (/\.(spec|json)$/.test(entry)) names.add(entry.replace(/\.(spec|json)$/, ""));
    }
  }
  return [...names].sort();
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function markOf(path: string): string {
  const { ino, mtimeMs } = statSync(path);
  return `${path} ${ino} ${mtimeMs}`;
}

const Description = v.object({
  Addr: v.string(),
  TLSConfig: v.optional(
    v.object({
      CAFile: v.optional(v.string(), ""),
      CertFile: v.optional(v.string(), ""),
      KeyFile: v.optional(v.string(), ""),
      InsecureSkipVerify: v.optional(v.boolean(), false),
    }),
  ),
});

function readAddress(path: string): Address {
  if (path.endsWith(".sock")) return { socketPath: path, url: new URL("http://plugin"), tls: null };
  const text = readFileSync(path, "utf8").trim();
  if (path.endsWith(".spec")) return parseAddress(text, null, path);
  const { Addr, TLSConfig } = v.parse(Description, JSON.parse(text));
  if (TLSConfig === undefined) return parseAddress(Addr, null, path);
  const { CAFile, CertFile, KeyFile, InsecureSkipVerify } = TLSConfig;
  const tls = {
    ...(CAFile === "" ? {} : { ca: readFileSync(CAFile, "utf8") }),
    ...(CertFile === "" ? {} : { cert: readFileSync(CertFile, "utf8") }),
    ...(KeyFile === "" ? {} : { key: readFileSync(KeyFile, "utf8") }),
    rejectUnauthorized: !InsecureSkipVerify,
  };
  return parseAddress(Addr, tls, path);
}

function parseAddress(text: string, tls: Address["tls"], path: string): Address {
  const [, scheme = "", rest = ""] = /^(unix|tcp|http|https):\/\/(.+)$/.exec(text) ?? [];
  if (scheme === "") throw new Error(`${basename(path)}: not an address: ${JSON.stringify(text)}`);
  if (scheme === "unix") return { socketPath: rest, url: new URL("http://plugin"), tls: null };
  const isTLS = tls !== null || scheme === "https";
  return {
    socketPath: null,
    url: new URL(`${isTLS ? "https" : "http"}://${rest}`),
    tls: isTLS ? (tls ?? { rejectUnauthorized: true }) : null,
  };
}

// ---- calling

async function call(address: Address, path: string, body: object): Promise<Readonly<Record<string, unknown>>> {
  const reply = await post(address, path, JSON.stringify(body));
  const document = reply === "" ? {} : asRecord(JSON.parse(reply));
  const problem = document["Err"];
  if (typeof problem === "string" && problem !== "") throw new PluginRefusal(problem);
  return document;
}

function post(address: Address, path: string, body: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const options = {
    method: "POST",
    path,
    headers: { Accept: MEDIA_TYPE, "Content-Type": MEDIA_TYPE, "Content-Length": Buffer.byteLength(body) },
    timeout: PLUGIN_TIMEOUT_MS,
    ...(address.socketPath === null
      ? { host: address.url.hostname, port: address.url.port }
      : { socketPath: address.socketPath }),
    ...address.tls,
  };
  const request = (address.tls === null ? requestPlain : requestTLS)(options, (response) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    response.on("data", (part: Buffer) => {
      bytes += part.length;
      if (bytes > PLUGIN_REPLY_BYTES) response.destroy(new Error(`${path}: the plugin's answer is too long`));
      else parts.push(part);
    });
    response.on("error", reject);
    response.on("end", () => {
      const text = Buffer.concat(parts).toString("utf8");
      if (response.statusCode === 200) resolve(text);
      else
        reject(
          refusalIn(text) ??
            new Error(`${path}: the plugin answered ${response.statusCode ?? 0}: ${text.slice(0, 200)}`),
        );
    });
  });
  request.on("timeout", () => request.destroy(new Error(`${path}: the plugin did not answer in time`)));
  request.on("error", reject);
  request.end(body);
  return promise;
}

/** A plugin's own words in an answer that is no success; null: it has none. */
function refusalIn(text: string): PluginRefusal | null {
  try {
    const { Err } = asRecord(JSON.parse(text));
    return typeof Err === "string" && Err !== "" ? new PluginRefusal(Err) : null;
  } catch {
    return null;
  }
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
