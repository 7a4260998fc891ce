// How a registry wants to be talked to: challenges, bearer tokens and their cache. Called by registry.ts on a 401.
// Follows the distribution token specification (docs/spec/auth/token.md, oauth.md) and RFC 9110 section 11.
import * as v from "valibot";
import type { RegistryCredentials } from "../engine/mod.ts";
import { unauthorized } from "../errors.ts";
import type { Endpoint } from "./registry_hosts.ts";
import { MAX_TOKEN_BYTES, TOKEN_LIFETIME_MS, TOKENS_KEPT } from "../limits.ts";

export interface Challenge {
  /** Lower case: `bearer`, `basic`. */
  scheme: string;
  parameters: Readonly<Record<string, string>>;
}

/**
 * The challenges of a WWW-Authenticate header. Anything that does not parse ends the list: a client must not guess.
 *
 *   Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull", Basic realm="x"
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  const token =
    /\s*,?\s*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:(\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+\-.^_`|~0-9A-Za-z]+)))|(?![!#$%&'*+\-.^_`|~0-9A-Za-z]|\s*=))/y;
  let current: Record<string, string> | null = null;
  for (let match = token.exec(header); match; match = token.exec(header)) {
    const [, name = "", assignment, quoted, plain] = match;
    if (assignment === undefined) {
      current = {};
      challenges.push({ scheme: name.toLowerCase(), parameters: current });
    } else if (current) {
      current[name.toLowerCase()] = quoted === undefined ? (plain ?? "") : quoted.replace(/\\(.)/g, "$1");
    }
  }
  return challenges;
}

const TokenReply = v.object({
  token: v.optional(v.string()),
  access_token: v.optional(v.string()),
  refresh_token: v.optional(v.string()),
  expires_in: v.optional(v.number()),
});

/** `Basic …` for a user name and password (RFC 7617, UTF-8). */
export function basicAuthorization(credentials: RegistryCredentials): string {
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}`;
}

export interface TokenRequest {
  challenge: Challenge;
  /** `repository:library/busybox:pull`: what this request needs; the challenge's own scope is added. None: a login. */
  scopes: readonly string[];
  credentials: RegistryCredentials | null;
  /** Who sent us there. */
  endpoint: Endpoint;
  signal: AbortSignal;
}

export interface TokenDeps {
  /** Sends a request with the transport settings (TLS, time-outs) of the host it goes to. */
  send(
    url: URL,
    init: { method: string; headers: Record<string, string>; body?: string },
    endpoint: Endpoint,
    signal: AbortSignal,
  ): Promise<Response>;
  now(): number;
}

/** Bearer tokens by realm, service, scope and user, kept until shortly before they end. */
export class TokenCache {
  #tokens = new Map<string, { token: string; expiresAtMs: number }>();
  /** What token servers gave in place of a password, by user. */
  #identities = new Map<string, string>();
  constructor(private readonly deps: TokenDeps) {}

  /** A token for the challenge, from the cache or from the realm. Throws `unauthorized` with the issuer's words. */
  async get(request: TokenRequest): Promise<string> {
    const key = keyOf(request);
    const known = this.#tokens.get(key);
    if (known && known.expiresAtMs > this.deps.now()) return known.token;
    const fresh = await this.#fetch(request);
    if (this.#tokens.size >= TOKENS_KEPT) this.#tokens.delete(this.#tokens.keys().next().value ?? "");
    this.#tokens.set(key, fresh);
    return fresh.token;
  }

  /** A registry refused this token before its time: the next get asks again. */
  forget(request: TokenRequest): void {
    this.#tokens.delete(keyOf(request));
  }

  /** What a token server gave this user at a login; "" for nothing. */
  identityToken(credentials: RegistryCredentials): string {
    const key = userKey(credentials);
    const token = this.#identities.get(key) ?? "";
    this.#identities.delete(key);
    return token;
  }

  async #fetch(request: TokenRequest): Promise<{ token: string; expiresAtMs: number }> {
    const { challenge, credentials } = request;
    if (credentials?.registryToken) return { token: credentials.registryToken, expiresAtMs: Infinity };
    const reply = credentials?.identityToken ? await this.#byRefreshToken(request) : await this.#byBasic(request);
    const text = await readBounded(reply, MAX_TOKEN_BYTES);
    if (!reply.ok)
      throw unauthorized(`unauthorized: ${errorText(text) || `the token server answered ${reply.status}`}`);
    const parsed = v.safeParse(TokenReply, parseJSON(text));
    const token = parsed.success ? (parsed.output.token ?? parsed.output.access_token) : undefined;
    if (!parsed.success || !token)
      throw unauthorized(`the token server of ${challenge.parameters.realm} sent no token`);
    // Only a login asks for one, and takes it at once.
    if (parsed.output.refresh_token && credentials && request.scopes.length === 0) {
      if (this.#identities.size >= TOKENS_KEPT) this.#identities.clear();
      this.#identities.set(userKey(credentials), parsed.output.refresh_token);
    }
    // The specification: at least 60 seconds, and 60 when it does not say.
    const lifetimeMs = Math.max(TOKEN_LIFETIME_MS, (parsed.output.expires_in ?? 0) * 1000);
    return { token, expiresAtMs: this.deps.now() + lifetimeMs - TOKEN_LIFETIME_MS / 6 };
  }

  #byBasic({ challenge, scopes, credentials, endpoint, signal }: TokenRequest): Promise<Response> {
    const url = realmURL(challenge);
    for (const one of scopesOf(challenge, scopes)) url.searchParams.append("scope", one);
    if (challenge.parameters.service) url.searchParams.set("service", challenge.parameters.service);
    const headers: Record<string, string> = {};
    if (credentials?.username) {
      url.searchParams.set("account", credentials.username);
      headers.authorization = basicAuthorization(credentials);
      if (scopes.length === 0) {
        url.searchParams.set("client_id", CLIENT_ID);
        url.searchParams.set("offline_token", "true");
      }
    }
    return this.deps.send(url, { method: "GET", headers }, endpoint, signal);
  }

  #byRefreshToken({ challenge, scopes, credentials, endpoint, signal }: TokenRequest): Promise<Response> {
    const body = new URLSearchParams({
      grant_type: "refresh_token",
      refresh_token: credentials?.identityToken ?? "",
      client_id: CLIENT_ID,
      service: challenge.parameters.service ?? "",
      scope: scopesOf(challenge, scopes).join(" "),
    });
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    return this.deps.send(realmURL(challenge), { method: "POST", headers, body: String(body) }, endpoint, signal);
  }
}

const CLIENT_ID = "berth";

function keyOf({ challenge, scopes, credentials }: TokenRequest): string {
  const { realm, service } = challenge.parameters;
  return [realm, service, scopesOf(challenge, scopes).join(" "), credentials ? userKey(credentials) : ""].join("\0");
}

function userKey({ username, password, identityToken, registryToken }: RegistryCredentials): string {
  return [username, password, identityToken, registryToken].join("\0");
}

function scopesOf(challenge: Challenge, scopes: readonly string[]): string[] {
  return [...new Set([...scopes, challenge.parameters.scope ?? ""].filter((one) => one !== ""))];
}

function realmURL(challenge: Challenge): URL {
  const realm = challenge.parameters.realm ?? "";
  if (!URL.canParse(realm) || !/^https?:$/.test(new URL(realm).protocol)) {
    throw unauthorized(`the registry names no usable token server: ${JSON.stringify(realm)}`);
  }
  return new URL(realm);
}

/** The words of a registry's error body: `denied: requested access to the resource is denied`. Empty when it has none. */
export function errorText(body: string): string {
  const shape = v.object({
    errors: v.array(v.object({ code: v.optional(v.string(), ""), message: v.optional(v.string(), "") })),
  });
  const parsed = v.safeParse(shape, parseJSON(body));
  if (!parsed.success) {
    const plain = v.safeParse(v.object({ details: v.string() }), parseJSON(body));
    return plain.success ? plain.output.details : "";
  }
  return parsed.output.errors
    .map(({ code, message }) => `${code.toLowerCase().replaceAll("_", " ")}: ${message}`)
    .join("; ");
}

function parseJSON(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** The body as text, refused past a bound: what a server sends is not trusted to end. */
export async function readBounded(reply: Response, maxBytes: number): Promise<string> {
  return Buffer.from(await readBytesBounded(reply, maxBytes)).toString("utf8");
}

export async function readBytesBounded(reply: Response, maxBytes: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of reply.body ?? []) {
    size += piece.length;
    if (size > maxBytes) throw new Error(`the reply of ${reply.url} is larger than ${maxBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
