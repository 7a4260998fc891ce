// One daemon for each data root and each pidfile.
import { afterEach, beforeEach, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { lockDataRoot, takePidfile } from "../../../src/commands/locks.ts";

let directory = "";
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), "berth-locks-"))));
afterEach(() => rmSync(directory, { recursive: true }));

test("a data root has one daemon, and is free again once that has let go", () => {
  const root = join(directory, "data", "root");
  const first = lockDataRoot(root, 41);
  expect(() => lockDataRoot(root, 42)).toThrow(`data root ${root} is in use by another berth (pid 41)`);
  first[Symbol.dispose]();
  using _again = lockDataRoot(root, 42);
  expect(readFileSync(join(root, "berth.lock"), "utf8")).toBe("42\n");
});

test("a pidfile holds the process ID while it is taken and goes with it", () => {
  const path = join(directory, "run", "berth.pid");
  {
    using _pidfile = takePidfile(path, process.pid);
    expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
    expect(() => takePidfile(path, 42)).toThrow(/failed to start daemon.*still running/);
  }
  expect(existsSync(path)).toBe(false);
});

test("a pidfile left by a crash is taken over, also when its number is another program's by now", () => {
  const path = join(directory, "berth.pid");
  for (const stale of ["", "junk", "999999999", `${process.ppid}`]) {
    writeFileSync(path, stale);
    using _pidfile = takePidfile(path, 42);
    expect(readFileSync(path, "utf8")).toBe("42\n");
  }
});

test("the pidfile of a dockerd that runs is refused", async () => {
  const path = join(directory, "docker.pid");
  const other = spawn("/bin/sleep", ["60"], { argv0: "/usr/bin/dockerd", stdio: "ignore" });
  const exited = once(other, "exit");
  try {
    // The name is there once the new program is: a moment after spawn.
    while (!readFileSync(`/proc/${other.pid}/cmdline`, "utf8").startsWith("/usr/bin/dockerd")) await sleep(1);
    writeFileSync(path, String(other.pid));
    expect(() => takePidfile(path, 42)).toThrow(`process with PID ${other.pid} is still running`);
    expect(readFileSync(path, "utf8")).toBe(String(other.pid));
  } finally {
    other.kill();
    await exited;
  }
});
