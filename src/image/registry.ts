// The distribution client: manifests, blobs and tags of a registry over HTTP. Called by pull.ts (and push.ts). Knows hosts,
// schemes, redirects and credentials; knows nothing of images. Follows the OCI distribution specification 1.1.
import { EngineError, internal, notFound, unauthorized } from "../errors.ts";
import type { RegistryCredentials } from "../engine/mod.ts";
import {
  MAX_MANIFEST_BYTES,
  MAX_TAGS,
  REGISTRY_HEAD_TIMEOUT_MS,
  REGISTRY_IDLE_TIMEOUT_MS,
  REGISTRY_REDIRECTS,
  RETRY_AFTER_MAX_MS,
} from "../limits.ts";
import type { Log } from "../log.ts";
import {
  basicAuthorization,
  type Challenge,
  errorText,
  parseChallenges,
  readBounded,
  readBytesBounded,
  TokenCache,
} from "./registry_auth.ts";
import { MEDIA } from "./manifest.ts";

const ACCEPTED = [MEDIA.ociIndex, MEDIA.ociManifest, MEDIA.dockerIndex, MEDIA.dockerManifest].join(", ");

/** The registry that a reference without a domain means, and where it really answers. */
const DOCKER_HUB = "docker.io";
const DOCKER_HUB_HOST = "registry-1.docker.io";

/** Where one repository is, and who asks. */
export interface Repository {
  /** `docker.io`, `localhost:5000`. */
  domain: string;
  /** `library/busybox`. */
  path: string;
  credentials: RegistryCredentials | null;
}

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
  chunks: AsyncIterable<Uint8Array>;
}

