// Save: images as one tar, which is an OCI layout and a docker-archive at once, so that old and new loaders read it. The
// blobs go out as they came in, so what is loaded elsewhere has the same digests. Streamed: memory holds one piece.
//
//   blobs/sha256/<hex>…    manifests, configs, layers, each once
//   index.json             a descriptor for each tag (or for each image without one), with containerd's annotations
//   manifest.json          [{ Config, RepoTags, Layers }], paths into blobs/
//   oci-layout
import { tarEnd, type TarHeader, tarHeader, tarPadding } from "../../runtime/mod.ts";
import type { ImageRecord } from "../engine/mod.ts";
import { internal } from "../errors.ts";
import type { Content } from "./content.ts";
import type { Digest } from "./digest.ts";
import { type Descriptor, MEDIA } from "./manifest.ts";
import { familiar, parseReference } from "./reference.ts";

/** One image to save, under those of its names that were asked for. */
export interface SavedImage {
  image: ImageRecord;
  /** Canonical references with tags; none: it is saved by its ID. */
  tags: readonly string[];
  parts: { manifest: Descriptor; config: Descriptor; layers: readonly Descriptor[] };
}

/** Checks that every blob is there, then gives the archive's bytes. */
export function writeArchive(
  images: readonly SavedImage[],
  content: Content,
  signal: AbortSignal,
): AsyncIterable<Uint8Array> {
  const blobs = new Map<Digest, number>();
  for (const { image, parts } of images) {
    for (const { digest } of [parts.manifest, parts.config, ...parts.layers]) {
      const blob = content.get(digest);
      if (blob === null) throw internal(`unable to save ${image.id}: its blob ${digest} is not in the store`);
      blobs.set(digest, blob.sizeBytes);
    }
  }
  return stream(images, blobs, content, signal);
}

async function* stream(
  images: readonly SavedImage[],
  blobs: ReadonlyMap<Digest, number>,
  content: Content,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  yield directory("blobs");
  yield directory("blobs/sha256");
  for (const [digest, size] of [...blobs].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    yield header({ path: blobPath(digest), size });
    let sent = 0;
    for await (const chunk of content.read(digest, signal)) {
      sent += chunk.length;
      yield chunk;
    }
    if (sent !== size) throw internal(`blob ${digest} has ${sent} bytes on disk, not ${size}`);
    yield new Uint8Array(tarPadding(size));
  }
  yield document("index.json", indexOf(images));
  yield document("manifest.json", images.map(dockerManifestOf));
  yield document("oci-layout", { imageLayoutVersion: "1.0.0" });
  yield tarEnd();
}

function indexOf(images: readonly SavedImage[]): object {
  const manifests = images.flatMap(({ image, tags, parts: { manifest } }) => {
    const { os, architecture, variant } = image;
    const platform = { architecture, os, ...(variant === "" ? {} : { variant }) };
    const descriptor = { mediaType: manifest.mediaType, digest: manifest.digest, size: manifest.size };
    if (tags.length === 0) return [{ ...descriptor, platform }];
    return tags.map((tag) => ({ ...descriptor, annotations: annotationsOf(tag), platform }));
  });
  return { schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests };
}

function annotationsOf(tag: string): Record<string, string> {
  return { "io.containerd.image.name": tag, "org.opencontainers.image.ref.name": parseReference(tag).tag ?? "" };
}

function dockerManifestOf({ tags, parts }: SavedImage): object {
  return {
    Config: blobPath(parts.config.digest),
    // COMPAT: null, as Go writes an empty list, is what loaders of this file have always met.
    RepoTags: tags.length === 0 ? null : tags.map((tag) => familiar(parseReference(tag))),
    Layers: parts.layers.map((layer) => blobPath(layer.digest)),
  };
}

function blobPath(digest: Digest): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function directory(path: string): Uint8Array {
  return tarHeader({ type: "directory", path, mode: 0o755 });
}

function header(entry: Omit<TarHeader, "type">): Uint8Array {
  return tarHeader({ type: "file", mode: 0o644, ...entry });
}

function document(path: string, value: object): Uint8Array {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return Buffer.concat([header({ path, size: bytes.length }), bytes, new Uint8Array(tarPadding(bytes.length))]);
}
