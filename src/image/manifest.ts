// Manifests, indexes and descriptors, in OCI's and in Docker's media types (image-spec manifest.md, image-index.md;
// distribution, manifest v2 schema 2). They come from registries and archives, so each is checked here.
import * as v from "valibot";
import { invalid } from "../errors.ts";
import { type Digest, isDigest } from "./digest.ts";
import { normalise, type Platform } from "./platform.ts";

export const MEDIA = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  ociLayerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerIndex: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerSchema1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerSchema1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
} as const;

const DigestText = v.custom<Digest>((value) => typeof value === "string" && isDigest(value), "not a digest");
const Annotations = v.nullish(v.record(v.string(), v.string()), {});
const Size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const WirePlatform = v.object({
  os: v.string(),
  architecture: v.string(),
  variant: v.nullish(v.string(), ""),
});

const DescriptorSchema = v.object({
  mediaType: v.nullish(v.string(), ""),
  digest: DigestText,
  size: Size,
  annotations: Annotations,
  platform: v.nullish(WirePlatform),
});

/** What a blob is, where it stands in something else. */
export interface Descriptor {
  mediaType: string;
  digest: Digest;
  size: number;
}

export interface IndexEntry extends Descriptor {
  annotations: Record<string, string>;
  platform: Platform | null;
}

export interface ImageManifest {
  kind: "manifest";
  mediaType: string;
  config: Descriptor;
  /** The lowest first. */
  layers: Descriptor[];
  annotations: Record<string, string>;
}

export interface ImageIndex {
  kind: "index";
  mediaType: string;
  manifests: IndexEntry[];
  annotations: Record<string, string>;
}

/** Layers of one image: the kernel takes some 500 lower directories, and our mount options 128 at the least. */
const MAX_LAYERS = 512;
const MAX_INDEX_ENTRIES = 4096;

const ManifestSchema = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.nullish(v.string(), ""),
  config: DescriptorSchema,
  layers: v.nullish(v.pipe(v.array(DescriptorSchema), v.maxLength(MAX_LAYERS)), []),
  annotations: Annotations,
});

const IndexSchema = v.object({
  schemaVersion: v.literal(2),
  mediaType: v.nullish(v.string(), ""),
  manifests: v.nullish(v.pipe(v.array(DescriptorSchema), v.maxLength(MAX_INDEX_ENTRIES)), []),
  annotations: Annotations,
});

/**
 * Parses either kind; `mediaType` is what it was announced as, "" when nothing was said; `name` is what the user calls it.
 * Throws `invalid`.
 */
export function parseManifest(bytes: Uint8Array, mediaType: string, name = "the image"): ImageManifest | ImageIndex {
  const json = parseJSON(bytes, "manifest");
  if (typeof json !== "object" || json === null) throw invalid("invalid manifest: not a JSON object");
  if ("schemaVersion" in json && json.schemaVersion === 1) {
    // COMPAT: the words of engines that have given it up; people search for them.
    throw invalid(
      `Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author of ${name} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at https://docs.docker.com/go/deprecated-image-specs/`,
    );
  }
  const said =
    "mediaType" in json && typeof json.mediaType === "string" && json.mediaType !== "" ? json.mediaType : mediaType;
  const isIndex = said === MEDIA.ociIndex || said === MEDIA.dockerIndex || (said === "" && "manifests" in json);
  // A document that is both could be taken for one thing here and for another elsewhere (CVE-2021-41190).
  const isManifest = "layers" in json || "config" in json;
  if (isManifest && (isIndex || "manifests" in json)) throw invalid("invalid manifest: it is an index as well");
  if (isIndex) {
    const index = check(IndexSchema, json, "index");
    return {
      kind: "index",
      mediaType: said || MEDIA.ociIndex,
      manifests: index.manifests.map(toIndexEntry),
      annotations: index.annotations,
    };
  }
  const manifest = check(ManifestSchema, json, "manifest");
  return {
    kind: "manifest",
    mediaType: said || MEDIA.ociManifest,
    config: toDescriptor(manifest.config),
    layers: manifest.layers.map(toDescriptor),
    annotations: manifest.annotations,
  };
}

function toDescriptor(wire: v.InferOutput<typeof DescriptorSchema>): Descriptor {
  return { mediaType: wire.mediaType, digest: wire.digest, size: wire.size };
}

function toIndexEntry(wire: v.InferOutput<typeof DescriptorSchema>): IndexEntry {
  const platform = wire.platform && wire.platform.os !== "unknown" ? normalise(wire.platform) : null;
  return { ...toDescriptor(wire), annotations: wire.annotations, platform };
}

/** Config types of images; the unspecific ones are what registries have made of them. */
const IMAGE_CONFIGS: readonly string[] = [
  MEDIA.ociConfig,
  MEDIA.dockerConfig,
  "",
  "application/octet-stream",
  "application/json",
  "text/html",
];

/** Throws `invalid` for what has a manifest like an image's and is something else: a chart, a signature, a plugin. */
export function requireImage(manifest: ImageManifest, name: string): void {
  const { mediaType, config } = manifest;
  if (mediaType !== MEDIA.ociManifest && mediaType !== MEDIA.dockerManifest)
    throw invalid(`unsupported media type ${mediaType}: ${name} is not an image`);
  if (!IMAGE_CONFIGS.includes(config.mediaType))
    throw invalid(`unsupported media type ${config.mediaType}: ${name} is not an image`);
}

/** Attestations and the like: manifests that stand in an index and are no images. */
export function isAttestation(entry: IndexEntry): boolean {
  return entry.annotations["vnd.docker.reference.type"] !== undefined;
}

/** Docker's types are other names for the same bytes. */
const OCI_TYPES: Readonly<Record<string, string>> = {
  [MEDIA.dockerConfig]: MEDIA.ociConfig,
  [MEDIA.dockerLayer]: MEDIA.ociLayer,
  [MEDIA.dockerLayerGzip]: MEDIA.ociLayerGzip,
};

/** The bytes of an OCI manifest for an image that came without one. The same image gives the same bytes. */
export function buildManifest(config: Descriptor, layers: readonly Descriptor[]): Uint8Array {
  const plain = ({ mediaType, digest, size }: Descriptor): Descriptor => ({
    mediaType: OCI_TYPES[mediaType] ?? mediaType,
    digest,
    size,
  });
  const manifest = { schemaVersion: 2, mediaType: MEDIA.ociManifest, config: plain(config), layers: layers.map(plain) };
  return new TextEncoder().encode(JSON.stringify(manifest));
}

export function parseJSON(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw invalid(`invalid ${what}: not JSON`, { cause });
  }
}

/** Throws `invalid` with the place of the first fault. */
export function check<S extends v.GenericSchema>(schema: S, value: unknown, what: string): v.InferOutput<S> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw invalid(`invalid ${what}: ${v.getDotPath(issue) ?? "document"}: ${issue.message}`);
}
