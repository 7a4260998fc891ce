// A registry in memory, on loopback, for pull and push tests: it can ask for credentials, break connections, stall, lie about sizes
// and digests, and count what it was asked for. Real registries are Debian's docker-registry, in the e2e tests.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export type Auth = { kind: "none" } | { kind: "basic" | "bearer"; username: string; password: string };

/** What a blob request does wrong; each fault strikes `times` times, then the registry behaves. */
export interface Fault {
  digest: string;
  kind: "cut" | "stall" | "status" | "wrong-bytes" | "too-long";
  /** For `cut`: after how many bytes; for `status`: the status. */
  value?: number;
  times: number;
}

/** What the next PATCH of an upload runs into; each strikes once. */
export type UploadFault =
  | { kind: "cut"; afterBytes: number }
  | { kind: "status"; status: number; retryAfter?: string }
  /** The upload is forgotten. */
  | { kind: "lost" };

export class TestRegistry implements AsyncDisposable {
  readonly requests: string[] = [];
  readonly faults: Fault[] = [];
  readonly uploadFaults: UploadFault[] = [];
  /** Scopes that tokens were asked for. */
  readonly scopes: string[] = [];
  auth: Auth = { kind: "none" };
  /** Users may read, but not write. */
  isReadOnly = false;
  /** Which repositories have a blob: mounts are allowed from these alone. */
  readonly repositories = new Map<string, Set<string>>();
  #uploads = new Map<string, Buffer>();
  ignoresRanges = false;
  #blobs = new Map<string, Uint8Array>();
  #manifests = new Map<string, { mediaType: string; bytes: Uint8Array }>();
  #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(): Promise<TestRegistry> {
    const registry = new TestRegistry();
    await new Promise<void>((resolve) => registry.#server.listen(0, "127.0.0.1", resolve));
    return registry;
  }

  /** `127.0.0.1:40123`. */
  get host(): string {
    return `127.0.0.1:${this.#exposed?.port ?? (this.#server.address() as AddressInfo).port}`;
  }

