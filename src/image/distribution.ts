// What a registry holds under a name, without pulling it. Nothing is stored. Called by GET /distribution/{name}/json.
import type { RegistryCredentials } from "../engine/mod.ts";
import { internal, invalid } from "../errors.ts";
import { MAX_CONFIG_BYTES } from "../limits.ts";
import { type Digest, sha256 } from "./digest.ts";
import { parseImageConfig } from "./image_config.ts";
import { type Descriptor, isAttestation, parseManifest } from "./manifest.ts";
import { normalise, type Platform } from "./platform.ts";
import { parseReference, withDefaultTag } from "./reference.ts";
import type { Registry, Repository } from "./registry.ts";

export interface Distribution {
  descriptor: Descriptor;
  /** Of the image, or of each image of the index. */
  platforms: Platform[];
}

/** Throws what the registry's client throws: notFound, unauthorized, invalid. */
export async function inspectDistribution(
  registry: Registry,
  name: string,
  credentials: RegistryCredentials | null,
  signal: AbortSignal,
): Promise<Distribution> {
  const reference = withDefaultTag(parseReference(name));
  const repository = { domain: reference.domain, path: reference.path, credentials };
  const { bytes, mediaType } = await registry.manifest(
    repository,
    reference.digest ?? reference.tag ?? "latest",
    signal,
  );
  const digest = sha256(bytes);
  requireDigest(reference.digest, digest);
  const document = parseManifest(bytes, mediaType);
  const descriptor = { mediaType: document.mediaType, digest, size: bytes.length };
  if (document.kind === "index") {
    const images = document.manifests.filter((entry) => !isAttestation(entry));
    return { descriptor, platforms: images.flatMap(({ platform }) => (platform === null ? [] : [platform])) };
  }
  const config = parseImageConfig(await readConfig(registry, repository, document.config, signal));
  return { descriptor, platforms: [normalise(config)] };
}

function requireDigest(wanted: Digest | null, actual: Digest): void {
  if (wanted !== null && wanted !== actual) {
    throw internal(`verification failed for digest ${wanted}: the registry sent ${actual}`);
  }
}

async function readConfig(
  registry: Registry,
  repository: Repository,
  { digest, size }: Descriptor,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (size > MAX_CONFIG_BYTES) throw invalid(`invalid image config: ${size} bytes, the limit is ${MAX_CONFIG_BYTES}`);
  const { chunks } = await registry.blob(repository, digest, 0, signal);
  const parts: Uint8Array[] = [];
  let read = 0;
  for await (const chunk of chunks) {
    read += chunk.length;
    if (read > size) throw invalid(`invalid image config: more than the ${size} bytes that the manifest says`);
    parts.push(chunk);
  }
  const bytes = Buffer.concat(parts);
  requireDigest(digest, sha256(bytes));
  return bytes;
}
