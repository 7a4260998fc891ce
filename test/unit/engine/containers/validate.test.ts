// Each refusal of create with Docker's words, and each warning.
import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { validateRequest } from "../../../../src/engine/containers/validate.ts";
import { validateLimits } from "../../../../src/engine/containers/validate_limits.ts";
import { CAPABILITIES, type HostFacts } from "../../../../runtime/mod.ts";
import { ContainerCreate } from "../../../../src/schema/container.ts";
import { FACTS } from "../../../support/fake_runtime.ts";

const ALL = new Set<string>(CAPABILITIES);

function check(body: Record<string, unknown>): void {
  const { HostConfig, NetworkingConfig: _, ...config } = v.parse(ContainerCreate, body);
  validateRequest(config, HostConfig, ALL);
  validateLimits(HostConfig, FACTS);
}

const REFUSALS: [what: string, body: Record<string, unknown>, message: string][] = [
  [
    "a relative working directory",
    { WorkingDir: "x" },
    "the working directory 'x' is invalid, it needs to be an absolute path",
  ],
  ["a long host name", { Hostname: "h".repeat(65) }, `hostname "${"h".repeat(65)}" is too long (maximum 64 bytes)`],
  ["a bad exposed port", { ExposedPorts: { x: {} } }, 'invalid port specification: "x"'],
  [
    "a port beyond 65535",
    { HostConfig: { PortBindings: { "70000/tcp": null } } },
    'invalid port specification: "70000/tcp"',
  ],
  [
    "a bad host port",
    { HostConfig: { PortBindings: { "80/tcp": [{ HostPort: "a" }] } } },
    'invalid port specification: "a"',
  ],
  [
    "AutoRemove with a policy",
    { HostConfig: { AutoRemove: true, RestartPolicy: { Name: "always" } } },
    "can't create 'AutoRemove' container with restart policy",
  ],
  [
    "a count without on-failure",
    { HostConfig: { RestartPolicy: { Name: "always", MaximumRetryCount: 1 } } },
    "invalid restart policy: maximum retry count can only be used with 'on-failure'",
  ],
  [
    "a negative count without on-failure",
    { HostConfig: { RestartPolicy: { Name: "no", MaximumRetryCount: -1 } } },
    "invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative",
  ],
  [
    "an unknown policy",
    { HostConfig: { RestartPolicy: { Name: "x" } } },
    "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
  ],
  ["too little memory", { HostConfig: { Memory: 4096 } }, "Minimum memory limit allowed is 6MB"],
  [
    "swap below memory",
    { HostConfig: { Memory: 16 << 20, MemorySwap: 8 << 20 } },
    "Minimum memoryswap limit should be larger than memory limit, see usage",
  ],
  [
    "swap without memory",
    { HostConfig: { MemorySwap: 8 << 20 } },
    "You should always set the Memory limit when using Memoryswap limit, see usage",
  ],
  [
    "a bad swappiness",
    { HostConfig: { MemorySwappiness: 200 } },
    "Invalid value: 200, valid memory swappiness range is 0-100",
  ],
  ["a small reservation", { HostConfig: { MemoryReservation: 1 } }, "Minimum memory reservation allowed is 6MB"],
  [
    "a reservation above the limit",
    { HostConfig: { Memory: 8 << 20, MemoryReservation: 9 << 20 } },
    "Minimum memory limit can not be less than memory reservation limit, see usage",
  ],
  [
    "cpus and a period",
    { HostConfig: { NanoCpus: 1e9, CpuPeriod: 1000 } },
    "Conflicting options: Nano CPUs and CPU Period cannot both be set",
  ],
  [
    "cpus and a quota",
    { HostConfig: { NanoCpus: 1e9, CpuQuota: 1000 } },
    "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
  ],
  [
    "more cpus than there are",
    { HostConfig: { NanoCpus: 9e9 } },
    "range of CPUs is from 0.01 to 8.00, as there are only 8 CPUs available",
  ],
  [
    "a short period",
    { HostConfig: { CpuPeriod: 1 } },
    "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
  ],
  ["a short quota", { HostConfig: { CpuQuota: 1 } }, "CPU cfs quota can not be less than 1ms (i.e. 1000)"],
  [
    "cpus that are not there",
    { HostConfig: { CpusetCpus: "9" } },
    "Requested CPUs are not available - requested 9, available: 0-7",
  ],
  [
    "nodes that are not there",
    { HostConfig: { CpusetMems: "1" } },
    "Requested memory nodes are not available - requested 1, available: 0",
  ],
  ["a bad list of cpus", { HostConfig: { CpusetCpus: "a-b" } }, "Invalid value a-b for cpuset cpus"],
  ["negative shares", { HostConfig: { CpuShares: -1 } }, "invalid CPU shares (-1): value must be a positive integer"],
  ["a bad block weight", { HostConfig: { BlkioWeight: 1 } }, "Range of blkio weight is from 10 to 1000"],
  ["a bad IPC mode", { HostConfig: { IpcMode: "x" } }, "invalid IPC mode: x"],
  ["a bad PID mode", { HostConfig: { PidMode: "container:" } }, "invalid PID mode: container:"],
  ["a bad UTS mode", { HostConfig: { UTSMode: "x" } }, "invalid UTS mode: x"],
  ["a bad cgroup namespace mode", { HostConfig: { CgroupnsMode: "x" } }, "invalid cgroup namespace mode: x"],
  ["negative shared memory", { HostConfig: { ShmSize: -1 } }, "SHM size can not be less than 0"],
  [
    "a bad OOM score",
    { HostConfig: { OomScoreAdj: 2000 } },
    "Invalid value 2000, range for oom score adj is [-1000, 1000]",
  ],
  [
    "a host name in another's network",
    { Hostname: "h", HostConfig: { NetworkMode: "container:x" } },
    "conflicting options: hostname and the network mode",
  ],
  [
    "DNS in another's network",
    { HostConfig: { NetworkMode: "container:x", Dns: ["1.1.1.1"] } },
    "conflicting options: dns and the network mode",
  ],
  [
    "hosts in another's network",
    { HostConfig: { NetworkMode: "container:x", ExtraHosts: ["a:1.1.1.1"] } },
    "conflicting options: custom host-to-IP mapping and the network mode",
  ],
  [
    "ports in another's network",
    { HostConfig: { NetworkMode: "container:x", PublishAllPorts: true } },
    "conflicting options: port publishing and the container type network mode",
  ],
  [
    "exposed ports in another's network",
    { ExposedPorts: { "80/tcp": {} }, HostConfig: { NetworkMode: "container:x" } },
    "conflicting options: port exposing and the container type network mode",
  ],
  [
    "links in another's network",
    { HostConfig: { NetworkMode: "container:x", Links: ["a"] } },
    "conflicting options: container type network can't be used with links. This would result in undefined behavior",
  ],
  [
    "links in the host's network",
    { HostConfig: { NetworkMode: "host", Links: ["a"] } },
    "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
  ],
  [
    "a host name in the host's UTS namespace",
    { Hostname: "h", HostConfig: { UTSMode: "host" } },
    "conflicting options: hostname and the UTS mode",
  ],
  [
    "nobody's network",
    { HostConfig: { NetworkMode: "container:" } },
    "invalid network mode: invalid container format container:<name|id>",
  ],
  ["a short health interval", { Healthcheck: { Interval: 1 } }, "Interval in Healthcheck cannot be less than 1ms"],
  ["a short health time-out", { Healthcheck: { Timeout: 1 } }, "Timeout in Healthcheck cannot be less than 1ms"],
  ["negative retries", { Healthcheck: { Retries: -1 } }, "Retries in Healthcheck cannot be negative"],
  ["a security option without a value", { HostConfig: { SecurityOpt: ["x"] } }, 'invalid --security-opt 1: "x"'],
  ["an unknown security option", { HostConfig: { SecurityOpt: ["x=y"] } }, 'invalid --security-opt 2: "x=y"'],
  ["a bad device rule", { HostConfig: { DeviceCgroupRules: ["x"] } }, "invalid device cgroup rule format: 'x'"],
  [
    "an empty annotation",
    { HostConfig: { Annotations: { "": "x" } } },
    "invalid Annotations: the empty string is not permitted as an annotation key",
  ],
  ["an unknown capability", { HostConfig: { CapAdd: ["x"] } }, 'unknown capability: "CAP_X"'],
  ["a nameless variable", { Env: ["=x"] }, "invalid environment variable: =x"],
  ["an unknown stop signal", { StopSignal: "SIGX" }, "invalid signal: SIGX"],
  ["an unknown ulimit", { HostConfig: { Ulimits: [{ Name: "x", Soft: 1, Hard: 1 }] } }, "invalid ulimit type: x"],
  [
    "a soft ulimit above the hard one",
    { HostConfig: { Ulimits: [{ Name: "core", Soft: 5, Hard: 3 }] } },
    "ulimit soft limit must be less than or equal to hard limit: 5 > 3",
  ],
  [
    "a sysctl of the whole machine",
    { HostConfig: { Sysctls: { "vm.swappiness": "1" } } },
    'sysctl "vm.swappiness" is not in a separate kernel namespace',
  ],
  [
    "a network sysctl in the host's network",
    { HostConfig: { NetworkMode: "host", Sysctls: { "net.ipv4.ip_forward": "1" } } },
    'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
  ],
  [
    "the domain name of the host",
    { HostConfig: { UTSMode: "host", Sysctls: { "kernel.domainname": "x" } } },
    'sysctl "kernel.domainname" is not allowed in the hosts uts namespace',
  ],
  ["an unknown runtime", { HostConfig: { Runtime: "x" } }, "unknown or invalid runtime name: x"],
];

