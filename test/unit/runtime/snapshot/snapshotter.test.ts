// How much a container has written, whatever it has made of its directories.
import { afterAll, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { linkSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { directorySize } from "../../../../runtime/snapshot/snapshotter.ts";
import type { Fd } from "../../../../runtime/sys/fd.ts";
import { cstr } from "../../../../runtime/sys/ffi.ts";
import { O, openPath } from "../../../../runtime/sys/file.ts";
import { makeDirectoryEntry, openEntry } from "../../../../runtime/sys/tree.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-size-"));
// A tree deeper than a path may be long is more than node:fs can remove.
afterAll(() => void execFileSync("rm", ["-rf", directory]));

test("files count once, links and what they lead to do not", async () => {
  const root = join(directory, "one");
  mkdirSync(join(root, "a/b"), { recursive: true });
  writeFileSync(join(root, "a/b/file"), "12345");
  linkSync(join(root, "a/b/file"), join(root, "again"));
  writeFileSync(join(directory, "outside"), "1234567890");
  symlinkSync(directory, join(root, "up"));
  symlinkSync(join(directory, "outside"), join(root, "a/outside"));
  expect(await directorySize(root)).toBe(5);
  expect(await directorySize(join(directory, "nothing"))).toBe(0);
  expect(await directorySize(join(root, "again"))).toBe(0);
});

test("a tree that is deeper than a path may be long counts as far as it can be named", async () => {
  const root = join(directory, "deep");
  mkdirSync(root);
  writeFileSync(join(root, "file"), "123");
  const name = cstr("n".repeat(200));
  let parent: Fd = openPath(root, O.DIRECTORY);
  for (let depth = 0; depth < 40; depth++) {
    makeDirectoryEntry(parent, name, 0o755);
    const child = openEntry(parent, name, O.DIRECTORY);
    parent.close();
    parent = child;
  }
  parent.close();
  expect(await directorySize(root)).toBe(3);
});
