// changes() on directories as overlayfs leaves them, and on some that it leaves only on other kernels.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Rootfs } from "../../runtime/mod.ts";
import { changes } from "../../runtime/files/changes.ts";
import { O, openPath } from "../../runtime/sys/file.ts";
import { writeAttribute } from "../../runtime/sys/tree.ts";
import { toRawName } from "../../runtime/files/names.ts";

let room: string;
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), "berth-changes-"));
});
afterEach(() => rmSync(room, { recursive: true, force: true }));

const at = (path: string): string => join(room, path);

/** A file of one size and time, so that a copy of it is the same. */
function put(path: string, content = "x"): void {
  mkdirSync(join(at(path), ".."), { recursive: true });
  writeFileSync(at(path), content);
  utimesSync(at(path), 1, 1);
}

function whiteout(path: string): void {
  mkdirSync(join(at(path), ".."), { recursive: true });
  execFileSync("mknod", [at(path), "c", "0", "0"]);
}

function mark(path: string, name: string, value: string): void {
  using file = openPath(at(path), O.RDONLY);
  expect(writeAttribute(file, toRawName(name), Uint8Array.from(Buffer.from(value)))).toBe(true);
}

async function diff(lower: string[], own: string[] = [], kind: Rootfs["kind"] = "overlay"): Promise<string[]> {
  for (const name of [...lower, "upper"]) mkdirSync(at(name), { recursive: true });
  const rootfs: Rootfs = { kind, layersDir: room, lower, upper: at("upper"), work: at("work"), target: at("target") };
  const found: string[] = [];
  for await (const { path, kind: change } of changes(rootfs, new Set(own)))
    found.push(`${change[0]?.toUpperCase()} ${path}`);
  return found;
}

test("a layer hides what the layers below it have: by a whiteout, an opaque directory, a file", async () => {
  for (const name of ["a", "b/x", "c/x", "d/x"]) put(`low/${name}`);
  whiteout("top/a");
  mkdirSync(at("top/b"));
  mark("top/b", "trusted.overlay.opaque", "y");
  put("top/c");
  for (const name of ["a", "b/x", "c/x", "d/x"]) put(`upper/${name}`);
  expect(await diff(["top", "low"])).toEqual(["A /a", "M /b", "A /b/x", "M /c", "A /c/x"]);
});

test("whiteouts of both forms; one of nothing is nothing", async () => {
  for (const name of ["d/a", "d/b", "d/c"]) put(`low/${name}`);
  whiteout("upper/d/a");
  put("upper/d/b", "");
  mark("upper/d/b", "trusted.overlay.whiteout", "");
  whiteout("upper/d/never");
  expect(await diff(["low"])).toEqual(["M /d", "D /d/a", "D /d/b"]);
});

test("an opaque directory has lost all that the layers had in it, where they still had it", async () => {
  for (const name of ["one", "two", "three"]) put(`low/d/${name}`);
  whiteout("top/d/one");
  put("top/d/four");
  put("upper/d/two");
  mark("upper/d", "trusted.overlay.opaque", "y");
  expect(await diff(["top", "low"])).toEqual(["M /d", "D /d/four", "D /d/three"]);
});

test("the same but for an owner, a mode, a size, a capability is modified; the same is not", async () => {
  const names = ["capability", "mode", "owner", "same", "size"];
  for (const layer of ["low", "upper"]) for (const name of names) put(`${layer}/d/${name}`);
  chmodSync(at("upper/d/mode"), 0o600);
  chownSync(at("upper/d/owner"), 1, 0);
  put("upper/d/size", "xx");
  mark("upper/d/capability", "security.capability", "\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
  expect(await diff(["low"])).toEqual(["M /d", "M /d/capability", "M /d/mode", "M /d/owner", "M /d/size"]);
});

test("what the engine makes is passed over, what lies in it is not", async () => {
  put("upper/etc/hosts");
  mkdirSync(at("upper/proc"));
  expect(await diff([], ["/etc", "/etc/hosts", "/proc"])).toEqual([]);
  put("upper/etc/mine");
  expect(await diff([], ["/etc", "/etc/hosts", "/proc"])).toEqual(["M /etc", "A /etc/mine"]);
});

test("a whole directory is compared with all layers", async () => {
  for (const name of ["a", "d/one", "d/two"]) put(`low/${name}`);
  put("upper/d/one");
  put("upper/new");
  expect(await diff(["low"], [], "directory")).toEqual(["D /a", "M /d", "D /d/two", "A /new"]);
});

test("names are any bytes, and are put in order", async () => {
  mkdirSync(at("upper/d"), { recursive: true });
  writeFileSync(Buffer.concat([Buffer.from(at("upper/d/")), Buffer.from([0xff, 0x41])]), "");
  for (const name of ["b", "a", "a-b", "a.d"]) put(`upper/d/${name}/x`);
  const found = await diff([]);
  expect(found.slice(0, 4)).toEqual(["A /d", "A /d/a", "A /d/a/x", "A /d/a-b"]);
  expect(found).toHaveLength(10);
});

test("nothing stays open, read to the end or not", async () => {
  put("low/d/e/f");
  put("upper/d/e/f", "other");
  const open = (): number => readdirSync("/proc/self/fd").length;
  const before = open();
  expect(await diff(["low"])).toEqual(["M /d", "M /d/e", "M /d/e/f"]);
  const rootfs: Rootfs = { kind: "overlay", layersDir: room, lower: ["low"], upper: at("upper"), work: "", target: "" };
  for await (const _ of changes(rootfs, new Set())) break;
  expect(open()).toBe(before);
});
