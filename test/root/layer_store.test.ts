// Load, save, list, tag, remove and prune on the real disk, with real Workers; and what a killed daemon leaves behind.
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { isKind } from "../../src/errors.ts";
import { busyboxArchive } from "../support/busybox.ts";
import { openImageRoom } from "../support/image_room.ts";
import {
  directory,
  digestOf,
  dockerArchive,
  file,
  imageOf,
  INDEX_TYPE,
  json,
  layerOf,
  MANIFEST_TYPE,
  ociArchive,
  ociLayout,
  symlink,
  tarOf,
  type TestImage,
} from "../support/images.ts";

const filters = (entries: Record<string, string[]> = {}): Map<string, string[]> => new Map(Object.entries(entries));
const all = { all: true, sharedSize: false };

function sample(name: string, options: Parameters<typeof imageOf>[1] = {}): TestImage {
  return imageOf(
    [layerOf([directory("etc"), file("etc/base", "shared")]), layerOf([file("name", name)], "gzip")],
    options,
  );
}

async function refusal(work: Promise<unknown>): Promise<Error> {
  const error = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof Error)) throw new Error("it was not refused");
  return error;
}

describe("load", () => {
  test("takes the busybox archive that every engine takes", async () => {
    await using room = await openImageRoom();
    const messages = await room.load(readFileSync(await busyboxArchive()));
    expect(messages.at(-1)).toEqual({ stream: "Loaded image: busybox:latest\n" });
    const image = room.images.get("busybox");
    expect(image).toMatchObject({ tags: ["docker.io/library/busybox:latest"], repoDigests: [], os: "linux" });
    expect(image.config.Cmd).toEqual(["sh"]);
    const { layersDir, lower } = await room.images.rootfsLayers(image.id);
    expect(lower).toHaveLength(1);
    expect(lower[0]).toMatch(/^[a-z2-7]{5}$/);
    expect(readFileSync(`${layersDir}/${lower[0]}/bin/busybox`).equals(readFileSync("/bin/busybox"))).toBe(true);
    expect(room.events).toEqual([{ action: "load", actorID: image.id, attributes: { name: "busybox:latest" } }]);
  });

  test("takes archives of all ages, compressed or not, to the same image", async () => {
    const image = sample("one");
    const layers = image.layers.map((layer) => layer.digest.slice(7));
    const linked = tarOf([
      file(`${layers[0]}.tar`, image.layers[0]?.blob ?? ""),
      symlink("a/layer.tar", `../${layers[0]}.tar`),
      file(`${layers[1]}.tar`, image.layers[1]?.blob ?? ""),
      { type: "link", path: "b/layer.tar", linkPath: `${layers[1]}.tar` },
      file(`${image.id.slice(7)}.json`, image.config),
      file(
        "manifest.json",
        json([{ Config: `${image.id.slice(7)}.json`, RepoTags: ["one:1"], Layers: ["a/layer.tar", "b/layer.tar"] }]),
      ),
    ]);
    const archives = [
      dockerArchive(image, ["one:1"]),
      ociArchive(image, ["docker.io/library/one:1"]),
      gzipSync(dockerArchive(image, ["one:1"])),
      zstdCompressSync(ociArchive(image, ["one:1"])),
      linked,
    ];
    for (const archive of archives) {
      await using room = await openImageRoom();
      expect(await room.load(archive, { quiet: true })).toEqual([{ stream: "Loaded image: one:1\n" }]);
      const { lower, layersDir } = await room.images.rootfsLayers(image.id);
      expect(readFileSync(`${layersDir}/${lower[0]}/name`, "utf8")).toBe("one");
      expect(readFileSync(`${layersDir}/${lower[1]}/etc/base`, "utf8")).toBe("shared");
      expect(room.leftovers().filter((path) => /^(ingest|tmp)/.test(path))).toEqual([]);
    }
  });

  test("takes several images, indexes in indexes, and a platform's of several", async () => {
    const own = sample("own");
    const other = sample("other", { architecture: "riscv64" });
    const descriptor = (image: TestImage, architecture: string): object => ({
      mediaType: MANIFEST_TYPE,
      digest: digestOf(image.manifest),
      size: image.manifest.length,
      platform: { os: "linux", architecture },
    });
    const inner = json({
      schemaVersion: 2,
      mediaType: INDEX_TYPE,
      manifests: [
        descriptor(other, "riscv64"),
        descriptor(own, process.arch === "x64" ? "amd64" : "arm64"),
        { ...descriptor(sample("absent"), "s390x") },
      ],
    });
    const single = sample("single");
    const blobs = [
      inner,
      ...[own, other, single].flatMap((image) => [
        image.config,
        image.manifest,
        ...image.layers.map((layer) => layer.blob),
      ]),
    ];
    const archive = ociLayout(blobs, [
      {
        mediaType: INDEX_TYPE,
        digest: digestOf(inner),
        size: inner.length,
        annotations: { "io.containerd.image.name": "docker.io/me/multi:v1" },
      },
      { ...descriptor(single, "amd64"), annotations: { "org.opencontainers.image.ref.name": "latest" } },
    ]);
    await using room = await openImageRoom();
    const lines = (await room.load(archive, { quiet: true })).map((message) => message.stream);
    expect(lines).toEqual(["Loaded image: me/multi:v1\n", `Loaded image ID: ${single.id}\n`]);
    expect(room.images.get("me/multi:v1").id).toBe(own.id);
    await using foreign = await openImageRoom();
    await foreign.load(archive, { quiet: true, platforms: ["linux/riscv64"] });
    expect(foreign.images.get("me/multi:v1")).toMatchObject({ id: other.id, architecture: "riscv64" });
    // Manifest, config, two layers, and the index that they came by.
    expect(foreign.leftovers().filter((path) => path.startsWith("blobs"))).toHaveLength(5);
  });

  test("keeps an image's index, and tells what it names and what is attested", async () => {
    const image = imageOf([layerOf([file("a", Buffer.from("a"))])]);
    const statement = json({ _type: "https://in-toto.io/Statement/v0.1", predicateType: "https://slsa.dev/x", n: 1 });
    const empty = json({});
    const blob = (bytes: Uint8Array, mediaType: string) => ({ mediaType, digest: digestOf(bytes), size: bytes.length });
    const attestation = json({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: blob(empty, "application/vnd.oci.image.config.v1+json"),
      layers: [blob(statement, "application/vnd.in-toto+json")],
    });
    const architecture = process.arch === "x64" ? "amd64" : "arm64";
    const absent = { mediaType: MANIFEST_TYPE, digest: `sha256:${"0".repeat(64)}`, size: 5 };
    const inner = json({
      schemaVersion: 2,
      mediaType: INDEX_TYPE,
      manifests: [
        { ...blob(image.manifest, MANIFEST_TYPE), platform: { os: "linux", architecture } },
        { ...absent, platform: { os: "linux", architecture: "s390x" } },
        {
          ...blob(attestation, MANIFEST_TYPE),
          platform: { os: "unknown", architecture: "unknown" },
          annotations: {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": digestOf(image.manifest),
          },
        },
      ],
    });
    const blobs = [inner, attestation, empty, statement, image.config, image.manifest];
    const archive = ociLayout(
      [...blobs, ...image.layers.map((layer) => layer.blob)],
      [{ ...blob(inner, INDEX_TYPE), annotations: { "io.containerd.image.name": "docker.io/me/attested:1" } }],
    );
    await using room = await openImageRoom();
    await room.load(archive, { quiet: true });
    room.uses = [{ containerID: "c1", imageID: image.id, isRunning: false }];
    const record = room.images.get("me/attested:1");
    const manifests = await room.images.manifests(record);
    expect(manifests).toMatchObject([
      { kind: "image", isAvailable: true, platform: { architecture }, containers: ["c1"] },
      { kind: "image", isAvailable: false, contentBytes: 0, platform: { architecture: "s390x" }, containers: [] },
      { kind: "attestation", isAvailable: true, subject: digestOf(image.manifest) },
    ]);
    expect(manifests[0]?.unpackedBytes).toBe(record.sizeBytes);
    const ask = (options: Partial<Parameters<typeof room.images.attestations>[1]> = {}) =>
      room.images.attestations("me/attested:1", { platform: "", types: [], withStatement: true, ...options });
    expect(await ask()).toMatchObject([{ predicateType: "https://slsa.dev/x", statement: { n: 1 } }]);
    expect(await ask({ withStatement: false })).toMatchObject([{ statement: null }]);
    expect(await ask({ types: ["https://spdx.dev/Document"] })).toEqual([]);
    expect((await refusal(ask({ platform: "linux/ppc64le" }))).message).toContain("no manifest found for platform");
    // Nothing of it is collected while the image is there, and all of it with the image.
    await room.store.collect(room.now.getTime());
    expect(await ask()).toHaveLength(1);
    room.uses = [];
    const gone = { force: false, prune: true, platforms: [] };
    expect(
      (await refusal(room.images.remove("me/attested:1", { ...gone, platforms: ["linux/s390x"] }))).message,
    ).toContain("does not provide the specified platform");
    await room.images.remove("me/attested:1", { ...gone, platforms: [`linux/${architecture}`] });
    await room.trash.emptied();
    expect(room.leftovers().filter((path) => path.startsWith("blobs/"))).toEqual([]);
  });

  test("tells its progress per layer", async () => {
    await using room = await openImageRoom();
    const layer = layerOf([file("noise", Buffer.from(Array.from({ length: 3_000_000 }, (_, at) => (at * 7919) >> 3)))]);
    const messages = await room.load(dockerArchive(imageOf([layer]), ["big:1"]));
    const bars = messages.filter((message) => message.status === "Loading layer");
    expect(bars.length).toBeGreaterThan(0);
    expect(bars[0]).toMatchObject({ id: layer.diffID.slice(7, 19), progressDetail: { total: layer.blob.length } });
  });

  test("moves a name from the image that had it", async () => {
    await using room = await openImageRoom();
    const [first, second] = [sample("first"), sample("second")];
    await room.load(dockerArchive(first, ["app:1", "app:2"]));
    await room.load(dockerArchive(second, ["app:1"]));
    expect(room.images.get("app:1").id).toBe(second.id);
    expect(room.images.get(first.id).tags).toEqual(["docker.io/library/app:2"]);
  });

  describe("of a bad archive fails with a clear error and leaves nothing:", () => {
    const good = sample("good");
    const bad = {
      ...good,
      layers: good.layers.map((layer, at) =>
        at === 1 ? { ...layer, blob: gzipSync(tarOf([file("other", "x")])) } : layer,
      ),
    };
    const climbing = imageOf([layerOf([file("ok", "x"), file("../evil", "x")])]);
    const cases: [string, Uint8Array, string][] = [
      ["no tar", Buffer.from("rubbish".repeat(1000)), "not a tar archive"],
      ["xz", Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2), "the xz data is damaged"],
      ["nothing at all", new Uint8Array(0), "truncated"],
      ["no image in it", tarOf([file("hello", "world")]), "neither index.json nor manifest.json"],
      ["an empty list", tarOf([file("manifest.json", "[]")]), "it holds no image"],
      ["JSON that is none", tarOf([file("manifest.json", "{")]), "invalid manifest.json: not JSON"],
      ["JSON of another shape", tarOf([file("manifest.json", '[{"Config":1}]')]), "0.Config"],
      ["a missing config", tarOf([file("manifest.json", '[{"Config":"c.json","Layers":[]}]')]), '"c.json" is missing'],
      [
        "a missing layer",
        tarOf([file("c.json", good.config), file("manifest.json", '[{"Config":"c.json","Layers":["a","b"]}]')]),
        '"a" is missing',
      ],
      [
        "too few layers",
        tarOf([file("c.json", good.config), file("manifest.json", '[{"Config":"c.json","Layers":[]}]')]),
        "the config tells of 2",
      ],
      ["a bad name", dockerArchive(good, ["Good:1"]), "must be lowercase"],
      ["a layer with another diffID", dockerArchive(bad, ["good:1"]), "has diffID"],
      [
        "a blob with another digest",
        ociLayout([good.config, good.manifest], []).map((byte, at) => (at === 512 * 5 + 3 ? byte ^ 1 : byte)),
        "digest",
      ],
      [
        "a missing blob",
        ociLayout(
          [good.config, good.manifest],
          [{ mediaType: MANIFEST_TYPE, digest: digestOf(good.manifest), size: good.manifest.length }],
        ),
        "is missing",
      ],
      ["an archive cut in a blob", ociArchive(good, ["good:1"]).subarray(0, 6000), "truncated"],
      ["a layer that climbs out", dockerArchive(climbing, ["evil:1"]), "climbs out of the root"],
      ["a member that climbs out", tarOf([file("../manifest.json", "[]")]), "climbs out of the archive"],
      [
        "links in a circle",
        tarOf([symlink("manifest.json", "b"), symlink("b", "manifest.json")]),
        "neither index.json",
      ],
      [
        "a huge document",
        tarOf([{ type: "file", path: "manifest.json", content: new Uint8Array(9 << 20) }]),
        "a document at most",
      ],
    ];
    for (const [name, archive, message] of cases) {
      test(name, async () => {
        await using room = await openImageRoom();
        const error = await refusal(room.load(archive));
        expect(error.message).toContain(message);
        expect(isKind(error, "invalid")).toBe(true);
        await room.trash.emptied();
        expect(room.leftovers()).toEqual([]);
        expect(room.images.list({ ...all, filters: filters() })).resolves.toEqual([]);
        // The service goes on.
        await room.load(dockerArchive(good, ["good:1"]));
        expect(room.images.get("good:1").id).toBe(good.id);
      });
    }
  });

  test("onto a full disk says so, keeps nothing, and works again with room", async () => {
    // A file system of 12 MiB, in a mount namespace of a process of its own.
    const script = `
      import { openImageRoom } from "./test/support/image_room.ts";
      import { dockerArchive, file, imageOf, layerOf } from "./test/support/images.ts";
      import { randomBytes } from "node:crypto";
      await using room = await openImageRoom(process.argv[1]);
      const content = (size, form) => (form === "gzip" ? Buffer.alloc(size) : randomBytes(size));
      const archive = (size, form) =>
        dockerArchive(imageOf([layerOf([file("big", content(size, form))], form)]), ["big:1"]);
      for (const [size, form] of [[16 << 20, "tar"], [16 << 20, "gzip"], [8 << 20, "tar"]]) {
        const outcome = await room.load(archive(size, form)).then(() => "loaded", (error) => error.message);
        await room.trash.emptied();
        console.log(outcome, room.leftovers().length);
      }
      console.log(await room.load(archive(1 << 20, "tar")).then(() => room.images.get("big:1").tags.join()));
    `;
    const room = await openImageRoom();
    const small = `${room.dataRoot}/small`;
    mkdirSync(small);
    const command = `mount -t tmpfs -o size=12m none ${small} && exec "$0" -e "$1" ${small}`;
    const child = Bun.spawnSync(["unshare", "-m", "sh", "-c", command, process.execPath, script], {
      cwd: `${import.meta.dir}/../..`,
    });
    await room[Symbol.asyncDispose]();
    const full = "no space left on device: the image cannot be stored 0";
    expect(child.stdout.toString().trim().split("\n")).toEqual([full, full, full, "docker.io/library/big:1"]);
  });

  test("that is aborted leaves nothing", async () => {
    await using room = await openImageRoom();
    const controller = new AbortController();
    const archive = dockerArchive(imageOf([layerOf([file("big", Buffer.alloc(4 << 20))])]), ["a:1"]);
    const body = async function* (): AsyncGenerator<Uint8Array> {
      yield archive.subarray(0, 1 << 20);
      controller.abort(new Error("the client has gone"));
      yield archive.subarray(1 << 20);
    };
    const error = await refusal(
      room.images.load(body(), { quiet: true, platforms: [] }, () => undefined, controller.signal),
    );
    expect(error.message).toBe("the client has gone");
    await room.trash.emptied();
    expect(room.leftovers()).toEqual([]);
  });

  test("of the same archive twice at once unpacks each layer once", async () => {
    await using room = await openImageRoom();
    const [archive, layout] = [dockerArchive(sample("twice"), ["twice:1"]), ociArchive(sample("twice"), ["twice:1"])];
    await Promise.all([archive, layout, archive, layout].map((each) => room.load(each)));
    await room.trash.emptied();
    expect(room.leftovers().filter((path) => path.startsWith("layers"))).toHaveLength(2);
    expect(room.leftovers().filter((path) => /^(ingest|tmp|trash)/.test(path))).toEqual([]);
  });
});

