// The default profile's text, and how it is loaded by a parser that is there, refuses, or is missing.
import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isLoaded, loadDefaultProfile, profileText } from "../../../runtime/apparmor.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-apparmor-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const LOADED = join(directory, "profiles");
function paths(script: string | null) {
  const parser = join(directory, "parser");
  rmSync(parser, { force: true });
  if (script !== null) {
    writeFileSync(parser, `#!/bin/sh\n${script}\n`);
    chmodSync(parser, 0o755);
  }
  return {
    parsers: [join(directory, "none"), parser],
    loaded: LOADED,
    current: join(directory, "none"),
    includes: directory,
  };
}

test("a profile that is loaded stays, one that is not goes to the parser", async () => {
  writeFileSync(LOADED, "docker-default (enforce)\n");
  expect(await loadDefaultProfile(paths("exit 1"))).toBe("loaded");
  writeFileSync(LOADED, "docker-default-2 (enforce)\n/usr/bin/man (enforce)\n");
  const taken = join(directory, "taken");
  expect(await loadDefaultProfile(paths(`echo "$@" > ${taken}; cat >> ${taken}`))).toBe("loaded");
  const text = readFileSync(taken, "utf8");
  expect(text.startsWith("-Kr\n@{PROC}=/proc/\n\nprofile docker-default flags=")).toBe(true);
  expect(await loadDefaultProfile(paths(null))).toBe("missing");
});

test("what the parser says is the reason, also where it reads nothing", async () => {
  writeFileSync(LOADED, "");
  await expect(loadDefaultProfile(paths("echo 'syntax error in line 1' >&2; exit 1"))).rejects.toThrow(
    "syntax error in line 1",
  );
});

test("names are whole words of the kernel's list", () => {
  expect(isLoaded("docker-default (complain)\n", "docker-default")).toBe(true);
  expect(isLoaded("my docker-default (enforce)\ndocker-default-x (enforce)\n", "docker-default")).toBe(false);
});

test("the profile includes what distributions have, and lets a confined daemon signal", () => {
  const plain = profileText({ name: "p", daemonProfile: "unconfined", hasTunables: false, hasBase: false });
  expect(plain).not.toContain("#include");
  expect(plain.match(/signal/g)).toHaveLength(2);
  expect(plain).toContain("  deny mount,\n");
  const rich = profileText({ name: "p", daemonProfile: "/usr/bin/berth", hasTunables: true, hasBase: true });
  expect(rich.startsWith("#include <tunables/global>\n\nprofile p ")).toBe(true);
  expect(rich).toContain("  #include <abstractions/base>\n");
  expect(rich).toContain("signal (receive) peer=/usr/bin/berth,");
});
