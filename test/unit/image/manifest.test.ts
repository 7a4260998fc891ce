// Manifests and indexes, as registries and archives have them.
import { describe, expect, test } from "bun:test";
import { sha256 } from "../../../src/image/digest.ts";
import { buildManifest, isAttestation, MEDIA, parseManifest } from "../../../src/image/manifest.ts";
import { json } from "../../support/images.ts";
import { refusal } from "../../support/refusal.ts";

const digest = sha256(new Uint8Array(0));
const blob = { mediaType: MEDIA.ociLayer, digest, size: 3 };

describe("parseManifest()", () => {
  test("reads manifests and indexes of both kinds of media type", () => {
    const built = parseManifest(buildManifest({ ...blob, mediaType: MEDIA.ociConfig }, [blob, blob]), "");
    expect(built).toMatchObject({ kind: "manifest", mediaType: MEDIA.ociManifest, layers: [blob, blob] });
    const docker = { schemaVersion: 2, mediaType: MEDIA.dockerManifest, config: blob, layers: null };
    expect(parseManifest(json(docker), "")).toMatchObject({
      kind: "manifest",
      mediaType: MEDIA.dockerManifest,
      layers: [],
    });
    const index = {
      schemaVersion: 2,
      manifests: [
        { ...blob, platform: { os: "linux", architecture: "arm64", variant: "v8" } },
        {
          ...blob,
          platform: { os: "unknown", architecture: "unknown" },
          annotations: { "vnd.docker.reference.type": "attestation-manifest" },
        },
      ],
    };
    const parsed = parseManifest(json(index), "");
    if (parsed.kind !== "index") throw new Error("not an index");
    expect(parsed.manifests[0]?.platform).toEqual({ os: "linux", architecture: "arm64", variant: "" });
    expect(parsed.manifests.map(isAttestation)).toEqual([false, true]);
    expect(parsed.manifests[1]?.platform).toBeNull();
  });

  test("refuses what is neither, or both", () => {
    const manifest = { schemaVersion: 2, config: blob, layers: [blob] };
    const cases: [unknown, string][] = [
      ["x", "not a JSON object"],
      [{ schemaVersion: 1, fsLayers: [] }, "schema 1 support has been removed. Suggest the author of the image"],
      [{ schemaVersion: 3, config: blob }, "invalid manifest: schemaVersion"],
      [{ ...manifest, manifests: [] }, "it is an index as well"],
      [{ ...manifest, config: { ...blob, digest: "sha256:../../etc/passwd" } }, "config.digest: not a digest"],
      [{ ...manifest, layers: [{ ...blob, size: -1 }] }, "layers.0.size"],
      [{ ...manifest, layers: [{ ...blob, size: 2 ** 60 }] }, "layers.0.size"],
      [{ ...manifest, layers: Array(513).fill(blob) }, "layers"],
      [{ ...manifest, mediaType: MEDIA.ociIndex }, "index"],
    ];
    for (const [value, message] of cases) expect(refusal(() => parseManifest(json(value), ""))).toContain(message);
    expect(refusal(() => parseManifest(Buffer.from("{"), ""))).toBe("invalid manifest: not JSON");
    expect(refusal(() => parseManifest(Uint8Array.of(0xff), ""))).toBe("invalid manifest: not JSON");
  });
});
