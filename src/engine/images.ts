// Images as the Engine API has them: list, tag, remove, prune, load, save. What images are and where they lie is
// image/store.ts; pulling is image/pull.ts and handed in.
import { rm } from "node:fs/promises";
import type { LayerPool } from "../../runtime/mod.ts";
import { invalid, notFound } from "../errors.ts";
import { filterByPlatform, readArchive } from "../image/archive_load.ts";
import { type SavedImage, writeArchive } from "../image/archive_save.ts";
import { shortID } from "../image/digest.ts";
import type { Descriptor } from "../image/manifest.ts";
import { chooseByPlatform, formatPlatform, normalise, parsePlatform, type Platform } from "../image/platform.ts";
import type { Push } from "../image/push.ts";
import { meter } from "../image/progress.ts";
import { type ImageDraft, registerDraft, storeTar } from "../image/new_image.ts";
import {
  DEFAULT_TAG,
  familiar,
  familiarName,
  parseReference,
  type Reference,
  repository,
  withTag,
} from "../image/reference.ts";
import type { ImageStore, NewImage } from "../image/store.ts";
import { createdAtMs, imageFilter } from "./image_filters.ts";
import { attestationsOf, manifestsOf } from "./image_manifests.ts";
import { booleanFilter } from "./filters.ts";
import { importImage, type OpenRemoteFile } from "./image_import.ts";
import { type Deletion, type ImageUse, removeImage, removeWithNames } from "./image_remove.ts";
import { pushImages } from "./image_push.ts";
import { oneAtATime } from "./locks.ts";
import type { Events, ImageRecord, Images, Progress } from "./mod.ts";

export interface ImagesDeps {
  store: ImageStore;
  /** image/pull.ts. */
  pull: Images["pull"];
  /** image/push.ts. */
  push: Push;
  events: Pick<Events, "publish">;
  /** Every container, running or not. */
  usedBy(): Iterable<ImageUse>;
  host: Platform;
  layerPool: LayerPool;
  openRemoteFile: OpenRemoteFile;
  now: () => Date;
}

/** What the engine itself needs of images, beyond what the API does. */
export interface ImageService extends Images {
  /**
   * Keeps an image from being removed until the returned function is called: a container is being made from it that has
   * no row yet. Throws notFound.
   */
  claim(nameOrID: string): { image: ImageRecord; release: () => void };
  /**
   * Makes an image on top of another: `writeTar` writes what it adds, uncompressed, to the path that it is given, and tells
   * its diffID; null: it adds nothing.
   */
  make(
    parentID: string,
    writeTar: (target: string) => Promise<{ path: string; diffID: string } | null>,
    draft: Omit<ImageDraft, "parent" | "layer" | "platform" | "createdAt">,
    signal: AbortSignal,
  ): Promise<ImageRecord>;
}

