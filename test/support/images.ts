// Small images made by tests: layers from a list of entries, whole archives in the old and in the OCI form. No registry, no
// files. busybox.ts makes the one image that runs.
import { createHash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { tarEnd, type TarHeader, tarHeader, tarPadding } from "../../runtime/layer/tar_write.ts";

export type LayerEntry = TarHeader & { content?: Uint8Array | string };

/** A tar of these entries, as they are: nothing is checked, so that tests can make bad ones. */
export function tarOf(entries: readonly LayerEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { content, ...entry } of entries) {
    const bytes = typeof content === "string" ? Buffer.from(content) : (content ?? new Uint8Array(0));
    parts.push(tarHeader({ mode: entry.type === "directory" ? 0o755 : 0o644, size: bytes.length, ...entry }));
    parts.push(bytes, new Uint8Array(tarPadding(bytes.length)));
  }
  return Buffer.concat([...parts, tarEnd()]);
}

export function file(path: string, content: Uint8Array | string, mode = 0o644): LayerEntry {
  return { type: "file", path, content, mode };
}

export function directory(path: string, mode = 0o755): LayerEntry {
  return { type: "directory", path, mode };
}

export function symlink(path: string, linkPath: string): LayerEntry {
  return { type: "symlink", path, linkPath, mode: 0o777 };
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export type LayerForm = "tar" | "gzip" | "zstd";

/** A layer as it is stored, and the tar inside. */
export interface TestLayer {
  tar: Uint8Array;
  blob: Uint8Array;
  mediaType: string;
  digest: string;
  diffID: string;
}

const LAYER_TYPES: Readonly<Record<LayerForm, string>> = {
  tar: "application/vnd.oci.image.layer.v1.tar",
  gzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  zstd: "application/vnd.oci.image.layer.v1.tar+zstd",
};

export function layerOf(entries: readonly LayerEntry[], form: LayerForm = "tar"): TestLayer {
  const tar = tarOf(entries);
  const blob = form === "tar" ? tar : form === "gzip" ? gzipSync(tar) : zstdCompressSync(tar);
  return { tar, blob, mediaType: LAYER_TYPES[form], digest: digestOf(blob), diffID: digestOf(tar) };
}

export interface TestImageOptions {
  created?: string;
  architecture?: string;
  config?: Record<string, unknown>;
  /** What history says of each layer. */
  createdBy?: string;
}

/** An image with its config and manifest. */
export interface TestImage {
  layers: TestLayer[];
  config: Uint8Array;
  manifest: Uint8Array;
  /** Digest of the config: the image's ID. */
  id: string;
}

export const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
export const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";

export function imageOf(layers: TestLayer[], options: TestImageOptions = {}): TestImage {
  const created = options.created ?? "2024-05-06T07:08:09.123456789Z";
  const config = json({
    architecture: options.architecture ?? (process.arch === "x64" ? "amd64" : "arm64"),
    os: "linux",
    created,
    config: { Env: ["PATH=/bin"], Cmd: ["sh"], WorkingDir: "/", ...options.config },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.diffID) },
    history: layers.map((_, index) => ({ created, created_by: options.createdBy ?? `layer ${index}` })),
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(config), size: config.length },
    layers: layers.map(({ mediaType, digest, blob }) => ({ mediaType, digest, size: blob.length })),
  });
  return { layers, config, manifest, id: digestOf(config) };
}

export function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** What `docker save` wrote before OCI: manifest.json, <hex>.json and a directory with layer.tar for each layer. */
export function dockerArchive(image: TestImage, tags: readonly string[]): Uint8Array {
  const configPath = `${image.id.slice(7)}.json`;
  const layerPaths = image.layers.map((layer) => `${layer.digest.slice(7)}/layer.tar`);
  return tarOf([
    ...image.layers.flatMap((layer, index) => [
      directory(layer.digest.slice(7)),
      file(layerPaths[index] ?? "", layer.blob),
    ]),
    file(configPath, image.config),
    file("manifest.json", json([{ Config: configPath, RepoTags: tags, Layers: layerPaths }])),
  ]);
}

/** An OCI layout of one image under its names. */
export function ociArchive(image: TestImage, names: readonly string[]): Uint8Array {
  const descriptor = { mediaType: MANIFEST_TYPE, digest: digestOf(image.manifest), size: image.manifest.length };
  const manifests =
    names.length === 0
      ? [descriptor]
      : names.map((name) => ({ ...descriptor, annotations: { "io.containerd.image.name": name } }));
  return ociLayout([...image.layers.map((layer) => layer.blob), image.config, image.manifest], manifests);
}

/** An OCI layout of these blobs, with these entries in its index.json. */
export function ociLayout(blobs: readonly Uint8Array[], manifests: readonly object[]): Uint8Array {
  return tarOf([
    file("oci-layout", json({ imageLayoutVersion: "1.0.0" })),
    file("index.json", json({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests })),
    ...blobs.map((blob) => file(`blobs/sha256/${digestOf(blob).slice(7)}`, blob)),
  ]);
}

/** Bytes in pieces, as a socket gives them. */
export async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
