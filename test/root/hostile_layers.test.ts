// Each layer of the corpus is unpacked for real: nothing outside its directory changes, memory stays bounded, and what is
// refused is refused in words.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyLayer } from "../../runtime/layer/apply.ts";
import { SyscallError } from "../../runtime/errors.ts";
import { LayerError } from "../../runtime/layer/layer_error.ts";
import { hostileLayers } from "../support/hostile_layers.ts";

/** More than the buffers of one layer ever need, and far less than what the bombs unpack to. */
const MEMORY_BYTES = 128 << 20;

const base = mkdtempSync(join(tmpdir(), "berth-hostile-"));
const outside = join(base, "outside");
let umask = 0;
beforeAll(() => {
  umask = process.umask(0);
  mkdirSync(outside);
  writeFileSync(join(outside, "victim"), "untouched");
});
afterAll(() => {
  process.umask(umask);
  rmSync(base, { recursive: true });
});

/** What lies beside the layer's own directory: names, kinds, owners, contents. */
function surroundings(): string {
  const hash = createHash("sha256");
  const names = [...readdirSync(base), ...readdirSync(outside).map((name) => `outside/${name}`)];
  for (const name of names.filter((each) => each !== "layer" && each !== "blob").toSorted()) {
    const status = lstatSync(join(base, name));
    hash.update(`${name} ${status.mode} ${status.uid} ${status.nlink}\n`);
    if (status.isFile()) hash.update(readFileSync(join(base, name)));
  }
  return hash.digest("hex");
}

const corpus = hostileLayers(outside);

test("the corpus has at least forty layers, each with a name of its own", () => {
  expect(corpus.length).toBeGreaterThanOrEqual(40);
  expect(new Set(corpus.map(({ name }) => name)).size).toBe(corpus.length);
});

test.each(corpus)("$name: $outcome", async ({ outcome, blob }) => {
  const [blobPath, target] = [join(base, "blob"), join(base, "layer")];
  writeFileSync(blobPath, blob());
  mkdirSync(target, { mode: 0o755 });
  const before = surroundings();
  Bun.gc(true);
  const idle = process.memoryUsage.rss();
  let most = idle;
  const hooks = {
    onRead: () => undefined,
    checkAborted: () => void (most = Math.max(most, process.memoryUsage.rss())),
  };
  try {
    const result = await applyLayer({ blobPath, target, digest: null, diffID: null }, hooks).catch(
      (error: unknown) => error,
    );
    if (outcome === "refused" || result instanceof Error) {
      if (!(result instanceof Error)) throw new Error("it was unpacked");
      expect(result instanceof LayerError || result instanceof SyscallError).toBe(true);
      expect(result.message.length).toBeLessThan(1000);
    }
    expect(surroundings()).toBe(before);
    expect(most - idle).toBeLessThan(MEMORY_BYTES);
  } finally {
    rmSync(target, { recursive: true });
  }
});