describe("save", () => {
  test("and load again gives the same digests everywhere", async () => {
    await using first = await openImageRoom();
    const image = sample("round");
    await first.load(ociArchive(image, ["round:1"]));
    await first.images.tag("round:1", "localhost:5000/round", "two");
    const archive = await first.save("round:1", "localhost:5000/round:two");
    await using second = await openImageRoom();
    const lines = (await second.load(archive, { quiet: true })).map((message) => String(message.stream));
    expect(lines.toSorted()).toEqual(["Loaded image: localhost:5000/round:two\n", "Loaded image: round:1\n"]);
    expect(second.images.get("round:1")).toMatchObject({
      id: image.id,
      manifest: { digest: digestOf(image.manifest) },
    });
    const blobs = (room: typeof first): string[] =>
      room
        .leftovers()
        .filter((path) => path.startsWith("blobs"))
        .toSorted();
    expect(blobs(second)).toEqual(blobs(first));
    expect(Buffer.from(await second.save("round:1", "localhost:5000/round:two")).equals(Buffer.from(archive))).toBe(
      true,
    );
  });

  test("is what tar and old loaders can read", async () => {
    await using room = await openImageRoom();
    const image = sample("plain");
    await room.load(dockerArchive(image, ["plain:1", "plain:2"]));
    const work = `${room.dataRoot}/out`;
    mkdirSync(work);
    writeFileSync(`${work}.tar`, await room.save("plain"));
    expect(Bun.spawnSync(["tar", "-C", work, "-xf", `${work}.tar`]).exitCode).toBe(0);
    const [entry] = JSON.parse(readFileSync(`${work}/manifest.json`, "utf8"));
    expect(entry.RepoTags).toEqual(["plain:1", "plain:2"]);
    for (const path of [entry.Config, ...entry.Layers])
      expect(digestOf(readFileSync(`${work}/${path}`)).slice(7)).toBe(path.split("/").at(-1));
    expect(JSON.parse(readFileSync(`${work}/oci-layout`, "utf8"))).toEqual({ imageLayoutVersion: "1.0.0" });
    const index = JSON.parse(readFileSync(`${work}/index.json`, "utf8"));
    expect(
      index.manifests.map(
        (each: { annotations: Record<string, string> }) => each.annotations["io.containerd.image.name"],
      ),
    ).toEqual(["docker.io/library/plain:1", "docker.io/library/plain:2"]);
    // By ID it has no name.
    const byID = await room.save(image.id.slice(7, 19));
    await using other = await openImageRoom();
    expect(await other.load(byID, { quiet: true })).toEqual([{ stream: `Loaded image ID: ${image.id}\n` }]);
  });

  test("of what is not there is a 404 before any byte", async () => {
    await using room = await openImageRoom();
    await room.load(dockerArchive(sample("here"), ["here:1"]));
    const error = await refusal(room.save("here:1", "absent"));
    expect(isKind(error, "notFound")).toBe(true);
    expect(error.message).toBe("No such image: absent:latest");
    const signal = new AbortController().signal;
    const platform = await refusal(room.images.save(["here:1"], { platforms: ["linux/s390x"] }, signal));
    expect(platform.message).toContain("does not provide the specified platform (linux/s390x)");
  });
});

