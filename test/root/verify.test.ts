// src/image/verify.ts on the real disk: what is damaged is found and named, and mended from what is whole.
import { expect, test } from "bun:test";
import { chmodSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { type Fault, verifyImages } from "../../src/image/verify.ts";
import { type ImageRoom, openImageRoom } from "../support/image_room.ts";
import { directory, file, imageOf, layerOf, ociArchive, symlink, type TestImage } from "../support/images.ts";
import { TestRegistry } from "../support/registry.ts";
import { registryClient } from "../support/registry_client.ts";

const image = imageOf([
  layerOf([directory("etc"), file("etc/base", "shared"), symlink("etc/link", "base"), file(".wh.gone", "")], "gzip"),
  layerOf([file("name", "two")]),
]);

async function verify(room: ImageRoom, repairs = false, inUse: string[] = []) {
  const faults: Fault[] = [];
  const summary = await verifyImages(
    {
      store: room.store,
      downloads: { registry: registryClient(), maxAttempts: () => 1, sleep: async () => undefined },
      isInUse: (imageID) => inUse.includes(imageID),
      onFault: (fault) => faults.push(fault),
      signal: new AbortController().signal,
    },
    repairs,
  );
  return { faults, summary };
}

const blobPath = (room: ImageRoom, digest: string): string => `${room.dataRoot}/blobs/${digest.replace(":", "/")}`;
const layerPath = (room: ImageRoom, index: number): string =>
  `${room.dataRoot}/layers/${room.store.layers.get(image.layers[index]?.diffID ?? "")?.shortName}`;

test("a whole store has no faults", async () => {
  await using room = await openImageRoom();
  await room.load(ociArchive(image, ["docker.io/me/a:1"]));
  const { faults, summary } = await verify(room);
  expect(faults).toEqual([]);
  expect(summary).toEqual({ images: 1, blobs: 4, layers: 2, unchecked: 0, faults: 0, repaired: 0 });
  expect(room.leftovers().filter((path) => path.startsWith("tmp"))).toEqual([]);
});

test.each<[string, (path: string) => void]>([
  ["etc/base: other contents", (path) => rewrite(`${path}/etc/base`, "shareD")],
  ["etc/base: has 3 bytes, not 6", (path) => rewrite(`${path}/etc/base`, "sha")],
  ["etc/base: has mode 600", (path) => chmodSync(`${path}/etc/base`, 0o600)],
  ["etc/base: is missing", (path) => rmSync(`${path}/etc/base`)],
  ["etc/more: does not belong there", (path) => writeFileSync(`${path}/etc/more`, "")],
  ["gone: is missing", (path) => rmSync(`${path}/gone`)],
  [
    "etc/link: has another time",
    (path) => {
      rmSync(`${path}/etc/link`);
      symlinkSync("bass", `${path}/etc/link`);
    },
  ],
])("a layer of which %s is found, and unpacked again", async (words, damage) => {
  await using room = await openImageRoom();
  await room.load(ociArchive(image, ["docker.io/me/a:1"]));
  damage(layerPath(room, 0));
  expect((await verify(room)).faults).toMatchObject([{ kind: "layer", repair: null }]);
  expect((await verify(room)).faults[0]?.problem).toContain(words);
  expect((await verify(room, true, [image.id])).faults[0]?.problem).toContain("a running container stands on it");
  expect((await verify(room, true)).faults).toMatchObject([
    { kind: "layer", repair: expect.stringMatching("unpacked again") },
  ]);
  expect((await verify(room)).faults).toEqual([]);
  await room.trash.emptied();
  expect(readdirSync(`${room.dataRoot}/layers`)).toHaveLength(2);
  expect(readFileSync(`${layerPath(room, 0)}/etc/base`, "utf8")).toBe("shared");
});

/** With the time it had. */
function rewrite(path: string, text: string): void {
  writeFileSync(path, text);
  utimesSync(path, 0, 0);
}

test("a damaged blob is fetched again from where its image came from, or else taken out for the next pull", async () => {
  await using registry = await TestRegistry.start();
  serve(registry, image);
  await using room = await openImageRoom();
  await room.load(ociArchive(image, [`${registry.host}/me/a:1`]));
  const digests = [image.layers[0]?.digest ?? "", image.id];
  for (const digest of digests) writeFileSync(blobPath(room, digest), "damaged");
  const found = await verify(room);
  expect(
    found.faults
      .filter(({ kind }) => kind === "blob")
      .map(({ name }) => name)
      .sort(),
  ).toEqual(digests.toSorted());
  const mended = await verify(room, true);
  expect(mended.summary).toMatchObject({ faults: 2, repaired: 2 });
  expect(mended.faults[0]?.repair).toContain(`fetched from ${registry.host}/me/a:1`);
  expect((await verify(room)).faults).toEqual([]);
  // And after the daemon's next start.
  await using again = await room.reopen();
  expect((await verify(again)).faults).toEqual([]);

  await registry[Symbol.asyncDispose]();
  writeFileSync(blobPath(again, digests[0] ?? ""), "damaged");
  const hopeless = await verify(again, true);
  expect(hopeless.faults.map(({ kind, repair }) => ({ kind, repair }))).toEqual([
    { kind: "blob", repair: null },
    { kind: "image", repair: null },
    { kind: "layer", repair: null },
  ]);
  expect(again.store.content.has(digests[0] ?? "")).toBe(false);
});

function serve(registry: TestRegistry, { layers, config, manifest }: TestImage): void {
  for (const { blob } of layers) registry.addBlob(blob);
  registry.addBlob(config);
  registry.addManifest(
    "me/a",
    "1",
    "application/vnd.oci.image.manifest.v1+json",
    JSON.parse(Buffer.from(manifest).toString()),
  );
}
