// src/image/distribution.ts against a registry in memory: indexes, single manifests, credentials, and replies that lie.
import { expect, test } from "bun:test";
import { inspectDistribution } from "../../../src/image/distribution.ts";
import { INDEX_TYPE, json, MANIFEST_TYPE } from "../../support/images.ts";
import { TestRegistry } from "../../support/registry.ts";
import { registryClient } from "../../support/registry_client.ts";

const client = () => registryClient();
const inspect = (name: string, credentials: Parameters<typeof inspectDistribution>[2] = null) =>
  inspectDistribution(client(), name, credentials, new AbortController().signal);

/** An image of one architecture under a tag; answers with its manifest's digest. */
function push(registry: TestRegistry, tag: string, architecture = "amd64"): { digest: string; config: string } {
  const config = json({
    architecture,
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [] },
    history: [],
  });
  const blob = registry.addBlob(config);
  const digest = registry.addManifest("a/b", tag, MANIFEST_TYPE, {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", ...blob },
    layers: [],
  });
  return { digest, config: blob.digest };
}

test("a single image: its descriptor, and the platform its config tells", async () => {
  await using registry = await TestRegistry.start();
  const { digest } = push(registry, "1", "arm64");
  for (const name of [`${registry.host}/a/b:1`, `${registry.host}/a/b@${digest}`]) {
    const { descriptor, platforms } = await inspect(name);
    expect(descriptor).toMatchObject({ mediaType: MANIFEST_TYPE, digest });
    expect(platforms).toEqual([{ os: "linux", architecture: "arm64", variant: "" }]);
  }
  expect(registry.requests.some((request) => request.includes("/blobs/"))).toBe(true);
});

test("an index: the platforms of its images, attestations left out, and no blob is fetched", async () => {
  await using registry = await TestRegistry.start();
  const { digest } = push(registry, "amd");
  registry.requests.length = 0;
  const entry = { mediaType: MANIFEST_TYPE, digest, size: 1 };
  const top = registry.addManifest("a/b", "latest", INDEX_TYPE, {
    schemaVersion: 2,
    mediaType: INDEX_TYPE,
    manifests: [
      { ...entry, platform: { os: "linux", architecture: "amd64" } },
      { ...entry, platform: { os: "linux", architecture: "arm", variant: "v7" } },
      {
        ...entry,
        platform: { os: "unknown", architecture: "unknown" },
        annotations: { "vnd.docker.reference.type": "attestation-manifest" },
      },
    ],
  });
  const { descriptor, platforms } = await inspect(`${registry.host}/a/b`);
  expect(descriptor).toMatchObject({ mediaType: INDEX_TYPE, digest: top });
  expect(platforms).toEqual([
    { os: "linux", architecture: "amd64", variant: "" },
    { os: "linux", architecture: "arm", variant: "v7" },
  ]);
  expect(registry.requests.filter((request) => request.includes("/blobs/"))).toEqual([]);
});

test("credentials are used, and their lack is unauthorized", async () => {
  await using registry = await TestRegistry.start();
  push(registry, "1");
  registry.auth = { kind: "basic", username: "u", password: "p" };
  const name = `${registry.host}/a/b:1`;
  const credentials = { username: "u", password: "p", identityToken: "", registryToken: "" };
  expect((await inspect(name, credentials)).platforms.length).toBe(1);
  await expect(inspect(name)).rejects.toThrow();
});

test("what is not there is not found, and a config that is not what the manifest says is refused", async () => {
  await using registry = await TestRegistry.start();
  await expect(inspect(`${registry.host}/a/b:none`)).rejects.toMatchObject({ kind: "notFound" });
  await expect(inspect("UPPER")).rejects.toMatchObject({ kind: "invalid" });
  const { config } = push(registry, "1");
  registry.faults.push({ digest: config, kind: "wrong-bytes", times: 1 });
  await expect(inspect(`${registry.host}/a/b:1`)).rejects.toThrow(`verification failed for digest ${config}`);
});