describe("names", () => {
  test("find images by every form, and nothing else", async () => {
    await using room = await openImageRoom();
    const image = sample("named");
    await room.load(dockerArchive(image, ["named:latest", "localhost:5000/a/b:v1"]));
    const hex = image.id.slice(7);
    for (const name of [
      "named",
      "named:latest",
      "library/named",
      "docker.io/library/named:latest",
      "localhost:5000/a/b:v1",
      image.id,
      hex,
      hex.slice(0, 12),
      `sha256:${hex.slice(0, 5)}`,
    ]) {
      expect(room.images.get(name).id).toBe(image.id);
    }
    const cases: [string, string][] = [
      ["absent", "No such image: absent:latest"],
      ["named:2", "No such image: named:2"],
      [`sha256:${"0".repeat(64)}`, `No such image: sha256:${"0".repeat(64)}`],
      ["0".repeat(64), `No such image: ${"0".repeat(64)}`],
      ["localhost:5000/a/b", "No such image: localhost:5000/a/b:latest"],
    ];
    for (const [name, message] of cases) expect(() => room.images.get(name)).toThrow(message);
    expect(() => room.images.get("Named")).toThrow("must be lowercase");
  });

  test("are given by tag, in Docker's words where not", async () => {
    await using room = await openImageRoom();
    const image = sample("source");
    await room.load(dockerArchive(image, ["source:1"]));
    await room.images.tag("source:1", "other/repo", "");
    await room.images.tag(image.id, "other/repo", "v2");
    expect(room.images.get("source:1").tags).toEqual([
      "docker.io/library/source:1",
      "docker.io/other/repo:latest",
      "docker.io/other/repo:v2",
    ]);
    expect(room.events.at(-1)).toEqual({ action: "tag", actorID: image.id, attributes: { name: "other/repo:v2" } });
    const refused: [string, string, string, string][] = [
      ["absent", "x", "", "No such image: absent:latest"],
      ["source:1", "sha256", "abc", "refusing to create an ambiguous tag using digest algorithm as name"],
      ["source:1", "X", "", "must be lowercase"],
      ["source:1", "x", "-bad", "invalid tag format"],
    ];
    for (const [source, repository, tag, message] of refused) {
      expect((await refusal(room.images.tag(source, repository, tag))).message).toContain(message);
    }
  });
});

