// Pull: a reference to an image in the store. Resolves the manifest, downloads what is missing (some layers at a time),
// unpacks each layer as soon as it is whole, and registers the image. Called by engine/images.ts.
//
//   manifest ─▶ [index ─▶ platform's manifest] ─▶ config ─▶ layers: download ─▶ verify ─▶ unpack ─▶ register
import { internal, invalid, isKind, notFound } from "../errors.ts";
import type { Progress, RegistryCredentials } from "../engine/mod.ts";
import { MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES } from "../limits.ts";
import { type Digest, sha256, shortID } from "./digest.ts";
import { createDownloads, Slots } from "./download.ts";
import { parseImageConfig } from "./image_config.ts";
import { type Descriptor, type ImageManifest, isAttestation, MEDIA, parseManifest, requireImage } from "./manifest.ts";
import { chooseByPlatform, fitness, formatPlatform, normalise, parsePlatform, type Platform } from "./platform.ts";
import { meter } from "./progress.ts";
import {
  canonical,
  familiar,
  familiarName,
  parseReference,
  type Reference,
  withDefaultTag,
  withTag,
} from "./reference.ts";
import { type Registry, type Repository, TransientError } from "./registry.ts";
import type { ImageStore } from "./store.ts";

export interface PullDeps {
  registry: Registry;
  store: Pick<ImageStore, "content" | "layers" | "register" | "whileIngesting">;
  host: Platform;
  /** Read anew for each pull. */
  bounds: () => { maxConcurrentDownloads: number; maxDownloadAttempts: number };
  now: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

interface PullRequest {
  image: string;
  tag: string;
  /** `linux/arm64/v8`, or "" for this machine's. */
  platform: string;
  credentials: RegistryCredentials | null;
}

export type Pull = (request: PullRequest, progress: Progress, signal: AbortSignal) => Promise<void>;

interface Resolved {
  manifest: ImageManifest;
  bytes: Uint8Array;
}

/** An index in an index is legal; a chain of them is somebody's mistake or malice. */
const MAX_INDEX_DEPTH = 2;

export function createPull(deps: PullDeps): Pull {
  const slots = new Slots(() => deps.bounds().maxConcurrentDownloads);
  /** Some documents do not say themselves what they are: then the registry's content type does. */
  const announced = new WeakMap<Uint8Array, string>();
  const downloads = createDownloads({
    registry: deps.registry,
    content: deps.store.content,
    maxAttempts: () => deps.bounds().maxDownloadAttempts,
    sleep: deps.sleep,
  });

  return async (request, progress, signal) => {
    const reference = referenceOf(request);
    const repository = { domain: reference.domain, path: reference.path, credentials: request.credentials };
    const wanted = request.platform === "" ? null : parsePlatform(request.platform, deps.host);
    if (reference.tag !== null || reference.digest !== null)
      return await deps.store.whileIngesting(() => pullOne(repository, reference, wanted, progress, signal));
    for (const tag of await retrying(familiarName(reference), () => deps.registry.tags(repository, signal), signal)) {
      await deps.store.whileIngesting(() => pullOne(repository, withTag(reference, tag), wanted, progress, signal));
    }
  };

  async function pullOne(
    repository: Repository,
    reference: Reference,
    wanted: Platform | null,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void> {
    const name = reference.digest ?? withDefaultTag(reference).tag ?? "";
    const top = await fetchManifest(repository, name, reference.digest, signal);
    const { manifest, bytes } = await choosePlatform(
      repository,
      canonical(withDefaultTag(reference)),
      top,
      wanted,
      signal,
    );
    const config = parseImageConfig(await fetchConfig(repository, manifest.config, signal));
    if (wanted && fitness(wanted, normalise(config)) === 0) {
      throw notFound(
        `image with reference ${familiar(reference)} was found but does not provide the specified platform (${formatPlatform(wanted)})`,
      );
    }
    if (config.diffIDs.length !== manifest.layers.length) {
      throw invalid(
        `invalid image ${familiar(reference)}: ${manifest.layers.length} layers, but ${config.diffIDs.length} diffIDs in the config`,
      );
    }
    progress({
      status: `Pulling from ${repository.domain === "docker.io" ? repository.path : familiarName(reference)}`,
      id: name,
    });
    await pullLayers(repository, manifest.layers, config.diffIDs, progress, signal);
    const descriptor = await deps.store.content.put(bytes, manifest.mediaType);
    const index = bytes === top ? null : await deps.store.content.put(top, indexType(top, announced.get(top) ?? ""));
    const attachments = bytes === top ? [] : await pullAttestations(repository, top, descriptor.digest, signal);
    // What the reference resolved to: the index, where there is one. Later pulls and `image@digest` find it by that.
    const resolved = sha256(top);
    const { isUnchanged } = await deps.store.register(
      {
        manifest: descriptor,
        config: manifest.config,
        layers: manifest.layers,
        index,
        attachments,
        references: [reference, { ...reference, tag: null, digest: resolved }],
      },
      { signal },
    );
    progress({ status: `Digest: ${resolved}` });
    const news = isUnchanged ? "Image is up to date for" : "Downloaded newer image for";
    progress({ status: `Status: ${news} ${familiar(withDefaultTag(reference))}` });
  }

  /** The bytes of a manifest or index. By digest, they must have it. */
  async function fetchManifest(
    repository: Repository,
    name: string,
    digest: Digest | null,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const { bytes, mediaType } = await retrying(
      shownName(repository),
      () => deps.registry.manifest(repository, name, signal),
      signal,
    );
    const actual = sha256(bytes);
    if (digest !== null && actual !== digest) {
      throw internal(`manifest verification failed for digest ${digest}: the registry sent ${actual}`);
    }
    announced.set(bytes, mediaType);
    return bytes;
  }

  /** Follows an index to the manifest for the wanted platform. */
  async function choosePlatform(
    repository: Repository,
    name: string,
    top: Uint8Array,
    wanted: Platform | null,
    signal: AbortSignal,
  ): Promise<Resolved> {
    let bytes = top;
    for (let depth = 0; depth <= MAX_INDEX_DEPTH; depth++) {
      const document = parseManifest(bytes, announced.get(bytes) ?? "", name);
      if (document.kind === "manifest") {
        requireImage(document, name);
        return { manifest: document, bytes };
      }
      const entries = document.manifests.filter((entry) => !isAttestation(entry));
      const chosen =
        chooseByPlatform(entries, wanted ?? deps.host, ({ platform }) => platform) ??
        entries.find(
          ({ platform, mediaType }) =>
            platform === null && (mediaType === MEDIA.ociIndex || mediaType === MEDIA.dockerIndex),
        );
      if (!chosen)
        throw notFound(`no matching manifest for ${formatPlatform(wanted ?? deps.host)} in the manifest list entries`);
      bytes = await fetchManifest(repository, chosen.digest, chosen.digest, signal);
    }
    throw invalid(`${repository.path}: indexes nested too deeply`);
  }

  async function fetchConfig(repository: Repository, descriptor: Descriptor, signal: AbortSignal): Promise<Uint8Array> {
    if (descriptor.size > MAX_CONFIG_BYTES) {
      throw invalid(`invalid image config: ${descriptor.size} bytes, the limit is ${MAX_CONFIG_BYTES}`);
    }
    const silent = { onOffset: () => undefined, onStatus: () => undefined };
    if (!deps.store.content.has(descriptor.digest)) await downloads.fetch(repository, descriptor, silent, signal);
    return await deps.store.content.readSmall(descriptor.digest);
  }

  /** What a builder says of the image, in manifests beside it in the index. Small documents, kept for who asks. */
  async function pullAttestations(
    repository: Repository,
    top: Uint8Array,
    subject: Digest,
    signal: AbortSignal,
  ): Promise<Descriptor[]> {
    const index = parseManifest(top, announced.get(top) ?? "");
    if (index.kind !== "index") return [];
    const pulled: Descriptor[] = [];
    for (const entry of index.manifests) {
      if (!isAttestation(entry) || entry.annotations["vnd.docker.reference.digest"] !== subject) continue;
      const bytes = await fetchManifest(repository, entry.digest, entry.digest, signal);
      const manifest = parseManifest(bytes, entry.mediaType);
      if (manifest.kind !== "manifest") continue;
      pulled.push(await deps.store.content.put(bytes, manifest.mediaType));
      const silent = { onOffset: () => undefined, onStatus: () => undefined };
      for (const layer of manifest.layers.filter(({ size }) => size <= MAX_MANIFEST_BYTES)) {
        if (!deps.store.content.has(layer.digest)) await downloads.fetch(repository, layer, silent, signal);
        pulled.push(layer);
      }
    }
    return pulled;
  }

  /** All layers at once, bounded by the slots; the first failure ends the others and is the one that is told. */
  async function pullLayers(
    repository: Repository,
    layers: readonly Descriptor[],
    diffIDs: readonly Digest[],
    progress: Progress,
    outer: AbortSignal,
  ): Promise<void> {
    // An image may hold one layer twice, an empty one for example.
    const missing = new Map<string, { layer: Descriptor; diffID: Digest }>();
    for (const [index, layer] of layers.entries()) {
      const diffID = diffIDs[index];
      if (diffID === undefined) continue;
      const isHere = deps.store.layers.get(diffID) !== null && deps.store.content.has(layer.digest);
      if (!missing.has(layer.digest)) {
        progress({
          status: isHere ? "Already exists" : "Pulling fs layer",
          progressDetail: {},
          id: shortID(layer.digest),
        });
      }
      if (!isHere) missing.set(layer.digest, { layer, diffID });
    }
    const failed = new AbortController();
    const signal = AbortSignal.any([outer, failed.signal]);
    const work = [...missing.values()].map(async ({ layer, diffID }) => {
      try {
        await pullLayer(repository, layer, diffID, progress, signal);
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    await Promise.allSettled(work);
    // The abort's reason is the first failure; the others only followed it.
    if (failed.signal.aborted) throw failed.signal.reason;
  }

  async function pullLayer(
    repository: Repository,
    layer: Descriptor,
    diffID: Digest,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void> {
    const id = shortID(layer.digest);
    const show = (status: string): void => progress({ status, progressDetail: {}, id });
    if (!deps.store.content.has(layer.digest)) {
      if (slots.isFull) show("Waiting");
      const watcher = { onOffset: meter(progress, deps.now, id, "Downloading", layer.size), onStatus: show };
      await slots.use(() => downloads.fetch(repository, layer, watcher, signal), signal);
      show("Verifying Checksum");
    }
    show("Download complete");
    if (deps.store.layers.get(diffID) === null) {
      const onRead = meter(progress, deps.now, id, "Extracting", layer.size);
      await deps.store.layers.unpack({ digest: layer.digest, diffID }, { onRead, signal });
    }
    show("Pull complete");
  }

  /** A registry that cannot be reached is told at once; one that is busy is asked again when it says so. */
  async function retrying<T>(name: string, attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let count = 1; ; count++) {
      try {
        return await attempt();
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof TransientError)) throw denied(error, name);
        if (error.retryAfterMs === null || count >= deps.bounds().maxDownloadAttempts) {
          throw internal(`failed to do request: ${error.message}`, { cause: error });
        }
        await deps.sleep(error.retryAfterMs, signal);
      }
    }
  }
}

/** COMPAT: a token server's refusal is 404 here as well; a 401 makes the CLI ask for a password in the middle of a script. */
function denied(error: unknown, name: string): unknown {
  if (!(error instanceof Error) || !isKind(error, "unauthorized")) return error;
  return notFound(
    `pull access denied for ${name}, repository does not exist or may require 'docker login': ${error.message}`,
    { cause: error },
  );
}

const shownName = ({ domain, path }: Repository): string => familiarName({ domain, path, tag: null, digest: null });

const indexType = (bytes: Uint8Array, announced: string): string => parseManifest(bytes, announced).mediaType;

function referenceOf({ image, tag }: PullRequest): Reference {
  // COMPAT: the CLI sends a digest in `tag`; the name may carry a tag or digest of its own.
  const reference = parseReference(tag === "" ? image : `${image}${tag.startsWith("sha256:") ? "@" : ":"}${tag}`);
  // A digest says it all: what a tag beside it means is nobody's question.
  return reference.digest === null ? reference : { ...reference, tag: null };
}
