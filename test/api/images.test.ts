// Routes of images on a fake store: parsing, statuses and shapes by version. Each reply is held against the description.
import { describe, expect, test } from "bun:test";
import type { Images } from "../../src/engine/mod.ts";
import { conflict, notFound } from "../../src/errors.ts";
import { testAPI } from "../support/api.ts";
import { fakeEngine } from "../support/fake_engine.ts";
import { fakeImage, fakeImages } from "../support/fake_objects.ts";

const api = (change: Partial<Images> = {}, records = [fakeImage()]) =>
  testAPI(fakeEngine({ images: { ...fakeImages(records), ...change } }));
const ID = fakeImage().id;

describe("GET /images/json", () => {
  test("shows familiar names", async () => {
    const { body } = await api().call("GET", "/images/json");
    expect(body).toEqual([
      {
        Id: ID,
        ParentId: "",
        RepoTags: ["busybox:latest"],
        RepoDigests: [`busybox@sha256:${"cd".repeat(32)}`],
        Created: 1735787045,
        Size: 4000000,
        SharedSize: -1,
        Labels: { a: "b" },
        Containers: 0,
        Descriptor: {
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          digest: `sha256:${"cd".repeat(32)}`,
          size: 500,
        },
      },
    ]);
  });

  test("has the older shapes for older clients", async () => {
    const [old] = (await api({}, [fakeImage({ tags: [], repoDigests: [] })]).call("GET", "/v1.42/images/json"))
      .body as [object];
    expect(old).toMatchObject({
      RepoTags: ["<none>:<none>"],
      RepoDigests: ["<none>@<none>"],
      VirtualSize: 4000000,
      Containers: -1,
    });
    expect(old).not.toHaveProperty("Descriptor");
    const [newer] = (await api({}, [fakeImage({ tags: [] })]).call("GET", "/v1.50/images/json")).body as [object];
    expect(newer).toMatchObject({ RepoTags: [], Containers: -1 });
    expect(newer).not.toHaveProperty("VirtualSize");
  });

  test("passes options on and refuses unknown filters", async () => {
    let asked: unknown;
    const list: Images["list"] = async (options) => ((asked = options), []);
    await api({ list }).call("GET", '/images/json?all=1&shared-size=true&filters={"dangling":{"true":true}}');
    expect(asked).toEqual({ all: true, sharedSize: true, filters: new Map([["dangling", ["true"]]]) });
    const refused = await api().call("GET", '/images/json?filters={"color":["red"]}');
    expect([refused.status, refused.body]).toEqual([400, { message: "invalid filter 'color'" }]);
  });
});

describe("GET /images/{name}/json", () => {
  test.each(["busybox", "busybox:latest", "docker.io/library/busybox", "docker.io%2Flibrary%2Fbusybox", ID])(
    "finds %s",
    async (name) => {
      expect((await api().call("GET", `/images/${name}/json`)).body).toMatchObject({
        Id: ID,
        RootFS: { Type: "layers" },
      });
    },
  );

  test("from 1.52 leaves out what says nothing, and before has every field", async () => {
    const modern = (await api().call("GET", "/v1.52/images/busybox/json")).body as Record<string, unknown>;
    for (const field of ["Parent", "Comment", "DockerVersion", "Author", "GraphDriver", "Variant"])
      expect(modern).not.toHaveProperty(field);
    expect(modern["Config"]).toEqual({ Env: ["PATH=/bin"], Cmd: ["sh"], Labels: { a: "b" } });
    const old = (await api().call("GET", "/v1.43/images/busybox/json")).body as Record<string, unknown>;
    expect(old).toMatchObject({
      Parent: "",
      Comment: "",
      DockerVersion: "",
      VirtualSize: 4000000,
      Container: "",
      GraphDriver: { Name: "overlay2", Data: {} },
      Config: { Hostname: "", Tty: false, Image: "", Entrypoint: null, Env: ["PATH=/bin"] },
      ContainerConfig: { Cmd: null },
    });
  });

  test("a platform that it is not for is a 404", async () => {
    const platform = (value: object) => `/images/busybox/json?platform=${encodeURIComponent(JSON.stringify(value))}`;
    expect((await api().call("GET", platform({ os: "linux", architecture: "amd64" }))).status).toBe(200);
    expect((await api().call("GET", platform({ os: "linux", architecture: "arm64" }))).body).toEqual({
      message:
        "image with reference busybox was found but its platform (linux/amd64) does not match the specified platform (linux/arm64)",
    });
    expect((await api().call("GET", platform({ os: "linux", architecture: "am" }))).status).toBe(404);
    expect((await api().call("GET", "/images/busybox/json?platform=linux")).status).toBe(400);
    expect((await api().call("GET", platform({ os: "linux" }))).status).toBe(400);
    expect((await api().call("GET", `/v1.48${platform({ os: "linux", architecture: "arm64" })}`)).status).toBe(200);
  });

  test("an unknown image is a 404 with Docker's words", async () => {
    const reply = await api().call("GET", "/images/nope:1/json");
    expect([reply.status, reply.body]).toEqual([404, { message: "No such image: nope:1" }]);
    expect(reply.headers.get("content-type")).toBe("application/json");
  });
});