describe("list", () => {
  test("filters as Docker does, newest first", async () => {
    await using room = await openImageRoom();
    const old = sample("old", { created: "2020-01-01T00:00:00Z", config: { Labels: { tier: "db", x: "1" } } });
    const mid = sample("mid", { created: "2021-01-01T00:00:00.5Z", config: { Labels: { tier: "web" } } });
    const recent = sample("new", { created: "2022-01-01T00:00:00Z" });
    await room.load(dockerArchive(old, ["app/old:1", "app/old:2"]));
    await room.load(dockerArchive(mid, ["mid:1"]));
    await room.load(dockerArchive(recent, []));
    const ids = async (given: Record<string, string[]>): Promise<string[]> =>
      (await room.images.list({ ...all, filters: filters(given) })).map(({ image }) => image.id);
    expect(await ids({})).toEqual([recent.id, mid.id, old.id]);
    expect(await ids({ dangling: ["true"] })).toEqual([recent.id]);
    expect(await ids({ dangling: ["false"] })).toEqual([mid.id, old.id]);
    expect(await ids({ label: ["tier"] })).toEqual([mid.id, old.id]);
    expect(await ids({ label: ["tier=db", "x"] })).toEqual([old.id]);
    expect(await ids({ before: ["mid:1"] })).toEqual([old.id]);
    expect(await ids({ since: ["app/old:1"] })).toEqual([recent.id, mid.id]);
    expect(await ids({ until: ["2021-06-01"] })).toEqual([mid.id, old.id]);
    expect(await ids({ reference: ["mid*"] })).toEqual([mid.id]);
    expect(await ids({ reference: ["*"] })).toEqual([mid.id]);
    expect(await ids({ reference: ["app/*"] })).toEqual([old.id]);
    expect(await ids({ reference: ["*/old:[12]"] })).toEqual([old.id]);
    const [shown] = await room.images.list({ ...all, filters: filters({ reference: ["app/old:2"] }) });
    expect(shown?.image.tags).toEqual(["docker.io/app/old:2"]);
    for (const bad of [
      { dangling: ["maybe"] },
      { before: ["absent"] },
      { until: ["soon"] },
      { reference: ["[a"] },
    ] as Record<string, string[]>[]) {
      expect(await refusal(room.images.list({ ...all, filters: filters(bad) }))).toBeInstanceOf(Error);
    }
  });

  test("tells sizes, shared sizes and how many containers use each", async () => {
    await using room = await openImageRoom();
    const [one, two] = [sample("1"), sample("22")];
    await room.load(dockerArchive(one, ["one:1"]));
    await room.load(dockerArchive(two, ["two:1"]));
    room.uses = [{ containerID: "c".repeat(64), imageID: two.id, isRunning: true }];
    const list = await room.images.list({ all: true, filters: filters({ reference: ["two"] }), sharedSize: true });
    expect(list).toMatchObject([{ image: { sizeBytes: 8 }, sharedSizeBytes: 6, containers: 1 }]);
    expect(await room.images.totals()).toEqual({ count: 2, layersBytes: 9 });
  });
});

