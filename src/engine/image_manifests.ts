// What an image's index names besides the image itself: the manifests of other platforms, and attestations. Read from the
// blobs that are here; what is not here is named and marked. For `manifests=1` of list and inspect, and for
// GET /images/{name}/attestations.
import * as v from "valibot";
import { notFound } from "../errors.ts";
import { isDigest } from "../image/digest.ts";
import { parseImageConfig } from "../image/image_config.ts";
import {
  type Descriptor,
  type ImageManifest,
  type IndexEntry,
  isAttestation,
  parseManifest,
} from "../image/manifest.ts";
import { chooseByPlatform, formatPlatform, normalise, type Platform } from "../image/platform.ts";
import type { ImageStore } from "../image/store.ts";
import type { AttestationStatement, ImageRecord, ManifestSummary } from "./mod.ts";

type Store = Pick<ImageStore, "content" | "layers">;

/** In the index's order. Without an index: the image's own. */
export async function manifestsOf(store: Store, image: ImageRecord, containers: string[]): Promise<ManifestSummary[]> {
  const entries = await entriesOf(store, image);
  return await Promise.all(entries.map((entry) => summaryOf(store, entry, image, containers)));
}

/** The statements on the manifest for one platform, those of the wanted types. Throws notFound. */
export async function attestationsOf(
  store: Store,
  image: ImageRecord,
  options: { platform: Platform | null; types: readonly string[]; withStatement: boolean },
): Promise<AttestationStatement[]> {
  const entries = await entriesOf(store, image);
  const images = entries.filter((entry) => !isAttestation(entry));
  const platform = options.platform ?? normalise(image);
  const subject = chooseByPlatform(images, platform, (entry) => entry.platform);
  if (subject === null) throw notFound(`no manifest found for platform ${formatPlatform(platform)}`);
  const statements: AttestationStatement[] = [];
  for (const entry of entries) {
    if (entry.annotations[SUBJECT] !== subject.digest) continue;
    const manifest = await readManifest(store, entry);
    for (const layer of manifest?.layers ?? []) {
      const statement = await readStatement(store, layer);
      if (statement === null) continue;
      const { predicateType } = statement;
      if (options.types.length > 0 && !options.types.includes(predicateType)) continue;
      statements.push({ descriptor: layer, predicateType, statement: options.withStatement ? statement : null });
    }
  }
  return statements;
}

/** Which manifest an attestation is about (BuildKit, attestation-storage.md). */
const SUBJECT = "vnd.docker.reference.digest";

async function entriesOf({ content }: Store, image: ImageRecord): Promise<IndexEntry[]> {
  const own = image.manifest;
  if (image.index !== null && content.has(image.index.digest)) {
    const index = parseManifest(await content.readSmall(image.index.digest), image.index.mediaType);
    if (index.kind === "index") return index.manifests;
  }
  if (own === null || !isDigest(own.digest)) return [];
  const descriptor = { mediaType: own.mediaType, digest: own.digest, size: own.size };
  return [{ ...descriptor, annotations: {}, platform: normalise(image) }];
}

async function summaryOf(
  store: Store,
  entry: IndexEntry,
  image: ImageRecord,
  containers: string[],
): Promise<ManifestSummary> {
  const manifest = await readManifest(store, entry);
  const children = manifest === null ? [] : [manifest.config, ...manifest.layers];
  const present = [entry, ...children].filter(({ digest }) => store.content.has(digest));
  const contentBytes = present.reduce((sum, { digest }) => sum + (store.content.get(digest)?.sizeBytes ?? 0), 0);
  const base = {
    descriptor: { mediaType: entry.mediaType, digest: entry.digest, size: entry.size },
    annotations: entry.annotations,
    platform: entry.platform,
    isAvailable: manifest !== null && present.length === children.length + 1,
    contentBytes,
  };
  if (isAttestation(entry))
    return {
      ...base,
      kind: "attestation",
      subject: entry.annotations[SUBJECT] ?? "",
      unpackedBytes: 0,
      containers: [],
    };
  if (entry.platform === null) return { ...base, kind: "unknown", subject: "", unpackedBytes: 0, containers: [] };
  return {
    ...base,
    kind: "image",
    subject: "",
    unpackedBytes: manifest === null ? 0 : await unpackedBytes(store, manifest),
    containers: entry.digest === image.manifest?.digest ? containers : [],
  };
}

async function unpackedBytes({ content, layers }: Store, { config }: ImageManifest): Promise<number> {
  if (!content.has(config.digest)) return 0;
  const { diffIDs } = parseImageConfig(await content.readSmall(config.digest));
  return [...new Set(diffIDs)].reduce((sum, diffID) => sum + (layers.get(diffID)?.sizeBytes ?? 0), 0);
}

async function readManifest({ content }: Store, entry: Descriptor): Promise<ImageManifest | null> {
  if (!content.has(entry.digest)) return null;
  const parsed = parseManifest(await content.readSmall(entry.digest), entry.mediaType);
  return parsed.kind === "manifest" ? parsed : null;
}

const Statement = v.looseObject({ predicateType: v.string() });

/** null: it is not here, or is no in-toto statement. */
async function readStatement({ content }: Store, layer: Descriptor): Promise<v.InferOutput<typeof Statement> | null> {
  if (!content.has(layer.digest)) return null;
  const bytes = await content.readSmall(layer.digest);
  try {
    const parsed = v.safeParse(Statement, JSON.parse(Buffer.from(bytes).toString("utf8")));
    return parsed.success ? parsed.output : null;
  } catch {
    return null;
  }
}
