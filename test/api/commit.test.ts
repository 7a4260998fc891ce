// POST /commit: what the query and the body say, and Docker's defaults.
import { describe, expect, test } from "bun:test";
import type { CommitRequest, Containers } from "../../src/engine/mod.ts";
import { testAPI } from "../support/api.ts";
import { fakeEngine } from "../support/fake_engine.ts";

const ID = `sha256:${"ab".repeat(32)}`;

function recorded(): { api: ReturnType<typeof testAPI>; asked: { container: string; request: CommitRequest }[] } {
  const asked: { container: string; request: CommitRequest }[] = [];
  const commit: Containers["commit"] = async (container, request) => {
    asked.push({ container, request });
    return ID;
  };
  return { api: testAPI(fakeEngine({ containers: { commit } })), asked };
}

describe("POST /commit", () => {
  test("answers 201 with the ID, and pauses unless it is told not to", async () => {
    const { api, asked } = recorded();
    const reply = await api.call("POST", "/commit?container=web");
    expect([reply.status, reply.body]).toEqual([201, { Id: ID }]);
    for (const pause of ["", "1", "true", "0", "false"]) await api.call("POST", `/commit?container=web&pause=${pause}`);
    expect(asked.map(({ request }) => request.pause)).toEqual([true, true, true, true, false, false]);
    expect(asked[0]).toEqual({
      container: "web",
      request: { repository: "", tag: "", author: "", comment: "", changes: [], pause: true, config: null },
    });
  });

  test("takes changes that repeat, and a configuration in the body", async () => {
    const { api, asked } = recorded();
    const query =
      "container=c1&repo=docker.io/library/img&tag=2&author=me&comment=why&changes=CMD%20a&changes=USER%201";
    await api.call("POST", `/commit?${query}`, { json: { Cmd: ["x"], env: ["A=1"], Labels: null } });
    expect(asked[0]?.request).toMatchObject({
      repository: "docker.io/library/img",
      tag: "2",
      author: "me",
      comment: "why",
      changes: ["CMD a", "USER 1"],
      config: { Cmd: ["x"], Env: ["A=1"], Labels: {}, Entrypoint: null },
    });
    await api.call("POST", "/commit?container=c1", { json: null });
    expect(asked[1]?.request.config).toBeNull();
    expect((await api.call("POST", "/commit?container=c1", { json: { Env: "A=1" } })).status).toBe(400);
  });
});