describe("remove", () => {
  const container = (imageID: string, isRunning: boolean) => ({
    containerID: "abcdef012345".padEnd(64, "0"),
    imageID,
    isRunning,
  });

  test("untags, and deletes with the last name what no other image uses", async () => {
    await using room = await openImageRoom();
    const [one, two] = [sample("one"), sample("two")];
    await room.load(dockerArchive(one, ["one:1", "one:2"]));
    await room.load(dockerArchive(two, ["two:1"]));
    const options = { force: false, prune: true, platforms: [] };
    expect(await room.images.remove("one:1", options)).toEqual([{ Untagged: "one:1" }]);
    expect(await room.images.remove("one:2", options)).toEqual([{ Untagged: "one:2" }, { Deleted: one.id }]);
    expect(room.events.slice(-2)).toEqual([
      { action: "untag", actorID: one.id, attributes: { name: one.id } },
      { action: "delete", actorID: one.id, attributes: { name: one.id } },
    ]);
    await room.trash.emptied();
    // Their common layer stays.
    expect(room.leftovers().filter((path) => path.startsWith("layers"))).toHaveLength(2);
    const { lower, layersDir } = await room.images.rootfsLayers(two.id);
    expect(lower.every((name) => existsSync(`${layersDir}/${name}`))).toBe(true);
    expect(await room.images.remove(two.id.slice(7, 15), options)).toEqual([
      { Untagged: "two:1" },
      { Deleted: two.id },
    ]);
    await room.trash.emptied();
    expect(room.leftovers()).toEqual([]);
    const next = await room.reopen();
    expect(next.store.all()).toEqual([]);
    await next[Symbol.asyncDispose]();
  });

  test("says no in Docker's words", async () => {
    await using room = await openImageRoom();
    const image = sample("busy");
    await room.load(dockerArchive(image, ["busy:1"]));
    const short = image.id.slice(7, 19);
    const soft = { force: false, prune: true, platforms: [] };
    const hard = { force: true, prune: true, platforms: [] };
    const message = async (name: string, options: typeof soft): Promise<string> => {
      const error = await refusal(room.images.remove(name, options));
      expect(isKind(error, name === "absent" ? "notFound" : "conflict")).toBe(true);
      return error.message;
    };
    room.uses = [container(image.id, false)];
    expect(await message("busy:1", soft)).toBe(
      `conflict: unable to remove repository reference "busy:1" (must force) - container abcdef012345 is using its referenced image ${short}`,
    );
    expect(await message(short, soft)).toBe(
      `conflict: unable to delete ${short} (must be forced) - image is being used by stopped container abcdef012345`,
    );
    room.uses = [container(image.id, true)];
    expect(await message(short, hard)).toBe(
      `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container abcdef012345`,
    );
    room.uses = [];
    await room.images.tag("busy:1", "elsewhere", "1");
    expect(await message(short, soft)).toBe(
      `conflict: unable to delete ${short} (must be forced) - image is referenced in multiple repositories`,
    );
    expect(await message("absent", soft)).toBe("No such image: absent:latest");
    expect(await room.images.remove(short, hard)).toEqual(
      [{ Untagged: "elsewhere:1" }, { Untagged: "busy:1" }, { Deleted: image.id }].toSorted((a, b) =>
        "Deleted" in a ? 1 : "Deleted" in b ? -1 : (a.Untagged ?? "") < (b.Untagged ?? "") ? -1 : 1,
      ),
    );
  });

  test("by force leaves a container's files, and the image without a name", async () => {
    await using room = await openImageRoom();
    const image = sample("kept");
    await room.load(dockerArchive(image, ["kept:1"]));
    room.uses = [container(image.id, false)];
    expect(await room.images.remove("kept:1", { force: true, prune: true, platforms: [] })).toEqual([
      { Untagged: "kept:1" },
    ]);
    expect(room.images.get(image.id).tags).toEqual([]);
    expect((await room.images.rootfsLayers(image.id)).lower).toHaveLength(2);
    expect(
      (await refusal(room.images.remove(image.id, { force: true, prune: true, platforms: [] }))).message,
    ).toContain("stopped container");
    room.uses = [];
    expect(await room.images.remove(image.id, { force: false, prune: true, platforms: [] })).toEqual([
      { Deleted: image.id },
    ]);
  });

  test("waits for a container that is being made", async () => {
    await using room = await openImageRoom();
    const image = sample("claimed");
    await room.load(dockerArchive(image, ["claimed:1"]));
    const { release } = room.images.claim("claimed:1");
    expect(
      isKind(await refusal(room.images.remove("claimed:1", { force: false, prune: true, platforms: [] })), "conflict"),
    ).toBe(true);
    release();
    release();
    expect(await room.images.remove("claimed:1", { force: false, prune: true, platforms: [] })).toHaveLength(2);
  });
});

