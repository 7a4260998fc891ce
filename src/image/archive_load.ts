// Load: an archive made by `docker save` of any age, by podman, skopeo, buildx or kaniko, to images in the store. Reads
// the stream once, front to back, compressed or not; large members go straight into the content store.
//
//   OCI layout       oci-layout, index.json ▶ blobs/sha256/… (manifests, configs, layers)
//   docker-archive   manifest.json ▶ configs (<hex>.json) and layers (<id>/layer.tar), which may be links to each other
//
// Newer archives are both; then index.json tells the images, and manifest.json adds names. Whatever was stored for an
// archive that turns out bad is unused, and collected by the caller.
import { open } from "node:fs/promises";
import * as v from "valibot";
import {
  cleanPath,
  type Compression,
  decompress,
  detectCompression,
  LayerError,
  MAGIC_BYTES,
  type TarEntry,
  TarReader,
  type TarVisitor,
} from "../../runtime/mod.ts";
import { invalid } from "../errors.ts";
import { MAX_MANIFEST_BYTES } from "../limits.ts";
import type { Content, Ingest } from "./content.ts";
import { type Digest, isDigest } from "./digest.ts";
import { parseImageConfig } from "./image_config.ts";
import {
  check,
  type Descriptor,
  type IndexEntry,
  isAttestation,
  MEDIA,
  parseJSON,
  parseManifest,
  requireImage,
} from "./manifest.ts";
import { chooseByPlatform, normalise, type Platform } from "./platform.ts";
import { parseReference, type Reference, withDefaultTag } from "./reference.ts";
import type { NewImage } from "./store.ts";

/** Members of one archive: an image of 500 layers in the old form has some 1,500. */
const MAX_MEMBERS = 100_000;
/** Documents outside blobs/, all together. */
const MAX_DOCUMENT_BYTES = 64 << 20;
/** Blobs that are being made durable at once. */
const MAX_COMMITS = 4;
/** Links followed from one member to the next. */
const MAX_LINKS = 16;
/** Indexes in indexes. */
const MAX_INDEX_DEPTH = 4;

const ANNOTATION_NAME = "io.containerd.image.name";
const ANNOTATION_REF = "org.opencontainers.image.ref.name";

const DockerManifest = v.array(
  v.object({
    Config: v.string(),
    RepoTags: v.nullish(v.array(v.string()), []),
    Layers: v.nullish(v.array(v.string()), []),
  }),
);

/** What of an archive is where: a blob in the store, a document in memory, or another member. */
type Member = { blob: Descriptor } | { document: Uint8Array } | { link: string };

export interface LoadOptions {
  /** The platforms wanted of images for several; none: the host's, or else the first that is whole. */
  platforms: readonly Platform[];
  host: Platform;
  signal: AbortSignal;
}

/** Stores an archive's blobs and says which images they make, in the archive's order. Throws `invalid`. */
export async function readArchive(
  body: AsyncIterable<Uint8Array>,
  content: Content,
  options: LoadOptions,
): Promise<NewImage[]> {
  const members = await storeMembers(body, content, options.signal);
  const archive = new Archive(content, members);
  const images = await imagesOf(archive, options);
  if (images.length === 0) throw invalid("invalid archive: it holds no image");
  return images;
}

// ---- the stream

/** The members by path, links included. Holds at most one chunk of the stream, and MAX_COMMITS finished blobs. */
async function storeMembers(
  body: AsyncIterable<Uint8Array>,
  content: Content,
  signal: AbortSignal,
): Promise<Map<string, Member>> {
  const collector = new MemberCollector();
  const reader = new TarReader(collector);
  const storage = new MemberStorage(content);
  try {
    for await (const chunk of decompress(body, { usesHostTools: true })) {
      signal.throwIfAborted();
      reader.write(chunk);
      for (const step of collector.take()) await storage.do(step);
    }
    reader.finish();
    return await storage.finish();
  } catch (error) {
    if (error instanceof LayerError) throw invalid(`invalid archive: ${error.message}`, { cause: error });
    throw error;
  } finally {
    await storage.close();
  }
}

/** Does what the collector noted, in order. Blobs are made durable while the next one is read. */
class MemberStorage {
  readonly #members = new Map<string, Member>();
  readonly #commits = new Set<Promise<void>>();
  #ingest: Ingest | null = null;
  #documentBytes = 0;

  constructor(private readonly content: Content) {}

