// openRuntime(): the Runtime of runtime/mod.ts on the real kernel.
import { readFileSync } from "node:fs";
import { createCgroup, openCgroup } from "./cgroup/cgroup.ts";
import { readCpuTimes } from "./cpu_times.ts";
import { readHostFacts } from "./facts.ts";
import { exec } from "./launch/exec_launch.ts";
import { type CgroupDriver, isKernelAtLeast, type LaunchHost } from "./launch/host.ts";
import { launch } from "./launch/launch.ts";
import type { HostLimits } from "./launch/privileges.ts";
import { regain } from "./launch/regain.ts";
import { createSeccompCompiler } from "./launch/seccomp.ts";
import { LayerFileCache } from "./launch/rootfs_files.ts";
import { openFiles } from "./launch/stopped_files.ts";
import { openRootfsView } from "./launch/view.ts";
import { endStrays } from "./launch/strays.ts";
import { checkMapping, createUserNamespace, userNamespaceOf } from "./launch/userns.ts";
import type { HostFacts, Runtime } from "./mod.ts";
import { readRlimit, type Rlimit, RLIMITS } from "./sys/process.ts";

export interface RuntimeOptions {
  /** Where a program is written when the kernel forbids executing memory files (vm.memfd_noexec=2). Exists, not noexec. */
  imageDir: string;
  facts?: HostFacts;
  cgroups?: CgroupDriver;
  /** RLIMIT_NOFILE for workloads that ask for none. */
  inheritedRlimits?: { nofile: Rlimit };
}

/** The soft limit that the kernel gives process 1, and that login sessions have. */
const SOFT_NOFILE = 1024n;

export function openRuntime(options: RuntimeOptions): Runtime {
  const facts = options.facts ?? readHostFacts();
  const cgroups = options.cgroups ?? {
    create: (path, resources) => createCgroup(facts, path, resources),
    open: (path) => Promise.resolve(openCgroup(facts, path)),
  };
  const host: LaunchHost = {
    facts,
    cgroups,
    imageDir: options.imageDir,
    features: {
      mountSetattr: isKernelAtLeast(facts.kernelVersion, 5, 12),
      lowerdirPlus: isKernelAtLeast(facts.kernelVersion, 6, 7),
    },
    limits: { ...readCapabilities(), nofile: options.inheritedRlimits?.nofile ?? inheritedNofile() },
    layerFiles: new LayerFileCache(),
    compileSeccomp: createSeccompCompiler(facts.arch),
  };
  return {
    facts,
    cpuTimes: () => readCpuTimes(),
    launch: (request) => launch(host, request),
    regain: (record) => regain(host, record),
    endStrays: (strays) => endStrays(host, strays),
    createUserNamespace,
    userNamespaceOf,
    checkMapping: (directory, maps) => checkMapping(directory, maps, host.features),
    exec: (task, request) => exec(host, task, request),
    openFiles: (rootfs, options) => openFiles(rootfs, host.features, options),
    openView: (rootfs) => openRootfsView(rootfs, host.features),
  };
}

function readCapabilities(): Pick<HostLimits, "lastCapability" | "bounding"> {
  const lastCapability = Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8"));
  const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return { lastCapability, bounding: BigInt(`0x${bounding ?? "0"}`) };
}

/**
 * WHY: not this process's soft limit as it is now. Docker's containers inherit the daemon's; but Bun has raised its own
 * to the hard one before the first line of ours ran, and a soft limit in the millions makes old programs close every one
 * of them. What the limit was cannot be read any more, so workloads get what a login session has.
 */
function inheritedNofile(): Rlimit {
  const { hard } = readRlimit(0, RLIMITS["RLIMIT_NOFILE"] ?? 7);
  return { soft: hard < SOFT_NOFILE ? hard : SOFT_NOFILE, hard };
}
