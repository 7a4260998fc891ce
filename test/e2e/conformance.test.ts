// The compiled daemon against the description of the Engine API (test/support/engine_api.yaml): one walk through the life of
// containers, networks, volumes and images at several API versions, every reply held against the description; and every row
// of docs/API.md asked of the daemon.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";
import { patternOf, problemsOf, problemsWith } from "../support/engine_api.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

interface Answer {
  status: number;
  type: string;
  text: string;
  /** The parsed document of a JSON reply; undefined for an empty one, and for streams. */
  body: unknown;
}

async function ask(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await berth.request(method, path, { body });
  const text = await response.text();
  const type = response.headers.get("content-type") ?? "";
  const isDocument = type === "application/json" && text !== "" && !/^[^?]*\/(events|push)(\?|$)/.test(path);
  return { status: response.status, type, text, body: isDocument ? JSON.parse(text) : undefined };
}

/** Asks at one version and collects what is wrong with the replies. */
function walker(version: string, problems: string[]) {
  const prefix = version === "1.55" ? "" : `/v${version}`;
  return async (method: string, path: string, expected: number, body?: unknown): Promise<Answer> => {
    const answer = await ask(method, `${prefix}${path}`, body);
    const [bare = ""] = path.split("?");
    const pattern = patternOf(method, bare);
    const found = pattern ? problemsOf({ method, pattern, ...answer, version }) : ["the description has no such path"];
    if (answer.status !== expected) found.push(`status ${answer.status} instead of ${expected}: ${answer.text}`);
    if (answer.body !== undefined && !answer.text.endsWith("\n")) found.push("no newline at the end");
    problems.push(...found.map((problem) => `${version} ${method} ${path}: ${problem}`));
    return answer;
  };
}

/** A container that uses a bit of everything. */
const richContainer = (volume: string) => ({
  Image: "busybox",
  Cmd: ["sh", "-c", "echo hi; exec sleep 1000"],
  OpenStdin: true,
  Labels: { x: "y" },
  ExposedPorts: { "80/tcp": {}, "81/udp": {} },
  Volumes: { "/anonymous": {} },
  Healthcheck: { Test: ["CMD", "true"], Interval: 50_000_000 },
  StopSignal: "SIGINT",
  HostConfig: {
    Binds: [`${volume}:/data`, "/tmp:/of-the-host:ro"],
    Mounts: [{ Type: "tmpfs", Target: "/small", TmpfsOptions: { SizeBytes: 1_000_000, Mode: 0o1777 } }],
    Tmpfs: { "/t": "size=1m" },
    PortBindings: { "80/tcp": [{ HostPort: "" }] },
    Memory: 64 << 20,
    Ulimits: [{ Name: "nofile", Soft: 100, Hard: 200 }],
    ExtraHosts: ["a:1.2.3.4"],
    LogConfig: { Type: "json-file", Config: { "max-size": "1m" } },
    Devices: [{ PathOnHost: "/dev/null", PathInContainer: "/dev/nothing", CgroupPermissions: "rwm" }],
  },
});

