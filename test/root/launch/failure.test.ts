// Starts that fail: the error names the step and the errno that Docker's words come from, and nothing is left behind.
import { afterAll, afterEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { cgroupDirectories } from "../../../runtime/cgroup/place.ts";
import type { Bundle } from "../../../runtime/bundle.ts";
import { LaunchError } from "../../../runtime/errors.ts";
import type { LaunchRequest, Task } from "../../../runtime/mod.ts";
import { E } from "../../../runtime/sys/errno.ts";
import { Fd } from "../../../runtime/sys/fd.ts";
import { syscall } from "../../../runtime/sys/ffi.ts";
import { O, openPath } from "../../../runtime/sys/file.ts";
import { readRlimit, rlimit64, RLIMITS } from "../../../runtime/sys/process.ts";
import { type BundleChanges, ContainerRoom, until } from "../../support/container_room.ts";

const room = new ContainerRoom("failure");
afterAll(() => room[Symbol.asyncDispose]());

function children(): string[] {
  return readFileSync(`/proc/self/task/${process.pid}/children`, "utf8").trim().split(" ").filter(Boolean);
}

/** Starts it, and checks that all is as before. */
async function failureOf(bundle: Bundle, request: Partial<LaunchRequest> = {}): Promise<LaunchError> {
  // The first start opens what stays open: Bun's own descriptors.
  await room.sh("true");
  const before = { descriptors: readdirSync("/proc/self/fd").length, children: children() };
  const error: unknown = await room.launch(bundle, request).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  // Bun closes its own pidfds a moment after a child has ended.
  await until(() => readdirSync("/proc/self/fd").length <= before.descriptors, "the number of descriptors as before");
  await until(() => children().length <= before.children.length, "the children as before");
  for (const directory of cgroupDirectories(room.runtime.facts, bundle.spec.linux.cgroupsPath)) {
    expect(existsSync(directory)).toBe(false);
  }
  expect(readdirSync(join(room.directory, "containers", bundle.id, "state"))).toEqual([]);
  if (!(error instanceof LaunchError)) throw new Error("no LaunchError", { cause: error });
  return error;
}

const start = (
  args: string[],
  changes: BundleChanges = {},
  request: Partial<LaunchRequest> = {},
): Promise<LaunchError> => failureOf(room.bundle(args, changes), request);

afterEach(() => expect(existsSync("/dev/null")).toBe(true));

test("a command that is nowhere in PATH is ENOENT", async () => {
  expect(await start(["nope"])).toMatchObject({ command: "nope", errno: E.ENOENT });
  expect(await start(["nope"], { process: { env: ["PATH="] } })).toMatchObject({ command: "nope", errno: E.ENOENT });
  expect(await start([""])).toMatchObject({ errno: E.ENOENT });
});

test("a path that is not there, is a directory, or may not be executed", async () => {
  expect(await start(["/nope"])).toMatchObject({ command: "/nope", errno: E.ENOENT });
  expect(await start(["./etc"])).toMatchObject({ command: "./etc", errno: E.EISDIR });
  expect(await start(["/etc/passwd"])).toMatchObject({ command: "/etc/passwd", errno: E.EACCES });
});

test("in PATH, what may not be executed is passed over, and the first that may be is the answer", async () => {
  const bundle = room.bundle(["tool"], { process: { env: ["PATH=/one:/two:/three"] } });
  for (const name of ["one/tool", "two", "three"]) mkdirSync(join(bundle.rootfs.upper, name), { recursive: true });
  writeFileSync(join(bundle.rootfs.upper, "two/tool"), "#!/bin/sh\n", { mode: 0o644 });
  expect(await failureOf(bundle)).toMatchObject({ command: "tool", errno: E.ENOENT });
  const next = { ...bundle, id: bundle.id };
  writeFileSync(join(bundle.rootfs.upper, "three/tool"), "not a program", { mode: 0o755 });
  expect(await failureOf(next)).toMatchObject({ command: "tool", errno: E.ENOEXEC });
});

test("a mount source that is not there", async () => {
  const mounts = [{ destination: "/x", type: "bind", source: "/does/not/exist", options: ["rbind"] }];
  const error = await start(["true"], { mounts });
  expect(error).toMatchObject({ step: "bind /does/not/exist at /x", errno: E.ENOENT });
  expect(error.command).toBeUndefined();
});

test("a directory bound on a file", async () => {
  const mounts = [{ destination: "/etc/passwd", type: "bind", source: "/tmp", options: ["rbind"] }];
  expect(await start(["true"], { mounts })).toMatchObject({
    step: 'error mounting "/tmp" to rootfs at "/etc/passwd"',
    errno: E.ENOTDIR,
  });
});

test("an option that a file system does not know", async () => {
  const mounts = [{ destination: "/x", type: "tmpfs", source: "tmpfs", options: ["size=nonsense"] }];
  expect(await start(["true"], { mounts })).toMatchObject({ step: "mount tmpfs (size=nonsense)", errno: E.EINVAL });
});

test("a sysctl that is not there, a limit that may not be raised, a user's directory that is a file", async () => {
  expect(await start(["true"], { linux: { sysctl: { "net.nope": "1" } } })).toMatchObject({
    step: "set the sysctl net.nope to 1",
    errno: E.ENOENT,
  });
  expect(await start(["true"], { process: { rlimits: [{ type: "RLIMIT_NOFILE", soft: 10, hard: 9 }] } })).toMatchObject(
    {
      step: "set RLIMIT_NOFILE to 10:9",
      errno: E.EINVAL,
    },
  );
  expect(await start(["true"], { process: { cwd: "/etc/passwd" } })).toMatchObject({
    step: 'chdir to cwd ("/etc/passwd") set in config.json failed',
    errno: E.ENOTDIR,
  });
});

test("a rootfs whose layer is missing, and one whose upper is", async () => {
  const bundle = room.bundle(["true"]);
  const error = await failureOf({ ...bundle, rootfs: { ...bundle.rootfs, lower: ["none"] } }).catch(
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ errno: E.ENOENT });
  const other = room.bundle(["true"]);
  expect(await failureOf({ ...other, rootfs: { ...other.rootfs, work: "/does/not/exist" } })).toMatchObject({
    step: `mount overlay on ${other.rootfs.target}`,
  });
});