describe("prune", () => {
  test("takes images without a name, or all unused ones, and what failed pulls left", async () => {
    await using room = await openImageRoom();
    const [dangling, unused, used] = [sample("dangling"), sample("unused"), sample("used")];
    await room.load(dockerArchive(dangling, []));
    await room.load(dockerArchive(unused, ["unused:1"]));
    await room.load(dockerArchive(used, ["used:1"]));
    room.uses = [{ containerID: "c".repeat(64), imageID: used.id, isRunning: false }];
    await room.store.content.put(Buffer.from("of a pull that failed"), "x");
    const partial = await room.store.content.openIngest({
      digest: digestOf(Buffer.from("p")) as `${string}` & { brand: "Digest" },
      size: 100,
      mediaType: "",
    } as never);
    await partial.write(Buffer.from("half"));
    await partial.close();
    room.now = new Date(Date.now() + 60_000);
    const first = await room.images.prune(filters());
    expect(first.deleted).toEqual([{ Deleted: dangling.id }]);
    expect(first.spaceReclaimed).toBeGreaterThan(8);
    expect(room.events.at(-1)).toEqual({
      action: "prune",
      actorID: "",
      attributes: { reclaimed: String(first.spaceReclaimed) },
    });
    expect(room.leftovers().filter((path) => path.startsWith("ingest"))).toEqual([]);
    expect((await room.images.prune(filters({ dangling: ["false"], label: ["none"] }))).deleted).toEqual([]);
    const second = await room.images.prune(filters({ dangling: ["false"] }));
    expect(second.deleted).toEqual([{ Untagged: "unused:1" }, { Deleted: unused.id }]);
    expect(room.store.all().map((image) => image.id)).toEqual([used.id]);
    await room.trash.emptied();
    expect(room.leftovers().filter((path) => path.startsWith("layers"))).toHaveLength(2);
    expect(room.leftovers().filter((path) => path.startsWith("blobs"))).toHaveLength(4);
  });

  test("runs once at a time, and takes nothing that is being brought in", async () => {
    await using room = await openImageRoom();
    const image = sample("arriving");
    await room.store.whileIngesting(async () => {
      const config = await room.store.content.put(image.config, "");
      const [first, second] = [
        room.images.prune(filters({ dangling: ["false"] })),
        refusal(room.images.prune(filters())),
      ];
      expect((await second).message).toBe("a prune operation is already running");
      await first;
      expect(room.store.content.has(config.digest)).toBe(true);
    });
  });
});

