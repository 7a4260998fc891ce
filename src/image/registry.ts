// The distribution client: manifests, blobs and tags of a registry over HTTP. Called by pull.ts (and push.ts). Knows what
// is asked and what the answers mean; how a registry is reached is registry_transport.ts. Follows the OCI distribution
// specification 1.1.
import { EngineError, internal, notFound, unauthorized } from "../errors.ts";
import type { RegistryCredentials } from "../engine/mod.ts";
import {
  MAX_MANIFEST_BYTES,
  MAX_TAGS,
  REGISTRY_HEAD_TIMEOUT_MS,
  REGISTRY_IDLE_TIMEOUT_MS,
  RETRY_AFTER_MAX_MS,
} from "../limits.ts";
import type { Log } from "../log.ts";
import { MEDIA } from "./manifest.ts";
import type { Proxies } from "./proxy.ts";
import { errorText, readBounded, readBytesBounded } from "./registry_auth.ts";
import { createHosts, DOCKER_HUB, type RegistrySettings } from "./registry_hosts.ts";
import {
  createTransport,
  reasonOf,
  type RegistryReply,
  type RequestBody,
  type RegistryTimeouts,
  type Repository,
  TransientError,
} from "./registry_transport.ts";

export { type Repository, type RequestBody, TransientError } from "./registry_transport.ts";

/** Docker's first manifests are asked for as well, so that they are refused by their name instead of not being found. */
const ACCEPTED = [
  MEDIA.ociIndex,
  MEDIA.ociManifest,
  MEDIA.dockerIndex,
  MEDIA.dockerManifest,
  `${MEDIA.dockerSchema1};q=0.1`,
  `${MEDIA.dockerSchema1Signed};q=0.1`,
].join(", ");

interface FetchedManifest {
  mediaType: string;
  /** As the registry names it, or of the bytes. */
  digest: string | null;
  bytes: Uint8Array;
}

interface BlobStream {
  /** Where in the blob the first byte lies: the asked offset, or 0 when the registry ignores ranges. */
  offset: number;
  /** Size of the whole blob as the registry says it; null when it does not. */
  sizeBytes: number | null;
  /** The mirror that sends it, for the next attempt to avoid; null: the registry itself. */
  mirror: string | null;
  chunks: AsyncIterable<Uint8Array>;
}

/** A request of an upload. */
interface PushRequest {
  method: "HEAD" | "GET" | "POST" | "PATCH" | "PUT";
  /** Below /v2/, or a whole address that the registry has given. */
  target: string | URL;
  headers?: Record<string, string>;
  body?: RequestBody | Uint8Array;
  /** Repositories of this registry that blobs are taken from. */
  readsFrom?: readonly string[];
  /** How long the answer may take once everything was sent; absent: as usual. */
  answerMs?: number;
}

