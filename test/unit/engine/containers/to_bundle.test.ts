// What a HostConfig becomes: the bundle is data, so each option is read off it.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { CAPABILITIES } from "../../../../runtime/mod.ts";
import type { ContainerID, ContainerRecord } from "../../../../src/engine/containers/container.ts";
import { fillHostConfig, MASKED_PATHS, READONLY_PATHS } from "../../../../src/engine/containers/defaults.ts";
import { type BundleInput, toBundle, toEnv } from "../../../../src/engine/containers/to_bundle.ts";
import { ContainerCreate } from "../../../../src/schema/container.ts";

const ID = "a".repeat(64) as ContainerID;
const NO_DEVICES = { devices: [], rules: [], weights: [], readBps: [], writeBps: [], readIOps: [], writeIOps: [] };

function bundle(body: Record<string, unknown> = {}, more: Partial<BundleInput> = {}) {
  const { HostConfig, NetworkingConfig: _, ...config } = v.parse(ContainerCreate, body);
  const hostConfig = fillHostConfig(HostConfig, {
    cgroupVersion: 2,
    shmSizeBytes: 64 << 20,
    logDriver: "json-file",
    logOptions: {},
    usesInit: false,
    runtime: "runc",
    maskedPaths: [],
    ipcMode: "private",
    cgroupnsMode: "",
  });
  const record: ContainerRecord = {
    id: ID,
    name: "web",
    createdAt: "2026-01-01T00:00:00Z",
    image: "i",
    imageID: "sha256:1",
    platform: "linux",
    path: "sh",
    args: ["-c", "x"],
    config,
    hostConfig,
    state: { status: "created" },
    mounts: [],
    endpoints: [],
    publishedPorts: [],
    restartCount: 0,
    hasBeenManuallyStopped: false,
    hasBeenStartedBefore: false,
  };
  return toBundle({
    record,
    rootfs: { kind: "overlay", layersDir: "/l", lower: ["a"], upper: "/u", work: "/w", target: "/t" },
    files: { hostname: "/f/hostname", hosts: "/f/hosts", resolvConf: "/f/resolv.conf" },
    mounts: [],
    devices: NO_DEVICES,
    hostname: "box",
    linkEnv: [],
    pidDonor: null,
    ipcDonor: null,
    initPath: null,
    seccomp: (capabilities) => ({ defaultAction: `for ${capabilities.length}`, syscalls: [] }),
    apparmorProfile: "",
    idMaps: null,
    engine: { cgroupParent: "/berth", defaultUlimits: {}, noNewPrivileges: false, capabilities: new Set(CAPABILITIES) },
    ...more,
  }).spec;
}

const destinations = (spec: ReturnType<typeof bundle>): string[] => spec.mounts.map((mount) => mount.destination);
const mountAt = (spec: ReturnType<typeof bundle>, path: string) =>
  spec.mounts.find((mount) => mount.destination === path);

test("a container that asks for nothing gets Docker's defaults", () => {
  const spec = bundle();
  expect(spec.process.args).toEqual(["sh", "-c", "x"]);
  expect(spec.process.cwd).toBe("/");
  expect(spec.process.capabilities.effective).toHaveLength(14);
  expect(spec.process.capabilities.inheritable).toEqual([]);
  expect(spec.linux.namespaces.map(({ type }) => type)).toEqual(["mount", "network", "uts", "pid", "ipc", "cgroup"]);
  expect(destinations(spec)).toEqual([
    "/proc",
    "/dev",
    "/dev/pts",
    "/sys",
    "/sys/fs/cgroup",
    "/dev/mqueue",
    "/dev/shm",
    "/etc/resolv.conf",
    "/etc/hostname",
    "/etc/hosts",
  ]);
  expect(mountAt(spec, "/dev/shm")?.options).toContain("size=67108864");
  expect(spec.linux.maskedPaths).toEqual([...MASKED_PATHS]);
  expect(spec.linux.readonlyPaths).toEqual([...READONLY_PATHS]);
  expect(spec.linux.cgroupsPath).toBe(`/berth/${ID}`);
  expect(spec.linux.sysctl).toEqual({
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
  });
  expect(spec.linux.resources.devices[0]).toEqual({ allow: false, type: "a", access: "rwm" });
  expect(spec.linux.seccomp?.defaultAction).toBe("for 14");
  expect(spec.linux.devices.map(({ path }) => path)).toEqual([
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
  ]);
});

describe("the environment", () => {
  test("begins with PATH, HOSTNAME and TERM, and the container's own replace them in place", () => {
    expect(toEnv(["A=1", "PATH=/x", "A=2", "TERM=vt100"], "box", true)).toEqual([
      "PATH=/x",
      "HOSTNAME=box",
      "TERM=vt100",
      "A=2",
    ]);
    expect(toEnv([], "box", false)[1]).toBe("HOSTNAME=box");
  });
  test("loses what is named without a value", () => {
    expect(toEnv(["PATH=/x", "HOSTNAME", "B"], "box", false)).toEqual(["PATH=/x"]);
  });
});

describe("capabilities", () => {
  const effective = (host: Record<string, unknown>): string[] =>
    bundle({ HostConfig: host }).process.capabilities.effective;
  test("are dropped before they are added", () => {
    expect(effective({ CapDrop: ["ALL"], CapAdd: ["net_admin"] })).toEqual(["CAP_NET_ADMIN"]);
    expect(effective({ CapDrop: ["CAP_CHOWN"], CapAdd: ["CAP_CHOWN"] })).toContain("CAP_CHOWN");
  });
  test("ALL in add keeps out what was dropped by name", () => {
    expect(effective({ CapDrop: ["sys_admin"], CapAdd: ["ALL"] })).toHaveLength(CAPABILITIES.length - 1);
  });
});

