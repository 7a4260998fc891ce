// What a program is made from: a bundle with everything decided that needs the host (users looked up, filters compiled,
// capabilities as masks, namespaces as flags and descriptors). Plain data: made in launch/, turned into steps by shim.ts,
// init.ts and exec.ts.
import type { Bundle } from "../bundle.ts";
import type { Rlimit } from "../sys/process.ts";
import type { CapabilityMask } from "./calls.ts";

/** Who the workload runs as. */
export interface Identity {
  uid: number;
  gid: number;
  /** Supplementary groups. */
  groups: number[];
}

/** The last stretch before execve, the same for a container and for an exec session. */
export interface WorkloadPlan {
  args: string[];
  env: string[];
  cwd: string;
  identity: Identity;
  umask: number;
  hasTerminal: boolean;
  /** A pipe of the daemon's; else stdin is the container's /dev/null. */
  hasStdin: boolean;
  rlimits: { name: string; resource: number; limit: Rlimit }[];
  capabilities: {
    effective: CapabilityMask;
    permitted: CapabilityMask;
    inheritable: CapabilityMask;
    bounding: CapabilityMask;
    ambient: CapabilityMask;
  };
  /** The highest capability this kernel knows. */
  lastCapability: number;
  noNewPrivileges: boolean;
  /** A compiled filter, or null for none. */
  seccomp: Uint8Array | null;
  /** SECCOMP_FILTER_FLAG_*. */
  seccompFlags: number;
  /** "" for none. */
  apparmorProfile: string;
  /** Process 1 is ours and the workload its child: reaper.ts. */
  hasInit?: boolean;
}

/** A namespace to enter instead of making one: the descriptor is passed to the shim. */
interface EnteredNamespace {
  type: string;
  flag: number;
  descriptor: number;
}

export interface NamespacePlan {
  /** CLONE_NEW* flags for clone. */
  create: number;
  /** Make a cgroup namespace: not by clone, since its root is the cgroup that its maker is in. */
  createCgroup: boolean;
  enter: EnteredNamespace[];
  /** In a user namespace, a new one or one that is entered. */
  isMapped: boolean;
  /** Of the user namespace that is entered: layers and volumes are seen through it, so nothing on the disk is shifted. */
  ownersBy?: OwnersBy;
}

/** A user namespace as seen from outside: its descriptor, and whom its root is there. */
export interface OwnersBy {
  descriptor: number;
  root: { uid: number; gid: number };
}

export interface CgroupPlan {
  version: 1 | 2;
  /** v1: "0" written to each moves the writing thread. */
  joinFiles: readonly string[];
  /** v1, for a mount of type cgroup: the container's directory in each hierarchy, and what it is called there. */
  hierarchies: { name: string; directory: string }[];
}

/** What this kernel can do that older ones, down to 5.11, cannot. */
export interface KernelFeatures {
  /** 5.12 */
  mountSetattr: boolean;
  /** 6.7: overlay's lower directories one by one by fsconfig. */
  lowerdirPlus: boolean;
}

export interface ContainerPlan {
  bundle: Bundle;
  workload: WorkloadPlan;
  namespaces: NamespacePlan;
  cgroup: CgroupPlan;
  features: KernelFeatures;
  /** Where the exit record goes: DESCRIPTOR.exitFile by name. */
  exitFile: string;
  /** Hooks run before the workload: wait for a byte at DESCRIPTOR.hold. */
  isHeld?: boolean;
  /** The workload's terminal has a devpts instance prepared by the daemon. */
  hasPtsMount: boolean;
}

export interface ExecPlan {
  workload: WorkloadPlan;
  /** CLONE_NEW* flags of the namespaces to enter by pidfd. */
  namespaces: number;
  isMapped: boolean;
  cgroup: CgroupPlan;
  terminal: { rows: number; columns: number } | null;
  /** Whose it is, as the host sees them. */
  terminalUID: number;
  oomScoreAdj: number | null;
}
