// Keeps docs/API.md true: every operation of the Engine API has its row, and the app answers as the row says. And holds the
// checker of replies itself to account: one that lets everything through would make all other tests worthless.
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { testAPI } from "../support/api.ts";
import endpointIndex from "../support/endpoints.json" with { type: "json" };
import { engineAPI, patternOf, problemsOf, problemsWith } from "../support/engine_api.ts";
import { FAKE_ID, fakeEngine, fakeRecord } from "../support/fake_engine.ts";
import { fakeImage, fakeImages, fakeNetwork, fakeNetworks, fakeVolumes } from "../support/fake_objects.ts";

const rows = new Map(
  [
    ...readFileSync(new URL("../../docs/API.md", import.meta.url), "utf8").matchAll(
      /^\| `([A-Z]+ \S+)` \| (\w+) \| (.*) \|$/gm,
    ),
  ].map(([, operation = "", state = "", note = ""]) => [operation, { state, note }]),
);
const operations = endpointIndex.endpoints.map(({ method, path }) => `${method} ${path}`);

/** A request that reaches the route: names of objects that the fake engine has. */
function concrete(path: string): string {
  return path
    .replace("/containers/{id}", "/containers/web")
    .replace("/networks/{id}", "/networks/bridge")
    .replace("/images/{name}", "/images/busybox")
    .replace(/\{(\w+)\}/g, "some-$1");
}

const api = testAPI(
  fakeEngine({
    records: [fakeRecord()],
    images: fakeImages([fakeImage()]),
    networks: fakeNetworks([fakeNetwork()]),
    volumes: fakeVolumes(),
    events: { publish: () => undefined, listeners: () => 0 },
  }),
);

describe("docs/API.md", () => {
  test("has one row for each operation, and no other", () => {
    expect([...rows.keys()].sort()).toEqual([...operations].sort());
    expect(
      [...rows.values()].map(({ state }) => state).filter((state) => !/^(done|partial|absent)$/.test(state)),
    ).toEqual([]);
  });

  test("says of each partial or absent operation what is missing", () => {
    expect(
      [...rows].filter(([, { state, note }]) => state !== "done" && note === "").map(([operation]) => operation),
    ).toEqual([]);
  });

  test.each(operations)("%s answers as its row says", async (operation) => {
    const [method = "", path = ""] = operation.split(" ");
    const row = rows.get(operation);
    const status = /^(\d{3})/.exec(row?.note ?? "")?.[1];
    // The record of the fake is not as a container service would fill it: only its route is looked for.
    if (operation === "GET /containers/{id}/json") return;
    const reply = await api.call(method, concrete(path));
    const message = (reply.body as { message?: string } | undefined)?.message;
    if (row?.state !== "absent") expect(message).not.toBe("page not found");
    if (row?.state === "absent") expect([404, 501]).toContain(reply.status);
    if (row?.state === "absent" && !path.startsWith("/debug/")) expect(message).not.toBe("page not found");
    // Plugins are asked for their parameters first.
    if (status !== undefined && row?.state !== "partial" && !path.endsWith("/enable"))
      expect(String(reply.status)).toBe(status);
  });
});

test("a path or method that nobody knows is page not found", async () => {
  for (const [method, path] of [
    ["GET", "/nope"],
    ["PUT", "/images/json"],
    ["GET", "/images/busybox"],
    ["DELETE", "/info"],
  ] as const) {
    expect((await api.call(method, path)).body).toEqual({ message: "page not found" });
  }
});

describe("the checker of replies", () => {
  const problems = (body: unknown, pattern = "/volumes/{name}", status = 200, version = "1.55") =>
    problemsOf({ method: "GET", pattern, status, body, version });
  const volume = {
    Name: "v",
    Driver: "local",
    Mountpoint: "/x",
    Labels: null,
    Options: {},
    Scope: "local",
    CreatedAt: "2026-01-01T00:00:00Z",
  };

  test("takes a reply that is right", () => {
    expect(problems(volume)).toEqual([]);
    expect(problems({ message: "no such volume" }, "/volumes/{name}", 404)).toEqual([]);
  });

  test("names a field that is missing, unknown, of another type, or not one of its values", () => {
    const { Name: _, ...nameless } = volume;
    expect(problems(nameless)).toEqual(["Name is missing"]);
    expect(problems({ ...volume, Size: 1 })).toEqual(["Size is not described (in Volume)"]);
    expect(problems({ ...volume, Driver: 7 })).toEqual(["Driver 7 where string is described"]);
    expect(problems({ ...volume, Driver: null })).toEqual(["Driver null where string is described"]);
    expect(problems({ ...volume, Labels: { a: 1 } })).toEqual(['Labels["a"] 1 where string is described']);
    expect(problems({ ...volume, Labels: [] })).toEqual(["Labels [] where an object is described"]);
    expect(problems({ ...volume, Scope: "swarm" })).toEqual(['Scope "swarm" is none of local, global']);
    expect(problems({ ...volume, CreatedAt: "yesterday" })).toEqual(['CreatedAt "yesterday" is no RFC 3339 time']);
    expect(problems({ ...volume, UsageData: { Size: 1.5, RefCount: 1 } })).toEqual([
      "UsageData.Size 1.5 where integer is described",
    ]);
  });

  test("names an error of another shape, a status that is not described, and a body too many or too few", () => {
    expect(problems("no", "/volumes/{name}", 404)).toEqual(['the reply "no" where an object is described']);
    expect(problems(volume, "/volumes/{name}", 201)).toEqual(["the description has no status 201"]);
    expect(problems(undefined)).toEqual(["no body"]);
    expect(
      problemsOf({ method: "DELETE", pattern: "/volumes/{name}", status: 204, body: {}, version: "1.55" })[0],
    ).toStartWith("a body where none");
    expect(problems({}, "/nope")).toEqual(["the description has no such operation"]);
  });

  test("knows the fields of older versions, and only for them", () => {
    const reply = [{ Name: "n", Containers: {} }];
    expect(problems(reply, "/networks", 200, "1.51")).toEqual([]);
    expect(problems(reply, "/networks", 200, "1.52")).toEqual(["[0].Containers is not described (in NetworkSummary)"]);
  });

  test("takes what a definition is made of together, and looks into lists", () => {
    const container = { Name: "web", EndpointID: "", MacAddress: "", IPv4Address: "", IPv6Address: "" };
    expect(problems({ Name: "n", Containers: { [FAKE_ID]: container } }, "/networks/{id}")).toEqual([]);
    expect(problems({ Name: 1, Containers: { c: { Name: 2 } } }, "/networks/{id}").length).toBe(2);
    expect(problemsWith({ $ref: "#/definitions/EventMessage" }, { Type: "cheese" }, "1.55")[0]).toStartWith(
      'Type "cheese" is none of',
    );
  });

  test("finds the pattern of a path, with slashes in names", () => {
    expect(patternOf("GET", "/images/json")).toBe("/images/json");
    expect(patternOf("GET", "/images/reg:5000/a/b/json")).toBe("/images/{name}/json");
    expect(patternOf("GET", "/containers/x/json")).toBe("/containers/{id}/json");
    expect(patternOf("DELETE", "/images/a/b")).toBe("/images/{name}");
    expect(patternOf("POST", "/images/create")).toBe("/images/create");
    expect(patternOf("GET", "/nope")).toBeNull();
    expect(Object.keys(engineAPI().paths).length).toBeGreaterThan(90);
  });
});
