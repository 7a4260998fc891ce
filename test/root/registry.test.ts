// The registry client against a registry on loopback that misbehaves: stalls, breaks off, asks for credentials, is busy.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Registry, type Repository, TransientError } from "../../src/image/registry.ts";
import type { RegistryCredentials } from "../../src/engine/mod.ts";
import { TestRegistry } from "../support/registry.ts";
import { registryClient } from "../support/registry_client.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const TIMEOUTS = { headMs: 500, idleMs: 200 };
const NEVER = new AbortController().signal;

let server: TestRegistry;
let client: Registry;
beforeEach(async () => {
  server = await TestRegistry.start();
  client = registryClient({}, { timeouts: TIMEOUTS });
});
afterEach(async () => await server[Symbol.asyncDispose]());

const repository = (credentials: RegistryCredentials | null = null): Repository => ({
  domain: server.host,
  path: "x",
  credentials,
});
const login = (password: string): RegistryCredentials => ({
  username: "user",
  password,
  identityToken: "",
  registryToken: "",
});

async function read(digest: string, offset = 0): Promise<number> {
  let size = 0;
  for await (const chunk of (await client.blob(repository(), digest, offset, NEVER)).chunks) size += chunk.length;
  return size;
}

test("a registry that stops sending in the middle is a transient error, not a wait for ever", async () => {
  const { digest } = server.addBlob(new Uint8Array(100_000));
  server.faults.push({ digest, kind: "stall", value: 1000, times: 1 });
  await expect(read(digest)).rejects.toThrow("no data in 0.2 s");
  expect(await read(digest)).toBe(100_000);
});

test("a registry that never answers is told of", async () => {
  using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const asked = client.manifest({ domain: `127.0.0.1:${silent.port}`, path: "x", credentials: null }, "latest", NEVER);
  await expect(asked).rejects.toThrow("no answer in 0.5 s");
});

test("a client that goes away ends the transfer", async () => {
  const { digest } = server.addBlob(new Uint8Array(100_000));
  server.faults.push({ digest, kind: "stall", value: 1000, times: 1 });
  const gone = new AbortController();
  const stream = await client.blob(repository(), digest, 0, gone.signal);
  const reading = Array.fromAsync(stream.chunks);
  await sleep(20);
  gone.abort(new Error("client gone"));
  await expect(reading).rejects.toThrow();
});

test("a range is asked for, and a registry that ignores it is noticed", async () => {
  const { digest } = server.addBlob(new Uint8Array(5000));
  expect(await client.blob(repository(), digest, 2000, NEVER)).toMatchObject({ offset: 2000, sizeBytes: 5000 });
  server.ignoresRanges = true;
  expect(await client.blob(repository(), digest, 2000, NEVER)).toMatchObject({ offset: 0, sizeBytes: 5000 });
});

test("a busy registry is a transient error, one without the blob is not", async () => {
  const { digest } = server.addBlob(new Uint8Array(10));
  server.faults.push({ digest, kind: "status", value: 503, times: 1 });
  await expect(read(digest)).rejects.toBeInstanceOf(TransientError);
  await expect(read(`sha256:${"0".repeat(64)}`)).rejects.toMatchObject({ kind: "notFound" });
});

test.each(["basic", "bearer"] as const)(
  "%s credentials are brought when they are asked for, and refused when wrong",
  async (kind) => {
    server.addManifest("x", "latest", OCI_MANIFEST, { schemaVersion: 2 });
    server.auth = { kind, username: "user", password: "secret" };
    await expect(client.manifest(repository(), "latest", NEVER)).rejects.toThrow(/pull access denied|unauthorized/);
    await expect(client.manifest(repository(login("wrong")), "latest", NEVER)).rejects.toThrow(
      /denied|unauthorized|incorrect/,
    );
    expect((await client.manifest(repository(login("secret")), "latest", NEVER)).mediaType).toBe(OCI_MANIFEST);
    await client.checkCredentials(server.host, login("secret"), NEVER);
    await expect(client.checkCredentials(server.host, login("wrong"), NEVER)).rejects.toMatchObject({
      kind: "unauthorized",
    });
  },
);

test("a token is asked for once and used again", async () => {
  server.addManifest("x", "latest", OCI_MANIFEST, { schemaVersion: 2 });
  server.auth = { kind: "bearer", username: "user", password: "secret" };
  for (let count = 0; count < 3; count++) await client.manifest(repository(login("secret")), "latest", NEVER);
  expect(server.requests.filter((line) => line === "GET /token").length).toBe(1);
});
