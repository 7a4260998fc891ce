// A container's files put together while it does not run (runtime/launch/stopped_files.ts), by the kernel's newer calls and
// by those of kernels before 5.12 and 6.7. Needs root.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OciMount, Rootfs } from "../../runtime/bundle.ts";
import { pack } from "../../runtime/files/pack.ts";
import { look, lookAtTarget, lookUpOwner } from "../../runtime/files/look.ts";
import { parseCopyPath } from "../../runtime/files/names.ts";
import { unpack } from "../../runtime/files/unpack.ts";
import { openFiles } from "../../runtime/launch/stopped_files.ts";
import { type FileTree, TarReader } from "../../runtime/mod.ts";
import { openInRoot, O, readAll } from "../../runtime/sys/file.ts";
import { directory, file, type LayerEntry, tarOf } from "../support/images.ts";

let room: string;
let rootfs: Rootfs;
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), "berth-files-"));
  for (const name of ["layers/a/etc", "layers/b/data", "upper", "work", "target", "vol", "bind/below"]) {
    mkdirSync(join(room, name), { recursive: true });
  }
  writeFileSync(join(room, "layers/a/etc/passwd"), "root:x:0:0::/:\nuser:x:7:8::/:\n");
  writeFileSync(join(room, "layers/b/data/hidden"), "below the volume");
  symlinkSync("/data", join(room, "layers/a/link"));
  writeFileSync(join(room, "vol/f"), "of the volume");
  rootfs = {
    kind: "overlay",
    layersDir: join(room, "layers"),
    lower: ["a", "b"],
    upper: join(room, "upper"),
    work: join(room, "work"),
    target: join(room, "target"),
  };
});
afterEach(() => rmSync(room, { recursive: true, force: true }));

const bind = (source: string, destination: string, access = "rw"): OciMount => ({
  type: "bind",
  source: join(room, source),
  destination,
  options: ["rbind", access, "rprivate"],
});

function textOf({ root }: FileTree, path: string): string {
  using opened = openInRoot(root, path, O.RDONLY);
  return Buffer.from(readAll(opened, 1 << 20)).toString();
}

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += 1000) yield bytes.subarray(start, start + 1000);
}

function unpackInto(files: FileTree, entries: LayerEntry[], at = "/"): Promise<void> {
  const { signal } = new AbortController();
  return unpack(inPieces(tarOf(entries)), {
    root: files.root,
    directory: at,
    owner: null,
    idMaps: null,
    keepsKinds: false,
    signal,
  });
}

const mountTable = (): string => readFileSync("/proc/self/mountinfo", "utf8");