describe("every reply is what the description promises", () => {
  test.each(["1.24", "1.41", "1.44", "1.50", "1.52", "1.55"])("at API %s", async (version) => {
    const problems: string[] = [];
    const walk = walker(version, problems);
    const name = `walk-${version.replace(".", "-")}`;

    for (const path of ["/version", "/info", "/plugins"]) await walk("GET", path, 200);
    await walk("GET", "/swarm", 503);

    await walk("GET", "/images/json?all=1&digests=1&shared-size=1", 200);
    await walk("GET", "/images/busybox/json", 200);
    await walk("GET", "/images/busybox/history", 200);
    await walk("POST", `/images/busybox/tag?repo=${name}&tag=1`, 201);
    await walk("DELETE", `/images/${name}:1`, 200);
    await walk("GET", "/images/nope/json", 404);

    const pools = { Config: [{ Subnet: "10.77.0.0/24", Gateway: "10.77.0.1" }] };
    await walk("POST", "/networks/create", 201, { Name: name, IPAM: pools, Labels: { a: "b" } });
    await walk("POST", "/networks/create", 409, { Name: name });
    for (const path of ["/networks", `/networks/${name}`, "/networks/bridge", "/networks/host"])
      await walk("GET", path, 200);
    await walk("POST", "/volumes/create", 201, { Name: name, Labels: { a: "b" } });
    await walk("GET", "/volumes", 200);
    await walk("GET", `/volumes/${name}`, 200);

    await walk("POST", `/containers/create?name=${name}`, 201, richContainer(name));
    await walk("POST", `/containers/create?name=${name}`, 409, { Image: "busybox" });
    await walk("POST", `/containers/create?name=${name}-host`, 201, {
      Image: "busybox",
      Cmd: ["sleep", "1000"],
      HostConfig: { NetworkMode: "host" },
    });
    await walk("GET", `/containers/${name}/json?size=1`, 200);
    await walk("GET", "/containers/json?all=1&size=1", 200);
    for (const each of [name, `${name}-host`]) await walk("POST", `/containers/${each}/start`, 204);
    await walk("POST", `/containers/${name}/start`, 304);
    const endpoint = { Aliases: ["alias"], IPAMConfig: { IPv4Address: "10.77.0.9" } };
    await walk("POST", `/networks/${name}/connect`, 200, { Container: name, EndpointConfig: endpoint });
    for (const path of [`/networks/${name}`, "/networks/bridge", "/networks/host"]) await walk("GET", path, 200);
    await until("the health check has run", async () => {
      const { body } = await walk("GET", `/containers/${name}/json`, 200);
      return (body as { State: { Health: { Log: unknown[] } } }).State.Health.Log.length > 1;
    });
    await walk("GET", `/containers/${name}-host/json`, 200);
    await walk("GET", "/containers/json?size=1", 200);
    await walk("GET", `/containers/${name}/top`, 200);
    await walk("GET", `/containers/${name}/logs?stdout=1`, 200);
    await walk("POST", `/containers/${name}/resize?h=1&w=1`, 200);

    const exec = await walk("POST", `/containers/${name}/exec`, 201, { Cmd: ["true"], AttachStdout: true });
    const { Id } = exec.body as { Id: string };
    await walk("GET", `/exec/${Id}/json`, 200);
    await walk("POST", `/exec/${Id}/start`, 200, { Detach: true });
    await until("the exec session has ended", async () => {
      const { body } = await walk("GET", `/exec/${Id}/json`, 200);
      return !(body as { Running: boolean }).Running;
    });
    await walk("POST", `/exec/${Id}/start`, 409, { Detach: true });

    const change = { Memory: 128 << 20, MemorySwap: 256 << 20, RestartPolicy: { Name: "on-failure" } };
    await walk("POST", `/containers/${name}/update`, 200, change);
    await walk("POST", `/containers/${name}/pause`, 204);
    await walk("GET", `/containers/${name}/json`, 200);
    await walk("GET", "/containers/json", 200);
    await walk("POST", `/containers/${name}/unpause`, 204);
    for (const path of ["/system/df", "/system/df?verbose=1", "/system/df?type=volume&type=container", "/info"])
      await walk("GET", path, 200);
    await walk("POST", `/containers/${name}/kill?signal=WINCH`, 204);
    await walk("POST", `/containers/${name}/restart?t=0`, 204);
    await walk("POST", `/networks/${name}/disconnect`, 200, { Container: name });
    await walk("POST", `/containers/${name}/rename?name=${name}-new`, 204);
    await walk("POST", `/containers/${name}-new/stop?t=0`, 204);
    await walk("POST", `/containers/${name}-new/stop?t=0`, 304);
    await walk("POST", `/containers/${name}-new/wait`, 200);
    await walk("GET", `/containers/${name}-new/json`, 200);
    await walk("DELETE", `/containers/${name}-new?v=1`, 204);
    await walk("DELETE", `/containers/${name}-host?force=1`, 204);
    await walk("DELETE", `/networks/${name}`, 204);
    await walk("DELETE", `/volumes/${name}`, 204);
    if (version !== "1.24") {
      for (const kind of ["containers", "networks", "volumes", "images"]) await walk("POST", `/${kind}/prune`, 200);
      await walk("POST", "/build/prune", 200);
    }
    expect(problems).toEqual([]);
  });

  test.each(["1.50", "1.55"])("and so is every event, at API %s", async (version) => {
    await berth.dockerOK("run", "--rm", "-v", "told:/d", "busybox", "true");
    await berth.dockerOK("volume", "rm", "told");
    const { text, type } = await ask("GET", `/v${version}/events?since=1&until=${Math.floor(Date.now() / 1000) + 1}`);
    expect(type).toBe(version === "1.55" ? "application/jsonl" : "application/json");
    const events = text.trim().split("\n");
    expect(events.length).toBeGreaterThan(8);
    const schema = { $ref: "#/definitions/EventMessage" };
    expect(events.flatMap((line) => problemsWith(schema, JSON.parse(line), version))).toEqual([]);
  });
});

const rows = [
  ...readFileSync(new URL("../../docs/API.md", import.meta.url), "utf8").matchAll(
    /^\| `([A-Z]+) (\S+)` \| (\w+) \| (.*) \|$/gm,
  ),
].map(([, method = "", path = "", state = "", note = ""]) => ({ method, path, state, note }));

describe("docs/API.md tells what the daemon answers", () => {
  const concrete = (path: string): string =>
    path
      .replace("/images/{name}", "/images/busybox")
      // A registry that is not there.
      .replace("/distribution/{name}", "/distribution/localhost:1")
      .replace(/\{(\w+)\}/g, "no-such-$1");

  test("absent operations answer 501 and a sentence, or what their row says", async () => {
    const wrong: unknown[] = [];
    for (const { method, path, note, state } of rows.filter((row) => row.state === "absent")) {
      const { body, status, text } = await ask(method, concrete(path));
      const expected = Number(/^\d{3}/.exec(note)?.[0] ?? 501);
      const message = (body as { message?: string } | undefined)?.message ?? "";
      const isPlain = method === "HEAD" || expected === 404 || /^\S+( \S+){3,}$/.test(message);
      if (status !== expected || !isPlain) wrong.push({ method, path, state, status, text });
    }
    expect(wrong).toEqual([]);
  });

  test("every other operation is there, and answers as its row says when it names a status", async () => {
    const wrong: unknown[] = [];
    for (const { method, path, note, state } of rows.filter((row) => row.state !== "absent")) {
      // Events end only when the client does; the walk above asks for them.
      if (path === "/events") continue;
      const { body, status, text } = await ask(method, concrete(path));
      const expected = /^\d{3}/.exec(note)?.[0];
      const message = (body as { message?: string } | undefined)?.message;
      // Enabling a plugin wants its time-out first.
      const differs = expected !== undefined && status !== Number(expected) && !path.endsWith("/enable");
      if (message === "page not found" || status === 501 || differs) {
        wrong.push({ method, path, state, status, text });
      }
    }
    expect(wrong).toEqual([]);
  });
});