test("history has the newest step first, with the image's ID on it", async () => {
  expect((await api().call("GET", "/images/busybox/history")).body).toEqual([
    { Id: ID, Created: 1735787046, CreatedBy: "CMD sh", Tags: ["busybox:latest"], Size: 0, Comment: "end" },
    { Id: "<missing>", Created: 1735787045, CreatedBy: "ADD rootfs", Tags: null, Size: 4000000, Comment: "" },
  ]);
});

describe("POST /images/create", () => {
  test("streams the pull in lines that end with CRLF", async () => {
    const reply = await api().call("POST", "/images/create?fromImage=docker.io/library/alpine&tag=3");
    expect(reply.text).toBe(
      '{"status":"Pulling from docker.io/library/alpine","id":"3"}\r\n' +
        '{"status":"Status: Downloaded newer image for docker.io/library/alpine:3"}\r\n',
    );
    expect(reply.headers.get("content-type")).toBe("application/json");
  });

  test("an error before the first line has its own status, one after it goes in band", async () => {
    const early = await api({ pull: () => Promise.reject(notFound("pull access denied for x")) }).call(
      "POST",
      "/images/create?fromImage=x",
    );
    expect([early.status, early.body]).toEqual([404, { message: "pull access denied for x" }]);
    const late = await api({
      pull: async (_request, progress) => {
        progress({ status: "Pulling" });
        throw new Error("connection reset");
      },
    }).call("POST", "/images/create?fromImage=x");
    expect(late.status).toBe(200);
    expect(late.lines.at(-1)).toEqual({ errorDetail: { message: "connection reset" }, error: "connection reset" });
  });

  test.each([
    [undefined, null],
    ["e30=", null],
    ["not base64 of anything!", null],
    [
      Buffer.from('{"username":"u","password":"p"}').toString("base64url"),
      { username: "u", password: "p", identityToken: "", registryToken: "" },
    ],
    [
      Buffer.from('{"Username":"ü?>","Password":"p"}').toString("base64"),
      { username: "ü?>", password: "p", identityToken: "", registryToken: "" },
    ],
    [
      Buffer.from(`{"auth":"${btoa("u:p:q")}"}`).toString("base64url"),
      { username: "u", password: "p:q", identityToken: "", registryToken: "" },
    ],
    [
      Buffer.from('{"identitytoken":"t"}').toString("base64url"),
      { username: "", password: "", identityToken: "t", registryToken: "" },
    ],
    [Buffer.from('{"username":7}').toString("base64url"), null],
  ])("reads X-Registry-Auth %j", async (header, credentials) => {
    let asked: unknown;
    const pull: Images["pull"] = async (request) => void (asked = request);
    const headers: Record<string, string> = header === undefined ? {} : { "X-Registry-Auth": header };
    await api({ pull }).call("POST", "/images/create?fromImage=a/b&tag=sha256:11&platform=linux/arm64", { headers });
    expect(asked).toEqual({ image: "a/b", tag: "sha256:11", platform: "linux/arm64", credentials });
  });

  test("an import passes everything on, and ends with the ID; a request for nothing is refused", async () => {
    const asked: object[] = [];
    const imports: Images["import"] = async ({ body, ...request }, progress) => {
      const bytes = body === null ? null : Buffer.concat(await Array.fromAsync(body)).toString();
      asked.push({ ...request, bytes });
      progress({ status: "sha256:11" });
    };
    const query = "fromSrc=-&repo=a/b&tag=1&message=why&changes=CMD%20a&changes=USER%201&platform=linux/arm64";
    const body = new TextEncoder().encode("tar");
    const reply = await api({ import: imports }).call("POST", `/images/create?${query}`, { body });
    expect(reply.lines).toEqual([{ status: "sha256:11" }]);
    await api({ import: imports }).call("POST", "/images/create?fromSrc=example.test/x.tar&repo=im:1");
    expect(asked).toEqual([
      {
        source: "-",
        bytes: "tar",
        repository: "a/b",
        tag: "1",
        message: "why",
        changes: ["CMD a", "USER 1"],
        platform: "linux/arm64",
      },
      {
        source: "example.test/x.tar",
        bytes: null,
        repository: "im:1",
        tag: "",
        message: "",
        changes: [],
        platform: "",
      },
    ]);
    expect((await api().call("POST", "/images/create")).status).toBe(400);
  });
});

