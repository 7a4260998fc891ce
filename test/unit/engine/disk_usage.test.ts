// How much a directory holds, for `docker system df`.
import { expect, test } from "bun:test";
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diskUsage } from "../../../src/engine/disk_usage.ts";

test("sums files at any depth, a hard-linked one once, and follows no link", async () => {
  const base = mkdtempSync(join(tmpdir(), "berth-usage-"));
  try {
    mkdirSync(join(base, "a/b"), { recursive: true });
    writeFileSync(join(base, "a/one"), "1".repeat(100));
    writeFileSync(join(base, "a/b/two"), "2".repeat(20));
    linkSync(join(base, "a/one"), join(base, "a/b/same"));
    symlinkSync("/usr", join(base, "link"));
    expect(await diskUsage(base)).toBe(100 + 20 + "/usr".length);
    expect(await diskUsage(base, 5)).toBe(-1);
    expect(await diskUsage(base, 6)).toBe(124);
    expect(await diskUsage(join(base, "none"))).toBe(-1);
  } finally {
    rmSync(base, { recursive: true });
  }
});
