// Where a search goes, and what is made of the answers: of an index, of a catalogue, of neither.
import { expect, test } from "bun:test";
import { searchImages } from "../../../src/image/search.ts";
import { type Repository, TransientError } from "../../../src/image/registry.ts";

const NEVER = new AbortController().signal;

/** Answers by path; what has none is a 404. */
function registry(answers: Record<string, () => Response>) {
  const asked: string[] = [];
  const lookUp = async ({ domain }: Repository, path: string): Promise<Response> => {
    asked.push(`${domain} ${path}`);
    return answers[path]?.() ?? new Response("", { status: 404 });
  };
  return { asked, search: (term: string, limit = 25) => searchImages({ lookUp }, term, limit, null, NEVER) };
}

const document =
  (value: unknown, headers: Record<string, string> = {}) =>
  () =>
    new Response(JSON.stringify(value), { headers });

test("a plain term is Docker Hub's", async () => {
  const results = [{ name: "busybox", star_count: 9, is_official: true, description: "x", more: 1 }, { name: "a/b" }];
  const hub = registry({ "../v1/search?q=busybox&n=25": document({ num_results: 2, results }) });
  expect(await hub.search("library/busybox")).toEqual([
    { name: "busybox", stars: 9, isOfficial: true, description: "x" },
    { name: "a/b", stars: 0, isOfficial: false, description: "" },
  ]);
  expect(hub.asked).toEqual(["index.docker.io ../v1/search?q=busybox&n=25"]);
  await expect(registry({}).search("busybox")).rejects.toThrow("Unexpected status code 404");
});

test("a registry without an index is searched by its catalogue, page by page, up to the limit", async () => {
  const own = registry({
    "_catalog?n=1000": document(
      { repositories: ["team/tool", "other"] },
      { link: '</v2/_catalog?last=other&n=1000>; rel="next"' },
    ),
    "_catalog?last=other&n=1000": document({ repositories: ["tools", "zoo", "toolbox"] }),
  });
  const found = await own.search("localhost:5000/Tool", 2);
  expect(found.map(({ name }) => name)).toEqual(["localhost:5000/team/tool", "localhost:5000/tools"]);
  expect(own.asked).toEqual([
    "localhost:5000 ../v1/search?q=Tool&n=2",
    "localhost:5000 _catalog?n=1000",
    "localhost:5000 _catalog?last=other&n=1000",
  ]);
});

test("what no search can be made of is refused", async () => {
  await expect(registry({}).search("http://x/y")).rejects.toMatchObject({ kind: "invalid" });
  await expect(registry({}).search("reg.test/y")).rejects.toThrow("Unexpected status code 404");
  const odd = registry({ "../v1/search?q=y&n=25": document({ results: 1 }) });
  await expect(odd.search("reg.test/y")).rejects.toThrow("something else than search results");
  const lookUp = () => Promise.reject(new TransientError("connect: connection refused", null));
  const gone = searchImages({ lookUp }, "reg.test/y", 1, null, NEVER);
  await expect(gone).rejects.toMatchObject({
    kind: "invalid",
    message: expect.stringContaining("invalid registry endpoint"),
  });
});