test("a push passes name, tag, platform and credentials on", async () => {
  const asked: object[] = [];
  const push: Images["push"] = async (request, progress) => {
    asked.push(request);
    progress({ status: "The push refers to repository [x]" });
  };
  const login = Buffer.from(JSON.stringify({ username: "u", password: "p" })).toString("base64url");
  const query = 'tag=1&platform={"os":"linux","architecture":"arm64"}';
  const reply = await api({ push }).call("POST", `/images/reg.example.com:5000/a/b/push?${query}`, {
    headers: { "X-Registry-Auth": login },
  });
  expect(reply.lines).toEqual([{ status: "The push refers to repository [x]" }]);
  await api({ push }).call("POST", "/v1.45/images/a/push?platform=ignored");
  expect(asked).toEqual([
    {
      image: "reg.example.com:5000/a/b",
      tag: "1",
      platform: "linux/arm64",
      credentials: { username: "u", password: "p", identityToken: "", registryToken: "" },
    },
    { image: "a", tag: "", platform: "", credentials: null },
  ]);
});

test("save answers a tar of all names that repeat, and 404 before any byte", async () => {
  let asked: unknown;
  const save: Images["save"] = async (names, options) => {
    asked = [names, options];
    return (async function* () {
      yield new TextEncoder().encode("tar");
    })();
  };
  const reply = await api({ save }).call(
    "GET",
    '/images/get?names=a&names=b/c&platform={"os":"linux","architecture":"arm","variant":"v7"}',
  );
  expect([reply.text, reply.headers.get("content-type")]).toEqual(["tar", "application/x-tar"]);
  expect(asked).toEqual([["a", "b/c"], { platforms: ["linux/arm/v7"] }]);
  await api({ save }).call("GET", "/v1.47/images/reg:5000/a/b/get?platform=ignored");
  expect(asked).toEqual([["reg:5000/a/b"], { platforms: [] }]);
  expect((await api().call("GET", "/images/nope/get")).status).toBe(404);
  expect((await api().call("GET", "/images/get")).status).toBe(400);
});

test("load passes the body on as it comes", async () => {
  const body = new TextEncoder().encode("0123456789");
  expect((await api().call("POST", "/images/load?quiet=1", { body })).lines).toEqual([{ stream: "Loaded 10 bytes\n" }]);
  expect((await api().call("POST", "/images/load")).lines).toEqual([{ stream: "Loaded 0 bytes\n" }]);
});