  async do(step: Step): Promise<void> {
    if (step.do === "open") await this.#open(step);
    else if (step.do === "write") await this.#ingest?.write(step.bytes);
    else if (step.do === "close") await this.#commit(step.path);
    else this.#keep(step.path, step.member);
    if (this.#members.size > MAX_MEMBERS) throw invalid(`invalid archive: more than ${MAX_MEMBERS} members`);
  }

  async finish(): Promise<Map<string, Member>> {
    await Promise.all(this.#commits);
    return this.#members;
  }

  /** Nothing writes any more afterwards, whatever happened. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#commits);
    await this.#ingest?.close();
  }

  async #open({ path, digest, size }: Step & { do: "open" }): Promise<void> {
    this.#ingest = digest !== null && this.content.has(digest) ? null : await openMember(this.content, digest, size);
    if (digest === null || this.#ingest !== null) return;
    this.#members.set(path, { blob: { digest, size: this.content.get(digest)?.sizeBytes ?? 0, mediaType: "" } });
  }

  async #commit(path: string): Promise<void> {
    const ingest = this.#ingest;
    this.#ingest = null;
    if (ingest === null) return;
    const size = ingest.offset;
    const commit = ingest.commit().then((digest) => {
      this.#members.set(path, { blob: { digest, size, mediaType: "" } });
      this.#commits.delete(commit);
    });
    this.#commits.add(commit);
    // A failure is thrown by whoever waits first: here, or finish().
    commit.catch(() => undefined);
    if (this.#commits.size >= MAX_COMMITS) await Promise.race(this.#commits);
  }

  #keep(path: string, { document, link }: (Step & { do: "keep" })["member"]): void {
    this.#documentBytes += document?.length ?? 0;
    if (this.#documentBytes > MAX_DOCUMENT_BYTES)
      throw invalid(`invalid archive: more than ${MAX_DOCUMENT_BYTES} bytes of documents`);
    this.#members.set(path, document === null ? { link } : { document });
  }
}

/** A blob under its own digest is checked against it; null when somebody has brought it meanwhile. */
async function openMember(content: Content, digest: Digest | null, size: number): Promise<Ingest | null> {
  if (digest === null) return await content.openNew(MEDIA.ociLayer);
  const ingest = await content.openIngest({ digest, size, mediaType: "" });
  if (content.has(digest)) {
    await ingest.close();
    return null;
  }
  if (ingest.offset > 0) await ingest.restart();
  return ingest;
}

type Step =
  | { do: "open"; path: string; digest: Digest | null; size: number }
  | { do: "write"; bytes: Uint8Array }
  | { do: "close"; path: string }
  | { do: "keep"; path: string; member: { document: Uint8Array; link: "" } | { document: null; link: string } };

/** Notes what is to be done with the members that pass; their contents stay views of the chunk at hand. */
class MemberCollector implements TarVisitor {
  #steps: Step[] = [];
  #path = "";
  #document: Uint8Array[] | null = null;
  #isStored = false;

  take(): Step[] {
    const steps = this.#steps;
    this.#steps = [];
    return steps;
  }

  entry(entry: TarEntry): void {
    const path = cleanPath(entry.path);
    this.#document = null;
    this.#isStored = false;
    if (path === null) throw new LayerError(`entry ${JSON.stringify(entry.path)} climbs out of the archive`);
    this.#path = path;
    if (entry.type === "link" || entry.type === "symlink") {
      const base = entry.type === "link" ? "" : path.slice(0, path.lastIndexOf("/") + 1);
      const link = cleanPath(entry.linkPath.startsWith("/") ? entry.linkPath : base + entry.linkPath);
      if (link === null) throw new LayerError(`link ${JSON.stringify(entry.path)} climbs out of the archive`);
      this.#steps.push({ do: "keep", path, member: { document: null, link } });
    } else if (entry.type === "file" && isDocument(path)) {
      if (entry.size > MAX_MANIFEST_BYTES)
        throw new LayerError(
          `${JSON.stringify(path)} has ${entry.size} bytes, a document at most ${MAX_MANIFEST_BYTES}`,
        );
      this.#document = [];
    } else if (entry.type === "file") {
      this.#isStored = true;
      this.#steps.push({ do: "open", path, digest: blobDigest(path), size: entry.size });
    }
  }

  data(bytes: Uint8Array): void {
    if (this.#document !== null) this.#document.push(bytes.slice());
    else if (this.#isStored) this.#steps.push({ do: "write", bytes });
  }

  end(): void {
    if (this.#document !== null)
      this.#steps.push({ do: "keep", path: this.#path, member: { document: Buffer.concat(this.#document), link: "" } });
    else if (this.#isStored) this.#steps.push({ do: "close", path: this.#path });
  }
}

function isDocument(path: string): boolean {
  return path === "oci-layout" || path === "repositories" || /(?:\.json|(?:^|\/)json|(?:^|\/)VERSION)$/.test(path);
}

function blobDigest(path: string): Digest | null {
  const [, algorithm, hex] = /^blobs\/([a-z0-9]+)\/([0-9a-f]+)$/.exec(path) ?? [];
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) ? digest : null;
}

// ---- what it says

/** An archive whose members are at hand. */
class Archive {
  constructor(
    readonly content: Content,
    private readonly members: ReadonlyMap<string, Member>,
  ) {}

  /** Follows links. */
  find(path: string): Exclude<Member, { link: string }> | null {
    let at = cleanPath(path);
    for (let count = 0; count < MAX_LINKS && at !== null; count++) {
      const member = this.members.get(at);
      if (member === undefined) return null;
      if (!("link" in member)) return member;
      at = member.link;
    }
    return null;
  }

  async document(path: string): Promise<Uint8Array | null> {
    const member = this.find(path);
    if (member === null) return null;
    return "document" in member ? member.document : await this.content.readSmall(member.blob.digest);
  }

  /** A member as a blob of the store. */
  async blob(path: string, mediaType: string): Promise<Descriptor> {
    const member = this.find(path);
    if (member === null) throw invalid(`invalid archive: ${JSON.stringify(path)} is missing`);
    return "document" in member ? await this.content.put(member.document, mediaType) : { ...member.blob, mediaType };
  }

  /** A blob that a descriptor names: in this archive, or in the store already. */
  require(descriptor: Descriptor): Descriptor {
    const known = this.content.get(descriptor.digest);
    if (known === null) throw invalid(`invalid archive: blob ${descriptor.digest} is missing`);
    return { ...descriptor, size: known.sizeBytes };
  }

  has(descriptor: Descriptor): boolean {
    return this.content.has(descriptor.digest);
  }

  async compressionOf(digest: Digest): Promise<Compression> {
    const handle = await open(this.content.path(digest), "r");
    try {
      const { buffer, bytesRead } = await handle.read(new Uint8Array(MAGIC_BYTES), 0, MAGIC_BYTES, 0);
      return detectCompression(buffer.subarray(0, bytesRead));
    } finally {
      await handle.close();
    }
  }
}

async function imagesOf(archive: Archive, options: LoadOptions): Promise<NewImage[]> {
  const index = await archive.document("index.json");
  const manifest = await archive.document("manifest.json");
  if (index === null && manifest === null)
    throw invalid("invalid archive: it has neither index.json nor manifest.json");
  const docker = manifest === null ? [] : await dockerImages(archive, manifest);
  const oci = index === null ? [] : await indexImages(archive, index, options);
  // The same image in both: the OCI one has the true manifest, the other may have more names.
  const images = merge(oci);
  for (const image of docker) {
    const same = images.find((each) => each.config.digest === image.config.digest);
    if (same === undefined) images.push(image);
    else same.references = unique([...same.references, ...image.references]);
  }
  return images;
}

type Draft = NewImage & { references: readonly Reference[] };
type MutableImage = { -readonly [K in keyof NewImage]: NewImage[K] };

/** An index names the same image once for each of its tags. */
function merge(images: readonly Draft[]): MutableImage[] {
  const merged: MutableImage[] = [];
  for (const image of images) {
    const same = merged.find((each) => each.config.digest === image.config.digest);
    if (same === undefined) merged.push({ ...image });
    else same.references = unique([...same.references, ...image.references]);
  }
  return merged;
}

function unique(references: readonly Reference[]): Reference[] {
  return [...new Map(references.map((reference) => [JSON.stringify(reference), reference])).values()];
}

async function dockerImages(archive: Archive, bytes: Uint8Array): Promise<MutableImage[]> {
  const items = check(DockerManifest, parseJSON(bytes, "manifest.json"), "manifest.json");
  const images: MutableImage[] = [];
  for (const item of items) {
    const config = await archive.blob(item.Config, MEDIA.ociConfig);
    const { diffIDs } = parseImageConfig(await archive.content.readSmall(config.digest));
    if (diffIDs.length !== item.Layers.length) {
      throw invalid(`invalid archive: ${item.Layers.length} layers, and the config tells of ${diffIDs.length}`);
    }
    const layers: Descriptor[] = [];
    for (const path of item.Layers) layers.push(await layerBlob(archive, path, diffIDs[layers.length]));
    images.push({
      config,
      manifest: null,
      layers,
      references: item.RepoTags.map((tag) => withDefaultTag(parseReference(tag))),
    });
  }
  return images;
}

/** A layer that is no plain tar has another digest than its diffID, and a media type to match. */
async function layerBlob(archive: Archive, path: string, diffID: Digest | undefined): Promise<Descriptor> {
  const blob = await archive.blob(path, MEDIA.ociLayer);
  if (blob.digest === diffID) return blob;
  const kind = await archive.compressionOf(blob.digest);
  return { ...blob, mediaType: LAYER_TYPES[kind] };
}

const LAYER_TYPES = { none: MEDIA.ociLayer, gzip: MEDIA.ociLayerGzip, zstd: MEDIA.ociLayerZstd } as const;

async function indexImages(archive: Archive, bytes: Uint8Array, options: LoadOptions): Promise<MutableImage[]> {
  const index = parseManifest(bytes, MEDIA.ociIndex);
  if (index.kind !== "index") throw invalid("invalid archive: index.json is not an index");
  const images: MutableImage[] = [];
  for (const entry of index.manifests) {
    if (isAttestation(entry)) continue;
    const references = namesOf(entry);
    for (const image of await manifestImages(archive, entry, options, 0)) images.push({ ...image, references });
  }
  return images;
}

/** COMPAT: containerd's annotation is the full name; OCI's may be a mere tag, which names no image by itself. */
function namesOf(entry: IndexEntry): Reference[] {
  const name = entry.annotations[ANNOTATION_NAME] ?? entry.annotations[ANNOTATION_REF] ?? "";
  if (!/[/:]/.test(name)) return [];
  return [withDefaultTag(parseReference(name))];
}

/** An entry of an index to images: itself, or those of an inner index that are wanted. */
async function manifestImages(
  archive: Archive,
  entry: IndexEntry,
  options: LoadOptions,
  depth: number,
): Promise<Omit<NewImage, "references">[]> {
  const parsed = parseManifest(await archive.content.readSmall(archive.require(entry).digest), entry.mediaType);
  if (parsed.kind === "manifest") {
    requireImage(parsed, entry.digest);
    const manifest = { mediaType: parsed.mediaType, digest: entry.digest, size: archive.require(entry).size };
    return [
      {
        manifest,
        config: archive.require(parsed.config),
        layers: parsed.layers.map((layer) => archive.require(layer)),
      },
    ];
  }
  if (depth >= MAX_INDEX_DEPTH) throw invalid("invalid archive: indexes nested too deeply");
  // An archive need not hold all that its index names.
  const whole = parsed.manifests.filter((each) => archive.has(each) && !isAttestation(each));
  const chosen = choose(whole, options);
  const images = [];
  for (const each of chosen) {
    const found = await manifestImages(archive, each, options, depth + 1);
    const attachments = await attestationsIn(archive, parsed.manifests, each.digest);
    const index = { mediaType: parsed.mediaType, digest: entry.digest, size: archive.require(entry).size };
    images.push(...found.map((image) => ({ ...image, index, attachments })));
  }
  return images;
}

/** What a builder says of an image, in manifests beside it, as far as the archive holds them. */
async function attestationsIn(
  archive: Archive,
  entries: readonly IndexEntry[],
  subject: Digest,
): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  for (const entry of entries) {
    if (entry.annotations["vnd.docker.reference.digest"] !== subject || !archive.has(entry)) continue;
    const parsed = parseManifest(await archive.content.readSmall(entry.digest), entry.mediaType);
    if (parsed.kind === "manifest")
      found.push(...[entry, parsed.config, ...parsed.layers].filter((each) => archive.has(each)));
  }
  return found;
}

function choose(entries: readonly IndexEntry[], { platforms, host }: LoadOptions): IndexEntry[] {
  const wanted = platforms.length > 0 ? platforms : [host];
  const found = wanted.map((platform) => chooseByPlatform(entries, platform, (entry) => entry.platform));
  const chosen = [...new Set(found.filter((entry) => entry !== null))];
  if (chosen.length > 0 || platforms.length > 0) return chosen;
  return entries.slice(0, 1);
}

/** Keeps the images that are for one of the platforms; all where none is asked for. */
export async function filterByPlatform(
  images: readonly NewImage[],
  content: Content,
  platforms: readonly Platform[],
): Promise<NewImage[]> {
  if (platforms.length === 0) return [...images];
  const kept: NewImage[] = [];
  for (const image of images) {
    const have = normalise(parseImageConfig(await content.readSmall(image.config.digest)));
    if (platforms.some((wanted) => chooseByPlatform([have], wanted, (each) => each) !== null)) kept.push(image);
  }
  return kept;
}
