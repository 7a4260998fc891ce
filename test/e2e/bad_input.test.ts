// Bad input against the running daemon: each a clear error with Docker's status, nothing left behind, and the daemon goes on.
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon } from "../support/daemon.ts";
import { TestRegistry } from "../support/registry.ts";

let berth: TestDaemon;
let registry: TestRegistry;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());
afterEach(async () => {
  // Whatever was thrown at it, it still runs containers.
  expect((await berth.request("GET", "/_ping")).status).toBe(200);
});

async function post(
  path: string,
  body: string,
  type = "application/json",
): Promise<{ status: number; message: string }> {
  const reply = await berth.request("POST", path, { body, headers: { "content-type": type } });
  const text = await reply.text();
  expect(reply.headers.get("content-type")).toBe("application/json");
  return { status: reply.status, message: (JSON.parse(text) as { message: string }).message };
}

test.each([
  ["{", "invalid JSON"],
  ["", "config cannot be empty in order to create a container"],
  ["[]", "invalid JSON"],
  ['{"Image":3}', "Image"],
  ['{"Image":"busybox","HostConfig":{"Memory":"lots"}}', "Memory"],
  ['{"Image":"busybox"} trailing', "unexpected content after JSON"],
])("create with the body %j is 400", async (body, words) => {
  const { status, message } = await post("/containers/create", body);
  expect(status).toBe(400);
  expect(message).toContain(words);
});

test("a wrong content type is 400", async () => {
  expect(await post("/containers/create", "{}", "text/plain")).toEqual({
    status: 400,
    message: "unsupported Content-Type header (text/plain): must be 'application/json'",
  });
});

test("unknown things are 404 in Docker's words", async () => {
  const get = async (path: string): Promise<unknown> => await (await berth.request("GET", path)).json();
  expect(await get("/containers/nope/json")).toEqual({ message: "No such container: nope" });
  expect(await get("/images/nope/json")).toEqual({ message: "No such image: nope:latest" });
  expect(await get("/networks/nope")).toEqual({ message: "network nope not found" });
  expect(await get("/volumes/nope")).toEqual({ message: "get nope: no such volume" });
  expect(await get("/exec/nope/json")).toEqual({ message: "No such exec instance: nope" });
  expect(await get("/nope")).toEqual({ message: "page not found" });
  expect(await get("/v1.23/info")).toMatchObject({
    message: expect.stringContaining("client version 1.23 is too old"),
  });
  expect(await get("/v1.99/info")).toMatchObject({
    message: expect.stringContaining("client version 1.99 is too new"),
  });
});

