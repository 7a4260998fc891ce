// Whole programs as data: both architectures, and decisions that change the table.
import { describe, expect, test } from "bun:test";
import type { Bundle } from "../../../../runtime/bundle.ts";
import { execProgram } from "../../../../runtime/program/exec.ts";
import { containerProgram, sysctlPath } from "../../../../runtime/program/init.ts";
import type { ContainerPlan, WorkloadPlan } from "../../../../runtime/program/plan.ts";
import { lowerOptions, overlayData, viewData } from "../../../../runtime/program/rootfs.ts";
import { searchPath } from "../../../../runtime/program/workload.ts";
import type { Image } from "../../../../runtime/program/program.ts";

const bundle: Bundle = {
  id: "one",
  rootfs: { kind: "overlay", layersDir: "/l", lower: ["B", "A"], upper: "/c/u", work: "/c/w", target: "/c/r" },
  spec: {
    ociVersion: "1.2.0",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0, additionalGids: [] },
      args: ["true"],
      env: [],
      cwd: "/w",
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      rlimits: [],
      noNewPrivileges: false,
    },
    root: { path: "/c/r", readonly: true },
    hostname: "one",
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: [] },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["mode=755"] },
      { destination: "/data", type: "bind", source: "/host", options: ["rbind", "rshared", "rro"] },
    ],
    linux: {
      namespaces: [],
      uidMappings: [],
      gidMappings: [],
      devices: [],
      resources: { devices: [] },
      cgroupsPath: "/x",
      maskedPaths: ["/proc/kcore"],
      readonlyPaths: ["/proc/sys"],
      sysctl: { "net.ipv4.ip_forward": "1" },
    },
    annotations: {},
  },
};
const workload: WorkloadPlan = {
  args: ["true"],
  env: ["PATH=/bin:/sbin"],
  cwd: "/w",
  identity: { uid: 1, gid: 2, groups: [2] },
  umask: 0o022,
  hasTerminal: false,
  hasStdin: false,
  rlimits: [],
  capabilities: { effective: 0n, permitted: 0n, inheritable: 0n, bounding: 0n, ambient: 0n },
  lastCapability: 40,
  noNewPrivileges: false,
  seccomp: new Uint8Array(8),
  seccompFlags: 0,
  apparmorProfile: "",
};
const plan: ContainerPlan = {
  bundle,
  workload,
  namespaces: { create: 0x20000, createCgroup: true, enter: [], isMapped: false },
  cgroup: { version: 1, joinFiles: ["/cg/tasks"], hierarchies: [] },
  features: { mountSetattr: true, lowerdirPlus: true },
  exitFile: "/s/exit",
  hasPtsMount: false,
};

function titles({ bytes, titleAt }: Image): string[] {
  const found: string[] = [];
  for (let address = 0x411000; address < 0x411000 + bytes.length; address += 64) {
    const title = titleAt(address);
    if (title !== null) found.push(title);
  }
  return found;
}

describe.each(["x64", "arm64"] as const)("on %s", (arch) => {
  test("the order of the setup is the one that works", () => {
    const all = titles(containerProgram(arch, plan));
    const order = [
      "PR_SET_DUMPABLE",
      "clone",
      "join the cgroup /cg/tasks",
      "make a cgroup namespace",
      "bind /host at /data", // shared: copied before the host's mounts become slaves
      "make the host's mounts slaves",
      "mount overlay on /c/r",
      "mount proc",
      "set the sysctl net.ipv4.ip_forward to 1",
      "pivot_root",
      "mount proc at /proc",
      "create the device /dev/null",
      "make /proc/sys read-only",
      "mask /proc/kcore",
      "make / read-only",
      "setgroups",
      "load the seccomp filter",
      "exec true",
    ];
    const positions = order.map((title) => all.indexOf(title));
    expect(positions).not.toContain(-1);
    expect(positions).toEqual(positions.toSorted((a, b) => a - b));
  });

  test("both architectures have the same steps", () => {
    expect(titles(containerProgram(arch, plan))).toEqual(titles(containerProgram("x64", plan)));
    expect(titles(execProgram(arch, execPlan))).toEqual(titles(execProgram("x64", execPlan)));
  });
});