  /** Makes it reachable on loopback inside another network namespace, where the daemon of a test lives. */
  async exposeIn(holderPID: number, directory: string, port: number): Promise<void> {
    const path = join(directory, `registry-${port}.sock`);
    const inner = createServer((request, response) => this.#answer(request, response));
    await new Promise<void>((resolve) => inner.listen(path, resolve));
    const listen = `TCP-LISTEN:${port},bind=127.0.0.1,fork,reuseaddr`;
    const relay = Bun.spawn(["nsenter", "-t", String(holderPID), "-n", "socat", listen, `UNIX-CONNECT:${path}`]);
    this.#exposed = { port, inner, relay };
    const probe = [
      "nsenter",
      "-t",
      String(holderPID),
      "-n",
      "curl",
      "-sf",
      "-o",
      "/dev/null",
      `http://${this.host}/v2/`,
    ];
    while ((await Bun.spawn(probe).exited) === 7) await Bun.sleep(20);
    this.requests.length = 0;
  }
  #exposed: { port: number; inner: Server; relay: Bun.Subprocess } | null = null;

  addBlob(bytes: Uint8Array): { digest: string; size: number } {
    const digest = digestOf(bytes);
    this.#blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  }

  /** Puts a manifest or index under a tag (`library/x:latest`) and its digest; answers with the digest. */
  addManifest(repository: string, tag: string, mediaType: string, document: unknown): string {
    const bytes = new TextEncoder().encode(JSON.stringify(document));
    const digest = digestOf(bytes);
    for (const name of [tag, digest]) this.#manifests.set(`${repository}:${name}`, { mediaType, bytes });
    return digest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#exposed?.relay.kill("SIGKILL");
    this.#exposed?.inner.closeAllConnections();
    this.#exposed?.inner.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", `http://${this.host}`);
    this.requests.push(`${request.method} ${url.pathname}${request.headers.range ? ` ${request.headers.range}` : ""}`);
    if (url.pathname === "/token") return this.#token(request, url, response);
    if (!this.#isAllowed(request, response)) return;
    const manifest = /^\/v2\/(.+)\/manifests\/(.+)$/.exec(url.pathname);
    if (manifest && request.method === "PUT")
      return void this.#putManifest(manifest[1] ?? "", manifest[2] ?? "", request, response);
    if (manifest) return this.#manifest(`${manifest[1]}:${manifest[2]}`, response);
    const upload = /^\/v2\/(.+)\/blobs\/uploads\/(.*)$/.exec(url.pathname);
    if (upload) return void this.#upload(upload[1] ?? "", upload[2] ?? "", url, request, response);
    const blob = /^\/v2\/(.+)\/blobs\/(sha256:[0-9a-f]+)$/.exec(url.pathname);
    if (blob && request.method === "HEAD") return this.#exists(blob[1] ?? "", blob[2] ?? "", response);
    if (blob) return this.#blob(blob[2] ?? "", request, response);
    const tags = /^\/v2\/(.+)\/tags\/list$/.exec(url.pathname);
    if (tags) {
      const names = [...this.#manifests.keys()].filter(
        (key) => key.startsWith(`${tags[1]}:`) && !key.includes(":sha256:"),
      );
      return json(response, 200, { name: tags[1], tags: names.map((key) => key.split(":").at(-1)) });
    }
    json(response, 200, {});
  }

  #isAllowed(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.auth.kind === "none") return true;
    const given = request.headers.authorization ?? "";
    const wanted = this.auth.kind === "basic" ? basic(this.auth) : "Bearer good-token";
    if (given === wanted) return true;
    const challenge =
      this.auth.kind === "basic"
        ? 'Basic realm="test"'
        : `Bearer realm="http://${this.host}/token",service="test",scope="repository:x:pull"`;
    response.setHeader("www-authenticate", challenge);
    json(response, 401, { errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] });
    return false;
  }

  #token(request: IncomingMessage, url: URL, response: ServerResponse): void {
    if (this.auth.kind !== "bearer") return json(response, 404, {});
    this.scopes.push(url.searchParams.getAll("scope").join(" "));
    const isKnown = request.headers.authorization === basic(this.auth) && url.searchParams.get("service") === "test";
    if (isKnown) json(response, 200, { token: "good-token", expires_in: 300 });
    else json(response, 401, { errors: [{ code: "UNAUTHORIZED", message: "incorrect username or password" }] });
  }