test("huge headers, garbage and half a request are answered or dropped", async () => {
  const talk = (bytes: string): Promise<string> =>
    new Promise((resolve) => {
      let reply = "";
      const socket = connect(berth.socket, () => socket.end(bytes));
      socket.on("data", (chunk) => (reply += chunk.toString("latin1")));
      socket.on("close", () => resolve(reply));
      socket.on("error", () => resolve(reply));
    });
  expect(await talk(`GET /_ping HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(2 << 20)}\r\n\r\n`)).toMatch(/^HTTP\/1\.1 431 /);
  expect(await talk("\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
  expect(
    await talk("GET /_ping HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
  ).toMatch(/^HTTP\/1\.1 400 /);
  expect(await talk("GET /_ping HT")).not.toContain("200 OK");
});

test("a truncated archive, one that climbs out and one that lies are refused, and leave nothing", async () => {
  const work = berth.directory;
  const load = async (name: string): Promise<string> => {
    const ran = await berth.docker(["load", "-i", join(work, name)]);
    return `${ran.code} ${ran.stdout}${ran.stderr}`;
  };
  writeFileSync(join(work, "garbage.tar"), "this is no tar archive at all, not even a short one".repeat(50));
  expect(await load("garbage.tar")).toStartWith("1 ");
  await berth.dockerOK("save", "-o", join(work, "whole.tar"), "busybox");
  await run(["sh", "-c", `head -c 500000 ${work}/whole.tar > ${work}/half.tar`]);
  await berth.dockerOK("rmi", "-f", "busybox");
  expect(await load("half.tar")).toStartWith("1 ");
  expect(await berth.dockerOK("images", "-q")).toBe("");

  // A layer whose entry climbs out of the root, and one that goes through a symlink to the host.
  await run([
    "sh",
    "-c",
    `cd ${work} && echo evil > evil && tar -cPf climb.layer ../../../../../../../../${work.slice(1)}/evil 2>/dev/null && mkdir -p t && ln -sfn ${work} t/link && tar -C t -cf link.layer link && tar --transform 's,evil,link/escaped,' -rf link.layer evil`,
  ]);
  for (const name of ["climb", "link"]) {
    await archiveOf(work, name);
    await load(`${name}.tar`);
  }
  expect(await Bun.file(join(work, "escaped")).exists()).toBe(false);
  await loadBusybox(berth);
});

/** A docker-archive around one layer tar. */
async function archiveOf(work: string, name: string): Promise<void> {
  const layer = new Uint8Array(await Bun.file(join(work, `${name}.layer`)).arrayBuffer());
  const diffID = `sha256:${createHash("sha256").update(layer).digest("hex")}`;
  writeFileSync(
    join(work, "config.json"),
    JSON.stringify({ architecture: "amd64", os: "linux", config: {}, rootfs: { type: "layers", diff_ids: [diffID] } }),
  );
  writeFileSync(
    join(work, "manifest.json"),
    JSON.stringify([{ Config: "config.json", RepoTags: [`${name}:1`], Layers: [`${name}.layer`] }]),
  );
  await run(["tar", "-C", work, "-cf", join(work, `${name}.tar`), "manifest.json", "config.json", `${name}.layer`]);
}

test("a registry that lies, breaks off or answers nonsense fails the pull with the reason, and nothing stays", async () => {
  registry = await TestRegistry.start();
  await using _registry = registry;
  await using local = await TestDaemon.start();
  await registry.exposeIn(local.holderPID, local.directory, 5001);
  const layer = Bun.gzipSync(new Uint8Array(1024 * 200).fill(7));
  const add = (tag: string, bytes: Uint8Array<ArrayBuffer>, diffID: string): { digest: string; size: number } => {
    const blob = registry.addBlob(bytes);
    const config = registry.addBlob(
      new TextEncoder().encode(
        JSON.stringify({
          architecture: "amd64",
          os: "linux",
          config: {},
          rootfs: { type: "layers", diff_ids: [diffID] },
        }),
      ),
    );
    registry.addManifest("bad", tag, "application/vnd.oci.image.manifest.v1+json", {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
      layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...blob }],
    });
    return blob;
  };
  const pull = async (tag: string): Promise<string> => {
    const ran = await local.docker(["pull", `${registry.host}/bad:${tag}`]);
    expect(ran.code).toBe(1);
    return ran.stderr;
  };
  const wrong = add("wrong-diffid", layer, `sha256:${"0".repeat(64)}`);
  expect(await pull("wrong-diffid")).toMatch(/diffID|tar|archive/i);
  registry.faults.push({ digest: wrong.digest, kind: "wrong-bytes", times: 10 });
  await local.docker(["image", "prune", "-af"]);
  const other = add("wrong-bytes", Bun.gzipSync(new Uint8Array(1024 * 100).fill(9)), `sha256:${"1".repeat(64)}`);
  registry.faults.push({ digest: other.digest, kind: "wrong-bytes", times: 10 });
  expect(await pull("wrong-bytes")).toMatch(/digest/);
  const long = add("too-long", Bun.gzipSync(new Uint8Array(1024 * 90).fill(3)), `sha256:${"2".repeat(64)}`);
  registry.faults.push({ digest: long.digest, kind: "too-long", times: 10 });
  expect(await pull("too-long")).toMatch(/more than/);
  registry.addManifest("bad", "nonsense", "application/vnd.oci.image.manifest.v1+json", { layers: "none" });
  expect(await pull("nonsense")).toMatch(/manifest/);
  registry.addManifest("bad", "list", "application/vnd.oci.image.index.v1+json", {
    schemaVersion: 2,
    manifests: [{ digest: `sha256:${"3".repeat(64)}`, size: 3, platform: { os: "linux", architecture: "s390x" } }],
  });
  expect(await pull("list")).toContain("no matching manifest for linux/");
  expect(await local.dockerOK("images", "-q")).toBe("");
}, 60_000);

test("a broken download goes on where it stood", async () => {
  registry = await TestRegistry.start();
  await using _registry = registry;
  await using local = await TestDaemon.start();
  await registry.exposeIn(local.holderPID, local.directory, 5001);
  await run([
    "sh",
    "-c",
    `mkdir -p ${berth.directory}/lt && head -c 3000000 /dev/urandom > ${berth.directory}/lt/file && tar -C ${berth.directory}/lt -cf ${berth.directory}/lt.tar .`,
  ]);
  const tar = new Uint8Array(await Bun.file(join(berth.directory, "lt.tar")).arrayBuffer());
  const blob = registry.addBlob(Bun.gzipSync(tar));
  const diffID = `sha256:${createHash("sha256").update(tar).digest("hex")}`;
  const config = registry.addBlob(
    new TextEncoder().encode(
      JSON.stringify({
        architecture: "amd64",
        os: "linux",
        config: { Cmd: ["x"] },
        rootfs: { type: "layers", diff_ids: [diffID] },
      }),
    ),
  );
  registry.addManifest("cut", "1", "application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", ...config },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...blob }],
  });
  registry.faults.push({ digest: blob.digest, kind: "cut", value: 1_000_000, times: 1 });
  expect(await local.dockerOK("pull", `${registry.host}/cut:1`)).toContain("Downloaded newer image");
  const asked = registry.requests.filter((line) => line.includes(blob.digest));
  expect(asked.length).toBe(2);
  expect(asked[1]).toMatch(/bytes=\d{5,}-$/);
}, 60_000);

test("a full disk fails the pull with a clear error, and what is whole stays", async () => {
  await using small = await TestDaemon.start({ diskMiB: 24 });
  const ran = await small.docker(["load", "-i", await bigArchive()]);
  expect(ran.code).toBe(1);
  expect(ran.stderr + ran.stdout).toMatch(/no space left on device/i);
  expect((await small.request("GET", "/_ping")).status).toBe(200);
  expect(await small.dockerOK("images", "-q")).toBe("");
  await loadBusybox(small);
  expect(await small.dockerOK("run", "--rm", "busybox", "echo", "still works")).toBe("still works");
}, 60_000);

async function bigArchive(): Promise<string> {
  const work = berth.directory;
  await run([
    "sh",
    "-c",
    `mkdir -p ${work}/big && head -c 40000000 /dev/urandom > ${work}/big/file && tar -C ${work}/big -cf ${work}/big.layer .`,
  ]);
  await archiveOf(work, "big");
  return join(work, "big.tar");
}
