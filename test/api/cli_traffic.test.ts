// What the docker CLI really sends (cli_traffic.json: recorded from version 28.2.2, command by command), replayed on the
// app over a fake engine. Each request must be understood and answered with the status the CLI goes on from, and with a
// reply that the description of the API promises.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { HttpBindings } from "../../src/api/app_env.ts";
import type { Containers, Events, ExecSessions, PathStat } from "../../src/engine/mod.ts";
import { notFound } from "../../src/errors.ts";
import { testAPI } from "../support/api.ts";
import { engineAPI, patternOf } from "../support/engine_api.ts";
import { FAKE_ID, fakeEngine, fakeRecord, runningSince } from "../support/fake_engine.ts";
import { fakeImage, fakeImages, fakeNetwork, fakeNetworks, fakeVolumes } from "../support/fake_objects.ts";

interface Recorded {
  /** `POST /v1.50/containers/create`; absent in lines about the stream of a hijacked connection. */
  request?: string;
  query?: Record<string, string | string[]>;
  headers?: Record<string, string>;
  /** JSON, or `<1024 bytes>`. */
  body?: unknown;
}

const recording = JSON.parse(readFileSync(new URL("../support/cli_traffic.json", import.meta.url), "utf8")) as {
  commands: { command: string; requests: Recorded[] }[];
};
const absent = new Set(
  [...readFileSync(new URL("../../docs/API.md", import.meta.url), "utf8").matchAll(/^\| `([^`]+)` \| absent/gm)].map(
    ([, name]) => name,
  ),
);
const EXEC_ID = "e".repeat(64);
const NEW_ID = "ab12".repeat(16);

// ---- the world before each command

/** Containers c0, c1 and c2 run, images alpine and busybox, network n1 and volume v1 are there, unless the command makes them. */
function world(requests: Recorded[]) {
  const pullsAfterCreate =
    requests.findIndex(({ request }) => request?.includes("/containers/create") ?? false) <
    requests.findIndex(({ request }) => request?.includes("/images/create") ?? false);
  const images = fakeImages([
    ...(pullsAfterCreate
      ? []
      : [fakeImage({ id: `sha256:${"a1".repeat(32)}`, tags: ["docker.io/library/alpine:latest"] })]),
    fakeImage(),
  ]);
  const names = requests.map(({ body }) => (body as { Name?: string } | undefined)?.Name);
  const records = ["c1", "c2", "c0"].map((name, index) =>
    fakeRecord({
      id: (index === 0 ? FAKE_ID : `${index}`.repeat(64)) as typeof FAKE_ID,
      name,
      state: runningSince("2026-01-01T00:00:00Z"),
    }),
  );
  const networks = ["n1", "n2"]
    .filter((name) => !names.includes(name))
    .map((name, index) => fakeNetwork({ name, id: `${index}c`.repeat(32) }));
  const hijacked: { status: number; type: string | undefined }[] = [];
  const engine = fakeEngine({
    records,
    images,
    networks: fakeNetworks([fakeNetwork(), ...networks]),
    volumes: fakeVolumes(
      names.includes("v1")
        ? []
        : [
            {
              name: "v1",
              driver: "local",
              scope: "local",
              createdAt: "2026-01-01T00:00:00Z",
              mountpoint: "/v1",
              labels: {},
              options: {},
              isAnonymous: false,
            },
          ],
    ),
    containers: containers(records, (name) => images.get(name)),
    exec: EXEC,
    events: EVENTS,
  });
  const bindings: HttpBindings = {
    async hijack(status, headers) {
      hijacked.push({ status, type: headers["Content-Type"] });
      return { read: async () => null, write: () => undefined, closeWrite() {}, destroy() {}, onGone() {} };
    },
  };
  const checkAuth = async () => ({ status: "Login Succeeded", identityToken: "" });
  return { api: testAPI(engine, { bindings, checkAuth, search: async () => [] }), hijacked };
}

function containers(records: ReturnType<typeof fakeRecord>[], imageOf: (name: string) => unknown): Partial<Containers> {
  const at = (nameOrID: string) => {
    const found = records.find(({ id, name }) => id.startsWith(nameOrID) || name === nameOrID);
    if (found === undefined) throw notFound(`No such container: ${nameOrID}`);
    return found;
  };
  const done = async (nameOrID: string): Promise<void> => void at(nameOrID);
  return {
    get: at,
    async create({ body, name }) {
      imageOf(body.Image);
      records.push(fakeRecord({ id: NEW_ID as typeof FAKE_ID, name: name ?? "new" }));
      return { id: NEW_ID, warnings: [] };
    },
    start: async (id) => (await done(id), "started"),
    stop: async (id) => (await done(id), "stopped"),
    wait: async (id) => (await done(id), { result: Promise.resolve({ statusCode: 0, error: null }) }),
    attach: async (id) => (await done(id), { hasTerminal: false, run: async () => undefined }),
    logs: async (id) => (await done(id), { hasTerminal: false, chunks: none() }),
    statPath: async (id, path) => (await done(id), pathStat(path)),
    copyOut: async (id, path) => (await done(id), { stat: pathStat(path), chunks: none() }),
    copyIn: done,
    commit: async (id) => (await done(id), `sha256:${NEW_ID}`),
    top: async (id) => (await done(id), { Titles: ["PID", "CMD"], Processes: [["1", "sh"]] }),
    stats: async (id) => ({ id: FAKE_ID, name: (await done(id), id), sample: null, previous: null }),
    followStats: () => none(),
    changes: async (id) => (await done(id), none()),
    exportFiles: async (id) => (await done(id), none()),
    update: async (id) => (await done(id), []),
    sizes: async () => ({ rwBytes: 1, rootFsBytes: 2 }),
    list: async ({ size }) =>
      records.map((record) => ({ record, sizes: size ? { rwBytes: 1, rootFsBytes: 2 } : null })),
    prune: async () => ({ deleted: [NEW_ID], spaceReclaimed: 3 }),
    restart: done,
    kill: done,
    pause: done,
    unpause: done,
    rename: done,
    resize: done,
    remove: done,
  };
}

function pathStat(path: string): PathStat {
  return { name: path, sizeBytes: 0, mode: 0o040755, modified: [0n, 0], linkTarget: "" };
}

const EXEC: Partial<ExecSessions> = {
  create: async () => ({ id: EXEC_ID }),
  get: (id) => ({
    id,
    containerID: FAKE_ID,
    isRunning: false,
    exitCode: 0,
    pid: 0,
    config: {
      AttachStdin: false,
      AttachStdout: true,
      AttachStderr: true,
      ConsoleSize: [],
      DetachKeys: "",
      Tty: false,
      Env: [],
      Cmd: ["ls"],
      Privileged: false,
      User: "",
      WorkingDir: "",
    },
  }),
  startDetached: async () => undefined,
  startAttached: async () => ({ hasTerminal: false, run: async () => undefined }),
};
const EVENTS: Partial<Events> = { publish: () => undefined, subscribe: () => none(), listeners: () => 1 };

async function* none(): AsyncGenerator<never> {}

// ---- replaying

/** The status that the CLI goes on from. */
function expectedStatus(method: string, pattern: string, recorded: Recorded, isFirstCreate: boolean): number {
  const operation = `${method} ${pattern}`;
  if (isFirstCreate) return 404;
  if (absent.has(operation)) return 501;
  if (/^\/(services|nodes)/.test(pattern)) return 503;
  const isDetached = (recorded.body as { Detach?: boolean } | undefined)?.Detach === true;
  if (pattern === "/containers/{id}/attach" || (pattern === "/exec/{id}/start" && !isDetached)) return 101;
  const described = Object.keys(engineAPI().paths[pattern]?.[method.toLowerCase()]?.responses ?? {}).map(Number);
  return Math.min(...described.filter((status) => status >= 200));
}

function toRequest({ body, headers = {} }: Recorded) {
  const sizeBytes = typeof body === "string" ? Number(/^<(\d+) bytes>$/.exec(body)?.[1]) : null;
  if (sizeBytes !== null) return { headers, body: new Uint8Array(new ArrayBuffer(sizeBytes)) };
  return body === undefined ? { headers } : { headers, json: body };
}

test.each(recording.commands.map(({ command, requests }) => [command.slice(0, 100), requests] as const))(
  "%s",
  async (_command, requests) => {
    const { api, hijacked } = world(requests);
    const creates = requests.filter(({ request }) => request?.endsWith("/containers/create"));
    for (const recorded of requests) {
      if (recorded.request === undefined) continue;
      const [method = "", given = ""] = recorded.request.split(" ");
      const path = given
        .replace("4f2a9c0d6b1e", FAKE_ID)
        .replace("<ID>", creates.length > 0 ? NEW_ID : FAKE_ID)
        .replace("<EXECID>", EXEC_ID);
      const pattern = patternOf(method, path.replace(/^\/v1\.50/, ""));
      const query = new URLSearchParams();
      for (const [name, value] of Object.entries(recorded.query ?? {}))
        for (const each of [value].flat()) query.append(name, each);
      const hijackedBefore = hijacked.length;
      const reply = await api.call(method, `${path}?${query}`, toRequest(recorded));
      const status = hijacked.length > hijackedBefore ? hijacked.at(-1)?.status : reply.status;
      const isFirstCreate = creates.length === 2 && creates[0] === recorded;
      expect([recorded.request, status, status === 500 ? reply.body : ""]).toEqual([
        recorded.request,
        expectedStatus(method, pattern ?? "", recorded, isFirstCreate),
        "",
      ]);
    }
  },
);

test("every hijack without a terminal is told to be multiplexed", async () => {
  const attach = recording.commands
    .flatMap(({ requests }) => requests)
    .find(({ request }) => request?.endsWith("/c1/attach"));
  const { api, hijacked } = world([]);
  await api.call("POST", "/v1.50/containers/c1/attach?stream=1&stdout=1", { headers: attach?.headers ?? {} });
  expect(hijacked).toEqual([{ status: 101, type: "application/vnd.docker.multiplexed-stream" }]);
});
