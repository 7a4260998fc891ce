// The daemon is killed (SIGKILL) at random points of pulls and loads. Afterwards every layer and blob is whole by `berth
// verify`, nothing half is left, and the next pull finishes. BERTH_IMAGE_KILLS: how many; a soak takes hundreds.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { type Ran, run, TestDaemon } from "../support/daemon.ts";
import { DockerRegistry } from "../support/docker_registry.ts";
import { directory, dockerArchive, file, imageOf, layerOf } from "../support/images.ts";

const KILLS = Number(process.env["BERTH_IMAGE_KILLS"] ?? 8);
const LAYERS = 6;
const NAME = "localhost:5000/victim:1";

let berth: TestDaemon;
let registry: DockerRegistry;
let archive: string;
beforeAll(async () => {
  berth = await TestDaemon.start();
  registry = await DockerRegistry.start(berth, { port: 5000 });
  const layers = Array.from({ length: LAYERS }, (_, number) =>
    layerOf([
      directory(`layer${number}`),
      file(`layer${number}/noise`, randomBytes(2 << 20)),
      ...Array.from({ length: 40 }, (_unused, at) => file(`layer${number}/file${at}`, randomBytes(3000))),
    ]),
  );
  archive = join(berth.directory, "victim.tar");
  writeFileSync(archive, dockerArchive(imageOf(layers), ["victim:1"]));
  const filled = await berth.inside([
    "skopeo",
    "copy",
    "-q",
    "--dest-tls-verify=false",
    `docker-archive:${archive}`,
    `docker://${NAME}`,
  ]);
  if (filled.code !== 0) throw new Error(filled.stderr);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await berth[Symbol.asyncDispose]();
});

const verify = (): Promise<Ran> =>
  run([join(import.meta.dir, "../../dist/berth"), "verify", "--data-root", berth.dataRoot], { timeoutMs: 60_000 });

test(`${KILLS} kills in the middle of pulls and loads leave no layer or blob that is not whole`, async () => {
  let finished = 0;
  for (let count = 0; count < KILLS; count++) {
    const work = berth.docker(count % 2 === 0 ? ["pull", "-q", NAME] : ["load", "-q", "-i", archive]);
    // Some fall into the download, some into the unpacking, some after the end.
    await Bun.sleep(Math.random() * 700);
    await berth.kill();
    if ((await work).code === 0) finished++;
    const checked = await verify();
    expect(checked).toMatchObject({ code: 0, stderr: "" });
    expect(checked.stdout).toMatch(
      /^(.+ have no blob .+\n)?\d+ images, \d+ blobs and \d+ layers checked: 0 damaged, 0 repaired\n$/,
    );
    await berth.boot();
    expect(readdirSync(join(berth.dataRoot, "tmp")).filter((name) => name.startsWith("layer-"))).toEqual([]);
    // Every other time the next one goes on with what has come so far.
    if (count % 4 >= 2) {
      await berth.docker(["rmi", "-f", NAME, "victim:1"]);
      await berth.docker(["image", "prune", "-af"]);
    }
  }
  expect(await berth.dockerOK("pull", "-q", NAME)).toBe(NAME);
  await berth.stop();
  expect((await verify()).stdout).toContain(`${LAYERS} layers checked: 0 damaged`);
  await berth.boot();
  expect(finished).toBeLessThanOrEqual(KILLS);
}, 3_600_000);

test("verify waits for no daemon: it says that one is running", async () => {
  const refused = await verify();
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("is in use by another berth");
});

test("--repair is for verify alone", async () => {
  const refused = await run([join(import.meta.dir, "../../dist/berth"), "serve", "--repair"]);
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("--repair is for berth verify") });
});