test("a namespace that is not there, a seccomp action that is none, a capability that is none", async () => {
  const namespaces = [{ type: "mount" as const }, { type: "ipc" as const, path: "/proc/0/ns/ipc" }];
  expect(await start(["true"], { linux: { namespaces } })).toMatchObject({
    step: "open the ipc namespace /proc/0/ns/ipc",
    errno: E.ENOENT,
  });
  const seccomp = { defaultAction: "SCMP_ACT_NONSENSE", syscalls: [] };
  expect((await start(["true"], { linux: { seccomp } })).message).toContain("SCMP_ACT_NONSENSE");
  const capabilities = { bounding: ["CAP_NONSENSE"], effective: [], permitted: [], inheritable: [], ambient: [] };
  expect((await start(["true"], { process: { capabilities } })).message).toContain("CAP_NONSENSE");
});

test("a state directory that is not there", async () => {
  const bundle = room.bundle(["true"]);
  const error: unknown = await room.launch(bundle, { stateDir: "/does/not/exist" }).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ step: "create /does/not/exist/exit", errno: E.ENOENT });
});

/** Runs it with so many descriptors to spare. */
async function withDescriptors<T>(count: number, work: () => Promise<T>): Promise<T> {
  const nofile = RLIMITS["RLIMIT_NOFILE"] ?? 0;
  const before = readRlimit(0, nofile);
  const fill: Fd[] = [openPath("/dev/null", O.RDONLY)];
  // The numbers in use may lie anywhere below the limit: this many stay free in any case.
  const soft = BigInt(Math.max(...readdirSync("/proc/self/fd").map(Number)) + 150);
  syscall("prlimit64", 0, nofile, rlimit64({ soft, hard: before.hard }), null);
  try {
    for (;;) {
      const next = syscall("dup", fill[0]?.number ?? 0);
      if (next < 0) break;
      fill.push(new Fd(next));
    }
    for (const fd of fill.splice(fill.length - count)) fd.close();
    return await work();
  } finally {
    syscall("prlimit64", 0, nofile, rlimit64(before), null);
    for (const fd of fill) fd.close();
  }
}

test("wherever descriptors run out, a start fails as a whole", async () => {
  await room.sh("true");
  const before = { descriptors: readdirSync("/proc/self/fd").length, children: children() };
  const outcomes = new Set<string>();
  for (const terminal of [false, true]) {
    for (let count = 0; count < 90; count += 3) {
      const bundle = room.bundle(["true"], { process: { terminal } });
      const launched = withDescriptors(count, () => room.launch(bundle, { hasStdin: true }));
      const outcome: unknown = await launched.catch((error: unknown) => error);
      outcomes.add(outcome instanceof Error ? "failed" : "started");
      if (outcome instanceof Error) expect(outcome).toMatchObject({ name: "LaunchError", errno: E.EMFILE });
      else await room.finish(outcome as Task);
      await until(
        () => readdirSync("/proc/self/fd").length <= before.descriptors,
        `descriptors, with ${count} to spare`,
      );
      await until(() => children().length <= before.children.length, `children, with ${count} to spare`);
      for (const directory of cgroupDirectories(room.runtime.facts, bundle.spec.linux.cgroupsPath)) {
        expect(existsSync(directory)).toBe(false);
      }
    }
  }
  expect([...outcomes]).toEqual(["failed", "started"]);
});

test("an argument list that is too long", async () => {
  expect(await start(["/bin/true", "x".repeat(200_000)])).toMatchObject({ command: "/bin/true", errno: 7 });
});

test("a memory limit that not even the first process fits in says so", async () => {
  const linux = { resources: { ...room.bundle(["true"]).spec.linux.resources, memory: { limit: 4096 } } };
  expect(await start(["true"], { linux })).toMatchObject({
    step: "container init was OOM-killed (memory limit too low?)",
    errno: E.ENOMEM,
  });
});
