// src/api/app.ts: versions, unknown paths, wrong methods, and how errors are told.
import { expect, test } from "bun:test";
import { createApi } from "../../src/api/app.ts";
import { unavailable } from "../../src/errors.ts";
import { FACTS, testAPI } from "../support/api.ts";
import { fakeEngine, fakeRecord } from "../support/fake_engine.ts";
import { exchange, quietLog, serve } from "../support/raw_http.ts";

const api = testAPI(fakeEngine({ records: [fakeRecord()] }));

test("every version from 1.24 to 1.55 is served, with and without a prefix", async () => {
  for (const prefix of ["", "/v1.24", "/v1.43", "/v1.55"]) {
    expect((await api.call("GET", `${prefix}/containers/web/json`)).status).toBe(200);
  }
});

test("versions out of range are 400 in Docker's words", async () => {
  expect(await api.call("GET", "/v1.12/containers/json")).toMatchObject({
    status: 400,
    body: {
      message:
        "client version 1.12 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
    },
  });
  expect(await api.call("GET", "/v1.99/containers/json")).toMatchObject({
    status: 400,
    body: { message: "client version 1.99 is too new. Maximum supported API version is 1.55" },
  });
});

test("unknown paths and wrong methods are the same 404", async () => {
  for (const [method, path] of [
    ["GET", "/"],
    ["GET", "/nope"],
    ["GET", "/v1.50"],
    ["GET", "/v1.50/nope"],
    ["POST", "/containers/json"],
    ["GET", "/containers/create"],
    ["PUT", "/containers/web/start"],
    ["HEAD", "/containers/json"],
    ["HEAD", "/events"],
    ["DELETE", "/info"],
    ["GET", "/containers/web"],
  ] as const) {
    const reply = await api.call(method, path);
    expect(reply.status).toBe(404);
    expect(reply.headers.get("content-type")).toBe("application/json");
    if (method !== "HEAD") expect(reply.text).toBe('{"message":"page not found"}\n');
  }
});

test("OPTIONS is 200 and empty everywhere", async () => {
  expect(await api.call("OPTIONS", "/whatever")).toMatchObject({ status: 200, text: "" });
});

test("an error that is none of ours is a 500 with its message", async () => {
  const broken = testAPI(
    fakeEngine({ records: [fakeRecord()], containers: { list: () => Promise.reject(new Error("disk on fire")) } }),
  );
  expect(await broken.call("GET", "/containers/json")).toMatchObject({
    status: 500,
    body: { message: "disk on fire" },
  });
  const away = testAPI(
    fakeEngine({ records: [fakeRecord()], containers: { list: () => Promise.reject(unavailable("later")) } }),
  );
  expect((await away.call("GET", "/containers/json")).status).toBe(503);
});

test("the whole API answers on a socket, HEAD and errors with their headers", async () => {
  const engine = fakeEngine({ records: [fakeRecord()] });
  const now = () => new Date("2026-01-02T04:00:00Z");
  const app = createApi(engine, {
    log: quietLog,
    now,
    facts: async () => FACTS,
    checkAuth: () => Promise.reject(unavailable("no registry")),
    inspectDistribution: () => Promise.reject(unavailable("no registry")),
    searchImages: () => Promise.reject(unavailable("no registry")),
  });
  await using server = await serve(app.fetch);
  const ask = (line: string) => exchange(server, `${line} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n`);
  const ping = await ask("HEAD /_ping");
  expect(ping).toStartWith("HTTP/1.1 200 OK\r\n");
  for (const line of ["Api-Version: 1.55", "Ostype: linux", "Docker-Experimental: false", "Content-Length: 0"])
    expect(ping).toContain(`\r\n${line}\r\n`);
  expect(await ask("GET /v1.50/_ping")).toEndWith("\r\n\r\nOK");
  expect(await ask("GET /v1.50/containers/nope/json")).toEndWith('\r\n\r\n{"message":"No such container: nope"}\n');
  expect(await ask("GET /v1.50/swarm")).toContain("HTTP/1.1 503 Service Unavailable\r\n");
});
