// The image store: which images there are, what they are called and what they are made of. Answers from memory; a change
// is one transaction first, then memory. Pull and load bring images in (register), engine/images.ts does the rest.
//
//   reference ──▶ image (its ID is its config's digest) ──▶ layers, by diffID     one directory each, shared
//                                                      └──▶ blobs, by digest      manifest, config, layers as they came
//
// INVARIANT: layers and blobs are removed only by collect(), only when no image uses them, and never while anything is
// being brought in (whileIngesting): what a pull has found in the store stays until the pull's image is registered.
import type { ImageBody, ImageRows, StoredImages } from "../db/images.ts";
import type { ImageRecord } from "../engine/mod.ts";
import { internal, invalid, isKind, notFound } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Content } from "./content.ts";
import { type Digest, hexOf, isDigest } from "./digest.ts";
import { type ImageConfigFile, parseImageConfig } from "./image_config.ts";
import { buildManifest, type Descriptor, MEDIA, parseManifest } from "./manifest.ts";
import { canonical, familiar, parseReference, type Reference, repository, withDefaultTag } from "./reference.ts";
import type { Layers } from "./unpack.ts";

/** An image whose blobs are in the content store. */
export interface NewImage {
  config: Descriptor;
  /** null: it came without one (docker-archive); one is made. */
  manifest: Descriptor | null;
  /** The lowest first, in the order of the config's diffIDs. */
  layers: readonly Descriptor[];
  /** The index it was found through; null or left out: none. */
  index?: Descriptor | null;
  /** What belongs to it besides: attestations. */
  attachments?: readonly Descriptor[];
  /** Names it gets, with a tag or a digest each; they are taken from other images. */
  references: readonly Reference[];
}

interface RegisterOptions {
  signal?: AbortSignal;
  /** Bytes read so far of a layer that is being unpacked. Not called for layers that were there. */
  onLayer?: (diffID: Digest, layer: Descriptor, readBytes: number) => void;
}

interface Registered {
  image: ImageRecord;
  /** Nothing changed: the image was here, and all the names were its own. */
  isUnchanged: boolean;
}

export interface ImageStore {
  readonly content: Content;
  readonly layers: Layers;
  all(): ImageRecord[];
  byID(id: string): ImageRecord | null;
  byReference(reference: Reference): ImageRecord | null;
  /** By reference, ID or unique prefix of an ID; throws Docker's 404, and `invalid` for what is none of these. */
  resolve(nameOrID: string): ImageRecord;
  /** The same, and by which of its names (canonical) it was found; null: by its ID. */
  find(nameOrID: string): { image: ImageRecord; name: string | null };
  register(image: NewImage, options?: RegisterOptions): Promise<Registered>;
  /** Adds a name, or moves it here from another image. */
  addReference(imageID: string, reference: Reference): Promise<void>;
  removeReferences(imageID: string, references: readonly string[]): Promise<void>;
  /**
   * Removes the image with all its names, then what only it used, and returns the bytes that this freed; null, and
   * nothing is done, when at the last moment it turns out to be used.
   */
  remove(imageID: string, isUsed: () => boolean): Promise<number | null>;
  /** Directories of an image's layers, the topmost first, none twice; unpacks what has got lost. */
  rootfsLayers(imageID: string): Promise<{ layersDir: string; lower: string[] }>;
  /** Digests of everything that an image consists of. */
  blobsOf(imageID: string): readonly string[];
  /** Descriptors of an image's parts, for save and push. */
  parts(imageID: string): Promise<{ manifest: Descriptor; config: Descriptor; layers: Descriptor[] }>;
  /** The blob that an image has for a layer; null: no image has one. */
  layerBlob(diffID: string): Promise<Descriptor | null>;
  /** Keeps everything in both stores for as long as `work` runs. */
  whileIngesting<T>(work: () => Promise<T>): Promise<T>;
  /** The same; what has come into the stores meanwhile and belongs to no image in the end is removed again. */
  ingestOrUndo<T>(work: () => Promise<T>): Promise<T>;
  /** Removes all layers and blobs that no image uses, and partial downloads not touched since then. Returns their bytes. */
  collect(partialBeforeMs: number): Promise<number>;
}

export interface ImageStoreDeps {
  content: Content;
  layers: Layers;
  rows: ImageRows;
  log: Log;
  now(): Date;
}

interface Entry {
  body: ImageBody;
  /** Canonical reference to when it was given. */
  references: Map<string, number>;
  blobs: string[];
  /** Made from the rest on demand. */
  record: ImageRecord | null;
}

/** What may be without users. */
interface Candidates {
  diffIDs: Set<string>;
  digests: Set<string>;
}

const NONE: Candidates = { diffIDs: new Set(), digests: new Set() };
const NEVER = "0001-01-01T00:00:00Z";