test("privileged takes every restriction away", () => {
  const spec = bundle({ HostConfig: { Privileged: true } }, { seccomp: null });
  expect(spec.process.capabilities.effective).toHaveLength(CAPABILITIES.length);
  expect(spec.linux.resources.devices).toEqual([{ allow: true, type: "a", access: "rwm" }]);
  expect(spec.linux.maskedPaths).toEqual([]);
  expect(spec.linux.readonlyPaths).toEqual([]);
  expect(spec.linux.seccomp).toBeUndefined();
  expect(mountAt(spec, "/sys")?.options).toContain("rw");
  expect(mountAt(spec, "/sys/fs/cgroup")?.options).toContain("rw");
});

test("empty path lists mean none, absent ones the engine's", () => {
  expect(bundle({ HostConfig: { MaskedPaths: [], ReadonlyPaths: [] } }).linux).toMatchObject({
    maskedPaths: [],
    readonlyPaths: [],
  });
});

test("a mount of the user's takes the place of ours, and one on /dev hides all below", () => {
  const own = { destination: "/dev", type: "tmpfs", source: "tmpfs", options: [] };
  const hosts = { destination: "/etc/hosts", type: "bind", source: "/mine", options: ["bind"] };
  const spec = bundle({}, { mounts: [own, hosts] });
  expect(destinations(spec)).toEqual([
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
    "/etc/resolv.conf",
    "/etc/hostname",
    "/dev",
    "/etc/hosts",
  ]);
  expect(mountAt(spec, "/etc/hosts")?.source).toBe("/mine");
});

test("host modes leave namespaces out, and donors are joined by path", () => {
  const host = bundle({
    HostConfig: { NetworkMode: "host", PidMode: "host", IpcMode: "host", UTSMode: "host", CgroupnsMode: "host" },
  });
  expect(host.linux.namespaces).toEqual([{ type: "mount" }]);
  expect(host.hostname).toBe("");
  expect(mountAt(host, "/dev/shm")).toMatchObject({ type: "bind", source: "/dev/shm" });
  expect(host.linux.sysctl).toEqual({});
  const shared = bundle(
    { HostConfig: { PidMode: "container:x", IpcMode: "container:x" } },
    { pidDonor: { pid: 7 }, ipcDonor: { pid: 7 } },
  );
  expect(shared.linux.namespaces).toContainEqual({ type: "pid", path: "/proc/7/ns/pid" });
  expect(mountAt(shared, "/dev/shm")?.source).toBe("/proc/7/root/dev/shm");
});

test("limits become the runtime's", () => {
  const { resources } = bundle({
    HostConfig: {
      Memory: 64 << 20,
      MemoryReservation: 32 << 20,
      NanoCpus: 1.5e9,
      CpuShares: 512,
      CpusetCpus: "0-1",
      PidsLimit: 9,
      BlkioWeight: 300,
    },
  }).linux;
  expect(resources).toMatchObject({
    memory: { limit: 64 << 20, reservation: 32 << 20, swap: 128 << 20 },
    cpu: { quota: 150_000, period: 100_000, shares: 512, cpus: "0-1" },
    pids: { limit: 9 },
    blockIO: { weight: 300 },
  });
  expect(Object.keys(bundle().linux.resources)).toEqual(["devices"]);
});

test("ulimits, sysctls, annotations, a terminal's size and a cgroup parent pass through", () => {
  const spec = bundle(
    {
      Tty: true,
      Domainname: "d",
      WorkingDir: "/w",
      HostConfig: {
        Ulimits: [{ Name: "nofile", Soft: 1, Hard: 2 }],
        Sysctls: { "net.core.somaxconn": "5" },
        Annotations: { a: "b" },
        ConsoleSize: [24, 80],
        CgroupParent: "mine",
        OomScoreAdj: 5,
        ReadonlyRootfs: true,
        SecurityOpt: ["no-new-privileges"],
      },
    },
    {
      engine: {
        cgroupParent: "/berth",
        defaultUlimits: { nofile: { soft: 9, hard: 9 }, core: { soft: -1, hard: -1 } },
        noNewPrivileges: false,
        capabilities: new Set(CAPABILITIES),
      },
    },
  );
  expect(spec.process.rlimits).toEqual([
    { type: "RLIMIT_NOFILE", soft: 1, hard: 2 },
    { type: "RLIMIT_CORE", soft: -1, hard: -1 },
  ]);
  expect(spec.linux.sysctl["net.core.somaxconn"]).toBe("5");
  expect(spec.annotations).toEqual({ a: "b" });
  expect(spec.process).toMatchObject({
    terminal: true,
    consoleSize: { height: 24, width: 80 },
    cwd: "/w",
    oomScoreAdj: 5,
    noNewPrivileges: true,
  });
  expect(spec.process.env).toContain("TERM=xterm");
  expect(spec.linux.cgroupsPath).toBe(`/mine/${ID}`);
  expect(spec.root.readonly).toBe(true);
  expect(mountAt(spec, "/etc/hosts")?.options).toContain("ro");
});

test("an administrator's init is mounted and started with the command behind it", () => {
  const spec = bundle({}, { initPath: "/usr/bin/tini" });
  expect(spec.process.args).toEqual(["/sbin/docker-init", "--", "sh", "-c", "x"]);
  expect(mountAt(spec, "/sbin/docker-init")).toMatchObject({ source: "/usr/bin/tini", options: ["bind", "ro"] });
});
