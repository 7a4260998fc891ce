// Names to masks and pairs.
import { expect, test } from "bun:test";
import { allCapabilities, capabilityMask, resolveRlimits, withHome } from "../../../../runtime/launch/privileges.ts";
import { RLIM_INFINITY } from "../../../../runtime/sys/process.ts";

const host = { lastCapability: 40, bounding: (1n << 41n) - 1n, nofile: { soft: 1024n, hard: 4096n } };

test("capabilities: a bit each, none beyond the kernel's last or the daemon's own", () => {
  expect(capabilityMask(["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"], host)).toBe(
    1n | (1n << 21n) | (1n << 40n),
  );
  expect(capabilityMask(["CAP_BPF"], { ...host, lastCapability: 37 })).toBe(0n);
  expect(capabilityMask(["CAP_CHOWN", "CAP_KILL"], { ...host, bounding: 1n })).toBe(1n);
  expect(() => capabilityMask(["CAP_FLY"], host)).toThrow('"CAP_FLY"');
  expect(allCapabilities(host).effective.length).toBe(41);
  expect(allCapabilities(host).inheritable).toEqual([]);
});

test("rlimits: what is named, and the daemon's own limit on open files otherwise", () => {
  const nofile = { name: "RLIMIT_NOFILE", resource: 7, limit: host.nofile };
  expect(resolveRlimits([], host)).toEqual([nofile]);
  expect(resolveRlimits([{ type: "RLIMIT_CORE", soft: -1, hard: 2 ** 64 }], host)).toEqual([
    { name: "RLIMIT_CORE", resource: 4, limit: { soft: RLIM_INFINITY, hard: RLIM_INFINITY } },
    nofile,
  ]);
  expect(resolveRlimits([{ type: "RLIMIT_NOFILE", soft: 1, hard: 2 }], host)).toEqual([
    { ...nofile, limit: { soft: 1n, hard: 2n } },
  ]);
  for (const type of ["RLIMIT_NONE", "toString", ""]) {
    expect(() => resolveRlimits([{ type, soft: 1, hard: 1 }], host)).toThrow("unknown rlimit");
  }
});

test("HOME is the account's where the environment has none or an empty one", () => {
  expect(withHome(["A=1"], "/root")).toEqual(["A=1", "HOME=/root"]);
  expect(withHome(["HOME=", "A=1"], "/root")).toEqual(["A=1", "HOME=/root"]);
  expect(withHome(["HOME=/x"], "/root")).toEqual(["HOME=/x"]);
});