export function createImageStore(deps: ImageStoreDeps, stored: StoredImages): ImageStore {
  const { content, layers, rows } = deps;
  const entries = new Map<string, Entry>();
  const owners = new Map<string, string>();
  /** Images whose rows cannot be read: what they use is kept for whoever repairs them. */
  const damaged = new Set(stored.damaged.map(({ id }) => id));
  const damagedLayers = stored.layerUses.filter((use) => damaged.has(use.imageID)).map((use) => use.diffID);
  const damagedBlobs = stored.blobUses.filter((use) => damaged.has(use.imageID)).map((use) => use.digest);
  let ingesting = 0;
  /** What has lost a user while something was being brought in: looked at again afterwards. */
  const due: Candidates = { diffIDs: new Set(), digests: new Set() };
  let tail: Promise<unknown> = Promise.resolve();

  for (const body of stored.images) entries.set(body.id, { body, references: new Map(), blobs: [], record: null });
  for (const { imageID, digest } of stored.blobUses) entries.get(imageID)?.blobs.push(digest);
  for (const { reference, imageID, updatedAtMs } of stored.references) {
    entries.get(imageID)?.references.set(reference, updatedAtMs);
    if (entries.has(imageID)) owners.set(reference, imageID);
  }
  for (const { id, problem } of stored.damaged) deps.log.error("an image's row cannot be read", { id, problem });

  /** Changes happen one after the other, so that none sees half of another. */
  function exclusive<T>(change: () => Promise<T>): Promise<T> {
    const result = tail.then(change);
    tail = result.catch(() => undefined);
    return result;
  }

  function recordOf(entry: Entry): ImageRecord {
    entry.record ??= toRecord(entry);
    return entry.record;
  }

  function byID(id: string): ImageRecord | null {
    const entry = entries.get(id);
    return entry === undefined ? null : recordOf(entry);
  }

  function byReference(reference: Reference): ImageRecord | null {
    const owner = owners.get(lookupName(reference));
    return owner === undefined ? null : byID(owner);
  }

  function find(nameOrID: string): { image: ImageRecord; name: string | null } {
    const id = /^[0-9a-f]{64}$/.test(nameOrID) ? `sha256:${nameOrID}` : nameOrID;
    if (isDigest(id)) return { image: byID(id) ?? refuse(nameOrID), name: null };
    const reference = tryParse(nameOrID);
    if (!(reference instanceof Error)) {
      const named = byReference(reference);
      if (named !== null) return { image: named, name: lookupName(reference) };
    }
    const found = byPrefix(nameOrID);
    if (found !== null) return { image: found, name: null };
    if (reference instanceof Error) throw reference;
    return refuse(familiar(withDefaultTag(reference)));
  }

  /** Ambiguous prefixes name nothing, as under Docker. */
  function byPrefix(text: string): ImageRecord | null {
    const prefix = text.startsWith("sha256:") ? text.slice("sha256:".length) : text;
    if (!/^[0-9a-f]{1,64}$/.test(prefix)) return null;
    const [first, second] = [...entries.keys()].filter((id) => hexOf(id).startsWith(prefix));
    return first === undefined || second !== undefined ? null : byID(first);
  }

  async function register(image: NewImage, options: RegisterOptions = {}): Promise<Registered> {
    return await whileIngesting(async () => {
      const config = parseImageConfig(await content.readSmall(image.config.digest));
      if (config.diffIDs.length !== image.layers.length) {
        throw invalid(`the image has ${image.layers.length} layers, and its config tells of ${config.diffIDs.length}`);
      }
      const unpacked = await unpackAll(image.layers, config.diffIDs, options);
      const manifest = image.manifest ?? (await makeManifest(image));
      const index = image.index ?? null;
      const body = { ...toBody(image.config.digest, config, manifest, unpacked), index };
      const parts = [...image.layers, ...(index === null ? [] : [index]), ...(image.attachments ?? [])];
      const blobs = [manifest.digest, image.config.digest, ...parts.map(({ digest }) => digest)];
      return await exclusive(() =>
        commit(
          body,
          blobs,
          image.references.map((reference) => canonical(reference)),
        ),
      );
    });
  }

  /** All at once; the pool bounds how many really run. One failure ends the others. */
  async function unpackAll(
    descriptors: readonly Descriptor[],
    diffIDs: readonly Digest[],
    options: RegisterOptions,
  ): Promise<number[]> {
    const failed = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, failed.signal]) : failed.signal;
    const work = descriptors.map(async (layer, index) => {
      const diffID = diffIDs[index] as Digest;
      try {
        const row = await layers.unpack(
          { digest: layer.digest, diffID },
          { signal, onRead: (bytes) => options.onLayer?.(diffID, layer, bytes) },
        );
        return row.sizeBytes;
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    await Promise.allSettled(work);
    return await Promise.all(work);
  }

  /** An image that is here already with all its parts keeps the manifest it has. */
  async function makeManifest(image: NewImage): Promise<Descriptor> {
    const known = entries.get(image.config.digest);
    const isWhole = known?.blobs.every((digest) => content.has(digest)) ?? false;
    if (known?.body.manifest && isWhole) {
      const { mediaType, digest, size } = known.body.manifest;
      return { mediaType, digest: digest as Digest, size };
    }
    return await content.put(buildManifest(image.config, image.layers), MEDIA.ociManifest);
  }

  async function commit(given: ImageBody, blobs: string[], references: string[]): Promise<Registered> {
    const before = entries.get(given.id);
    const isSame = before !== undefined && before.body.manifest?.digest === given.manifest?.digest;
    // What comes again without its index is still part of the one it came with first.
    const body = isSame && given.index === null ? { ...given, index: before.body.index } : given;
    const uses = isSame
      ? [...new Set([...before.blobs, ...blobs])].filter((digest) => content.has(digest))
      : [...new Set(blobs)];
    const isUnchanged = isSame && references.every((reference) => owners.get(reference) === body.id);
    const nowMs = deps.now().getTime();
    await rows.putImage({ body, blobs: uses, references }, nowMs);
    const entry: Entry = { body, blobs: uses, references: before?.references ?? new Map(), record: null };
    entries.set(body.id, entry);
    for (const reference of references) give(reference, body.id, nowMs);
    return { image: recordOf(entry), isUnchanged };
  }

  /** In memory: the name is this image's from now on, and no other's. */
  function give(reference: string, imageID: string, atMs: number): void {
    const old = owners.get(reference);
    if (old !== undefined && old !== imageID) drop(old, [reference]);
    const entry = entries.get(imageID);
    if (entry === undefined) return;
    owners.set(reference, imageID);
    entry.references.set(reference, atMs);
    entry.record = null;
  }

  function drop(imageID: string, references: readonly string[]): void {
    const entry = entries.get(imageID);
    for (const reference of references) {
      entry?.references.delete(reference);
      if (owners.get(reference) === imageID) owners.delete(reference);
    }
    if (entry !== undefined) entry.record = null;
  }

  async function whileIngesting<T>(work: () => Promise<T>): Promise<T> {
    ingesting++;
    try {
      return await work();
    } finally {
      ingesting--;
      if (ingesting === 0 && due.diffIDs.size + due.digests.size > 0) {
        void exclusive(() => collectUnused(NONE)).catch((error: unknown) =>
          deps.log.error("unused layers could not be removed", { error }),
        );
      }
    }
  }

  /** Removes those of the candidates that no image uses. */
  async function collectUnused(candidates: Candidates): Promise<number> {
    candidates.diffIDs.forEach((diffID) => due.diffIDs.add(diffID));
    candidates.digests.forEach((digest) => due.digests.add(digest));
    if (ingesting > 0) return 0;
    const usedLayers = new Set([...damagedLayers, ...[...entries.values()].flatMap((entry) => entry.body.diffIDs)]);
    const usedBlobs = new Set([...damagedBlobs, ...[...entries.values()].flatMap((entry) => entry.blobs)]);
    const diffIDs = [...due.diffIDs].filter((diffID) => !usedLayers.has(diffID));
    const digests = [...due.digests].filter((digest) => !usedBlobs.has(digest));
    due.diffIDs.clear();
    due.digests.clear();
    // Both at once: neither may be found any more when anybody else runs next.
    const freed = await Promise.all([layers.discard(diffIDs), content.discard(digests)]);
    return freed[0] + freed[1];
  }

  /** Everything that is here now. */
  function everything(): Candidates {
    return {
      diffIDs: new Set([...layers.all()].map((layer) => layer.diffID)),
      digests: new Set([...content.all()].map((blob) => blob.digest)),
    };
  }

  async function ingestOrUndo<T>(work: () => Promise<T>): Promise<T> {
    const before = everything();
    try {
      return await whileIngesting(work);
    } finally {
      const now = everything();
      const fresh = {
        diffIDs: now.diffIDs.difference(before.diffIDs),
        digests: now.digests.difference(before.digests),
      };
      await exclusive(() => collectUnused(fresh));
    }
  }

  function entryOf(imageID: string): Entry {
    const entry = entries.get(imageID);
    if (entry === undefined) throw notFound(`No such image: ${imageID}`);
    return entry;
  }

  async function parts(imageID: string): Promise<{ manifest: Descriptor; config: Descriptor; layers: Descriptor[] }> {
    const { body } = entryOf(imageID);
    if (body.manifest === null) throw internal(`image ${imageID} has no manifest`);
    const manifest = body.manifest;
    const parsed = parseManifest(await content.readSmall(manifest.digest), manifest.mediaType);
    if (parsed.kind === "index") throw internal(`image ${imageID} has an index for a manifest`);
    return {
      manifest: { ...manifest, digest: manifest.digest as Digest },
      config: parsed.config,
      layers: parsed.layers,
    };
  }

  async function layerBlob(diffID: string): Promise<Descriptor | null> {
    for (const { body } of entries.values()) {
      const position = body.diffIDs.indexOf(diffID);
      if (position < 0 || body.manifest === null || !content.has(body.manifest.digest)) continue;
      const blob = (await parts(body.id)).layers[position];
      if (blob !== undefined && content.has(blob.digest)) return blob;
    }
    return null;
  }

  return {
    content,
    layers,
    layerBlob,
    all: () => [...entries.values()].map(recordOf),
    byID,
    byReference,
    resolve: (nameOrID) => find(nameOrID).image,
    find,
    register,
    addReference: (imageID, reference) =>
      exclusive(async () => {
        entryOf(imageID);
        const nowMs = deps.now().getTime();
        await rows.putReference(canonical(reference), imageID, nowMs);
        give(canonical(reference), imageID, nowMs);
      }),
    removeReferences: (imageID, references) =>
      exclusive(async () => {
        await rows.removeReferences(references);
        drop(imageID, references);
      }),
    remove: (imageID, isUsed) =>
      exclusive(async () => {
        const entry = entryOf(imageID);
        if (isUsed()) return null;
        const names = [...entry.references];
        // Out of sight first: nobody may make a container of it any more while its rows go.
        drop(imageID, [...entry.references.keys()]);
        entries.delete(imageID);
        try {
          await rows.removeImage(imageID);
        } catch (error) {
          entries.set(imageID, entry);
          for (const [reference, atMs] of names) give(reference, imageID, atMs);
          throw error;
        }
        return await collectUnused({ diffIDs: new Set(entry.body.diffIDs), digests: new Set(entry.blobs) });
      }),
    async rootfsLayers(imageID) {
      const { body } = entryOf(imageID);
      if (body.diffIDs.some((diffID) => layers.get(diffID) === null)) {
        const { layers: sources } = await parts(imageID);
        await unpackAll(sources, body.diffIDs as Digest[], {});
      }
      // The topmost of equal layers hides the others, and overlayfs refuses the same directory twice.
      const names = body.diffIDs.toReversed().map((diffID) => layers.get(diffID)?.shortName ?? "");
      return { layersDir: layers.layersDir, lower: [...new Set(names)] };
    },
    blobsOf: (imageID) => entryOf(imageID).blobs,
    parts,
    whileIngesting,
    ingestOrUndo,
    collect: (partialBeforeMs) =>
      exclusive(async () => {
        if (ingesting > 0) return 0;
        return (await collectUnused(everything())) + (await content.discardPartial(partialBeforeMs));
      }),
  };
}

/** The name under which a reference is filed: a digest stands above a tag, and no tag means `latest`. */
function lookupName(reference: Reference): string {
  if (reference.digest !== null) return `${repository(reference)}@${reference.digest}`;
  return canonical(withDefaultTag(reference));
}

function tryParse(text: string): Reference | Error {
  try {
    return parseReference(text);
  } catch (error) {
    if (error instanceof Error && isKind(error, "invalid")) return error;
    throw error;
  }
}

/** COMPAT: the CLI pulls when it reads `No such image`, and docker-py looks for the words too. */
function refuse(shown: string): never {
  throw notFound(`No such image: ${shown}`);
}

function toBody(id: Digest, file: ImageConfigFile, manifest: Descriptor, layerSizes: readonly number[]): ImageBody {
  const { mediaType, digest, size } = manifest;
  let position = 0;
  const history = file.history.map((entry) => ({
    ...entry,
    sizeBytes: entry.isEmptyLayer ? 0 : (layerSizes[position++] ?? 0),
  }));
  const { createdAt, author, comment, architecture, variant, os, osVersion, config, diffIDs } = file;
  const sizeBytes = layerSizes.reduce((sum, each) => sum + each, 0);
  return {
    id,
    createdAt,
    author,
    comment,
    architecture,
    variant,
    os,
    osVersion,
    config,
    diffIDs,
    history,
    sizeBytes,
    manifest: { mediaType, digest, size },
    index: null,
  };
}

function toRecord({ body, references }: Entry): ImageRecord {
  const names = [...references.keys()].toSorted();
  const last = Math.max(...references.values(), -1);
  return {
    ...body,
    tags: names.filter((name) => !name.includes("@")),
    repoDigests: names.filter((name) => name.includes("@")),
    lastTagTime: last < 0 ? NEVER : new Date(last).toISOString(),
  };
}
