// Push: an image in the store to a registry. Its blobs go as they came, so that a pulled or loaded image keeps its digests
// wherever it is pushed; then its config, and last its manifest under the tag. Called by engine/images.ts.
import type { Progress, RegistryCredentials } from "../engine/mod.ts";
import { internal } from "../errors.ts";
import { MOUNT_ATTEMPTS, UPLOAD_ATTEMPTS } from "../limits.ts";
import { shortID } from "./digest.ts";
import { Slots } from "./download.ts";
import type { Descriptor } from "./manifest.ts";
import { meter } from "./progress.ts";
import { parseReference, type Reference } from "./reference.ts";
import { type Registry, type Repository, TransientError } from "./registry.ts";
import type { ImageStore } from "./store.ts";
import { countDown, pushRefusal, upload, type UploadDeps } from "./upload.ts";

export interface PushDeps {
  registry: Pick<Registry, "send">;
  store: Pick<ImageStore, "content" | "parts" | "all" | "byID" | "addReference" | "whileIngesting">;
  maxConcurrentUploads: () => number;
  now: () => number;
  sleep: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Pushes an image under a name with a tag; the digest is one of the image's names from then on. */
export type Push = (
  request: { imageID: string; reference: Reference & { tag: string }; credentials: RegistryCredentials | null },
  progress: Progress,
  signal: AbortSignal,
) => Promise<void>;

export function createPush(deps: PushDeps): Push {
  const slots = new Slots(deps.maxConcurrentUploads);
  const uploads: UploadDeps = {
    registry: deps.registry,
    content: deps.store.content,
    maxAttempts: UPLOAD_ATTEMPTS,
    sleep: deps.sleep,
  };

  return ({ imageID, reference, credentials }, progress, signal) =>
    // Nothing that is being sent may be collected meanwhile.
    deps.store.whileIngesting(async () => {
      const repository = { domain: reference.domain, path: reference.path, credentials };
      const parts = await deps.store.parts(imageID);
      const diffIDs = deps.store.byID(imageID)?.diffIDs ?? [];
      await reach(repository, signal);
      await pushLayers(repository, parts.layers, diffIDs, progress, signal);
      const silent = { onOffset: () => undefined, onStatus: () => undefined };
      await upload(uploads, repository, parts.config, [], silent, signal);
      await putManifest(repository, reference.tag, parts.manifest, signal);
      const { digest, size } = parts.manifest;
      progress({ status: `${reference.tag}: digest: ${digest} size: ${size}` });
      // COMPAT: docker push --quiet and SDKs take the digest from here.
      progress({ progressDetail: {}, aux: { Tag: reference.tag, Digest: digest, Size: size } });
      await deps.store.addReference(imageID, { ...reference, tag: null, digest });
    });

  /** A registry that cannot be reached, or takes nobody without a login, is told of before anything is tried five times. */
  async function reach(repository: Repository, signal: AbortSignal): Promise<void> {
    try {
      const { reply } = await deps.registry.send(repository, { method: "GET", target: "" }, signal);
      await reply.body?.cancel();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof TransientError) throw internal(error.message, { cause: error });
      throw error;
    }
  }

  /** All at once, bounded by the slots, the topmost first; the first failure ends the others and is the one that is told. */
  async function pushLayers(
    repository: Repository,
    layers: readonly Descriptor[],
    diffIDs: readonly string[],
    progress: Progress,
    outer: AbortSignal,
  ): Promise<void> {
    // An image may hold one layer twice.
    const unique = new Map(
      layers.map((layer, at) => [layer.digest, { layer, id: shortID(diffIDs[at] ?? layer.digest) }]),
    );
    const work = [...unique.values()].toReversed();
    for (const { id } of work) progress({ status: "Preparing", progressDetail: {}, id });
    const sources = await mountSources(repository);
    const failed = new AbortController();
    const signal = AbortSignal.any([outer, failed.signal]);
    const pushes = work.map(async ({ layer, id }) => {
      try {
        if (slots.isFull) progress({ status: "Waiting", progressDetail: {}, id });
        await slots.use(
          () => pushLayer(repository, layer, id, sources.get(layer.digest) ?? [], progress, signal),
          signal,
        );
      } catch (error) {
        failed.abort(error);
        throw error;
      }
    });
    await Promise.allSettled(pushes);
    // The abort's reason is the first failure; the others only followed it.
    if (failed.signal.aborted) throw failed.signal.reason;
  }

  async function pushLayer(
    repository: Repository,
    layer: Descriptor,
    id: string,
    mountFrom: readonly string[],
    progress: Progress,
    signal: AbortSignal,
  ): Promise<void> {
    const show = (status: string): void => progress({ status, progressDetail: {}, id });
    const onOffset = meter(progress, deps.now, id, "Pushing", layer.size);
    const uploaded = await upload(uploads, repository, layer, mountFrom, { onOffset, onStatus: show }, signal);
    if (uploaded.how === "there") show("Layer already exists");
    else if (uploaded.how === "mounted") show(`Mounted from ${uploaded.from}`);
    else show("Pushed");
  }

  /** Other repositories of the same registry that have a blob, as far as our own images tell. */
  async function mountSources({ domain, path }: Repository): Promise<Map<string, string[]>> {
    const sources = new Map<string, string[]>();
    for (const image of deps.store.all()) {
      const paths = image.repoDigests
        .map(parseReference)
        .filter((reference) => reference.domain === domain && reference.path !== path)
        .map((reference) => reference.path);
      if (paths.length === 0 || image.manifest === null) continue;
      for (const { digest } of (await deps.store.parts(image.id)).layers) {
        const known = sources.get(digest) ?? [];
        sources.set(digest, [...new Set([...known, ...paths])].slice(0, MOUNT_ATTEMPTS));
      }
    }
    return sources;
  }

  async function putManifest(
    repository: Repository,
    tag: string,
    manifest: Descriptor,
    signal: AbortSignal,
  ): Promise<void> {
    const bytes = new Uint8Array(await deps.store.content.readSmall(manifest.digest));
    for (let attempt = 1; ; attempt++) {
      try {
        const { reply } = await deps.registry.send(
          repository,
          {
            method: "PUT",
            target: `${repository.path}/manifests/${tag}`,
            headers: { "content-type": manifest.mediaType },
            body: bytes,
          },
          signal,
        );
        if (reply.status !== 201 && reply.status !== 200 && reply.status !== 202) throw await pushRefusal(reply);
        await reply.body?.cancel();
        const stored = reply.headers.get("docker-content-digest");
        if (stored !== null && stored !== manifest.digest)
          throw internal(`the registry has stored the manifest ${manifest.digest} as ${stored}`);
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof TransientError)) throw error;
        if (attempt >= UPLOAD_ATTEMPTS) throw internal(error.message, { cause: error });
        await countDown(deps, error.retryAfterMs ?? 1000 * 2 ** (attempt - 1), { onStatus: () => undefined }, signal);
      }
    }
  }
}