export interface Registry {
  /**
   * Sends to an endpoint that takes pushes, with the right to push. The reply may have any status; `url` is where it came
   * from. Throws TransientError where another attempt may do.
   */
  send(repository: Repository, request: PushRequest, signal: AbortSignal): Promise<{ reply: Response; url: URL }>;
  /** What the registry itself says below /v2/, whatever the status. For lists that are of no repository. */
  lookUp(repository: Repository, path: string, signal: AbortSignal): Promise<Response>;
  /** By tag or digest. Throws notFound with Docker's words, unauthorized, or internal. */
  manifest(repository: Repository, tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest>;
  blob(
    repository: Repository,
    digest: string,
    offset: number,
    signal: AbortSignal,
    avoid?: ReadonlySet<string>,
  ): Promise<BlobStream>;
  tags(repository: Repository, signal: AbortSignal): Promise<string[]>;
  /** Whether the registry takes these credentials, and what it gives in place of a password; else throws unauthorized. */
  checkCredentials(
    domain: string,
    credentials: RegistryCredentials,
    signal: AbortSignal,
  ): Promise<{ identityToken: string }>;
}

export interface RegistryDeps {
  fetch: typeof globalThis.fetch;
  now: () => number;
  log: Log;
  settings: () => RegistrySettings & { proxies: Proxies };
  timeouts?: RegistryTimeouts;
}

export function createRegistry({ fetch, now, log, settings, timeouts = TIMEOUTS }: RegistryDeps): Registry {
  const hosts = createHosts({ settings, now, log });
  const transport = createTransport({ fetch, now, log, hosts, timeouts, proxies: () => settings().proxies });

  const get = (
    repository: Repository,
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
    options: { capability?: "pull" | "resolve"; avoid?: ReadonlySet<string> } = {},
  ): Promise<RegistryReply> =>
    transport.request(
      repository,
      { method: "GET", path, headers, actions: "pull", capability: "pull", ...options },
      signal,
    );

  return {
    async send(repository, { target, readsFrom = [], headers = {}, ...request }, signal) {
      const { reply, endpoint } = await transport.request(
        repository,
        {
          ...request,
          path: target,
          headers,
          actions: "pull,push",
          extraScopes: readsFrom.map((path) => `repository:${path}:pull`),
          capability: "push",
        },
        signal,
      );
      const asksForLogin = /^\s*basic\b/i.test(reply.headers.get("www-authenticate") ?? "");
      if (reply.status === 401 && asksForLogin && !repository.credentials?.username) {
        await reply.body?.cancel();
        // COMPAT: Docker's words; scripts and people know what to do then.
        throw unauthorized("no basic auth credentials");
      }
      return { reply, url: URL.canParse(reply.url) ? new URL(reply.url) : new URL(endpoint.base) };
    },

    async lookUp(repository, path, signal) {
      const request = { method: "GET", path, headers: {}, actions: "", capability: "push" } as const;
      const { reply } = await transport.request(repository, request, signal);
      return reply;
    },

    async manifest(repository, tagOrDigest, signal) {
      const path = `${repository.path}/manifests/${tagOrDigest}`;
      const capability = tagOrDigest.includes(":") ? "pull" : "resolve";
      const { reply } = await get(repository, path, { accept: ACCEPTED }, signal, { capability });
      if (!reply.ok) throw await refusal(reply, repository, tagOrDigest);
      const bytes = await readBytesBounded(reply, MAX_MANIFEST_BYTES);
      const mediaType = (reply.headers.get("content-type") ?? "").split(";")[0]?.trim() ?? "";
      return { mediaType, digest: reply.headers.get("docker-content-digest"), bytes };
    },

    async blob(repository, digest, offset, signal, avoid) {
      const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {};
      const path = `${repository.path}/blobs/${digest}`;
      const options = avoid === undefined ? {} : { avoid };
      const { reply, endpoint } = await get(repository, path, headers, signal, options);
      if (!reply.ok) throw await refusal(reply, repository, digest);
      const start = reply.status === 206 ? rangeStart(reply.headers.get("content-range")) : 0;
      const length = Number(reply.headers.get("content-length") ?? Number.NaN);
      const sizeBytes = Number.isSafeInteger(length) ? start + length : null;
      const mirror = endpoint.isMirror ? endpoint.base : null;
      return { offset: start, sizeBytes, mirror, chunks: readWithIdleTimeout(reply, timeouts.idleMs, signal) };
    },

    async tags(repository, signal) {
      const tags: string[] = [];
      let path: string | null = `${repository.path}/tags/list?n=1000`;
      while (path !== null) {
        const { reply }: RegistryReply = await get(repository, path, {}, signal);
        if (!reply.ok) throw await refusal(reply, repository, "");
        const page: unknown = JSON.parse(await readBounded(reply, MAX_MANIFEST_BYTES));
        const names =
          typeof page === "object" && page !== null && "tags" in page && Array.isArray(page.tags) ? page.tags : [];
        tags.push(...names.filter((name): name is string => typeof name === "string"));
        if (tags.length > MAX_TAGS) throw internal(`${repository.path} has more than ${MAX_TAGS} tags`);
        // RFC 8288: </v2/library/busybox/tags/list?n=1000&last=x>; rel="next"
        const next = /<(?:[^>]*?\/v2\/)?([^>]+)>\s*;\s*rel="?next"?/.exec(reply.headers.get("link") ?? "");
        path = next?.[1] ?? null;
      }
      return tags;
    },

    async checkCredentials(domain, credentials, signal) {
      const repository = { domain, path: "", credentials };
      let reply: Response;
      try {
        ({ reply } = await get(repository, "", {}, signal));
      } catch (error) {
        if (error instanceof EngineError) throw error;
        throw internal(reasonOf(error), { cause: error });
      }
      const text = await readBounded(reply, MAX_MANIFEST_BYTES);
      if (reply.ok) return { identityToken: transport.identityToken(credentials) };
      const words = errorText(text) || `the registry answered ${reply.status}`;
      if (reply.status === 401 || reply.status === 403)
        throw unauthorized(`login attempt to ${reply.url} failed with status: ${reply.status} ${words}`);
      throw internal(`login attempt to ${reply.url} failed with status: ${reply.status} ${words}`);
    },
  };
}

/** What a failed reply means to the user, in Docker's words where clients match them. */
async function refusal(reply: Response, repository: Repository, tagOrDigest: string): Promise<Error> {
  const words = errorText(await readBounded(reply, MAX_MANIFEST_BYTES).catch(() => ""));
  const name =
    repository.domain === DOCKER_HUB
      ? repository.path.replace(/^library\//, "")
      : `${repository.domain}/${repository.path}`;
  switch (reply.status) {
    case 401:
    case 403:
      // COMPAT: docker CLI and compose print this text; scripts look for "pull access denied".
      return notFound(
        `pull access denied for ${name}, repository does not exist or may require 'docker login': ${words || "denied"}`,
      );
    case 404: {
      const separator = tagOrDigest.includes(":") ? "@" : ":";
      if (/name unknown/.test(words)) {
        return notFound(
          `pull access denied for ${name}, repository does not exist or may require 'docker login': ${words}`,
        );
      }
      return notFound(`manifest for ${name}${separator}${tagOrDigest} not found: ${words || "manifest unknown"}`);
    }
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return new TransientError(`${reply.url}: ${reply.status} ${words}`.trim(), retryAfterMs(reply));
    default:
      return internal(`unexpected answer from ${reply.url}: ${reply.status} ${words}`.trim());
  }
}

/** Retry-After in seconds or as a date (RFC 9110, 10.2.3); null when absent, unreadable or longer than we are ready to wait. */
export function retryAfterMs(reply: Response): number | null {
  const header = reply.headers.get("retry-after");
  if (header === null) return null;
  const waitMs = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return waitMs >= 0 && waitMs <= RETRY_AFTER_MAX_MS ? waitMs : null;
}

/** The body's pieces; a registry that stops sending is a transient error, not a wait for ever. */
export async function* readWithIdleTimeout(
  reply: Response,
  idleMs: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const reader = (reply.body as ReadableStream<Uint8Array> | null)?.getReader();
  if (!reader) return;
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    for (;;) {
      const stalled = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(
          () => reject(new TransientError(`${reply.url}: no data in ${idleMs / 1000} s`, null)),
          idleMs,
        );
      });
      const { value, done } = await Promise.race([reader.read(), stalled]);
      clearTimeout(timer);
      if (done) return;
      yield value;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof TransientError
      ? error
      : new TransientError(`${reply.url}: ${reasonOf(error)}`, null, { cause: error });
  } finally {
    clearTimeout(timer);
    await reader.cancel().catch(() => undefined);
  }
}

/** `bytes 100-199/200` → 100. A 206 without it cannot be placed. */
function rangeStart(header: string | null): number {
  const match = /^bytes (\d+)-\d+\/(?:\d+|\*)$/.exec(header ?? "");
  if (!match) throw internal(`a partial answer without a usable Content-Range: ${JSON.stringify(header)}`);
  return Number(match[1]);
}

const TIMEOUTS: RegistryTimeouts = { headMs: REGISTRY_HEAD_TIMEOUT_MS, idleMs: REGISTRY_IDLE_TIMEOUT_MS };
