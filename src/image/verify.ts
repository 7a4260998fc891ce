// Checks everything that the image store holds: each blob against its digest, each unpacked layer against its blob, each
// image for its parts; and repairs what it can. For `berth verify`, on a store that nobody else uses.
//
//   blob    read and hashed                                          repaired from the registries of its images
//   layer   unpacked once more beside it, and compared entry by entry    replaced by what has just been unpacked
import { createHash } from "node:crypto";
import type { ImageRecord } from "../engine/mod.ts";
import type { Content } from "./content.ts";
import { algorithmOf, type Digest, parseDigest } from "./digest.ts";
import { createDownloads, type DownloadDeps } from "./download.ts";
import { parseManifest } from "./manifest.ts";
import { familiar, parseReference } from "./reference.ts";
import type { ImageStore } from "./store.ts";

/** One thing that is not as it should be. */
export interface Fault {
  kind: "blob" | "layer" | "image";
  /** Its digest, diffID or ID. */
  name: string;
  problem: string;
  /** How it was mended; null: it was not. */
  repair: string | null;
}

export interface VerifyDeps {
  store: ImageStore;
  downloads: Pick<DownloadDeps, "registry" | "sleep" | "maxAttempts">;
  /** Images that running containers stand on: their layers are not replaced. */
  isInUse(imageID: string): boolean;
  onFault(fault: Fault): void;
  signal: AbortSignal;
}

export interface VerifySummary {
  blobs: number;
  layers: number;
  images: number;
  /** Layers of no image, left by a pull that was given up, whose blob is not known any more. */
  unchecked: number;
  faults: number;
  repaired: number;
}

export async function verifyImages(deps: VerifyDeps, repairs: boolean): Promise<VerifySummary> {
  const { store } = deps;
  const summary = { blobs: 0, layers: 0, unchecked: 0, images: store.all().length, faults: 0, repaired: 0 };
  const tell = (fault: Fault): void => {
    summary.faults++;
    if (fault.repair !== null) summary.repaired++;
    deps.onFault(fault);
  };
  const uses = usesOf(store);
  for (const { digest } of Array.from(store.content.all())) {
    deps.signal.throwIfAborted();
    summary.blobs++;
    const problem = await blobProblem(store.content, digest);
    if (problem !== null)
      tell({ kind: "blob", name: digest, problem, repair: await repairBlob(deps, digest, uses, repairs) });
  }
  const sources = await layerSources(store);
  for (const image of store.all()) await checkImage(deps, image, sources, repairs, tell);
  for (const { diffID } of Array.from(store.layers.all())) {
    deps.signal.throwIfAborted();
    summary.layers++;
    const isChecked = await checkLayer(deps, diffID, sources.get(diffID) ?? null, repairs, tell);
    if (!isChecked) summary.unchecked++;
  }
  return summary;
}