  #manifest(key: string, response: ServerResponse): void {
    const found = this.#manifests.get(key);
    if (!found) return json(response, 404, { errors: [{ code: "MANIFEST_UNKNOWN", message: "manifest unknown" }] });
    response.writeHead(200, {
      "content-type": found.mediaType,
      "docker-content-digest": digestOf(found.bytes),
      "content-length": found.bytes.length,
    });
    response.end(found.bytes);
  }

  #exists(repository: string, digest: string, response: ServerResponse): void {
    const bytes = this.repositories.get(repository)?.has(digest) ? this.#blobs.get(digest) : undefined;
    response.writeHead(bytes === undefined ? 404 : 200, { "content-length": bytes?.length ?? 0 });
    response.end();
  }

  /** What of an upload has arrived when its connection breaks is kept, as registries do. */
  async #upload(
    repository: string,
    id: string,
    url: URL,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    if (this.isReadOnly)
      return json(response, 403, {
        errors: [{ code: "DENIED", message: "requested access to the resource is denied" }],
      });
    if (request.method === "POST") {
      const [mount, from] = [url.searchParams.get("mount") ?? "", url.searchParams.get("from") ?? ""];
      if (this.repositories.get(from)?.has(mount)) {
        this.#own(repository, mount);
        return reply(response, 201, {});
      }
      const fresh = String(this.#uploads.size + 1);
      this.#uploads.set(fresh, Buffer.alloc(0));
      return reply(response, 202, { location: `/v2/${repository}/blobs/uploads/${fresh}` });
    }
    const location = `http://${this.host}/v2/${repository}/blobs/uploads/${id}`;
    const fault = request.method === "PATCH" ? this.uploadFaults.shift() : undefined;
    if (fault?.kind === "lost") this.#uploads.delete(id);
    const got = this.#uploads.get(id);
    if (got === undefined) {
      request.resume();
      return json(response, 404, {
        errors: [{ code: "BLOB_UPLOAD_UNKNOWN", message: "blob upload unknown to registry" }],
      });
    }
    if (request.method === "GET") return reply(response, 204, { location, range: `0-${Math.max(got.length - 1, 0)}` });
    if (fault?.kind === "status") {
      request.resume();
      if (fault.retryAfter) response.setHeader("retry-after", fault.retryAfter);
      return json(response, fault.status, { errors: [{ code: "TOOMANYREQUESTS", message: "slow down" }] });
    }
    const start = /^(\d+)-/.exec(request.headers["content-range"] ?? "")?.[1];
    if (Number(start ?? 0) !== (request.method === "PATCH" ? got.length : 0)) return json(response, 416, {});
    const bytes: Buffer[] = [got];
    let count = 0;
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes.push(chunk);
      count += chunk.length;
      if (fault?.kind !== "cut" || count < fault.afterBytes) continue;
      this.#uploads.set(id, Buffer.concat(bytes));
      request.destroy();
      return;
    }
    const whole = Buffer.concat(bytes);
    this.#uploads.set(id, whole);
    if (request.method === "PATCH") return reply(response, 202, { location, range: `0-${whole.length - 1}` });
    const digest = url.searchParams.get("digest") ?? "";
    if (digestOf(whole) !== digest)
      return json(response, 400, {
        errors: [{ code: "DIGEST_INVALID", message: "provided digest did not match uploaded content" }],
      });
    this.#blobs.set(digest, whole);
    this.#own(repository, digest);
    reply(response, 201, { "docker-content-digest": digest });
  }

  #own(repository: string, digest: string): void {
    this.repositories.set(repository, new Set([...(this.repositories.get(repository) ?? []), digest]));
  }

  async #putManifest(
    repository: string,
    tag: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const bytes = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>));
    const digest = digestOf(bytes);
    const mediaType = request.headers["content-type"] ?? "";
    for (const name of [tag, digest]) this.#manifests.set(`${repository}:${name}`, { mediaType, bytes });
    reply(response, 201, { "docker-content-digest": digest });
  }

  #blob(digest: string, request: IncomingMessage, response: ServerResponse): void {
    const bytes = this.#blobs.get(digest);
    if (!bytes) return json(response, 404, { errors: [{ code: "BLOB_UNKNOWN", message: "blob unknown to registry" }] });
    const range = this.ignoresRanges ? null : /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
    const start = range ? Number(range[1]) : 0;
    const fault = this.faults.find((one) => one.digest === digest && one.times > 0);
    if (fault) fault.times--;
    if (fault?.kind === "status")
      return json(response, fault.value ?? 500, { errors: [{ code: "UNKNOWN", message: "out of order" }] });
    let body = bytes.subarray(start);
    if (fault?.kind === "wrong-bytes") body = body.map((byte) => byte ^ 0xff);
    if (fault?.kind === "too-long") body = Buffer.concat([body, new Uint8Array(1000)]);
    response.writeHead(range ? 206 : 200, {
      "content-type": "application/octet-stream",
      "content-length": body.length,
      ...(range ? { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {}),
    });
    if (fault?.kind === "cut") {
      response.write(body.subarray(0, fault.value ?? 0), () => response.destroy());
    } else if (fault?.kind === "stall") {
      response.write(body.subarray(0, fault.value ?? 0));
    } else {
      response.end(body);
    }
  }
}

const basic = (auth: { username: string; password: string }): string =>
  `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString("base64")}`;

function reply(response: ServerResponse, status: number, headers: Record<string, string>): void {
  response.writeHead(status, { "content-length": 0, ...headers });
  response.end();
}

function json(response: ServerResponse, status: number, body: unknown): void {
  const bytes = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(bytes) });
  response.end(bytes);
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
