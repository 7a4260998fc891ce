// A pull onto a disk that is too small says so, keeps what has come whole, and prune makes room without hand work.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TestDaemon } from "../support/daemon.ts";
import { DockerRegistry } from "../support/docker_registry.ts";
import { dockerArchive, file, imageOf, layerOf } from "../support/images.ts";

const MIB = 1 << 20;

let berth: TestDaemon;
let registry: DockerRegistry;
beforeAll(async () => {
  berth = await TestDaemon.start({ diskMiB: 32, args: ["--max-concurrent-downloads", "1"] });
  registry = await DockerRegistry.start(berth, { port: 5000 });
  await fill("large:1", 4);
  await fill("small:1", 1);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await berth[Symbol.asyncDispose]();
});

async function fill(name: string, layers: number): Promise<void> {
  const image = imageOf(Array.from({ length: layers }, (_, at) => layerOf([file(`f${at}`, randomBytes(6 * MIB))])));
  const archive = join(berth.directory, "archive.tar");
  writeFileSync(archive, dockerArchive(image, [name]));
  const target = `docker://${registry.host}/${name}`;
  const ran = await berth.inside([
    "skopeo",
    "copy",
    "-q",
    "--dest-tls-verify=false",
    `docker-archive:${archive}`,
    target,
  ]);
  if (ran.code !== 0) throw new Error(ran.stderr);
}

test("a pull that does not fit fails plainly, and pulls that fit work after a prune", async () => {
  const failed = await berth.docker(["pull", `${registry.host}/large:1`]);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain("no space left on device");
  expect(await berth.dockerOK("images", "-q")).toBe("");
  expect(readdirSync(join(`/proc/${berth.holderPID}/root`, berth.dataRoot, "blobs/sha256")).length).toBeGreaterThan(0);
  // The CLI shows nothing of it where no image went.
  const pruned = (await (await berth.request("POST", "/images/prune")).json()) as { SpaceReclaimed: number };
  expect(pruned.SpaceReclaimed).toBeGreaterThan(6 * MIB);
  expect(await berth.dockerOK("pull", "-q", `${registry.host}/small:1`)).toBe(`${registry.host}/small:1`);
  expect(await berth.dockerOK("image", "ls", "-q")).not.toBe("");
}, 60_000);