describe("create refuses", () => {
  for (const [what, body, message] of REFUSALS) {
    test(what, () => {
      let text = "accepted";
      try {
        check(body);
      } catch (error) {
        text = error instanceof Error ? error.message : "";
      }
      expect(text).toBe(message);
    });
  }
});

test("create takes what the CLI sends by default", () => {
  expect(() =>
    check({
      Hostname: "",
      Env: null,
      Cmd: ["sh"],
      Image: "busybox",
      Volumes: {},
      WorkingDir: "",
      Labels: {},
      HostConfig: {
        NetworkMode: "default",
        RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
        ConsoleSize: [0, 0],
        CapAdd: null,
        MemorySwappiness: -1,
        OomKillDisable: false,
        PidsLimit: 0,
        PortBindings: { "53/tcp": [{ HostIp: "", HostPort: "" }] },
      },
    }),
  ).not.toThrow();
});

test("a capability that this daemon does not have is refused by another text", () => {
  const {
    HostConfig,
    NetworkingConfig: _,
    ...config
  } = v.parse(ContainerCreate, { HostConfig: { CapAdd: ["sys_resource"] } });
  const few = new Set(["CAP_CHOWN"]);
  expect(() => validateRequest(config, HostConfig, few)).toThrow(
    'capability not supported by your kernel or not available in the current environment: "CAP_SYS_RESOURCE"',
  );
});

