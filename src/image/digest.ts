// Digests: `algorithm:hex` of the bytes as stored (image-spec, descriptor.md). A Digest is made only here.
import { createHash } from "node:crypto";
import { invalid } from "../errors.ts";

/** `sha256:` and 64 lower-case hex digits, or sha512 and 128. */
export type Digest = string & { readonly brand: "Digest" };

const LENGTHS: Readonly<Record<string, number>> = { sha256: 64, sha512: 128 };

export function isDigest(text: string): text is Digest {
  const colon = text.indexOf(":");
  const hex = text.slice(colon + 1);
  return hex.length === LENGTHS[text.slice(0, colon)] && /^[0-9a-f]+$/.test(hex);
}

export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  const algorithm = text.slice(0, Math.max(text.indexOf(":"), 0));
  if (/^[a-z0-9]+([+._-][a-z0-9]+)*$/.test(algorithm) && !Object.hasOwn(LENGTHS, algorithm))
    throw invalid("unsupported digest algorithm");
  throw invalid(algorithm === "" ? "invalid checksum digest format" : "invalid checksum digest length");
}

export function sha256(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}` as Digest;
}

/** The hash that a digest names: `sha256`. */
export function algorithmOf(digest: Digest): string {
  return digest.slice(0, digest.indexOf(":"));
}

export function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** Twelve hex digits, as the CLI shows an ID. */
export function shortID(digest: string): string {
  return hexOf(digest).slice(0, 12);
}
