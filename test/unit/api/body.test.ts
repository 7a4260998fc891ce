// src/api/body.ts: content types, emptiness, malformed JSON, names in any case, and what a wrong type is answered.
import { describe, expect, test } from "bun:test";
import { Hono } from "hono";
import * as v from "valibot";
import type { AppEnv } from "../../../src/api/app_env.ts";
import { readJSON, readText, type Schema } from "../../../src/api/body.ts";
import { errorResponse } from "../../../src/api/error_response.ts";
import { ContainerCreate } from "../../../src/schema/container.ts";
import { ExecCreate } from "../../../src/schema/exec.ts";
import { quietLog } from "../../support/raw_http.ts";

async function read(
  schema: Schema,
  body: string | null,
  headers: Record<string, string> = { "Content-Type": "application/json" },
) {
  const app = new Hono<AppEnv>();
  app.post("/", async (c) => Response.json((await readJSON(c, schema)) as object));
  app.onError((error) => errorResponse(error, quietLog));
  const length: Record<string, string> = body === null ? {} : { "Content-Length": String(body.length) };
  const response = await app.request("/", { method: "POST", body, headers: { ...length, ...headers } });
  return { status: response.status, value: await response.json() };
}

const refused = (message: string) => ({ status: 400, value: { message } });

describe("content types", () => {
  test("parameters and case do not matter", async () => {
    expect((await read(ExecCreate, "{}", { "Content-Type": "Application/JSON; charset=utf-8" })).status).toBe(200);
  });

  test("another type is refused by name", async () => {
    const message = "unsupported Content-Type header (text/plain): must be 'application/json'";
    expect(await read(ExecCreate, "{}", { "Content-Type": "text/plain" })).toEqual(refused(message));
  });

  test("a type that is none is malformed", async () => {
    expect((await read(ExecCreate, "{}", { "Content-Type": "json" })).value.message).toStartWith(
      "malformed Content-Type header (json)",
    );
  });

  test("without a body none is needed, and the schema's defaults come out", async () => {
    const { status, value } = await read(ExecCreate, null, {});
    expect(status).toBe(200);
    expect(value).toMatchObject({ Tty: false, Cmd: null, Env: [] });
  });
});

describe("documents", () => {
  test("an empty chunked body is an EOF", async () => {
    const headers = { "Content-Type": "application/json", "Transfer-Encoding": "chunked" };
    expect(await read(ExecCreate, " ", headers)).toEqual(refused("invalid JSON: got EOF while reading request body"));
  });

  test("what follows the document is refused", async () => {
    expect(await read(ExecCreate, '{"Cmd":["}"]} {"x":1}')).toEqual(refused("unexpected content after JSON"));
    expect(await read(ExecCreate, "{}x")).toEqual(refused("unexpected content after JSON"));
  });

  for (const bad of ["{", '{"Cmd":}', "nope", '{"a":"\\u12"}', "{'a':1}", "]", '{"a":1,}']) {
    test(`${bad} is invalid JSON`, async () => {
      const { status, value } = await read(ExecCreate, bad);
      expect(status).toBe(400);
      expect(value.message).toStartWith("invalid JSON: ");
    });
  }

  test("a list or a number in place of the object is told", async () => {
    expect((await read(ExecCreate, "[]")).value.message).toBe("invalid JSON: expected Object but received Array");
    expect((await read(ExecCreate, "7")).value.message).toBe("invalid JSON: expected Object but received 7");
  });

  test("a wrong type names the field, what was expected and what came", async () => {
    expect(await read(ContainerCreate, '{"HostConfig":{"Memory":"64m"}}')).toEqual(
      refused('invalid JSON: HostConfig.Memory: expected number but received "64m"'),
    );
    expect((await read(ExecCreate, '{"Env":["a",7]}')).value.message).toBe(
      "invalid JSON: Env.1: expected string but received 7",
    );
  });

  test("a body over the limit is refused", async () => {
    const { status, value } = await read(ExecCreate, `{"User":"${"x".repeat(17 << 20)}"}`);
    expect(status).toBe(400);
    expect(value.message).toContain("longer than 16777216 bytes");
  });

  test("depth does not break it", async () => {
    expect((await read(ExecCreate, `${"[".repeat(200_000)}`)).status).toBe(400);
  });
});

describe("names of fields", () => {
  test("match in any case, all the way down", async () => {
    const { value } = await read(
      ContainerCreate,
      '{"image":"a","hostconfig":{"memory":5,"logconfig":{"type":"none"},"mounts":[{"target":"/a"}]}}',
    );
    expect(value).toMatchObject({
      Image: "a",
      HostConfig: { Memory: 5, LogConfig: { Type: "none" }, Mounts: [{ Target: "/a" }] },
    });
  });

  test("keys of maps are data and stay", async () => {
    const { value } = await read(ContainerCreate, '{"Labels":{"IMAGE":"x","__proto__":"y"},"Volumes":{"/Data":{}}}');
    expect(value.Labels).toEqual(Object.fromEntries([["IMAGE", "x"]]));
    expect(value.Volumes).toEqual({ "/Data": {} });
  });

  test("the last of several spellings wins", async () => {
    expect((await read(ExecCreate, '{"User":"a","user":"b"}')).value.User).toBe("b");
  });

  test("fields nobody knows are ignored", async () => {
    expect((await read(v.object({ A: v.optional(v.number()) }), '{"b":1,"a":2}')).value).toEqual({ A: 2 });
  });
});

test("a body that stalls in the middle is given up", async () => {
  let isCancelled = false;
  const stalled = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode('{"a":')),
    cancel: () => {
      isCancelled = true;
    },
  });
  await expect(readText(stalled, 20)).rejects.toThrow("the request body was not there after 0.02 s");
  expect(isCancelled).toBe(true);
});
