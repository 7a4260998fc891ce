// Push as the Engine API has it: which images a name stands for, one after the other.
import { invalid, notFound } from "../errors.ts";
import { fitness, normalise, parsePlatform } from "../image/platform.ts";
import { familiar, familiarName, parseReference, type Reference, repository } from "../image/reference.ts";
import { commitName } from "./commit_name.ts";
import type { ImagesDeps } from "./images.ts";
import type { Images, Progress } from "./mod.ts";

/** The reference that was asked for. COMPAT: what is missing is told in the stream, after its first line, as under Docker. */
export async function pushImages(
  deps: Pick<ImagesDeps, "store" | "push" | "host">,
  request: Parameters<Images["push"]>[0],
  progress: Progress,
  signal: AbortSignal,
): Promise<Reference> {
  const reference = referenceOf(request.image, request.tag);
  checkPlatform(deps, reference, request.platform);
  progress({ status: `The push refers to repository [${repository(reference)}]` });
  const tagged = taggedIn(deps, reference);
  if (tagged.length === 0) throw notFound(`An image does not exist locally with the tag: ${familiarName(reference)}`);
  const wanted = reference.tag === null ? tagged : tagged.filter(({ name }) => name.tag === reference.tag);
  if (wanted.length === 0) throw notFound(`tag does not exist: ${familiar(reference)}`);
  for (const { imageID, name } of wanted)
    await deps.push({ imageID, reference: name, credentials: request.credentials }, progress, signal);
  return reference;
}

function referenceOf(image: string, tag: string): Reference {
  const reference = tag === "" ? parseReference(image) : commitName(image, tag);
  if (reference === null) throw invalid("invalid reference format");
  if (reference.digest !== null) throw invalid("cannot push a digest reference");
  return reference;
}

/** Every tag of a repository with its image, by name. */
function taggedIn(
  { store }: Pick<ImagesDeps, "store">,
  wanted: Reference,
): { imageID: string; name: Reference & { tag: string } }[] {
  const found: { imageID: string; name: Reference & { tag: string } }[] = [];
  for (const image of store.all()) {
    for (const text of image.tags) {
      const name = parseReference(text);
      if (name.tag !== null && repository(name) === repository(wanted))
        found.push({ imageID: image.id, name: { ...name, tag: name.tag } });
    }
  }
  return found.toSorted((a, b) => (a.name.tag < b.name.tag ? -1 : 1));
}

/** COMPAT: an image is for one platform; a push of another is refused with a status, before the stream begins. */
function checkPlatform(
  { store, host }: Pick<ImagesDeps, "store" | "host">,
  reference: Reference,
  platform: string,
): void {
  if (platform === "") return;
  const image = store.byReference(reference);
  if (image === null || fitness(parsePlatform(platform, host), normalise(image)) > 0) return;
  const have = [image.os, image.architecture, image.variant].filter((part) => part !== "").join("/");
  throw notFound(
    `image with reference ${familiar(reference)} was found but its platform (${have}) does not match the specified platform (${platform})`,
  );
}
