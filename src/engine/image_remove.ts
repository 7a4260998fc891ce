// Removing images: which names go, when the image goes with them, and when Docker says no. The rules and words are the
// daemon's (moby daemon/images/image_delete.go); clients match the words.
import { conflict } from "../errors.ts";
import { shortID } from "../image/digest.ts";
import { familiar, parseReference, repository } from "../image/reference.ts";
import type { ImageStore } from "../image/store.ts";
import type { Events, ImageRecord } from "./mod.ts";

export type Deletion = { Untagged: string } | { Deleted: string };

/** A container and the image it was made from. */
export interface ImageUse {
  containerID: string;
  imageID: string;
  isRunning: boolean;
}

export interface RemoveDeps {
  store: ImageStore;
  events: Pick<Events, "publish">;
  /** Containers that use the image; and creations of containers that are under way. */
  usesOf(imageID: string): ImageUse[];
}

export interface Removal {
  deletions: Deletion[];
  freedBytes: number;
}

/** `nameOrID` as the user gave it; throws notFound, conflict. */
export async function removeImage(deps: RemoveDeps, nameOrID: string, force: boolean): Promise<Removal> {
  const { image, name } = deps.store.find(nameOrID);
  const deletions: Deletion[] = [];
  const uses = deps.usesOf(image.id);
  if (name !== null) {
    const going = namesToRemove(image, name);
    const [user] = uses;
    if (!force && isSingleReference(image) && user !== undefined) {
      throw conflict(
        `conflict: unable to remove repository reference "${nameOrID}" (must force) - container ${user.containerID.slice(
          0,
          12,
        )} is using its referenced image ${shortID(image.id)}`,
      );
    }
    await untag(deps, image, going, deletions);
    const left = deps.store.byID(image.id);
    if (left === null || left.tags.length + left.repoDigests.length > 0) return { deletions, freedBytes: 0 };
    // The last name is gone; an image in use lives on without one.
    if (uses.length > 0) return { deletions, freedBytes: 0 };
    return { deletions, freedBytes: await removeWhole(deps, left, deletions) };
  }
  checkConflicts(image, uses, force);
  await untag(deps, image, [...image.tags, ...image.repoDigests], deletions);
  // COMPAT: as the image store does, and unlike older daemons, a forced removal leaves what a container still needs.
  if (uses.length > 0) return { deletions, freedBytes: 0 };
  return { deletions, freedBytes: await removeWhole(deps, image, deletions) };
}

/** Removes an image that nothing uses, with all its names: what prune does. */
export async function removeWithNames(deps: RemoveDeps, image: ImageRecord, deletions: Deletion[]): Promise<number> {
  await untag(deps, image, [...image.tags, ...image.repoDigests], deletions);
  return await removeWhole(deps, image, deletions);
}

/** The name given; and with a repository's last tag the digests it was pulled by. */
function namesToRemove(image: ImageRecord, name: string): string[] {
  if (name.includes("@")) return [name];
  const given = repository(parseReference(name));
  const ofRepository = (each: string): boolean => repository(parseReference(each)) === given;
  const hasOtherTag = image.tags.some((tag) => tag !== name && ofRepository(tag));
  return hasOtherTag ? [name] : [name, ...image.repoDigests.filter(ofRepository)];
}

/** At most one tag, and every digest of that same repository. */
function isSingleReference(image: ImageRecord): boolean {
  const repositories = new Set([...image.tags, ...image.repoDigests].map((name) => repository(parseReference(name))));
  return image.tags.length <= 1 && repositories.size <= 1;
}

function checkConflicts(image: ImageRecord, uses: readonly ImageUse[], force: boolean): void {
  const refuse = (why: string, isHard: boolean): never => {
    throw conflict(
      `conflict: unable to delete ${shortID(image.id)} (${isHard ? "cannot" : "must"} be forced) - ${why}`,
    );
  };
  const running = uses.find((use) => use.isRunning);
  if (running) refuse(`image is being used by running container ${running.containerID.slice(0, 12)}`, true);
  if (!force && !isSingleReference(image)) refuse("image is referenced in multiple repositories", false);
  const [stopped] = uses;
  const hasNames = image.tags.length + image.repoDigests.length > 0;
  if (stopped && (!force || !hasNames)) {
    // Without a name there is nothing that force could take away and still leave the container its files.
    refuse(`image is being used by stopped container ${stopped.containerID.slice(0, 12)}`, force);
  }
}

async function untag(
  deps: RemoveDeps,
  image: ImageRecord,
  names: readonly string[],
  deletions: Deletion[],
): Promise<void> {
  await deps.store.removeReferences(image.id, names);
  for (const name of names) {
    deletions.push({ Untagged: familiar(parseReference(name)) });
    deps.events.publish("image", "untag", image.id, { ...image.config.Labels, name: image.id });
  }
}

async function removeWhole(deps: RemoveDeps, image: ImageRecord, deletions: Deletion[]): Promise<number> {
  const freed = await deps.store.remove(image.id, () => deps.usesOf(image.id).length > 0);
  if (freed === null) return 0;
  deletions.push({ Deleted: image.id });
  deps.events.publish("image", "delete", image.id, { ...image.config.Labels, name: image.id });
  return freed;
}
