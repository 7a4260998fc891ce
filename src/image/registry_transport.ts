// Requests to registries: to the first endpoint that answers, with its certificates, through the proxy that is meant for
// it, with the credentials it asks for, following redirects. registry.ts knows what is asked and what the answers mean.
//
// INVARIANT: a user's credentials, and what is configured for a host, go to that host and to no other: not to a mirror,
// and not to where a redirect leads.
import type { RegistryCredentials } from "../engine/mod.ts";
import { internal } from "../errors.ts";
import { MIRROR_REST_MS, REGISTRY_REDIRECTS } from "../limits.ts";
import type { Log } from "../log.ts";
import type { Capability } from "./hosts_toml.ts";
import { type Proxies, proxyFor } from "./proxy.ts";
import { basicAuthorization, type Challenge, parseChallenges, TokenCache } from "./registry_auth.ts";
import { authoritiesFor, type Endpoint, type Hosts, type Trust } from "./registry_hosts.ts";

/** Where one repository is, and who asks. */
export interface Repository {
  /** `docker.io`, `localhost:5000`. */
  domain: string;
  /** `library/busybox`. */
  path: string;
  credentials: RegistryCredentials | null;
}

export interface RegistryTimeouts {
  /** Until the head of a reply. */
  headMs: number;
  /** Between two pieces of a body. */
  idleMs: number;
}

export interface TransportDeps {
  fetch: typeof globalThis.fetch;
  now: () => number;
  log: Log;
  hosts: Hosts;
  proxies: () => Proxies;
  timeouts: RegistryTimeouts;
}

interface RegistryRequest {
  method: string;
  /** Below `/v2/`; or the whole address of an upload, as the registry has given it. */
  path: string | URL;
  headers: Record<string, string>;
  body?: Uint8Array | string | RequestBody;
  /** How long the answer may take once everything was sent; absent: as usual. */
  answerMs?: number;
  /** What a token must allow: `pull`, `pull,push`. */
  actions: string;
  /** Other scopes to ask a token for: of a repository that a blob is mounted from. */
  extraScopes?: readonly string[];
  /** What an endpoint must be good for. */
  capability: Capability;
  /** Endpoints that are not to be asked, by their base. */
  avoid?: ReadonlySet<string>;
}

/** A body that is read when the connection takes it, and can be read again. */
export interface RequestBody {
  /** `onChunk` is called for each piece: the connection is not stalled. */
  open(onChunk: () => void): ReadableStream<Uint8Array>;
}

export interface RegistryReply {
  reply: Response;
  endpoint: Endpoint;
}

