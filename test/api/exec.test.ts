// Routes of exec sessions over a fake engine; starts on a real socket.
import { expect, test } from "bun:test";
import { createApp } from "../../src/api/app.ts";
import type { ExecRecord, ExecSessions } from "../../src/engine/mod.ts";
import { conflict, notFound } from "../../src/errors.ts";
import { ExecCreate } from "../../src/schema/exec.ts";
import * as v from "valibot";
import { testAPI } from "../support/api.ts";
import { FAKE_ID, fakeEngine } from "../support/fake_engine.ts";
import { exchange, quietLog, RawClient, serve, type TestServer } from "../support/raw_http.ts";

const EXEC_ID = "e".repeat(64);
const apiWith = (exec: Partial<ExecSessions>) => testAPI(fakeEngine({ exec }));

function serveExec(exec: Partial<ExecSessions>): Promise<TestServer> {
  return serve(createApp(fakeEngine({ exec }), { log: quietLog, now: () => new Date(), subApps: [] }).fetch);
}

function session(change: Partial<ExecRecord>, config: Record<string, unknown> = {}): ExecRecord {
  return {
    id: EXEC_ID,
    containerID: FAKE_ID,
    isRunning: false,
    exitCode: null,
    pid: 0,
    config: v.parse(ExecCreate, { Cmd: ["sh", "-c", "true"], AttachStdout: true, ...config }),
    ...change,
  };
}

test("create answers 201 with the ID and passes the configuration", async () => {
  const given: unknown[] = [];
  const api = apiWith({
    create: async (...args) => {
      given.push(...args);
      return { id: EXEC_ID };
    },
  });
  const reply = await api.call("POST", "/containers/web/exec", { json: { Cmd: "true", tty: true } });
  expect(reply).toMatchObject({ status: 201, body: { Id: EXEC_ID } });
  expect(given).toMatchObject(["web", { Cmd: ["true"], Tty: true }]);
});

test("refusals keep their status and words", async () => {
  const api = apiWith({
    create: () => Promise.reject(conflict(`container ${FAKE_ID} is not running`)),
    get: () => {
      throw notFound("No such exec instance: x");
    },
  });
  expect(await api.call("POST", "/containers/web/exec", { json: { Cmd: ["a"] } })).toMatchObject({
    status: 409,
    body: { message: `container ${FAKE_ID} is not running` },
  });
  expect(await api.call("GET", "/exec/x/json")).toMatchObject({
    status: 404,
    body: { message: "No such exec instance: x" },
  });
  expect((await api.call("POST", "/containers/web/exec", { json: { Cmd: [1] } })).status).toBe(400);
});

test("inspect has no exit code while it runs, and the code after it", async () => {
  let record = session({ isRunning: true, pid: 99 }, { User: "app", Tty: true });
  const api = apiWith({ get: () => record });
  await using server = await serveExec({ get: () => record });
  // The description knows no null here, but it is what Docker answers.
  const reply = await exchange(server, `GET /exec/${EXEC_ID}/json HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n`);
  expect(JSON.parse(reply.slice(reply.indexOf("\r\n\r\n")))).toEqual({
    ID: EXEC_ID,
    Running: true,
    ExitCode: null,
    OpenStdin: false,
    OpenStderr: false,
    OpenStdout: true,
    CanRemove: false,
    ContainerID: FAKE_ID,
    DetachKeys: "",
    Pid: 99,
    ProcessConfig: { tty: true, entrypoint: "sh", arguments: ["-c", "true"], privileged: false, user: "app" },
  });
  record = session({ exitCode: 7 });
  expect((await api.call("GET", `/exec/${EXEC_ID}/json`)).body).toMatchObject({
    Running: false,
    ExitCode: 7,
    CanRemove: true,
  });
});

test("resize needs both sizes", async () => {
  const given: unknown[] = [];
  const api = apiWith({
    resize: async (...args) => {
      given.push(args);
    },
  });
  expect((await api.call("POST", "/exec/x/resize?h=1&w=2")).status).toBe(200);
  expect((await api.call("POST", "/exec/x/resize?h=1")).body).toEqual({
    message: 'invalid resize width "": invalid syntax',
  });
  expect(given).toEqual([["x", 1, 2]]);
});

test("a detached start is an empty 200", async () => {
  const api = apiWith({ startDetached: async () => {} });
  expect(await api.call("POST", "/exec/x/start", { json: { Detach: true } })).toMatchObject({ status: 200, text: "" });
});

const start = (json: string, headers = "Connection: Upgrade\r\nUpgrade: tcp\r\n") =>
  `POST /v1.50/exec/x/start HTTP/1.1\r\nHost: d\r\n${headers}Content-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`;

test("an attached start takes its body first, then the stream is stdin", async () => {
  await using server = await serveExec({
    startAttached: async (_, options) => ({
      hasTerminal: options.Tty,
      run: async (stream) => {
        const bytes = await stream.read();
        await stream.write(new TextEncoder().encode(`got ${new TextDecoder().decode(bytes ?? undefined)}`));
      },
    }),
  });
  for (const [json, type] of [
    ['{"Detach":false,"Tty":false}', "multiplexed-stream"],
    ['{"Tty":true}', "raw-stream"],
  ] as const) {
    using client = await RawClient.open(server.socket);
    client.send(`${start(json)}stdin`);
    const reply = await client.untilEnd();
    expect(reply).toStartWith(
      `HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.${type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: 1.55\r\n`,
    );
    expect(reply).toEndWith("\r\n\r\ngot stdin");
  }
});

test("a second start is refused before the connection is taken", async () => {
  await using server = await serveExec({
    startAttached: () => Promise.reject(conflict("exec command x has already run")),
  });
  const reply = await exchange(server, start("{}", "Connection: Upgrade, close\r\nUpgrade: tcp\r\n"));
  expect(reply).toStartWith("HTTP/1.1 409 Conflict\r\n");
  expect(reply).toEndWith('{"message":"exec command x has already run"}\n');
});