async function blobProblem(content: Content, digest: string): Promise<string | null> {
  const known = content.get(digest);
  const hash = createHash(algorithmOf(parseDigest(digest)));
  let size = 0;
  try {
    for await (const chunk of content.read(digest, new AbortController().signal)) {
      hash.update(chunk);
      size += chunk.length;
    }
  } catch (error) {
    return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (size !== known?.sizeBytes) return `has ${size} bytes, not ${known?.sizeBytes}`;
  const actual = `${algorithmOf(parseDigest(digest))}:${hash.digest("hex")}`;
  return actual === digest ? null : `its bytes have the digest ${actual}`;
}

// ---- blobs

/** Which images a blob is part of. */
function usesOf(store: ImageStore): (digest: string) => ImageRecord[] {
  return (digest) => store.all().filter((image) => store.blobsOf(image.id).includes(digest));
}

/** Taken out in any case, so that the next pull brings it; null: nobody could bring it now. */
async function repairBlob(
  deps: VerifyDeps,
  digest: string,
  uses: (digest: string) => ImageRecord[],
  repairs: boolean,
): Promise<string | null> {
  if (!repairs) return null;
  const row = deps.store.content.get(digest);
  if (row === null) return null;
  const descriptor = { digest: parseDigest(digest), size: row.sizeBytes, mediaType: row.mediaType };
  let from: string | null = null;
  await deps.store.content.renew(digest, async () => {
    for (const name of uses(digest).flatMap((image) => [...image.repoDigests, ...image.tags])) {
      from = await fetchFrom(deps, name, descriptor).then(
        () => `fetched from ${familiar(parseReference(name))}`,
        () => null,
      );
      if (from !== null) return;
    }
  });
  return from;
}

/** Anonymously: nobody's password is here. */
async function fetchFrom(
  { store, downloads, signal }: VerifyDeps,
  name: string,
  descriptor: { digest: Digest; size: number; mediaType: string },
): Promise<void> {
  const { domain, path } = parseReference(name);
  const repository = { domain, path, credentials: null };
  if (!/manifest|index/.test(descriptor.mediaType)) {
    const silent = { onOffset: () => undefined, onStatus: () => undefined };
    const fetcher = createDownloads({ ...downloads, content: store.content });
    return await fetcher.fetch(repository, descriptor, silent, signal);
  }
  const { bytes } = await downloads.registry.manifest(repository, descriptor.digest, signal);
  const ingest = await store.content.openIngest(descriptor);
  try {
    if (ingest.offset > 0) await ingest.restart();
    await ingest.write(bytes);
    await ingest.commit();
  } finally {
    await ingest.close();
  }
}

// ---- layers

/** The blob that each layer is made of, as the images' manifests tell it. */
async function layerSources(store: ImageStore): Promise<Map<string, string>> {
  const sources = new Map<string, string>();
  for (const { diffID, blob } of store.layers.all())
    if (blob !== null && store.content.has(blob)) sources.set(diffID, blob);
  for (const image of store.all()) {
    const { manifest } = image;
    if (manifest === null || !store.content.has(manifest.digest)) continue;
    const parsed = parseManifest(await store.content.readSmall(manifest.digest), manifest.mediaType);
    if (parsed.kind !== "manifest") continue;
    for (const [index, diffID] of image.diffIDs.entries()) {
      const digest = parsed.layers[index]?.digest;
      if (digest !== undefined && store.content.has(digest)) sources.set(diffID, digest);
    }
  }
  return sources;
}

async function checkImage(
  { store }: VerifyDeps,
  image: ImageRecord,
  sources: ReadonlyMap<string, string>,
  repairs: boolean,
  tell: (fault: Fault) => void,
): Promise<void> {
  const missing = store.blobsOf(image.id).filter((digest) => !store.content.has(digest));
  if (missing.length > 0)
    tell({
      kind: "image",
      name: image.id,
      problem: `its blobs ${missing.join(", ")} are missing: pull it again`,
      repair: null,
    });
  for (const diffID of image.diffIDs.filter((each) => store.layers.get(each) === null)) {
    const source = sources.get(diffID);
    const problem = "is not unpacked";
    if (source === undefined || !repairs) tell({ kind: "layer", name: diffID, problem, repair: null });
    else tell({ kind: "layer", name: diffID, problem, repair: await unpack(store, source, diffID) });
  }
}

async function unpack(store: ImageStore, digest: string, diffID: string): Promise<string | null> {
  return await store.layers.unpack({ digest, diffID }).then(
    () => `unpacked from ${digest}`,
    () => null,
  );
}

/** False: there is nothing to check it against, and nothing that needs it. */
async function checkLayer(
  deps: VerifyDeps,
  diffID: string,
  source: string | null,
  repairs: boolean,
  tell: (fault: Fault) => void,
): Promise<boolean> {
  const { store } = deps;
  const users = store.all().filter((image) => image.diffIDs.includes(diffID));
  const fault = (problem: string, repair: string | null = null): true => {
    tell({ kind: "layer", name: diffID, problem, repair });
    return true;
  };
  if (source === null) return users.length > 0 && fault("cannot be checked: its blob is missing");
  const differences = await store.layers
    .check({ digest: source, diffID }, deps.signal)
    .catch((error: unknown) => [
      `cannot be unpacked from ${source}: ${error instanceof Error ? error.message : String(error)}`,
    ]);
  if (differences.length === 0) return true;
  const problem = differences.join("; ");
  if (!repairs) return fault(problem);
  if (users.some((image) => deps.isInUse(image.id)))
    return fault(`${problem}; a running container stands on it: stop it first`);
  return await store.layers.renew({ digest: source, diffID }).then(
    () => fault(problem, `unpacked again from ${source}`),
    () => fault(problem),
  );
}
