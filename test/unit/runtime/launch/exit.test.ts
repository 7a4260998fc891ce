// Exit records, whole and torn (from the pipe: test/root/launch/exit.test.ts); reports of a failed start; IDs through mappings.
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LaunchError, SyscallError, UserLookupError } from "../../../../runtime/errors.ts";
import { parseExitRecord, readExitFile } from "../../../../runtime/launch/exit.ts";
import { asLaunchError, failureOf } from "../../../../runtime/launch/failure.ts";
import { isKernelAtLeast } from "../../../../runtime/launch/host.ts";
import { hostID } from "../../../../runtime/launch/namespaces.ts";
import { E } from "../../../../runtime/sys/errno.ts";
import { exitRecord } from "../../../support/exit_record.ts";

const directory = mkdtempSync(join(tmpdir(), "berth-exit-"));
afterAll(() => rmSync(directory, { recursive: true }));

test("a status is a code or a signal, the time is the shim's", () => {
  const exitedAt = new Date(1_700_000_000_987);
  const exitedAtNano = 1_700_000_000_987_654_321n;
  expect(parseExitRecord(exitRecord(7 << 8))).toEqual({ exitCode: 7, signal: null, exitedAt, exitedAtNano });
  expect(parseExitRecord(exitRecord(9))).toEqual({ exitCode: 137, signal: 9, exitedAt, exitedAtNano });
  expect(parseExitRecord(exitRecord(11 | 0x80))).toEqual({ exitCode: 139, signal: 11, exitedAt, exitedAtNano });
});

test("a torn, empty or missing record is none", () => {
  expect(parseExitRecord(exitRecord(0).subarray(0, 31))).toBeNull();
  const file = join(directory, "exit");
  expect(readExitFile(file)).toBeNull();
  writeFileSync(file, "");
  expect(readExitFile(file)).toBeNull();
  writeFileSync(file, exitRecord(0));
  expect(readExitFile(file)).toMatchObject({ exitCode: 0 });
});

test("why a start failed: its step, the workload's own execve, or a death on the way", () => {
  const report = { pid: 5, isReady: true, failure: null };
  expect(failureOf(report, "sh", () => false)).toBeNull();
  const mount = failureOf({ ...report, failure: { errno: E.EACCES, title: "mount proc at /proc" } }, "sh", () => false);
  expect(mount).toMatchObject({ step: "mount proc at /proc", errno: E.EACCES });
  expect(mount?.command).toBeUndefined();
  const exec = failureOf({ ...report, failure: { errno: E.ENOENT, title: "exec sh" } }, "sh", () => false);
  expect(exec).toMatchObject({ command: "sh", errno: E.ENOENT });
  expect(failureOf({ ...report, isReady: false }, "sh", () => true)?.message).toContain("OOM-killed");
  expect(failureOf({ ...report, isReady: false }, "sh", () => false)?.message).toContain("was killed before");
});

test("whatever is thrown becomes a LaunchError with its errno, but for what says more already", () => {
  const user = new UserLookupError("unable to find user x: no matching entries in passwd file");
  expect(asLaunchError("look up", user)).toBe(user);
  const syscall = asLaunchError("make pipes", new SyscallError("pipe2", E.EMFILE));
  expect(syscall).toMatchObject({ step: "make pipes", errno: E.EMFILE });
  expect(asLaunchError("x", Object.assign(new Error("ENOENT: …"), { errno: -2 }))).toMatchObject({ errno: E.ENOENT });
  expect(asLaunchError("compile", new RangeError("too long"))).toMatchObject({
    step: "compile: too long",
    errno: E.EINVAL,
  });
  expect(asLaunchError("x", "text")).toBeInstanceOf(LaunchError);
});

test("container IDs through mappings", () => {
  const mappings = [
    { containerID: 0, hostID: 100000, size: 1000 },
    { containerID: 5000, hostID: 7, size: 1 },
  ];
  expect([hostID(0, mappings), hostID(999, mappings), hostID(5000, mappings), hostID(42, [])]).toEqual([
    100000, 100999, 7, 42,
  ]);
  expect(() => hostID(1000, mappings)).toThrow("no host ID");
});

test("kernel versions", () => {
  expect(isKernelAtLeast("6.18.44-fc", 6, 7)).toBe(true);
  expect(isKernelAtLeast("6.7.0", 6, 7)).toBe(true);
  expect(isKernelAtLeast("5.15.0-100-generic", 6, 7)).toBe(false);
  expect(isKernelAtLeast("10.0", 6, 7)).toBe(true);
});