describe("after the daemon was killed", () => {
  test("images are as they were, and leftovers are gone", async () => {
    const room = await openImageRoom();
    const image = sample("durable", { config: { Labels: { a: "b" } } });
    await room.load(dockerArchive(image, ["durable:1"]));
    const before = room.images.get("durable:1");
    // What a kill in the middle of things leaves: directories and files without rows.
    mkdirSync(`${room.dataRoot}/layers/zzzzz/deep`, { recursive: true });
    mkdirSync(`${room.dataRoot}/tmp/layer-half/deep`, { recursive: true });
    writeFileSync(`${room.dataRoot}/blobs/sha256/${"f".repeat(64)}`, "no row");
    writeFileSync(`${room.dataRoot}/ingest/new-abc`, "half");
    writeFileSync(`${room.dataRoot}/ingest/${"e".repeat(64)}`, "a download to go on with");
    mkdirSync(`${room.dataRoot}/trash/old`, { recursive: true });
    await using next = await room.reopen();
    await next.trash.emptied();
    expect(next.images.get("durable:1")).toEqual(before);
    const left = next.leftovers();
    expect(left.filter((path) => path.startsWith("layers"))).toHaveLength(2);
    expect(left.filter((path) => path.startsWith("blobs"))).toHaveLength(4);
    expect(left.filter((path) => /^(ingest|tmp|trash)/.test(path))).toEqual([`ingest/${"e".repeat(64)}`]);
  });

  test("a layer directory that has vanished is unpacked again from its blob", async () => {
    const room = await openImageRoom();
    const image = sample("again");
    await room.load(dockerArchive(image, ["again:1"]));
    const { layersDir, lower } = await room.images.rootfsLayers(image.id);
    rmSync(`${layersDir}/${lower[0]}`, { recursive: true });
    await using next = await room.reopen();
    expect(next.logged.join("")).toContain("an unpacked layer has vanished");
    const again = await next.images.rootfsLayers(image.id);
    expect(again.lower[1]).toBe(lower[1] ?? "");
    expect(readFileSync(`${layersDir}/${again.lower[0]}/name`, "utf8")).toBe("again");
  });

  test("a download goes on where it stood", async () => {
    const room = await openImageRoom();
    const bytes = Buffer.alloc(300_000, "abc");
    const blob = { digest: digestOf(bytes), size: bytes.length, mediaType: "x" } as Parameters<
      typeof room.store.content.openIngest
    >[0];
    const first = await room.store.content.openIngest(blob);
    await first.write(bytes.subarray(0, 100_001));
    await first.close();
    await using next = await room.reopen();
    const second = await next.store.content.openIngest(blob);
    expect(second.offset).toBe(100_001);
    await second.write(bytes.subarray(100_001));
    expect(await second.commit()).toBe(blob.digest);
    expect(readFileSync(next.store.content.path(blob.digest)).equals(bytes)).toBe(true);
    expect(readdirSync(`${next.dataRoot}/ingest`)).toEqual([]);
  });
});

