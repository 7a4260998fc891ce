// What the docker CLI asks of the compiled daemon, held against a recording of what it asked of an engine that answered
// everything (cli_traffic.json): the same requests in the same number, each answered with success. What berth does not have
// is listed with the status that it answers; there the CLI stops early. Every JSON reply on the way is held against the
// description of the Engine API.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon } from "../support/daemon.ts";
import { problemsIn, RecordingProxy } from "../support/recording_proxy.ts";

interface Recorded {
  /** `POST /v1.50/containers/create`; absent in lines about the stream of a hijacked connection. */
  request?: string;
  query?: Record<string, string | string[]>;
}

const { commands } = JSON.parse(readFileSync(new URL("../support/cli_traffic.json", import.meta.url), "utf8")) as {
  commands: { command: string; requests: Recorded[] }[];
};

/** Commands that end with a refusal here: what begins so, and the status of the request that is refused. */
const REFUSED: readonly (readonly [start: string, status: number])[] = [
  // Not there yet, or not at all: see docs/API.md.
  ["docker build ", 501],
  ["docker search", 500],
  // A volume at `anon`, which is no absolute path: what was recorded came from an engine that does not look.
  ["docker create --name big", 400],
  // A container without limits: Docker wants the limit of memory and swap together then.
  ["docker update --memory", 409],
  // As Docker answers outside a swarm.
  ["docker service", 503],
  ["docker node", 503],
  // There is no registry in the test's network.
  ["docker run alpine echo hi", 500],
  ["docker pull", 500],
  ["echo p | docker login", 500],
];

/** Ends by a signal that `sleep` as process 1 does not hear: terminal.test.ts has its like. */
const SKIPPED = "timeout -s INT";

/** A command about every container that runs. */
const ALL_RUNNING = "docker stats --no-stream";

/** Commands that end when the container does. */
const WAITING = /^docker (attach|wait|container wait|logs -f|start -a)/;

let berth: TestDaemon;
let proxy: RecordingProxy;
let work: string;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  proxy = await RecordingProxy.start(join(berth.directory, "proxy.sock"), berth.socket);
  work = join(berth.directory, "work");
  mkdirSync(join(work, "ctx"), { recursive: true });
  mkdirSync(join(work, "hostdir"));
  writeFileSync(join(work, "ctx/Dockerfile"), "FROM alpine\n");
  writeFileSync(join(work, "envf"), "B=2\n");
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await berth[Symbol.asyncDispose]();
});

// ---- the world before each command

async function ask(method: string, path: string, body?: unknown): Promise<number> {
  const response = await berth.request(method, path, { body });
  await response.arrayBuffer();
  return response.status;
}

/** Whether the containers that are there are those that most commands want, with nothing changed since. */
let isFresh = false;

/** Images alpine and busybox, networks n1 and n2, volume v1, and containers c0, c1 and c2 that run, unless the command makes them. */
async function makeWorld(command: string): Promise<void> {
  const makes = (name: string): boolean =>
    new RegExp(`(--name ${name}|(network|volume) create .*${name}$|rename c1 ${name}$)`).test(command);
  const isPlain = !WAITING.test(command) && !/^docker (start|network connect)/.test(command);
  const containers = ["c0", "c1", "c2"].filter((name) => !makes(name));
  if (!isFresh || !isPlain || containers.length < 3) {
    for (const name of ["c0", "c1", "c2"]) await ask("DELETE", `/containers/${name}?force=1&v=1`);
    for (const name of containers) await makeContainer(name, command);
  }
  isFresh = isPlain && containers.length === 3;
  if (command === "docker run alpine echo hi") await ask("DELETE", "/images/alpine?force=1");
  else await ask("POST", "/images/busybox/tag?repo=alpine&tag=latest");
  for (const [name, Subnet] of [
    ["n1", "10.0.0.0/15"],
    ["n2", "10.2.0.0/16"],
  ] as const) {
    if (makes(name)) await ask("DELETE", `/networks/${name}`);
    else await ask("POST", "/networks/create", { Name: name, IPAM: { Config: [{ Subnet }] } });
  }
  if (makes("v1")) await ask("DELETE", "/volumes/v1");
  else await ask("POST", "/volumes/create", { Name: "v1" });
}

