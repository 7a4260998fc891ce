// GET /images/search: limits, filters and their refusals, and the shape of the answer.
import { expect, test } from "bun:test";
import { testAPI } from "../support/api.ts";
import { fakeEngine } from "../support/fake_engine.ts";

const FOUND = [
  { name: "busybox", description: "base", stars: 3000, isOfficial: true },
  { name: "someone/busybox", description: "", stars: 2, isOfficial: false },
];

function api(asked: unknown[] = []): ReturnType<typeof testAPI> {
  return testAPI(fakeEngine(), {
    search: async (term, limit, credentials) => {
      asked.push([term, limit, credentials?.username ?? null]);
      return FOUND;
    },
  });
}

const names = async (query: string): Promise<unknown> =>
  ((await api().call("GET", `/images/search?term=b&${query}`)).body as { name: string }[]).map(({ name }) => name);

test("passes term, limit and credentials on, and answers in Docker's spelling", async () => {
  const asked: unknown[] = [];
  const login = Buffer.from(JSON.stringify({ username: "u", password: "p" })).toString("base64url");
  const headers = { "X-Registry-Auth": login };
  const { status, body } = await api(asked).call("GET", "/images/search?term=reg.test/b&limit=7", { headers });
  expect(status).toBe(200);
  expect(body).toEqual([
    { star_count: 3000, is_official: true, name: "busybox", is_automated: false, description: "base" },
    { star_count: 2, is_official: false, name: "someone/busybox", is_automated: false, description: "" },
  ]);
  await api(asked).call("GET", "/images/search?term=b");
  await api(asked).call("GET", "/images/search?term=b&limit=0");
  expect(asked).toEqual([
    ["reg.test/b", 7, "u"],
    ["b", 25, null],
    ["b", 25, null],
  ]);
});

test("filters by officiality, stars and what is no more", async () => {
  const all = ["busybox", "someone/busybox"];
  expect(await names('filters={"is-official":["true"]}')).toEqual(["busybox"]);
  expect(await names('filters={"is-official":["false"]}')).toEqual(["someone/busybox"]);
  expect(await names('filters={"stars":["3"]}')).toEqual(["busybox"]);
  expect(await names('filters={"is-automated":["true"]}')).toEqual([]);
  expect(await names('filters={"is-automated":["false"]}')).toEqual(all);
});

test.each([
  ["limit=101", "limit 101 is outside the range of [1, 100]"],
  ["limit=-1", "limit -1 is outside the range of [1, 100]"],
  ["limit=abc", 'invalid limit specified: strconv.Atoi: parsing "abc": invalid syntax'],
  ['filters={"bad":["1"]}', "invalid filter 'bad'"],
  ['filters={"stars":["x"]}', `invalid filter 'stars=x': strconv.Atoi: parsing "x": invalid syntax`],
  ['filters={"is-official":["x"]}', "invalid filter 'is-official=[x]'"],
])("%s is refused in Docker's words", async (query, message) => {
  const reply = await api().call("GET", `/images/search?term=b&${query}`);
  expect([reply.status, reply.body]).toEqual([400, { message }]);
});