export interface Registry {
  /** By tag or digest. Throws notFound with Docker's words, unauthorized, or internal. */
  manifest(repository: Repository, tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest>;
  blob(repository: Repository, digest: string, offset: number, signal: AbortSignal): Promise<BlobStream>;
  tags(repository: Repository, signal: AbortSignal): Promise<string[]>;
  /** Whether the registry takes these credentials; throws unauthorized with its words when not. */
  checkCredentials(domain: string, credentials: RegistryCredentials, signal: AbortSignal): Promise<void>;
}

export interface RegistryDeps {
  fetch: typeof globalThis.fetch;
  now: () => number;
  log: Log;
  insecureRegistries: readonly string[];
  mirrors: readonly string[];
  timeouts?: RegistryTimeouts;
}

interface RegistryTimeouts {
  /** Until the head of a reply. */
  headMs: number;
  /** Between two pieces of a body. */
  idleMs: number;
}

/** One address of a registry: the scheme and host that requests go to. */
interface Endpoint {
  base: string;
  verifiesTLS: boolean;
  /** Asked before the registry itself; its failure is not the user's. */
  isMirror: boolean;
}

/** A failed transfer that another attempt may mend: the connection broke, stalled, or the server said so. */
export class TransientError extends Error {
  override readonly name = "TransientError";
  constructor(
    message: string,
    /** What the server asked to wait; null: the caller's own back-off. */
    readonly retryAfterMs: number | null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

type Init = { method: string; headers: Record<string, string>; body?: string };

export function createRegistry(deps: RegistryDeps): Registry {
  const timeouts = deps.timeouts ?? { headMs: REGISTRY_HEAD_TIMEOUT_MS, idleMs: REGISTRY_IDLE_TIMEOUT_MS };
  const tokens = new TokenCache({
    now: deps.now,
    send: (url, init, signal) => send(url, init, !isInsecure(url.host), signal),
  });
  /** What answered last for a domain, so that plain HTTP is not found out anew for each blob. */
  const working = new Map<string, Endpoint>();
  /** What a registry asked for last, so that the next request brings it at once. */
  const challenges = new Map<string, Challenge>();

  async function send(url: URL, init: Init, verifiesTLS: boolean, signal: AbortSignal): Promise<Response> {
    const headTimeout = new AbortController();
    const timer = setTimeout(() => headTimeout.abort(), timeouts.headMs);
    const options: RequestInit & { tls?: { rejectUnauthorized: boolean }; decompress?: boolean } = {
      ...init,
      redirect: "manual",
      signal: AbortSignal.any([signal, headTimeout.signal]),
      // WHY: a blob's digest is of its bytes as sent; a Content-Encoding that a proxy adds must not be undone behind our back.
      decompress: false,
    };
    if (!verifiesTLS) options.tls = { rejectUnauthorized: false };
    try {
      return await deps.fetch(url, options);
    } catch (error) {
      signal.throwIfAborted();
      const reason = headTimeout.signal.aborted ? `no answer in ${timeouts.headMs / 1000} s` : reasonOf(error);
      throw new TransientError(`${init.method} ${JSON.stringify(String(url))}: ${reason}`, null, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Follows redirects by hand: credentials go to the host they are for, and to no other. */
  async function sendFollowing(start: URL, init: Init, verifiesTLS: boolean, signal: AbortSignal): Promise<Response> {
    let url = start;
    for (let redirects = 0; redirects <= REGISTRY_REDIRECTS; redirects++) {
      const headers = { ...init.headers };
      if (url.origin !== start.origin) delete headers.authorization;
      const reply = await send(url, { ...init, headers }, verifiesTLS, signal);
      const location = reply.headers.get("location");
      if (reply.status < 300 || reply.status > 399 || location === null) return reply;
      await reply.body?.cancel();
      const next = new URL(location, url);
      if (url.protocol === "https:" && next.protocol !== "https:")
        throw internal(`${url.host} redirects from HTTPS to ${next.protocol}`);
      url = next;
    }
    throw internal(`${start.host}: more than ${REGISTRY_REDIRECTS} redirects`);
  }

  /** Sends with what the registry asks for: a bearer token, or the user's name and password. One second try after a 401. */
  async function authorized(
    endpoint: Endpoint,
    repository: Repository,
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Response> {
    const url = new URL(`${endpoint.base}/v2/${path}`);
    const scope = repository.path ? `repository:${repository.path}:pull` : "";
    // A mirror is another host: the user's credentials for the registry are not for it.
    const credentials = endpoint.isMirror ? null : repository.credentials;
    const ask = (authorization: string | null): Promise<Response> =>
      sendFollowing(
        url,
        { method: "GET", headers: authorization ? { ...headers, authorization } : headers },
        endpoint.verifiesTLS,
        signal,
      );
    const key = `${endpoint.base} ${scope}`;
    const known = challenges.get(key);
    let reply = await ask(known ? await authorizationFor(known) : null);
    if (reply.status !== 401) return reply;
    const offered = parseChallenges(reply.headers.get("www-authenticate") ?? "");
    const challenge =
      offered.find(({ scheme }) => scheme === "bearer") ?? offered.find(({ scheme }) => scheme === "basic");
    if (!challenge || (challenge.scheme === "basic" && !credentials?.username)) return reply;
    await reply.body?.cancel();
    if (known) tokens.forget({ challenge, scope, credentials, signal });
    challenges.set(key, challenge);
    reply = await ask(await authorizationFor(challenge));
    return reply;

    async function authorizationFor(wanted: Challenge): Promise<string | null> {
      if (wanted.scheme === "bearer")
        return `Bearer ${await tokens.get({ challenge: wanted, scope, credentials, signal })}`;
      return credentials?.username ? basicAuthorization(credentials) : null;
    }
  }

  /** Asks each endpoint in turn; the first that connects decides, but a mirror that fails or misses passes on. */
  async function request(
    repository: Repository,
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<Response> {
    const endpoints = endpointsOf(repository.domain);
    let failure: unknown;
    for (const endpoint of endpoints) {
      try {
        const reply = await authorized(endpoint, repository, path, headers, signal);
        if (endpoint.isMirror && !reply.ok && reply.status !== 206) {
          await reply.body?.cancel();
          deps.log.debug("mirror passes", { mirror: endpoint.base, status: reply.status });
          continue;
        }
        if (!endpoint.isMirror) working.set(repository.domain, endpoint);
        return reply;
      } catch (error) {
        if (!(error instanceof TransientError)) throw error;
        failure ??= error;
        deps.log.debug("registry endpoint failed", { endpoint: endpoint.base, error });
      }
    }
    throw failure ?? internal(`no endpoint of registry ${repository.domain} answers`);
  }

  function endpointsOf(domain: string): Endpoint[] {
    const last = working.get(domain);
    const own = last ? [last] : ownEndpoints(domain);
    if (domain !== DOCKER_HUB) return own;
    const mirrors = deps.mirrors.map((base) => ({
      base: base.replace(/\/+$/, ""),
      verifiesTLS: !isInsecure(new URL(base).host),
      isMirror: true,
    }));
    return [...mirrors, ...own];
  }

  function ownEndpoints(domain: string): Endpoint[] {
    const host = domain === DOCKER_HUB ? DOCKER_HUB_HOST : domain;
    if (!isInsecure(host)) return [{ base: `https://${host}`, verifiesTLS: true, isMirror: false }];
    return [
      { base: `https://${host}`, verifiesTLS: false, isMirror: false },
      { base: `http://${host}`, verifiesTLS: false, isMirror: false },
    ];
  }

  const isInsecure = (host: string): boolean =>
    isLoopback(host) || deps.insecureRegistries.some((entry) => matchesEntry(entry, host));

  return {
    async manifest(repository, tagOrDigest, signal) {
      const reply = await request(
        repository,
        `${repository.path}/manifests/${tagOrDigest}`,
        { accept: ACCEPTED },
        signal,
      );
      if (!reply.ok) throw await refusal(reply, repository, tagOrDigest);
      const bytes = await readBytesBounded(reply, MAX_MANIFEST_BYTES);
      const mediaType = (reply.headers.get("content-type") ?? "").split(";")[0]?.trim() ?? "";
      return { mediaType, digest: reply.headers.get("docker-content-digest"), bytes };
    },

    async blob(repository, digest, offset, signal) {
      const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {};
      const reply = await request(repository, `${repository.path}/blobs/${digest}`, headers, signal);
      if (!reply.ok) throw await refusal(reply, repository, digest);
      const start = reply.status === 206 ? rangeStart(reply.headers.get("content-range")) : 0;
      const length = Number(reply.headers.get("content-length") ?? Number.NaN);
      const sizeBytes = Number.isSafeInteger(length) ? start + length : null;
      return { offset: start, sizeBytes, chunks: readWithIdleTimeout(reply, timeouts.idleMs, signal) };
    },

    async tags(repository, signal) {
      const tags: string[] = [];
      let path: string | null = `${repository.path}/tags/list?n=1000`;
      while (path !== null) {
        const reply = await request(repository, path, {}, signal);
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
        reply = await request(repository, "", {}, signal);
      } catch (error) {
        if (error instanceof EngineError) throw error;
        throw internal(reasonOf(error), { cause: error });
      }
      const text = await readBounded(reply, MAX_MANIFEST_BYTES);
      if (reply.ok) return;
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
    case 429:
    case 502:
    case 503:
    case 504:
      return new TransientError(`${reply.url}: ${reply.status} ${words}`.trim(), retryAfterMs(reply));
    default:
      return internal(`unexpected answer from ${reply.url}: ${reply.status} ${words}`.trim());
  }
}

/** Retry-After in seconds or as a date (RFC 9110, 10.2.3); null when absent, unreadable or longer than we are ready to wait. */
function retryAfterMs(reply: Response): number | null {
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

function isLoopback(host: string): boolean {
  const name = hostname(host);
  return name === "localhost" || name === "::1" || /^127\.\d+\.\d+\.\d+$/.test(name);
}

/** An entry of insecure-registries: `host`, `host:port`, or an IPv4 CIDR. */
function matchesEntry(entry: string, host: string): boolean {
  const cidr = /^(\d+\.\d+\.\d+\.\d+)\/(\d+)$/.exec(entry);
  if (!cidr) return entry === host || entry === hostname(host);
  const address = toNumber(hostname(host));
  const network = toNumber(cidr[1] ?? "");
  const bits = Number(cidr[2]);
  if (address === null || network === null || bits > 32) return false;
  const shift = 2 ** (32 - bits);
  return Math.floor(address / shift) === Math.floor(network / shift);
}

function hostname(host: string): string {
  return host.startsWith("[") ? host.slice(1, host.indexOf("]")) : host.replace(/:\d+$/, "");
}

function toNumber(address: string): number | null {
  const parts = address.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) return null;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  if (code === "ConnectionRefused" || code === "ECONNREFUSED") return "connect: connection refused";
  return code && !error.message.includes(code) ? `${error.message} (${code})` : error.message;
}