async function makeContainer(name: string, command: string): Promise<void> {
  const Cmd = WAITING.test(command) ? ["sleep", "0.4"] : ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"];
  // Only one that has a network can be connected to another.
  const NetworkMode = command.startsWith("docker network connect") ? "bridge" : "none";
  const body = { Image: "busybox", Cmd, OpenStdin: true, HostConfig: { NetworkMode, Tmpfs: { "/x": "" } } };
  expect(await ask("POST", `/containers/create?name=${name}`, body)).toBe(201);
  if (!command.startsWith("docker start")) expect(await ask("POST", `/containers/${name}/start`)).toBe(204);
}

/** The command line as a shell takes it. */
function commandLine(command: string): string {
  const line = command
    .replace("-v /h:", `-v ${berth.directory}/h:`)
    .replace("src=hostdir", `src=${work}/hostdir`)
    // Docker refuses it beside --hostname, and these before it gets to what only berth does not have.
    .replace("--uts host ", "")
    .replace("--storage-opt size=1G ", "");
  const terminal = /^(.*?) +\(on a terminal\)$/.exec(line)?.[1];
  return terminal === undefined ? line : `printf 'exit\\n' | script -qec '${terminal}' /dev/null`;
}

// ---- what is compared

/** `POST /containers/<ID>/wait?condition`: identities aside, and of a query its names and what is no moment. */
function shapeOf(method: string, path: string, query: Iterable<[string, string]>): string {
  const bare = path
    .replace(/^\/v1\.50/, "")
    .replace(/^\/exec\/[^/]+/, "/exec/<ID>")
    .replace(/\/(<ID>|[0-9a-f]{64}|[0-9a-f]{12})(?=\/|$)/, "/<ID>");
  const pairs = [...query].map(([name, value]) => (/^(since|until)$/.test(name) ? name : `${name}=${value}`));
  return `${method} ${bare}${pairs.length > 0 ? "?" : ""}${pairs.sort().join("&")}`;
}

function recordedShape({ request = "", query = {} }: Recorded): string {
  const [method = "", path = ""] = request.split(" ");
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    [value].flat().map((each): [string, string] => [name, each]),
  );
  return shapeOf(method, path, pairs);
}

/** What each command must have been answered: nothing but success, or the one refusal that stands in REFUSED. */
function expectedRefusal(command: string): number | null {
  return REFUSED.find(([start]) => command.startsWith(start))?.[1] ?? null;
}

describe("the docker CLI asks what it asked of the recording engine, and is answered", () => {
  const replayed = commands.filter(({ command }) => !command.startsWith(SKIPPED));
  test.each(replayed.map(({ command, requests }) => [command.slice(0, 100), command, requests] as const))(
    "%s",
    async (_name, command, requests) => {
      await makeWorld(command);
      proxy.take();
      await run(["sh", "-c", commandLine(command)], {
        env: { ...berth.clientEnv, DOCKER_HOST: `unix://${proxy.socket}` },
        cwd: work,
        timeoutMs: 20_000,
      });
      // A terminal's size is told at moments of its own.
      const seen = proxy.take().filter(({ path }) => !path.endsWith("/resize"));
      const asked = seen.map(({ method, path, query }) => shapeOf(method, path, query));
      if (seen.some(({ method }) => method !== "GET" && method !== "HEAD")) isFresh = false;
      const recorded = requests.filter(({ request }) => request !== undefined).map(recordedShape);

      expect(problemsIn(seen)).toEqual([]);
      const refusal = expectedRefusal(command);
      const failures = seen.filter(({ status }) => status >= 400).map(({ status }) => status);
      if (refusal === null) {
        expect(failures).toEqual([]);
        // One for each container that runs: as many as there happen to be.
        const each = (lines: string[]): string[] =>
          (command.endsWith(ALL_RUNNING) ? [...new Set(lines)] : lines).toSorted();
        expect(each(asked)).toEqual(each(recorded));
      } else {
        expect(new Set(failures.filter((status) => status !== 404))).toEqual(new Set([refusal]));
        const bare = (each: string): string => each.replace(/\?.*$/, "");
        expect(asked.filter((each) => !recorded.map(bare).includes(bare(each)))).toEqual([]);
      }
    },
  );
});
