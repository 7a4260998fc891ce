// Images that are made here: a layer of a tar that lies on this disk, and a config that names it on top of a parent's.
// For commit (engine/containers/commit.ts), import and, one day, builds.
//
//   tar ─┬─▶ gzip ─▶ blob, by its digest        both at once, in two Workers
//        └─▶ layer directory, by its diffID
import { createHash } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { decompress, LayerError, type LayerPool, peek } from "../../runtime/mod.ts";
import type { HistoryEntry, ImageConfig, ImageRecord } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import { storageError } from "./content.ts";
import { type Digest, parseDigest } from "./digest.ts";
import { type Descriptor, MEDIA } from "./manifest.ts";
import type { Platform } from "./platform.ts";
import type { Reference } from "./reference.ts";
import type { ImageStore } from "./store.ts";

export interface NewLayer {
  diffID: Digest;
  blob: Descriptor;
}

/** Digest of a tar of nothing, two blocks of zeroes. COMPAT: an image has no layer for it. */
export const EMPTY_DIFF_ID = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

export interface NewLayerDeps {
  store: Pick<ImageStore, "content" | "layers" | "layerBlob">;
  pool: LayerPool;
}

/**
 * A layer of an uncompressed tar, which is used up. One that is here already, with its blob, is taken as it is. Call within
 * the store's whileIngesting.
 */
export async function storeTar(
  { store, pool }: NewLayerDeps,
  tar: { path: string; diffID: string },
  signal: AbortSignal,
): Promise<NewLayer> {
  const diffID = parseDigest(tar.diffID);
  const compressed = store.content.newFile();
  try {
    const known = store.layers.get(diffID) === null ? null : await store.layerBlob(diffID);
    if (known !== null) return { diffID, blob: known };
    const both = new AbortController();
    const either = AbortSignal.any([signal, both.signal]);
    const work = [
      pool.run("compress", { source: tar.path, target: compressed }, { signal: either }),
      store.layers.unpack({ digest: "", diffID, path: tar.path }, { signal: either }),
    ] as const;
    for (const each of work) each.catch((error: unknown) => both.abort(error));
    await Promise.allSettled(work);
    signal.throwIfAborted();
    if (both.signal.aborted) throw both.signal.reason;
    const { digest, sizeBytes } = await work[0];
    const blob = { digest: parseDigest(digest), size: sizeBytes, mediaType: MEDIA.ociLayerGzip };
    await store.content.adopt(compressed, blob);
    return { diffID, blob };
  } finally {
    await rm(tar.path, { force: true });
    await rm(compressed, { force: true });
  }
}

/**
 * A layer of a tar as a user sends it, compressed or not; null: there is nothing in it. gzip and zstd stay as they are, for
 * registries take them so. Call within the store's whileIngesting.
 */
export async function storeArchive(
  deps: NewLayerDeps,
  archive: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<NewLayer | null> {
  const { head, all } = await peek(archive);
  const mediaType = KEPT.find(({ magic }) => magic.every((byte, index) => head[index] === byte))?.mediaType;
  return mediaType === undefined ? await storePlain(deps, all, signal) : await storeAsIs(deps, all, mediaType, signal);
}

const KEPT: readonly { magic: readonly number[]; mediaType: string }[] = [
  { magic: [0x1f, 0x8b], mediaType: MEDIA.ociLayerGzip },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], mediaType: MEDIA.ociLayerZstd },
];

async function storeAsIs(
  { store }: NewLayerDeps,
  archive: AsyncIterable<Uint8Array>,
  mediaType: string,
  signal: AbortSignal,
): Promise<NewLayer | null> {
  const ingest = await store.content.openNew(mediaType);
  try {
    for await (const chunk of archive) {
      signal.throwIfAborted();
      await ingest.write(chunk);
    }
    const size = ingest.offset;
    const digest = await ingest.commit();
    const { diffID } = await store.layers.unpackNew(digest, { signal });
    return diffID === EMPTY_DIFF_ID ? null : { diffID: parseDigest(diffID), blob: { digest, size, mediaType } };
  } finally {
    await ingest.close();
  }
}

async function storePlain(
  deps: NewLayerDeps,
  archive: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<NewLayer | null> {
  const path = deps.store.content.newFile();
  const hash = createHash("sha256");
  let size = 0;
  try {
    const handle = await open(path, "wx", 0o600);
    try {
      for await (const chunk of decompress(archive, { usesHostTools: true })) {
        signal.throwIfAborted();
        hash.update(chunk);
        size += chunk.length;
        await handle.writeFile(chunk);
      }
    } finally {
      await handle.close();
    }
    const diffID = `sha256:${hash.digest("hex")}`;
    return size === 0 || diffID === EMPTY_DIFF_ID ? null : await storeTar(deps, { path, diffID }, signal);
  } catch (error) {
    if (error instanceof LayerError) throw invalid(error.message, { cause: error });
    throw storageError(error);
  } finally {
    await rm(path, { force: true });
  }
}

export interface ImageDraft {
  /** null: it begins with this layer. */
  parent: ImageRecord | null;
  /** null: nothing has changed but the configuration. */
  layer: NewLayer | null;
  platform: Platform & { osVersion?: string };
  config: ImageConfig;
  author: string;
  comment: string;
  /** What the history says of how it was made. */
  createdBy: string;
  createdAt: string;
  references: readonly Reference[];
}

/** Stores the config and registers the image. Call within the store's whileIngesting. */
export async function registerDraft(
  store: Pick<ImageStore, "content" | "parts" | "register">,
  draft: ImageDraft,
  signal: AbortSignal,
): Promise<ImageRecord> {
  const { parent, layer } = draft;
  const below = parent === null ? [] : (await store.parts(parent.id)).layers;
  const bytes = new TextEncoder().encode(JSON.stringify(configOf(draft)));
  const config = await store.content.put(bytes, MEDIA.ociConfig);
  const layers = layer === null ? below : [...below, layer.blob];
  const { image } = await store.register({ config, manifest: null, layers, references: draft.references }, { signal });
  return image;
}

/** The config file, as Docker writes one: what is empty is left out. */
function configOf(draft: ImageDraft): object {
  const { parent, layer, platform, author, comment, createdAt } = draft;
  const diffIDs = [...(parent?.diffIDs ?? []), ...(layer === null ? [] : [layer.diffID])];
  const own = {
    created: createdAt,
    createdBy: draft.createdBy,
    comment,
    author,
    isEmptyLayer: layer === null,
  };
  return {
    architecture: platform.architecture,
    ...(platform.variant === "" ? {} : { variant: platform.variant }),
    ...(platform.osVersion ? { "os.version": platform.osVersion } : {}),
    ...(author === "" ? {} : { author }),
    ...(comment === "" ? {} : { comment }),
    config: draft.config,
    created: createdAt,
    history: [...(parent?.history ?? []), own].map(historyOf),
    os: platform.os,
    rootfs: { type: "layers", diff_ids: diffIDs },
  };
}

function historyOf({ created, createdBy, comment, author, isEmptyLayer }: Omit<HistoryEntry, "sizeBytes">): object {
  return {
    created,
    ...(createdBy === "" ? {} : { created_by: createdBy }),
    ...(author === "" ? {} : { author }),
    ...(comment === "" ? {} : { comment }),
    ...(isEmptyLayer ? { empty_layer: true } : {}),
  };
}
