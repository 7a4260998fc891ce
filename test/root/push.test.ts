// Push against a registry on loopback that misbehaves: breaks off, forgets, is busy, refuses. A real image store sends.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import type { ProgressMessage, RegistryCredentials } from "../../src/engine/mod.ts";
import { createPush, type Push } from "../../src/image/push.ts";
import { parseReference, withTag } from "../../src/image/reference.ts";
import { type ImageRoom, openImageRoom } from "../support/image_room.ts";
import { file, imageOf, layerOf, ociArchive, type TestImage } from "../support/images.ts";
import { registryClient } from "../support/registry_client.ts";
import { TestRegistry } from "../support/registry.ts";

const NEVER = new AbortController().signal;
const LOGIN: RegistryCredentials = { username: "user", password: "secret", identityToken: "", registryToken: "" };

let server: TestRegistry;
let room: ImageRoom;
let image: TestImage;
let push: Push;
let waits: number[];
beforeEach(async () => {
  server = await TestRegistry.start();
  room = await openImageRoom();
  waits = [];
  // One layer larger than what goes out in one request, and a small one.
  image = imageOf([layerOf([file("big", randomBytes(3 << 20))]), layerOf([file("small", "x")])]);
  await room.load(ociArchive(image, ["example.test/first:1"]));
  push = createPush({
    registry: registryClient({}, { timeouts: { headMs: 1000, idleMs: 1000 } }),
    store: room.store,
    maxConcurrentUploads: () => 1,
    now: () => 0,
    sleep: async (ms) => void waits.push(ms),
  });
});
afterEach(async () => {
  await room[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function send(
  path = "x",
  credentials: RegistryCredentials | null = null,
  signal = NEVER,
): Promise<ProgressMessage[]> {
  const messages: ProgressMessage[] = [];
  const reference = { ...withTag(parseReference(`${server.host}/${path}`), "1"), tag: "1" };
  await push({ imageID: image.id, reference, credentials }, (message) => messages.push(message), signal);
  return messages;
}

const statuses = (messages: ProgressMessage[]): unknown[] =>
  messages.map((message) => message["status"]).filter(Boolean);
const big = (): string => image.layers[0]?.digest ?? "";
const asked = (method: string): string[] => server.requests.filter((line) => line.startsWith(`${method} `));

test("every blob is looked for, sent once, and the manifest comes last", async () => {
  const messages = await send();
  expect(statuses(messages)).toEqual([
    "Preparing",
    "Preparing",
    "Waiting",
    "Pushing",
    "Pushed",
    "Pushing",
    "Pushed",
    expect.stringMatching(/^1: digest: sha256:[0-9a-f]{64} size: \d+$/),
  ]);
  expect(messages.at(-1)).toMatchObject({ aux: { Tag: "1", Size: image.manifest.length } });
  expect(server.requests.at(-1)).toBe("PUT /v2/x/manifests/1");
  expect(asked("PATCH").length).toBe(1);
  expect(asked("POST").length).toBe(3);
  server.requests.length = 0;
  expect(statuses(await send()).filter((status) => status === "Layer already exists").length).toBe(2);
  expect([asked("POST"), asked("PATCH")]).toEqual([[], []]);
});

test("a broken connection goes on where the registry stands", async () => {
  server.uploadFaults.push({ kind: "cut", afterBytes: 1 << 20 }, { kind: "cut", afterBytes: 1 << 20 });
  const messages = await send();
  expect(statuses(messages)).toContain("Retrying in 1 second");
  expect(asked("PATCH").length).toBe(3);
  // The upload was asked for once: nothing began anew.
  expect(asked("POST").length).toBe(3);
  expect(waits.every((ms) => ms <= 1000)).toBe(true);
  expect(server.repositories.get("x")?.has(big())).toBe(true);
});

test("an upload that the registry has forgotten begins anew", async () => {
  server.uploadFaults.push({ kind: "lost" });
  await send();
  expect(asked("POST").length).toBe(4);
  expect(server.repositories.get("x")?.has(big())).toBe(true);
});

test("a busy registry is asked again when it says so, and no more than five times without progress", async () => {
  server.uploadFaults.push({ kind: "status", status: 429, retryAfter: "3" });
  await send();
  expect(waits).toEqual([1000, 1000, 1000]);
  waits.length = 0;
  server.repositories.clear();
  for (let count = 0; count < 5; count++) server.uploadFaults.push({ kind: "status", status: 503 });
  await expect(send("other")).rejects.toThrow("received unexpected HTTP status: 503");
  expect(server.uploadFaults).toEqual([]);
  expect(asked("PUT").filter((line) => line.includes("/other/manifests/"))).toEqual([]);
});

test("a blob that the registry has in another repository is mounted from there", async () => {
  await send("first/one");
  const messages = await send("second/two");
  expect(statuses(messages).filter((status) => status === "Mounted from first/one").length).toBe(2);
  // What the registry does not have there after all is sent.
  server.repositories.get("first/one")?.clear();
  server.repositories.get("second/two")?.clear();
  expect(statuses(await send("third")).filter((status) => status === "Pushed").length).toBe(2);
});

test("a token is asked for the right to push, and for reading where a mount comes from", async () => {
  server.auth = { kind: "bearer", username: "user", password: "secret" };
  await send("first", LOGIN);
  expect(server.scopes.some((scope) => scope.includes("repository:first:pull,push"))).toBe(true);
  server.scopes.length = 0;
  await send("second", LOGIN);
  expect(server.scopes.some((scope) => scope.includes("repository:second:pull,push repository:first:pull"))).toBe(true);
});

test.each(["basic", "bearer"] as const)("%s: wrong credentials are refused at once", async (kind) => {
  server.auth = { kind, username: "user", password: "secret" };
  await expect(send("x", { ...LOGIN, password: "wrong" })).rejects.toThrow(/unauthorized|incorrect/);
  await expect(send()).rejects.toThrow(/no basic auth credentials|unauthorized/);
  expect(waits).toEqual([]);
});

test("who may read but not write is told so in the registry's words", async () => {
  server.isReadOnly = true;
  await expect(send()).rejects.toThrow("denied: requested access to the resource is denied");
  expect(asked("POST").length).toBe(1);
});

test("a client that goes away ends the push, and nothing is recorded", async () => {
  const gone = new AbortController();
  server.uploadFaults.push({ kind: "cut", afterBytes: 1 });
  const pushing = send("x", null, gone.signal);
  gone.abort(new Error("the client has gone"));
  await expect(pushing).rejects.toThrow("the client has gone");
  expect(asked("PUT")).toEqual([]);
  expect(room.images.get(image.id).repoDigests).toEqual([]);
});

test("the digest is one of the image's names afterwards", async () => {
  await send();
  expect(room.images.get(image.id).repoDigests).toEqual([expect.stringMatching(/\/x@sha256:[0-9a-f]{64}$/)]);
});