describe.each([
  ["with the newer calls", { mountSetattr: true, lowerdirPlus: true }],
  ["with the older ones", { mountSetattr: false, lowerdirPlus: false }],
])("%s", (_name, features) => {
  test("volumes are where they belong, and links lead to them", async () => {
    const before = mountTable();
    const mounts = [bind("vol", "/data")];
    await using files = await openFiles(rootfs, features, { isWritable: false, mounts });
    expect([textOf(files, "/data/f"), textOf(files, "/link/f"), textOf(files, "/etc/../link/f")]).toEqual(
      Array(3).fill("of the volume"),
    );
    expect(() => textOf(files, "/data/hidden")).toThrow("ENOENT");
    expect(mountTable()).toBe(before);
  });

  test("a place that is missing is made, below another mount too", async () => {
    const mounts = [bind("bind", "/new/place"), bind("vol", "/new/place/in/it")];
    await using files = await openFiles(rootfs, features, { isWritable: false, mounts });
    expect(textOf(files, "/new/place/in/it/f")).toBe("of the volume");
    expect([existsSync(join(room, "upper/new/place")), existsSync(join(room, "bind/in/it"))]).toEqual([true, true]);
  });

  test("a source that is gone is passed over for reading, not for writing", async () => {
    const mounts = [bind("gone", "/data")];
    await using files = await openFiles(rootfs, features, { isWritable: false, mounts });
    expect(textOf(files, "/data/hidden")).toBe("below the volume");
    await expect(openFiles(rootfs, features, { isWritable: true, mounts })).rejects.toThrow("ENOENT");
  });

  test("what is written lands in the upper directory or the volume; read-only stays so", async () => {
    const mounts = [bind("vol", "/data"), bind("bind", "/ro", "ro")];
    {
      await using files = await openFiles(rootfs, features, { isWritable: true, mounts });
      expect(lookAtTarget(files.root, "/")).toEqual({ isDirectory: true, isMounted: false, isReadOnly: false });
      expect(lookAtTarget(files.root, "/link")).toEqual({ isDirectory: true, isMounted: true, isReadOnly: false });
      expect(lookAtTarget(files.root, "/ro/below")).toEqual({ isDirectory: true, isMounted: true, isReadOnly: true });
      await unpackInto(files, [directory("etc"), file("etc/new", "1"), file("data/new", "2"), file("link/too", "3")]);
      await expect(unpackInto(files, [file("ro/x", "4")])).rejects.toThrow("EROFS");
    }
    expect(readFileSync(join(room, "upper/etc/new"), "utf8")).toBe("1");
    expect(readdirSync(join(room, "vol")).toSorted()).toEqual(["f", "new", "too"]);
    expect(readdirSync(join(room, "bind"))).toEqual(["below"]);
    await using again = await openFiles(rootfs, features, { isWritable: true, mounts: [] });
    expect([textOf(again, "/etc/new"), textOf(again, "/etc/passwd").length > 0]).toEqual(["1", true]);
  });

  test("a root that is one directory works alike", async () => {
    const plain: Rootfs = { ...rootfs, kind: "directory", lower: [] };
    {
      await using files = await openFiles(plain, features, { isWritable: true, mounts: [bind("vol", "/v")] });
      await unpackInto(files, [file("v/x", "1"), file("y", "2")]);
    }
    expect([existsSync(join(room, "vol/x")), existsSync(join(room, "upper/y"))]).toEqual([true, true]);
  });
});

test("users are looked up in the container's own files", async () => {
  await using files = await openFiles(
    rootfs,
    { mountSetattr: true, lowerdirPlus: true },
    { isWritable: false, mounts: [] },
  );
  expect(lookUpOwner(files.root, "user")).toEqual({ uid: 7, gid: 8 });
  expect(() => lookUpOwner(files.root, "nobody-here")).toThrow("unable to find user nobody-here");
});

test("a tree is packed in pieces, whole, and what cannot be read is told", async () => {
  mkdirSync(join(room, "upper/many"));
  for (let index = 0; index < 2000; index++) writeFileSync(join(room, `upper/many/${index}`), `content ${index}\n`);
  writeFileSync(join(room, "upper/many/large"), Buffer.alloc(700_001, "x"));
  await using files = await openFiles(
    rootfs,
    { mountSetattr: true, lowerdirPlus: true },
    { isWritable: false, mounts: [] },
  );
  const sizes = new Map<string, number>();
  let path = "";
  const reader = new TarReader({
    entry: (entry) => {
      path = entry.path;
      sizes.set(path, 0);
    },
    data: (bytes) => sizes.set(path, (sizes.get(path) ?? 0) + bytes.length),
    end: () => undefined,
  });
  const skipped: string[] = [];
  for await (const chunk of pack(look(files.root, parseCopyPath("/many/.")), {
    idMaps: null,
    onSkipped: (left) => skipped.push(left),
  })) {
    expect(chunk.length).toBeLessThan(600_000);
    reader.write(chunk);
  }
  reader.finish();
  expect([sizes.size, sizes.get("./large"), sizes.get("./1999")]).toEqual([2002, 700_001, 13]);
  expect(skipped).toEqual([]);
});
