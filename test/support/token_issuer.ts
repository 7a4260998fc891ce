// A token server for docker-registry (distribution's token specification): tokens are JWTs signed with ES256, whose header
// brings the certificate (x5c). Knows one user; gives an identity token at a login that asks for one.
import { createPrivateKey, createSign, randomUUID, X509Certificate } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";
import { makeCertificates } from "./certificates.ts";
import { type TestDaemon, until } from "./daemon.ts";

const SERVICE = "test registry";
const ISSUER = "test issuer";
const IDENTITY = "the-identity-token";

export class TokenIssuer implements AsyncDisposable {
  /** `GET user repository:a/b:pull`, in the order in which they were asked. */
  readonly asked: string[] = [];
  readonly identity = IDENTITY;
  readonly #certificates = makeCertificates(["DNS:issuer.test"]);
  readonly #server: Server;
  #relay: Bun.Subprocess | null = null;

  private constructor(
    readonly port: number,
    private readonly user: { username: string; password: string },
  ) {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  /** On loopback inside the daemon's network namespace. */
  static async start(
    daemon: TestDaemon,
    options: { port: number; username: string; password: string },
  ): Promise<TokenIssuer> {
    const issuer = new TokenIssuer(options.port, options);
    const path = join(daemon.directory, `issuer-${options.port}.sock`);
    await new Promise<void>((resolve) => issuer.#server.listen(path, resolve));
    const listen = `TCP-LISTEN:${options.port},bind=127.0.0.1,fork,reuseaddr`;
    const enter = ["nsenter", "-t", String(daemon.holderPID), "-n", "socat", listen, `UNIX-CONNECT:${path}`];
    issuer.#relay = Bun.spawn(enter);
    await until("the token server answers", async () => {
      const probe = await daemon.inside(["curl", "-s", "-o", "/dev/null", `http://127.0.0.1:${options.port}/`]);
      return probe.code === 0;
    });
    return issuer;
  }

  /** What docker-registry needs to know of it. */
  get settings(): { realm: string; service: string; issuer: string; certificate: string } {
    const realm = `http://127.0.0.1:${this.port}/token`;
    return { realm, service: SERVICE, issuer: ISSUER, certificate: this.#certificates.server.cert };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#relay?.kill("SIGKILL");
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://issuer");
    const form = new URLSearchParams(request.method === "POST" ? await bodyOf(request) : "");
    const { username, password } = this.user;
    const basic = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    const isKnown = form.get("refresh_token") === IDENTITY || request.headers.authorization === basic;
    const scopes = [...url.searchParams.getAll("scope"), ...(form.get("scope") ?? "").split(" ")].filter(Boolean);
    if (url.pathname === "/token") this.asked.push([request.method, isKnown ? username : "-", ...scopes].join(" "));
    if (!isKnown || url.pathname !== "/token") {
      const errors = [{ code: "UNAUTHORIZED", message: "incorrect username or password" }];
      response.writeHead(401, { "content-type": "application/json" }).end(JSON.stringify({ errors }));
      return;
    }
    const access = scopes.map((scope) => {
      const [, type, name, actions] = /^([^:]+):(.+):([^:]*)$/.exec(scope) ?? [];
      return { type, name, actions: actions?.split(",") };
    });
    const isOffline = url.searchParams.get("offline_token") === "true";
    const token = { token: this.#sign(access), expires_in: 300, ...(isOffline ? { refresh_token: IDENTITY } : {}) };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(token));
  }

  #sign(access: unknown): string {
    const { cert, key } = this.#certificates.server;
    const now = Math.floor(Date.now() / 1000);
    const head = { typ: "JWT", alg: "ES256", x5c: [new X509Certificate(cert).raw.toString("base64")] };
    const times = { exp: now + 300, nbf: now - 10, iat: now };
    const claims = { iss: ISSUER, sub: this.user.username, aud: SERVICE, jti: randomUUID(), ...times, access };
    const text = [head, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    const sign = createSign("SHA256").update(text);
    const signature = sign.sign({ key: createPrivateKey(key), dsaEncoding: "ieee-p1363" });
    return `${text}.${signature.toString("base64url")}`;
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}
