// Files of a root that is mounted nowhere, read through its layers.
import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Rootfs } from "../../../../runtime/bundle.ts";
import { LayerFileCache, readFromRootfs, readInRoot } from "../../../../runtime/launch/rootfs_files.ts";
import { O, openPath } from "../../../../runtime/sys/file.ts";

let directory = "";
const directories: string[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-layers-"));
  directories.push(directory);
  for (const name of ["upper", "layers/T", "layers/B"]) mkdirSync(join(directory, name), { recursive: true });
});
afterAll(() => directories.forEach((one) => rmSync(one, { recursive: true })));

const put = (layer: string, path: string, text: string): void => {
  mkdirSync(join(directory, layer, path, ".."), { recursive: true });
  writeFileSync(join(directory, layer, path), text);
};
const rootfs = (): Rootfs => ({
  kind: "overlay",
  layersDir: join(directory, "layers"),
  lower: ["T", "B"],
  upper: join(directory, "upper"),
  work: "",
  target: "",
});
const VIEW = "asked for a view";
const read = (): string =>
  readFromRootfs(rootfs(), "etc", "passwd", new LayerFileCache(), () => {
    throw new Error(VIEW);
  });

test("the topmost layer that has it wins", () => {
  expect(read()).toBe("");
  put("layers/B", "etc/passwd", "bottom");
  expect(read()).toBe("bottom");
  put("layers/T", "etc/other", "x");
  expect(read()).toBe("bottom");
  put("layers/T", "etc/passwd", "top");
  expect(read()).toBe("top");
  put("upper", "etc/passwd", "upper");
  expect(read()).toBe("upper");
});

test("a whiteout hides what lies below, of the file and of its directory", () => {
  put("layers/B", "etc/passwd", "bottom");
  mkdirSync(join(directory, "layers/T/etc"));
  // The kernel lets everyone make the device 0:0.
  expect(spawnSync("mknod", [join(directory, "layers/T/etc/passwd"), "c", "0", "0"]).status).toBe(0);
  expect(read()).toBe("");
  expect(spawnSync("mknod", [join(directory, "upper/etc"), "c", "0", "0"]).status).toBe(0);
  expect(read()).toBe("");
});

test("a symbolic link, or something that is no file, is left to a real mount", () => {
  put("layers/B", "etc/passwd", "bottom");
  mkdirSync(join(directory, "layers/T/etc"));
  symlinkSync("/etc/passwd", join(directory, "layers/T/etc/passwd"));
  expect(read).toThrow(VIEW);
  symlinkSync("/somewhere", join(directory, "upper/etc"));
  expect(read).toThrow(VIEW);
});

test("a file in the place of the directory hides it", () => {
  put("layers/B", "etc/passwd", "bottom");
  put("layers/T", "etc", "a file");
  expect(read()).toBe("");
});

test("a plain directory is read as a root; a link that climbs out of it stays in; a FIFO does not block", () => {
  put("upper", "etc/real", "inside");
  symlinkSync("../../../../../../etc/real", join(directory, "upper/etc/passwd"));
  const open = () => openPath(join(directory, "upper"), O.PATH | O.DIRECTORY);
  expect(readFromRootfs({ ...rootfs(), kind: "directory" }, "etc", "passwd", new LayerFileCache(), open)).toBe(
    "inside",
  );
  using root = open();
  expect(readInRoot(root, "etc/none")).toBe("");
  expect(readInRoot(root, "etc")).toBe("");
  expect(spawnSync("mkfifo", [join(directory, "upper/etc/fifo")]).status).toBe(0);
  expect(readInRoot(root, "etc/fifo")).toBe("");
});

test("a loop of links is no file", () => {
  mkdirSync(join(directory, "upper/etc"));
  symlinkSync("loop", join(directory, "upper/etc/loop"));
  using root = openPath(join(directory, "upper"), O.PATH | O.DIRECTORY);
  expect(readInRoot(root, "etc/loop")).toBe("");
});

test("what no container has written over is read once, and what one has is read anew", () => {
  put("layers/T", "etc/passwd", "image");
  const cache = new LayerFileCache();
  const read = (): string => readFromRootfs(rootfs(), "etc", "passwd", cache, () => openPath(directory, O.PATH));
  expect(read()).toBe("image");
  rmSync(join(directory, "layers/T/etc/passwd"));
  expect(read()).toBe("image");
  put("upper", "etc/passwd", "container");
  expect(read()).toBe("container");
});
