// What /info and /version are made of.
import { describe, expect, test } from "bun:test";
import type { HostFacts } from "../../../runtime/mod.ts";
import { type Config, parseCommandLine } from "../../../src/config.ts";
import { createCdiRegistry } from "../../../src/engine/cdi/registry.ts";
import { createSystem, findFileSystem, parseOSRelease } from "../../../src/engine/system.ts";

const FACTS: HostFacts = {
  kernelVersion: "6.1.0-test",
  arch: "arm64",
  cgroupVersion: 2,
  controllers: new Map(["cpu", "memory", "pids"].map((name) => [name, "/sys/fs/cgroup"])),
  cpus: 3,
  cpuList: "0-2",
  memoryNodes: "0",
  memoryBytes: 1 << 30,
  hasSeccomp: true,
  hasAppArmor: false,
  hasUserNamespaces: true,
  hasSwapAccounting: false,
  hasRealtimeGroups: false,
  hasIOWeight: true,
  hasIPv6: true,
};

function configOf(args: string[]): Config {
  return parseCommandLine({
    argv0: "berth",
    args,
    env: { HTTP_PROXY: "http://user:secret@proxy:3128" },
    readFile: () => null,
  }).config;
}

const system = (args: string[]) =>
  createSystem({
    cdi: createCdiRegistry(),
    config: () => configOf(args),
    facts: FACTS,
    build: { version: "1.2.3", commit: "abc", buildTime: "2026-01-02T03:04:05Z" },
    networkDrivers: ["bridge"],
    logDrivers: ["json-file"],
  });

describe("facts()", () => {
  test("tell the build, the machine and which limits it can keep", async () => {
    const facts = await system([]).facts();
    expect(facts).toMatchObject({
      engineVersion: "1.2.3",
      gitCommit: "abc",
      kernelVersion: "6.1.0-test",
      arch: "arm64",
      cpus: 3,
      cgroupVersion: 2,
    });
    expect(facts.limits).toEqual({
      memory: true,
      swap: false,
      cpuPeriod: true,
      cpuQuota: true,
      cpuShares: true,
      cpuSet: false,
      pids: true,
      oomKillDisable: false,
    });
    expect(facts.openFiles).toBeGreaterThan(2);
    expect(facts.securityOptions).toEqual(["name=seccomp,profile=builtin", "name=cgroupns"]);
    expect(facts.warnings).toEqual([]);
  });

  test("never show the password of a proxy", async () => {
    expect((await system([]).facts()).proxies.http).toBe("http://xxxxx:xxxxx@proxy:3128");
  });

  test("warn about an API that anybody can reach", async () => {
    const { warnings } = await system(["-H", "tcp://0.0.0.0:2375", "--tls=false"]).facts();
    expect(warnings).toEqual([expect.stringContaining("WARNING: API is accessible on http://0.0.0.0:2375 without")]);
  });
});

test("parseOSRelease() reads plain and quoted values, and passes over the rest", () => {
  expect(parseOSRelease(`NAME="A \\"B\\""\nID=debian\nVERSION_ID='12'\n# no\nbad line\n=x\nPRETTY_NAME=\n`)).toEqual({
    NAME: 'A "B"',
    ID: "debian",
    VERSION_ID: "12",
    PRETTY_NAME: "",
  });
});

test("findFileSystem() takes the longest mount point above, and of two on one point the later", () => {
  const text = `27 1 254:0 / / rw - ext4 /dev/vda rw
40 27 0:40 / /var rw - xfs /dev/vdb rw
41 27 0:41 / /var rw - btrfs /dev/vdc rw
42 27 0:42 / /var/library rw - tmpfs tmpfs rw
junk
`;
  expect(findFileSystem(text, "/var/lib/berth")).toBe("btrfs");
  expect(findFileSystem(text, "/var/library")).toBe("tmpfs");
  expect(findFileSystem(text, "/home")).toBe("extfs");
  expect(findFileSystem("", "/")).toBeNull();
});
