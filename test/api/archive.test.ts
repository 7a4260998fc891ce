// The archive routes over a fake engine: parameters, headers, and who closes what.
import { expect, test } from "bun:test";
import type { CopyInOptions, PathStat } from "../../src/engine/mod.ts";
import { invalid, notFound } from "../../src/errors.ts";
import { testAPI } from "../support/api.ts";
import { fakeEngine, fakeRecord } from "../support/fake_engine.ts";
import type { Containers } from "../../src/engine/mod.ts";

const STAT: PathStat = { name: "etc", sizeBytes: 4096, mode: 0o040755, modified: [0n, 0], linkTarget: "" };

function apiWith(containers: Partial<Containers>) {
  return testAPI(fakeEngine({ records: [fakeRecord()], containers }));
}

function statOf(headers: Headers): unknown {
  return JSON.parse(Buffer.from(headers.get("x-docker-container-path-stat") ?? "", "base64").toString());
}

test("HEAD asks for the path alone, and opens no archive", async () => {
  const asked: string[] = [];
  const api = apiWith({
    statPath: async (id, path) => {
      asked.push(id, path);
      return STAT;
    },
  });
  const reply = await api.call("HEAD", "/containers/web/archive?path=%2Fetc%2F.");
  expect(reply.status).toBe(200);
  expect(statOf(reply.headers)).toMatchObject({ name: "etc", mode: 2 ** 31 + 0o755 });
  expect(asked).toEqual(["web", "/etc/."]);
});

test("GET sends the header and the tar", async () => {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield Buffer.from("one ");
    yield Buffer.from("two");
  }
  const reply = await apiWith({ copyOut: async () => ({ stat: STAT, chunks: chunks() }) }).call(
    "GET",
    "/containers/web/archive?path=/etc",
  );
  expect([reply.status, reply.headers.get("content-type"), reply.text]).toEqual([200, "application/x-tar", "one two"]);
  expect(statOf(reply.headers)).toMatchObject({ name: "etc" });
});

test.each([
  ["", { noOverwriteDirNonDir: false, copyUIDGID: false }],
  ["&noOverwriteDirNonDir=true&copyUIDGID=1", { noOverwriteDirNonDir: true, copyUIDGID: true }],
])("PUT hands on the body and the options%s", async (query, wanted) => {
  const seen: { path: string; options: CopyInOptions; text: string }[] = [];
  const api = apiWith({
    async copyIn(_id, path, archive, options) {
      let text = "";
      for await (const chunk of archive) text += Buffer.from(chunk).toString();
      seen.push({ path, options, text });
    },
  });
  const reply = await api.call("PUT", `/containers/web/archive?path=/tmp${query}`, { body: Buffer.from("a tar") });
  expect([reply.status, reply.text]).toEqual([200, ""]);
  expect(seen).toEqual([{ path: "/tmp", options: wanted, text: "a tar" }]);
});

test("a path is needed, and is text", async () => {
  for (const query of ["", "?path=", "?path=a%00b"]) {
    for (const method of ["GET", "PUT", "HEAD"]) {
      expect((await apiWith({}).call(method, `/containers/web/archive${query}`)).status).toBe(400);
    }
  }
});

test("what the service refuses keeps its status and words", async () => {
  const missing = apiWith({
    copyOut: async () => {
      throw notFound("Could not find the file /x in container web");
    },
    copyIn: async () => {
      throw invalid("extraction point is not a directory");
    },
  });
  const get = await missing.call("GET", "/containers/web/archive?path=/x");
  expect(get).toMatchObject({ status: 404, body: { message: "Could not find the file /x in container web" } });
  const put = await missing.call("PUT", "/containers/web/archive?path=/x");
  expect(put).toMatchObject({ status: 400, body: { message: "extraction point is not a directory" } });
});
