// What launching needs to know about this machine, decided once when the runtime is opened.
import type { OciResources, OciSeccomp } from "../bundle.ts";
import type { Cgroup, HostFacts } from "../mod.ts";
import type { KernelFeatures } from "../program/plan.ts";
import type { Fd } from "../sys/fd.ts";
import type { HostLimits } from "./privileges.ts";
import type { LayerFileCache } from "./rootfs_files.ts";

/** A cgroup as launch uses it. runtime/cgroup/cgroup.ts makes them. */
export interface LaunchCgroup extends Cgroup, Disposable {
  /** v1: cgroup.procs of each hierarchy. */
  readonly procsFiles: readonly string[];
  /** v2: the cgroup's directory. */
  readonly directory: Fd | null;
}

export interface CgroupDriver {
  create(path: string, resources: OciResources): Promise<LaunchCgroup>;
  open(path: string): Promise<LaunchCgroup>;
}

export interface LaunchHost {
  facts: HostFacts;
  features: KernelFeatures;
  limits: HostLimits;
  cgroups: CgroupDriver;
  /** Where a program is written to when the kernel forbids executing memory files. Not on a noexec mount. */
  imageDir: string;
  layerFiles: LayerFileCache;
  compileSeccomp(profile: OciSeccomp): Uint8Array;
}

/** `6.18.0-1-amd64` against `6.7`. */
export function isKernelAtLeast(version: string, major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = version.split(/[.-]/).map(Number);
  return ownMajor !== major ? ownMajor > major : ownMinor >= minor;
}