const execPlan = {
  workload,
  namespaces: 0x20000,
  isMapped: false,
  cgroup: plan.cgroup,
  terminal: { rows: 1, columns: 2 },
  terminalUID: 0,
  oomScoreAdj: 0,
};

test("an exec session opens what is the host's before it enters the container, where nobody may trace it", () => {
  const all = titles(execProgram("x64", execPlan));
  const order = [
    "PR_SET_DUMPABLE",
    "open the cgroup /cg/tasks",
    "enter the container's namespaces",
    "open /dev/pts/ptmx",
    "clone",
    "exec true",
  ];
  const positions = order.map((title) => all.indexOf(title));
  expect(positions).not.toContain(-1);
  expect(positions).toEqual(positions.toSorted((a, b) => a - b));
});

test("kernels without mount_setattr get remounts", () => {
  const old = { ...plan, features: { mountSetattr: false, lowerdirPlus: false } };
  expect(
    titles(containerProgram("x64", old)).filter((title) => /"?\/host"? .*at "?\/data"?$/.test(title)).length,
  ).toBeGreaterThan(3);
});

test("kernels without lowerdir+ mount a mapped container's overlay aside, before any namespace is entered", () => {
  const features = { mountSetattr: true, lowerdirPlus: false };
  const all = titles(
    containerProgram("x64", { ...plan, features, namespaces: { ...plan.namespaces, isMapped: true } }),
  );
  expect(all).toContain("clone to mount overlay");
  expect(all.indexOf("mount overlay")).toBeLessThan(all.indexOf("clone"));
  expect(all).not.toContain("mount overlay (lowerdir+=B)");
});

test("overlay's options: short names, escapes, and the kernel's page", () => {
  expect(overlayData(bundle.rootfs)).toBe(
    "lowerdir=B:A,upperdir=/c/u,workdir=/c/w,index=off,redirect_dir=off,metacopy=off",
  );
  expect(overlayData({ ...bundle.rootfs, lower: ["a:b"], upper: "/u,v" })).toStartWith(
    "lowerdir=a\\:b,upperdir=/u\\,v,",
  );
  const many = Array.from({ length: 128 }, (_, index) => `L${String(index).padStart(5, "0")}`);
  expect(overlayData({ ...bundle.rootfs, lower: many }).length).toBeLessThan(4096);
  expect(() => overlayData({ ...bundle.rootfs, lower: [...many, ...many, ...many, ...many, ...many] })).toThrow(
    "640 lower layers",
  );
  expect(viewData({ ...bundle.rootfs, upper: "/u,v" })).toBe("lowerdir=/u\\,v:B:A");
  expect(lowerOptions(["a", "b"])).toEqual([
    ["lowerdir+", "a"],
    ["lowerdir+", "b"],
  ]);
});

test("where a command is looked for", () => {
  expect(searchPath(["PATH=/a:/b", "X=1"], "c")).toEqual(["/a/c", "/b/c"]);
  expect(searchPath(["PATH=/a", "PATH=:/b"], "c")).toEqual(["./c", "/b/c"]);
  expect(searchPath(["PATH="], "c")).toEqual([]);
  expect(searchPath([], "c")).toContain("/usr/local/sbin/c");
  expect(searchPath(["PATH=/a"], "")).toEqual([]);
});

test("sysctl names to paths", () => {
  expect(sysctlPath("net.ipv4.ip_forward")).toBe("net/ipv4/ip_forward");
  expect(sysctlPath("net.ipv4.conf.eth0/100.forwarding")).toBe("net/ipv4/conf/eth0.100/forwarding");
  expect(sysctlPath("net/ipv4/conf/eth0.100/forwarding")).toBe("net/ipv4/conf/eth0.100/forwarding");
});