describe("the content store", () => {
  type Blob = Parameters<Awaited<ReturnType<typeof openImageRoom>>["store"]["content"]["openIngest"]>[0];
  const describeBlob = (bytes: Uint8Array, size = bytes.length): Blob =>
    ({ digest: digestOf(bytes), size, mediaType: "x" }) as Blob;

  test("keeps nothing of bytes that are not as announced", async () => {
    await using room = await openImageRoom();
    const bytes = Buffer.from("the true bytes");
    const wrong = await room.store.content.openIngest(describeBlob(bytes));
    await wrong.write(Buffer.from("the fake bytes"));
    expect((await refusal(wrong.commit())).message).toContain("unexpected digest");
    const short = await room.store.content.openIngest(describeBlob(bytes));
    expect(short.offset).toBe(0);
    await short.write(bytes.subarray(3));
    expect((await refusal(short.commit())).message).toContain("not the 14 announced");
    const long = await room.store.content.openIngest(describeBlob(bytes));
    expect((await refusal(long.write(Buffer.alloc(15)))).message).toContain("larger than the 14 bytes");
    expect(room.leftovers()).toEqual([]);
  });

  test("lets one at a time bring the same blob", async () => {
    await using room = await openImageRoom();
    const bytes = Buffer.from("once");
    const first = await room.store.content.openIngest(describeBlob(bytes));
    const waiting = room.store.content.openIngest(describeBlob(bytes));
    await first.write(bytes);
    await first.commit();
    const second = await waiting;
    expect(room.store.content.has(digestOf(bytes))).toBe(true);
    await second.close();
    expect(room.leftovers().filter((path) => path.startsWith("blobs"))).toHaveLength(1);
  });
});