test("tag answers 201, remove a list, prune null where nothing went", async () => {
  const records = [fakeImage()];
  const images = api({}, records);
  const tagged = await images.call("POST", "/images/busybox/tag?repo=reg.example.com:5000/a/b&tag=1");
  expect([tagged.status, tagged.text]).toEqual([201, ""]);
  expect((await images.call("DELETE", "/images/reg.example.com:5000/a/b:1?force=1")).body).toEqual([
    { Untagged: "docker.io/library/busybox:latest" },
    { Untagged: "reg.example.com:5000/a/b:1" },
    { Deleted: ID },
  ]);
  expect((await images.call("POST", "/images/prune")).body).toEqual({ ImagesDeleted: null, SpaceReclaimed: 0 });
  expect((await images.call("POST", "/v1.24/images/prune")).status).toBe(404);
});

test("remove passes force and noprune, and a conflict is a 409", async () => {
  let asked: unknown;
  const remove: Images["remove"] = (name, options) => {
    asked = [name, options];
    return Promise.reject(conflict("conflict: unable to delete x"));
  };
  expect((await api({ remove }).call("DELETE", "/images/x?noprune=1")).status).toBe(409);
  expect(asked).toEqual(["x", { force: false, prune: false, platforms: [] }]);
  const platform = encodeURIComponent('{"os":"linux","architecture":"arm64","variant":"v8"}');
  await api({ remove }).call("DELETE", `/images/x?force=1&platforms=${platform}`);
  expect(asked).toEqual(["x", { force: true, prune: true, platforms: ["linux/arm64/v8"] }]);
  expect((await api().call("DELETE", "/images/busybox?platforms={}")).status).toBe(400);
});

test.each([["GET", "/v1.54/images/busybox/attestations", 404]])(
  "%s %s is known and says what it cannot do: %i",
  async (method, path, status) => {
    const reply = await api().call(method, path);
    expect(reply.status).toBe(status);
    expect(reply.body).toEqual({ message: expect.any(String) });
  },
);

test("manifests are told where they are asked for, and not beside a platform", async () => {
  const inspected = await api().call("GET", "/images/busybox/json?manifests=1");
  expect(inspected.body).toMatchObject({
    Manifests: [
      {
        Kind: "image",
        Available: true,
        ImageData: { Platform: { architecture: "amd64" }, Size: { Unpacked: 4_000_000 } },
      },
      { Kind: "attestation", Available: false, AttestationData: { For: expect.stringContaining("sha256:cdcd") } },
    ],
  });
  expect((await api().call("GET", "/v1.47/images/busybox/json?manifests=1")).body).not.toHaveProperty("Manifests");
  const platform = encodeURIComponent('{"os":"linux","architecture":"amd64"}');
  const both = await api().call("GET", `/images/busybox/json?manifests=1&platform=${platform}`);
  expect(both).toMatchObject({
    status: 400,
    body: { message: "conflicting options: manifests and platform options cannot both be set" },
  });
  expect((await api().call("GET", "/images/json?manifests=1")).body).toMatchObject([{ Manifests: [{}, {}] }]);
  expect((await api().call("GET", "/v1.46/images/json?manifests=1")).body).not.toMatchObject([{ Manifests: [{}, {}] }]);
});

test("attestations are told with their statements where these are asked for", async () => {
  const path = "/images/busybox/attestations";
  expect((await api().call("GET", path)).body).toEqual([
    { Descriptor: expect.any(Object), PredicateType: "https://slsa.dev/provenance/v0.2" },
  ]);
  expect((await api().call("GET", `${path}?statement=1`)).body).toMatchObject([
    { Statement: { predicateType: "https://slsa.dev/provenance/v0.2" } },
  ]);
  expect((await api().call("GET", `${path}?type=x`)).body).toEqual([]);
  expect((await api().call("GET", "/images/none/attestations")).status).toBe(404);
});