export function createImages(deps: ImagesDeps): ImageService {
  const { store, events } = deps;
  const claims = new Map<string, number>();
  const filterDeps = { resolve: (name: string) => store.resolve(name), now: deps.now };
  const removeDeps = { store, events, usesOf };

  function usesOf(imageID: string): ImageUse[] {
    const uses = [...deps.usedBy()].filter((use) => use.imageID === imageID);
    return claims.has(imageID) ? [...uses, { containerID: "(new)", imageID, isRunning: false }] : uses;
  }

  function publish(action: string, image: ImageRecord, actorID: string, name: string): void {
    events.publish("image", action, actorID, { ...image.config.Labels, name });
  }

  /** How many images each layer is part of. */
  function layerUses(): Map<string, number> {
    const uses = new Map<string, number>();
    for (const image of store.all())
      for (const diffID of new Set(image.diffIDs)) uses.set(diffID, (uses.get(diffID) ?? 0) + 1);
    return uses;
  }

  function sharedSize(image: ImageRecord, uses: ReadonlyMap<string, number>): number {
    const shared = image.diffIDs.filter((diffID) => (uses.get(diffID) ?? 0) > 1);
    return shared.reduce((sum, diffID) => sum + (store.layers.get(diffID)?.sizeBytes ?? 0), 0);
  }

  async function prune(filters: Parameters<Images["prune"]>[0]): ReturnType<Images["prune"]> {
    const onlyDangling = booleanFilter(filters, "dangling", true);
    const others = new Map([...filters].filter(([name]) => name !== "dangling"));
    const matches = imageFilter(others, filterDeps);
    const deleted: Deletion[] = [];
    let spaceReclaimed = 0;
    for (const image of store.all()) {
      const isMeant = matches(image) !== null && (!onlyDangling || image.tags.length === 0);
      if (!isMeant || usesOf(image.id).length > 0 || store.byID(image.id) === null) continue;
      spaceReclaimed += await removeWithNames(removeDeps, image, deleted);
    }
    // Blobs of pulls that were given up belong to no image.
    spaceReclaimed += await store.collect(deps.now().getTime());
    events.publish("image", "prune", "", { reclaimed: String(spaceReclaimed) });
    return { deleted, spaceReclaimed };
  }

  /** One image of an archive: unpacked, registered, told. */
  async function loadImage(image: NewImage, isQuiet: boolean, progress: Progress, signal: AbortSignal): Promise<void> {
    const meters = new Map<string, (bytes: number) => void>();
    const onLayer = (diffID: string, layer: Descriptor, bytes: number): void => {
      const draw =
        meters.get(diffID) ?? meter(progress, () => deps.now().getTime(), shortID(diffID), "Loading layer", layer.size);
      meters.set(diffID, draw);
      draw(bytes);
    };
    const { image: record } = await store.register(image, isQuiet ? { signal } : { signal, onLayer });
    // COMPAT: docker-py and scripts take the name or ID from these lines.
    if (image.references.length === 0) progress({ stream: `Loaded image ID: ${record.id}\n` });
    for (const reference of image.references) progress({ stream: `Loaded image: ${familiar(reference)}\n` });
    publish(
      "load",
      record,
      record.id,
      record.tags[0] === undefined ? record.id : familiar(parseReference(record.tags[0])),
    );
  }

  /** What a name given to save stands for: an image, and which of its tags go along. */
  function savedTags(name: string): { image: ImageRecord; tags: string[] }[] {
    const ofRepository = bareRepository(name);
    const tagged = store
      .all()
      .map((image) => ({ image, tags: image.tags.filter(ofRepository) }))
      .filter(({ tags }) => tags.length > 0);
    if (tagged.length > 0) return tagged;
    const found = store.find(name);
    return [{ image: found.image, tags: found.name === null || found.name.includes("@") ? [] : [found.name] }];
  }

  async function make(...[parentID, writeTar, draft, signal]: Parameters<ImageService["make"]>): Promise<ImageRecord> {
    const image = await store.ingestOrUndo(async () => {
      const parent = store.resolve(parentID);
      const target = store.content.newFile();
      try {
        const tar = await writeTar(target);
        const layer = tar === null ? null : await storeTar({ store, pool: deps.layerPool }, tar, signal);
        const createdAt = deps.now().toISOString();
        return await registerDraft(store, { ...draft, parent, platform: parent, layer, createdAt }, signal);
      } finally {
        await rm(target, { force: true });
      }
    });
    publishTags(image, draft.references);
    return image;
  }

  function publishTags(image: ImageRecord, references: readonly Reference[]): void {
    for (const reference of references) publish("tag", image, image.id, familiar(reference));
  }

  return {
    get: (nameOrID) => store.resolve(nameOrID),
    make,
    claim(nameOrID) {
      const image = store.resolve(nameOrID);
      claims.set(image.id, (claims.get(image.id) ?? 0) + 1);
      let isHeld = true;
      const release = (): void => {
        if (!isHeld) return;
        isHeld = false;
        const left = (claims.get(image.id) ?? 1) - 1;
        if (left === 0) claims.delete(image.id);
        else claims.set(image.id, left);
      };
      return { image, release };
    },
    async list({ filters, sharedSize: wantsShared }) {
      const matches = imageFilter(filters, filterDeps);
      const uses = wantsShared ? layerUses() : null;
      const containers = new Map<string, number>();
      for (const { imageID } of deps.usedBy()) containers.set(imageID, (containers.get(imageID) ?? 0) + 1);
      return store
        .all()
        .map((image) => matches(image))
        .filter((image) => image !== null)
        .toSorted((a, b) => createdAtMs(b) - createdAtMs(a))
        .map((image) => ({
          image,
          sharedSizeBytes: uses === null ? -1 : sharedSize(image, uses),
          containers: containers.get(image.id) ?? 0,
        }));
    },
    async tag(source, repositoryName, tag) {
      const image = store.resolve(source);
      const name = parseReference(repositoryName);
      if (name.digest !== null) throw invalid("refusing to create a tag with a digest reference");
      const reference = withTag(name, tag !== "" ? tag : (name.tag ?? DEFAULT_TAG));
      if (familiarName(reference) === "sha256") {
        throw invalid("refusing to create an ambiguous tag using digest algorithm as name");
      }
      await store.addReference(image.id, reference);
      publish("tag", image, image.id, familiar(reference));
    },
    async manifests(image) {
      const users = [...deps.usedBy()].filter(({ imageID }) => imageID === image.id);
      return await manifestsOf(
        store,
        image,
        users.map(({ containerID }) => containerID),
      );
    },
    async attestations(nameOrID, { platform, types, withStatement }) {
      const wanted = platform === "" ? null : parsePlatform(platform, deps.host);
      return await attestationsOf(store, store.resolve(nameOrID), { platform: wanted, types, withStatement });
    },
    async remove(nameOrID, { force, platforms }) {
      const wanted = platforms.map((text) => parsePlatform(text, deps.host));
      // An image here is one platform's: to remove that is to remove it.
      checkPlatform(store.resolve(nameOrID), wanted);
      const { deletions } = await removeImage(removeDeps, nameOrID, force);
      return deletions;
    },
    prune: oneAtATime("a prune operation", prune),
    async pull(request, progress, signal) {
      await deps.pull(request, progress, signal);
      // COMPAT: the event names what was asked for, not the image's ID.
      const text =
        request.tag === "" ? request.image : `${request.image}${request.tag.includes(":") ? "@" : ":"}${request.tag}`;
      const reference = parseReference(text);
      const labels = store.byReference(reference)?.config.Labels;
      events.publish("image", "pull", familiar(reference), { ...labels, name: familiarName(reference) });
    },
    async load(body, { quiet, platforms }, progress, signal) {
      const wanted = platforms.map((text) => parsePlatform(text, deps.host));
      await store.ingestOrUndo(async () => {
        const found = await readArchive(body, store.content, { platforms: wanted, host: deps.host, signal });
        const images = await filterByPlatform(found, store.content, wanted);
        if (images.length === 0)
          throw notFound(`no image in the archive is for ${wanted.map(formatPlatform).join(", ")}`);
        for (const image of images) await loadImage(image, quiet, progress, signal);
      });
    },
    async push(request, progress, signal) {
      const reference = await pushImages(deps, request, progress, signal);
      // COMPAT: the event names what was asked for, not the image's ID.
      const labels = reference.tag === null ? {} : store.byReference(reference)?.config.Labels;
      events.publish("image", "push", familiar(reference), { ...labels, name: familiarName(reference) });
    },
    async import(request, progress, signal) {
      const { image, references } = await importImage(deps, request, progress, signal);
      publishTags(image, references);
      publish("import", image, image.id, image.id);
      progress({ status: image.id });
    },
    async save(names, { platforms }, signal) {
      const wanted = platforms.map((text) => parsePlatform(text, deps.host));
      const chosen = new Map<string, { image: ImageRecord; tags: Set<string> }>();
      for (const { image, tags } of names.flatMap(savedTags)) {
        const entry = chosen.get(image.id) ?? { image, tags: new Set() };
        tags.forEach((tag) => entry.tags.add(tag));
        chosen.set(image.id, entry);
      }
      const saved: SavedImage[] = [];
      for (const { image, tags } of chosen.values()) {
        checkPlatform(image, wanted);
        saved.push({ image, tags: [...tags].toSorted(), parts: await store.parts(image.id) });
      }
      const bytes = writeArchive(saved, store.content, signal);
      for (const { image } of saved) publish("save", image, image.id, image.id);
      return bytes;
    },
    rootfsLayers: (imageID) => store.rootfsLayers(imageID),
    async totals() {
      const used = new Set(store.all().flatMap((image) => image.diffIDs));
      const sizes = [...store.layers.all()].filter((layer) => used.has(layer.diffID)).map((layer) => layer.sizeBytes);
      return { count: store.all().length, layersBytes: sizes.reduce((sum, size) => sum + size, 0) };
    },
  };
}

/** Whether a tag is of the repository that a name without a tag stands for, as `docker save` has it; else of none. */
function bareRepository(name: string): (tag: string) => boolean {
  if (/^(?:sha256:)?[0-9a-f]{64}$/.test(name)) return () => false;
  const reference = parseReference(name);
  const isBare = reference.tag === null && reference.digest === null;
  return (tag) => isBare && repository(parseReference(tag)) === repository(reference);
}

function checkPlatform(image: ImageRecord, wanted: readonly Platform[]): void {
  const have = normalise(image);
  const isThere =
    wanted.length === 0 || wanted.some((platform) => chooseByPlatform([have], platform, (each) => each) !== null);
  if (isThere) return;
  throw notFound(
    `image with reference ${image.tags[0] ?? image.id} was found but does not provide the specified platform (${wanted.map(formatPlatform).join(", ")})`,
  );
}
