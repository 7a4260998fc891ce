// How requests to registries travel: redirects, mirrors, proxies and certificates, and that nobody gets credentials that
// are not for him. Small servers on loopback note what they were asked.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { createServer as createSecureServer, type ServerOptions } from "node:https";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import type { RegistryCredentials } from "../../src/engine/mod.ts";
import type { Registry } from "../../src/image/registry.ts";
import { makeCertificates } from "../support/certificates.ts";
import { TestRegistry } from "../support/registry.ts";
import { registryClient } from "../support/registry_client.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const NEVER = new AbortController().signal;
const USER: RegistryCredentials = { username: "user", password: "secret", identityToken: "", registryToken: "" };

interface Noted {
  url: string;
  authorization: string | undefined;
  other: string | undefined;
}

let directory: string;
const servers: Server[] = [];
beforeEach(() => {
  directory = mkdtempSync(`${tmpdir()}/berth-routes-`);
});
afterEach(() => {
  rmSync(directory, { recursive: true });
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

/** A server that notes each request and then answers as it is told. */
async function listen(answer: RequestListener, tls?: ServerOptions): Promise<{ host: string; seen: Noted[] }> {
  const seen: Noted[] = [];
  const note = (request: IncomingMessage): void => {
    const { authorization, "x-mirror": other } = request.headers;
    seen.push({ url: request.url ?? "", authorization, other: typeof other === "string" ? other : undefined });
  };
  const listener: RequestListener = (request, response) => {
    note(request);
    answer(request, response);
  };
  const server = tls ? createSecureServer(tls, listener) : createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

const manifest: RequestListener = (_request, response) => {
  response.writeHead(200, { "content-type": OCI_MANIFEST }).end("{}");
};

const ask = (client: Registry, domain: string, credentials: RegistryCredentials | null = null) =>
  client.manifest({ domain, path: "library/x", credentials }, "latest", NEVER);

async function read(
  client: Registry,
  domain: string,
  digest: string,
): Promise<{ bytes: number; mirror: string | null }> {
  const stream = await client.blob({ domain, path: "library/x", credentials: null }, digest, 0, NEVER);
  let bytes = 0;
  for await (const chunk of stream.chunks) bytes += chunk.length;
  return { bytes, mirror: stream.mirror };
}

test("a redirect is followed, and credentials stay with the host they are for", async () => {
  const storage = await listen(manifest);
  const registry = await listen((request, response) => {
    if (request.headers.authorization === undefined)
      return response.writeHead(401, { "www-authenticate": 'Basic realm="r"' }).end();
    response.writeHead(307, { location: `http://${storage.host}/elsewhere` }).end();
  });
  expect((await ask(registryClient(), registry.host, USER)).mediaType).toBe(OCI_MANIFEST);
  expect(registry.seen.at(-1)?.authorization).toStartWith("Basic ");
  expect(storage.seen).toEqual([{ url: "/elsewhere", authorization: undefined, other: undefined }]);
});

test("redirects that never end, end", async () => {
  const registry = await listen((request, response) => response.writeHead(302, { location: `${request.url}x` }).end());
  await expect(ask(registryClient(), registry.host)).rejects.toThrow("more than 5 redirects");
});

test("a mirror is asked first with its own credentials, the registry where the mirror has not got it", async () => {
  await using registry = await TestRegistry.start();
  registry.addManifest("library/x", "latest", OCI_MANIFEST, { schemaVersion: 2 });
  registry.auth = { kind: "basic", username: "user", password: "secret" };
  let isEmpty = false;
  const mirror = await listen((request, response) => {
    if (isEmpty) response.writeHead(404).end();
    else manifest(request, response);
  });
  mkdirSync(`${directory}/${registry.host}`);
  writeFileSync(
    `${directory}/${registry.host}/hosts.toml`,
    `server = "http://${registry.host}"
     [host."http://${mirror.host}"]
       [host."http://${mirror.host}".header]
         authorization = "Bearer mirror"
         x-mirror = "own"`,
  );
  const client = registryClient({ certsDirs: [directory] });
  expect(Buffer.from((await ask(client, registry.host, USER)).bytes).toString()).toBe("{}");
  expect(registry.requests).toEqual([]);
  expect(mirror.seen[0]).toEqual({
    url: `/v2/library/x/manifests/latest?ns=${encodeURIComponent(registry.host)}`,
    authorization: "Bearer mirror",
    other: "own",
  });
  isEmpty = true;
  expect(Buffer.from((await ask(client, registry.host, USER)).bytes).toString()).toContain("schemaVersion");
});

test("a mirror that is down is passed over, and left alone for a while", async () => {
  const registry = await listen(manifest);
  const mirror = await listen((request) => request.socket.destroy());
  mkdirSync(`${directory}/${registry.host}`);
  writeFileSync(`${directory}/${registry.host}/hosts.toml`, `[host."http://${mirror.host}"]`);
  const clock = { nowMs: 0 };
  const client = registryClient({ certsDirs: [directory] }, { now: () => clock.nowMs });
  for (let count = 0; count < 3; count++) await ask(client, registry.host);
  expect(registry.seen.length).toBe(3);
  const asked = mirror.seen.length;
  clock.nowMs += 60_000;
  await ask(client, registry.host);
  expect(mirror.seen.length).toBeGreaterThan(asked);
});

test("a proxy takes what is for it, with its password and without the registry's", async () => {
  const proxied: string[] = [];
  const registry = await listen(manifest);
  const proxy = await listen((request, response) => {
    proxied.push(`${request.url} ${request.headers["proxy-authorization"]}`);
    manifest(request, response);
  });
  const http = `http://me:pass@${proxy.host}`;
  const direct = registryClient({ proxies: { http, https: "", no: "" } });
  await ask(direct, registry.host);
  expect(proxied).toEqual([]);
  const client = registryClient({ insecureRegistries: ["registry.test"], proxies: { http, https: "", no: "" } });
  await ask(client, "registry.test");
  expect(proxied).toEqual([`http://registry.test/v2/library/x/manifests/latest Basic ${btoa("me:pass")}`]);
  const spared = registryClient({
    insecureRegistries: ["registry.invalid"],
    proxies: { http, https: "", no: ".invalid" },
  });
  await expect(ask(spared, "registry.invalid")).rejects.toThrow();
  expect(proxied.length).toBe(1);
});

test("TLS goes through a proxy's tunnel, with the authority that is configured for the registry", async () => {
  const { authority, server } = makeCertificates(["DNS:registry.test"]);
  const registry = await listen(manifest, server);
  const tunnels: string[] = [];
  const proxy = await listen((_request, response) => response.writeHead(500).end());
  servers.at(-1)?.on("connect", (request, socket) => {
    tunnels.push(request.url ?? "");
    const [host = "", port = ""] = registry.host.split(":");
    const onward = connect(Number(port), host, () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
    socket.on("error", () => onward.destroy());
  });
  const proxies = { http: "", https: `http://${proxy.host}`, no: "" };
  await expect(ask(registryClient({ proxies }), "registry.test")).rejects.toThrow(/certificate|self.signed|issuer/i);
  mkdirSync(`${directory}/registry.test`);
  writeFileSync(`${directory}/registry.test/ca.crt`, authority);
  const client = registryClient({ proxies, certsDirs: [directory] });
  expect((await ask(client, "registry.test")).mediaType).toBe(OCI_MANIFEST);
  expect(tunnels).toContain("registry.test:443");
});

test("a client certificate is shown to the registry that it is for", async () => {
  const { authority, server, client } = makeCertificates(["IP:127.0.0.1"]);
  const registry = await listen(manifest, { ...server, ca: authority, requestCert: true, rejectUnauthorized: true });
  await expect(ask(registryClient(), registry.host)).rejects.toThrow();
  mkdirSync(`${directory}/${registry.host}`);
  for (const [name, text] of Object.entries({ "client.cert": client.cert, "client.key": client.key }))
    writeFileSync(`${directory}/${registry.host}/${name}`, text);
  const certified = registryClient({ certsDirs: [directory] });
  expect((await ask(certified, registry.host)).mediaType).toBe(OCI_MANIFEST);
});

test("a blob from a mirror says so, for the next attempt to go elsewhere", async () => {
  await using registry = await TestRegistry.start();
  await using mirror = await TestRegistry.start();
  const { digest } = registry.addBlob(new Uint8Array(1000));
  mirror.addBlob(new Uint8Array(1000));
  mkdirSync(`${directory}/${registry.host}`);
  writeFileSync(`${directory}/${registry.host}/hosts.toml`, `[host."http://${mirror.host}"]`);
  const client = registryClient({ certsDirs: [directory] });
  const first = await read(client, registry.host, digest);
  expect(first).toEqual({ bytes: 1000, mirror: `http://${mirror.host}/v2` });
  const repository = { domain: registry.host, path: "library/x", credentials: null };
  const second = await client.blob(repository, digest, 0, NEVER, new Set([first.mirror ?? ""]));
  expect(second.mirror).toBeNull();
  await Array.fromAsync(second.chunks);
});