export interface Transport {
  /** The first endpoint that connects decides; a mirror that fails or misses passes on. Any status is an answer. */
  request(repository: Repository, request: RegistryRequest, signal: AbortSignal): Promise<RegistryReply>;
  /** The identity token of a user whom the last login has proved; "" where the token server gives none. */
  identityToken(credentials: RegistryCredentials): string;
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

interface Init {
  method: string;
  headers: Record<string, string>;
  body?: Uint8Array | string | RequestBody;
  answerMs?: number;
}

/** What fetch takes here beyond the standard. `proxy: false`: not even the one that the environment names. */
interface FetchOptions extends Omit<RequestInit, "body"> {
  body?: Uint8Array | string | ReadableStream<Uint8Array>;
  duplex?: "half";
  decompress: boolean;
  proxy: string | false;
  tls?: { rejectUnauthorized?: boolean; ca?: string[]; cert?: string; key?: string };
}

export function createTransport(deps: TransportDeps): Transport {
  const { hosts, timeouts } = deps;
  const tokens = new TokenCache({
    now: deps.now,
    send: async (url, init, endpoint, signal) => await send(url, init, await hosts.trustOf(url.host, endpoint), signal),
  });
  /** What answered last for a domain, so that plain HTTP is not found out anew for each blob. */
  const working = new Map<string, string>();
  /** Mirrors that did not answer, and until when they are left alone. */
  const resting = new Map<string, number>();
  /** What a registry asked for last, so that the next request brings it at once. */
  const challenges = new Map<string, Challenge>();

  async function send(url: URL, init: Init, trust: Trust, signal: AbortSignal): Promise<Response> {
    const headTimeout = new AbortController();
    const { method, headers, body, answerMs = timeouts.headMs } = init;
    let timer = setTimeout(() => headTimeout.abort(), answerMs);
    // While a body goes out no answer is expected: what must not stand still is the body.
    const onChunk = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => headTimeout.abort(), answerMs);
    };
    const options: FetchOptions = {
      method,
      headers,
      ...bodyOf(body, onChunk),
      redirect: "manual",
      signal: AbortSignal.any([signal, headTimeout.signal]),
      // WHY: a blob's digest is of its bytes as sent; a Content-Encoding that a proxy adds must not be undone behind our back.
      decompress: false,
      proxy: proxyFor(url, deps.proxies()) ?? false,
    };
    if (url.protocol === "https:") options.tls = tlsOptions(trust);
    try {
      return await deps.fetch(url, options as RequestInit);
    } catch (error) {
      signal.throwIfAborted();
      const reason = headTimeout.signal.aborted ? `no answer in ${answerMs / 1000} s` : reasonOf(error);
      throw new TransientError(`${init.method} ${JSON.stringify(String(url))}: ${reason}`, null, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Follows redirects by hand. */
  async function sendFollowing(endpoint: Endpoint, start: URL, init: Init, signal: AbortSignal): Promise<Response> {
    let url = start;
    for (let redirects = 0; redirects <= REGISTRY_REDIRECTS; redirects++) {
      const headers = url.origin === start.origin ? init.headers : withoutSecrets(init.headers, endpoint);
      const reply = await send(url, { ...init, headers }, await hosts.trustOf(url.host, endpoint), signal);
      const location = reply.headers.get("location");
      if (reply.status < 301 || reply.status > 308 || location === null || init.method === "POST") return reply;
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
    request: RegistryRequest,
    signal: AbortSignal,
  ): Promise<Response> {
    const url = typeof request.path === "string" ? new URL(`${endpoint.base}/${request.path}`) : request.path;
    if (endpoint.namespace !== null) url.searchParams.set("ns", endpoint.namespace);
    // A registry may lead an upload to another host, which its credentials are not for.
    const isOwn = url.origin === new URL(endpoint.base).origin;
    const scopes = repository.path
      ? [`repository:${repository.path}:${request.actions}`, ...(request.extraScopes ?? [])]
      : [];
    // A mirror is another host: the user's credentials for the registry are not for it.
    const credentials = endpoint.isMirror ? null : repository.credentials;
    const ask = (authorization: string | null): Promise<Response> => {
      const headers: Record<string, string> = isOwn ? { ...endpoint.headers, ...request.headers } : request.headers;
      const { method, body, answerMs } = request;
      const init = {
        method,
        headers: authorization !== null && isOwn ? { ...headers, authorization } : headers,
        ...(body === undefined ? {} : { body }),
        ...(answerMs === undefined ? {} : { answerMs }),
      };
      return sendFollowing(endpoint, url, init, signal);
    };
    const authorizationFor = async (wanted: Challenge): Promise<string | null> => {
      if (wanted.scheme === "bearer")
        return `Bearer ${await tokens.get({ challenge: wanted, scopes, credentials, endpoint, signal })}`;
      return credentials?.username ? basicAuthorization(credentials) : null;
    };
    const key = [endpoint.base, ...scopes].join(" ");
    const known = challenges.get(key);
    const reply = await ask(known ? await authorizationFor(known) : null);
    if (reply.status !== 401 || !isOwn) return reply;
    const offered = parseChallenges(reply.headers.get("www-authenticate") ?? "");
    const challenge =
      offered.find(({ scheme }) => scheme === "bearer") ?? offered.find(({ scheme }) => scheme === "basic");
    if (!challenge || (challenge.scheme === "basic" && !credentials?.username)) return reply;
    await reply.body?.cancel();
    if (known) tokens.forget({ challenge, scopes, credentials, endpoint, signal });
    if (challenges.size >= CHALLENGES_KEPT) challenges.clear();
    challenges.set(key, challenge);
    return await ask(await authorizationFor(challenge));
  }

  /** Those that serve, in order; of the registry's own the one that answered last. */
  async function candidates(domain: string, { capability, avoid }: RegistryRequest): Promise<Endpoint[]> {
    const all = (await hosts.endpoints(domain)).filter((endpoint) => endpoint.capabilities.has(capability));
    const mirrors = all.filter(
      ({ isMirror, base }) => isMirror && !avoid?.has(base) && (resting.get(base) ?? 0) <= deps.now(),
    );
    const own = all.filter(({ isMirror }) => !isMirror);
    const last = own.find(({ base }) => base === working.get(domain));
    return [...mirrors, ...(last === undefined ? own : [last])];
  }

  return {
    async request(repository, request, signal) {
      let failure: unknown;
      for (const endpoint of await candidates(repository.domain, request)) {
        try {
          const reply = await authorized(endpoint, repository, request, signal);
          if (endpoint.isMirror && !reply.ok) {
            await reply.body?.cancel();
            deps.log.debug("mirror passes", { mirror: endpoint.base, status: reply.status });
            continue;
          }
          if (!endpoint.isMirror) working.set(repository.domain, endpoint.base);
          return { reply, endpoint };
        } catch (error) {
          signal.throwIfAborted();
          // Whatever is wrong with a mirror, the registry itself is still there.
          if (!endpoint.isMirror && !(error instanceof TransientError)) throw error;
          if (endpoint.isMirror) resting.set(endpoint.base, deps.now() + MIRROR_REST_MS);
          else {
            failure ??= error;
            working.delete(repository.domain);
          }
          deps.log.debug("registry endpoint failed", { endpoint: endpoint.base, error });
        }
      }
      throw failure ?? internal(`no endpoint of registry ${repository.domain} answers`);
    },
    identityToken: (credentials) => tokens.identityToken(credentials),
  };
}

/** Challenges remembered: one for each endpoint and scope. */
const CHALLENGES_KEPT = 1024;

function bodyOf(body: Init["body"], onChunk: () => void): Pick<FetchOptions, "body" | "duplex"> {
  if (body === undefined) return {};
  if (typeof body === "string" || body instanceof Uint8Array) return { body };
  return { body: body.open(onChunk), duplex: "half" };
}

function withoutSecrets(headers: Record<string, string>, endpoint: Endpoint): Record<string, string> {
  const kept = Object.entries(headers).filter(
    ([name]) => name !== "authorization" && name !== "cookie" && !Object.hasOwn(endpoint.headers, name),
  );
  return Object.fromEntries(kept);
}

function tlsOptions(trust: Trust): NonNullable<FetchOptions["tls"]> {
  const ca = authoritiesFor(trust);
  // A connection shows one certificate: the first, as the directory has them in order.
  const [client] = trust.clients;
  return {
    ...(trust.verifies ? {} : { rejectUnauthorized: false }),
    ...(ca === null ? {} : { ca }),
    ...(client === undefined ? {} : { cert: client.cert, key: client.key }),
  };
}

export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  if (code === "ConnectionRefused" || code === "ECONNREFUSED") return "connect: connection refused";
  return code && !error.message.includes(code) ? `${error.message} (${code})` : error.message;
}
