// The routes over a fake engine, without a socket: sends a request to the app and holds every reply against the
// description of the Engine API.
import { createApi } from "../../src/api/app.ts";
import type { HttpBindings } from "../../src/api/app_env.ts";
import type { InspectDistribution } from "../../src/api/distribution.ts";
import type { SearchImages } from "../../src/api/search.ts";
import type { SystemDeps } from "../../src/api/system.ts";
import type { Engine } from "../../src/engine/mod.ts";
import type { SystemFacts } from "../../src/engine/system.ts";
import { notFound } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { checkReply, patternOf } from "./engine_api.ts";

export const FACTS: SystemFacts = {
  engineVersion: "0.1.0",
  gitCommit: "0123456",
  buildTime: "2026-01-01T00:00:00Z",
  builtWith: "bun 1.4.5",
  hostname: "host",
  kernelVersion: "6.18.0",
  operatingSystem: "Debian GNU/Linux 12 (bookworm)",
  osVersion: "12",
  arch: "x64",
  cpus: 2,
  memoryBytes: 4 << 30,
  cgroupVersion: 2,
  cgroupDriver: "cgroupfs",
  limits: {
    memory: true,
    swap: true,
    cpuPeriod: true,
    cpuQuota: true,
    cpuShares: true,
    cpuSet: true,
    pids: true,
    oomKillDisable: false,
  },
  isIPv4Forwarding: true,
  securityOptions: ["name=seccomp,profile=builtin", "name=cgroupns"],
  storageStatus: [["Backing Filesystem", "extfs"]],
  networkDrivers: ["bridge", "host", "null"],
  logDrivers: ["json-file", "local", "none"],
  openFiles: 12,
  proxies: { http: "", https: "", no: "" },
  cdiDevices: [],
  warnings: [],
};

interface ApiReply {
  status: number;
  headers: Headers;
  text: string;
  /** The JSON document; undefined when there is none, or when the reply is a stream of several. */
  body: unknown;
  /** The lines of a stream of documents. */
  lines: unknown[];
}

interface ApiRequest {
  json?: unknown;
  /** Sent as it is. */
  body?: Uint8Array<ArrayBuffer>;
  headers?: Record<string, string>;
}

export interface TestAPI {
  /** `path` with or without `/v1.NN`. */
  call(method: string, path: string, request?: ApiRequest): Promise<ApiReply>;
}

export interface TestAPIOptions {
  facts?: Partial<SystemFacts>;
  checkAuth?: SystemDeps["checkAuth"];
  inspect?: InspectDistribution;
  search?: SearchImages;
  bindings?: HttpBindings;
}

const noRegistry = () => Promise.reject(notFound("the test gives no registry"));

export function testAPI(engine: Engine, options: TestAPIOptions = {}): TestAPI {
  const now = () => new Date("2026-01-02T04:00:00Z");
  const app = createApi(engine, {
    log: createLog(
      () => undefined,
      () => "fatal",
      now,
    ),
    now,
    facts: async () => ({ ...FACTS, ...options.facts }),
    checkAuth: options.checkAuth ?? noRegistry,
    inspectDistribution: options.inspect ?? noRegistry,
    searchImages: options.search ?? noRegistry,
  });
  const bindings = options.bindings ?? {
    hijack: () => Promise.reject(new Error("this test has no connection to take")),
  };
  return {
    async call(method, path, request = {}) {
      const reply = await read(await app.fetch(toRequest(method, path, request), bindings));
      hold(method, path, reply);
      return reply;
    },
  };
}

function toRequest(method: string, path: string, { json, body, headers = {} }: ApiRequest): Request {
  const bytes = json === undefined ? body : new TextEncoder().encode(JSON.stringify(json));
  const all = new Headers(headers);
  if (json !== undefined) all.set("Content-Type", "application/json");
  if (bytes !== undefined) all.set("Content-Length", String(bytes.length));
  return new Request(`http://localhost${path}`, { method, body: bytes ?? null, headers: all });
}

async function read(response: Response): Promise<ApiReply> {
  const text = await response.text();
  const isJSON = response.headers.get("content-type")?.startsWith("application/json") ?? false;
  const lines = isJSON
    ? text
        .split(/\r?\n/)
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as unknown)
    : [];
  const body = lines.length === 1 ? lines[0] : undefined;
  return { status: response.status, headers: response.headers, text, body, lines };
}

/** Every JSON reply of a route that the description knows must be what it promises; streams of lines are left out. */
function hold(method: string, path: string, reply: ApiReply): void {
  const [, version = "1.55", bare = ""] = /^(?:\/v(1\.\d+))?([^?]*)/.exec(path) ?? [];
  const pattern = patternOf(method, decodeURIComponent(bare));
  const isStream =
    reply.lines.length > 1 ||
    (reply.status === 200 && /^(\/v[\d.]+)?\/(images\/(create|load|.+\/push)|events)/.test(bare));
  if (pattern === null || isStream) return;
  if (reply.headers.get("content-type")?.startsWith("application/json") === false) return;
  checkReply({ method, pattern, status: reply.status, body: reply.body, version });
}
