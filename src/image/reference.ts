// References: what a user types to name an image, as the distribution project's grammar has it, with Docker's familiar
// short forms. `busybox` is docker.io/library/busybox:latest.
//
//   reference  [domain "/"] path [":" tag] ["@" digest]
//   domain     (name parts with "." | IPv4 | "[" IPv6 "]") [":" port], or "localhost"
//   path       lower-case parts with "/" between; inside a part ".", "_", "__" or any number of "-" may separate
import { invalid } from "../errors.ts";
import { type Digest, parseDigest } from "./digest.ts";

export interface Reference {
  /** `docker.io`, `localhost:5000`. */
  domain: string;
  /** `library/busybox`. */
  path: string;
  tag: string | null;
  digest: Digest | null;
}

const DEFAULT_DOMAIN = "docker.io";
const LEGACY_DOMAIN = "index.docker.io";
const OFFICIAL = "library/";
export const DEFAULT_TAG = "latest";
const MAX_PATH_LENGTH = 255;

const LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const DOMAIN = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[(?:[a-fA-F0-9:]+)\\])(?::[0-9]+)?$`);
const PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const PATH = new RegExp(`^${PART}(?:/${PART})*$`);
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const ID = /^[a-f0-9]{64}$/;

/** COMPAT: the words are the distribution library's; docker-py and Compose show them as they are. */
export function parseReference(text: string): Reference {
  if (ID.test(text)) throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`);
  const { domain, rest } = splitDomain(text);
  const at = rest.indexOf("@");
  const named = at < 0 ? rest : rest.slice(0, at);
  const colon = named.indexOf(":");
  const path = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? null : named.slice(colon + 1);
  const digest = at < 0 ? null : rest.slice(at + 1);
  if (path.toLowerCase() !== path)
    throw invalid(`invalid reference format: repository name (${path}) must be lowercase`);
  const isTagGood = tag === null || TAG.test(tag);
  const isDigestGood = digest === null || DIGEST.test(digest);
  if (!DOMAIN.test(domain) || !PATH.test(path) || !isTagGood || !isDigestGood)
    throw invalid("invalid reference format");
  if (path.length > MAX_PATH_LENGTH)
    throw invalid(`repository name must not be more than ${MAX_PATH_LENGTH} characters`);
  return { domain, path, tag, digest: digest === null ? null : parseDigest(digest) };
}

/** The first part is a domain when it looks like one: `localhost`, or with a dot, a port or an upper-case letter. */
function splitDomain(text: string): { domain: string; rest: string } {
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first === "localhost" || first.toLowerCase() !== first;
  const domain = isDomain ? first : DEFAULT_DOMAIN;
  const rest = isDomain ? text.slice(slash + 1) : text;
  if (domain !== DEFAULT_DOMAIN && domain !== LEGACY_DOMAIN) return { domain, rest };
  return { domain: DEFAULT_DOMAIN, rest: rest.includes("/") ? rest : OFFICIAL + rest };
}

/** As `docker tag` and others take it: a repository without a digest, and a tag apart. Throws `invalid tag format`. */
export function withTag(reference: Reference, tag: string): Reference {
  if (!TAG.test(tag)) throw invalid("invalid tag format");
  return { ...reference, tag };
}

/** The same with `latest` where there is neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === null && reference.digest === null ? { ...reference, tag: DEFAULT_TAG } : reference;
}

/** `docker.io/library/busybox:latest`, with all that the reference has. */
export function canonical(reference: Reference): string {
  return `${reference.domain}/${reference.path}${suffix(reference)}`;
}

/** `docker.io/library/busybox`. */
export function repository(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** `busybox:latest`: as Docker shows it. */
export function familiar(reference: Reference): string {
  return `${familiarName(reference)}${suffix(reference)}`;
}

/** `busybox`. */
export function familiarName(reference: Reference): string {
  if (reference.domain !== DEFAULT_DOMAIN) return repository(reference);
  const [first, second, third] = reference.path.split("/");
  return `${first}/` === OFFICIAL && second !== undefined && third === undefined ? second : reference.path;
}

function suffix({ tag, digest }: Reference): string {
  return `${tag === null ? "" : `:${tag}`}${digest === null ? "" : `@${digest}`}`;
}
