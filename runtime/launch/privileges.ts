// The numbers behind a bundle's names: capabilities as masks, rlimits as pairs. Pure but for what is passed in.
import type { OciCapabilities, OciProcess, OciRlimit } from "../bundle.ts";
import type { CapabilityMask } from "../program/calls.ts";
import type { Identity, WorkloadPlan } from "../program/plan.ts";
import { RLIM_INFINITY, type Rlimit, RLIMITS } from "../sys/process.ts";

/** linux/capability.h: the position is the number. */
export const CAPABILITIES: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
];

/** What the kernel and the daemon give a workload that asks for nothing. */
export interface HostLimits {
  /** /proc/sys/kernel/cap_last_cap. */
  lastCapability: number;
  /** The daemon's own bounding set: no process below it can have more. */
  bounding: CapabilityMask;
  /** RLIMIT_NOFILE as the daemon was started with it. */
  nofile: Rlimit;
}

/** Names to a mask. Throws RangeError for a name that is none. Those beyond this kernel's last are left out. */
export function capabilityMask(names: readonly string[], host: HostLimits): CapabilityMask {
  let mask = 0n;
  for (const name of names) {
    const number = CAPABILITIES.indexOf(name);
    if (number < 0) throw new RangeError(`unknown capability ${JSON.stringify(name)}`);
    if (number <= host.lastCapability) mask |= 1n << BigInt(number);
  }
  return mask & host.bounding;
}

/** All capabilities: `--privileged`. */
export function allCapabilities(host: HostLimits): OciCapabilities {
  const all = CAPABILITIES.slice(0, host.lastCapability + 1);
  return { bounding: all, effective: all, permitted: all, inheritable: [], ambient: [] };
}

/** A bundle's rlimits, and for open files, when it names none, what the daemon itself was given. */
export function resolveRlimits(rlimits: readonly OciRlimit[], host: HostLimits): WorkloadPlan["rlimits"] {
  const resolved = rlimits.map(({ type, soft, hard }) => {
    const resource = Object.hasOwn(RLIMITS, type) ? RLIMITS[type] : undefined;
    if (resource === undefined) throw new RangeError(`unknown rlimit ${JSON.stringify(type)}`);
    return { name: type, resource, limit: { soft: toLimit(soft), hard: toLimit(hard) } };
  });
  const resource = 7;
  if (!resolved.some((one) => one.resource === resource)) {
    // WHY: Bun raises its own soft limit to the hard one, and children inherit that.
    resolved.push({ name: "RLIMIT_NOFILE", resource, limit: host.nofile });
  }
  return resolved;
}

/** -1, and what JSON can only write as a rounded 2^64 - 1, are no limit. */
function toLimit(value: number): bigint {
  return value < 0 || value >= 2 ** 63 ? RLIM_INFINITY : BigInt(Math.trunc(value));
}

/** The workload's plan from the bundle's process. */
export function planWorkload(
  process: OciProcess,
  identity: Identity,
  host: HostLimits,
  resolved: { env: string[]; seccomp: Uint8Array | null; seccompFlags: number; hasStdin: boolean },
): WorkloadPlan {
  const { capabilities } = process;
  return {
    args: process.args,
    env: resolved.env,
    cwd: process.cwd,
    identity,
    umask: process.user.umask ?? 0o022,
    hasTerminal: process.terminal,
    hasStdin: resolved.hasStdin,
    rlimits: resolveRlimits(process.rlimits, host),
    capabilities: {
      effective: capabilityMask(capabilities.effective, host),
      permitted: capabilityMask(capabilities.permitted, host),
      inheritable: capabilityMask(capabilities.inheritable, host),
      bounding: capabilityMask(capabilities.bounding, host),
      ambient: capabilityMask(capabilities.ambient, host),
    },
    lastCapability: host.lastCapability,
    noNewPrivileges: process.noNewPrivileges,
    seccomp: resolved.seccomp,
    seccompFlags: resolved.seccompFlags,
    apparmorProfile: process.apparmorProfile ?? "",
  };
}

/** The environment with HOME, which the runtime sets from passwd where it is missing or empty. */
export function withHome(env: readonly string[], home: string): string[] {
  const isSet = env.some((entry) => entry.startsWith("HOME=") && entry.length > "HOME=".length);
  return isSet ? [...env] : [...env.filter((entry) => !entry.startsWith("HOME=")), `HOME=${home}`];
}