describe("limits that this kernel cannot keep are dropped with a warning", () => {
  const bare: HostFacts = { ...FACTS, controllers: new Map<string, string>(), hasSwapAccounting: false };
  const limits = (host: Record<string, unknown>, facts = bare) =>
    validateLimits(v.parse(ContainerCreate, { HostConfig: host }).HostConfig, facts);

  test("memory", () => {
    const { limits: kept, warnings } = limits({ Memory: 64 << 20 });
    expect(warnings).toEqual([
      "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    ]);
    expect(kept.Memory).toBe(0);
  });
  test("swap", () => {
    const { limits: kept, warnings } = limits({ Memory: 64 << 20 }, { ...FACTS, hasSwapAccounting: false });
    expect(warnings).toEqual([
      "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
    ]);
    expect(kept.MemorySwap).toBe(-1);
  });
  test("pids, shares, quota, cpuset, block weights", () => {
    const { warnings } = limits({
      PidsLimit: 5,
      CpuShares: 5,
      CpuQuota: 5000,
      CpusetCpus: "0",
      BlkioWeight: 100,
      BlkioDeviceReadBps: [{ Path: "/dev/x", Rate: 1 }],
    });
    expect(warnings).toEqual([
      "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
      "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
      "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
      "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
      "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
      "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
    ]);
  });
  test("swappiness and OomKillDisable have no meaning on cgroup v2", () => {
    const { limits: kept, warnings } = limits(
      { MemorySwappiness: 5, OomKillDisable: true },
      { ...FACTS, cgroupVersion: 2 },
    );
    expect(warnings).toHaveLength(2);
    expect(kept.MemorySwappiness).toBeNull();
    expect(kept.OomKillDisable).toBeNull();
  });
  test("real-time budgets are refused without such groups, and where they cannot be", () => {
    const host = { CpuRealtimePeriod: 1_000, CpuRealtimeRuntime: 2_000 };
    expect(() => limits(host, { ...FACTS, hasRealtimeGroups: false })).toThrow(
      "kernel does not support CPU real-time scheduler",
    );
    expect(() => limits(host, FACTS)).toThrow("cpu real-time runtime cannot be higher than cpu real-time period");
    expect(limits({ CpuRealtimeRuntime: 2_000 }, FACTS)).toMatchObject({ limits: { CpuRealtimeRuntime: 2_000 } });
  });
  test("weights go where nothing weighs, throttles stay, and a negative rate is refused", () => {
    const rates = [{ Path: "/dev/x", Rate: 1 }];
    const host = { BlkioWeight: 100, BlkioWeightDevice: [{ Path: "/dev/x", Weight: 100 }], BlkioDeviceReadBps: rates };
    const { limits: kept, warnings } = limits(host, { ...FACTS, hasIOWeight: false });
    expect(warnings).toEqual([
      "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
      "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.",
    ]);
    expect(kept).toMatchObject({ BlkioWeight: 0, BlkioWeightDevice: [], BlkioDeviceReadBps: rates });
    expect(() => limits({ BlkioDeviceReadBps: [{ Path: "/dev/x", Rate: -1 }] }, FACTS)).toThrow(
      "invalid rate for device /dev/x: -1",
    );
  });
  test("an OOM killer that is off without a limit", () => {
    expect(limits({ OomKillDisable: true }, FACTS).warnings).toEqual([
      "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
    ]);
  });
});
