// The OCI runtime-spec subset that describes one container, and how its root file system is put together. Made by
// engine/containers/to_bundle.ts, read by launch. It is true OCI (runtime-spec 1.2, config.md and config-linux.md): runc
// run on `spec` with the same root should behave the same.

interface OciUser {
  uid: number;
  gid: number;
  umask?: number;
  additionalGids: number[];
}

export interface OciCapabilities {
  bounding: string[];
  effective: string[];
  permitted: string[];
  inheritable: string[];
  ambient: string[];
}

export interface OciRlimit {
  /** `RLIMIT_NOFILE` and so on. */
  type: string;
  soft: number;
  hard: number;
}

export interface OciProcess {
  terminal: boolean;
  consoleSize?: { height: number; width: number };
  user: OciUser;
  args: string[];
  env: string[];
  cwd: string;
  capabilities: OciCapabilities;
  rlimits: OciRlimit[];
  noNewPrivileges: boolean;
  apparmorProfile?: string;
  oomScoreAdj?: number;
}

export interface OciMount {
  destination: string;
  /** `proc`, `tmpfs`, `devpts`, `mqueue`, `sysfs`, `cgroup`, `bind`; `overlay` for the layers of an image, read-only. */
  type: string;
  /** For bind: an absolute path on the host. */
  source: string;
  /** `ro`, `nosuid`, `rbind`, `rprivate`, `mode=1777`, `size=65536k`, `lowerdir+=/a` (the topmost first) … */
  options: string[];
  /**
   * Beyond OCI: only this part of the source (a bind's or an overlay's). A relative path, looked up when it is mounted;
   * it and the links in it must not lead out.
   */
  subpath?: string;
}

export interface OciDevice {
  path: string;
  type: "c" | "b" | "p";
  major: number;
  minor: number;
  fileMode?: number;
  uid?: number;
  gid?: number;
}

export interface OciDeviceRule {
  allow: boolean;
  type: "a" | "c" | "b";
  major?: number;
  minor?: number;
  access: string;
}

export interface OciThrottle {
  major: number;
  minor: number;
  rate: number;
}

/** Limits as the runtime-spec has them: bytes, microseconds; absent means unlimited. */
export interface OciResources {
  devices: OciDeviceRule[];
  memory?: {
    limit?: number;
    reservation?: number;
    /** Memory plus swap, -1 for unlimited. */
    swap?: number;
    swappiness?: number;
    disableOOMKiller?: boolean;
  };
  cpu?: {
    shares?: number;
    quota?: number;
    period?: number;
    realtimeRuntime?: number;
    realtimePeriod?: number;
    cpus?: string;
    mems?: string;
  };
  pids?: { limit: number };
  blockIO?: {
    weight?: number;
    weightDevice?: { major: number; minor: number; weight: number }[];
    throttleReadBpsDevice?: OciThrottle[];
    throttleWriteBpsDevice?: OciThrottle[];
    throttleReadIOPSDevice?: OciThrottle[];
    throttleWriteIOPSDevice?: OciThrottle[];
  };
}

export interface OciNamespace {
  type: "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup";
  /** Join this one instead of making a new one. */
  path?: string;
}

export interface OciSeccomp {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  /** `SECCOMP_FILTER_FLAG_LOG` and so on. */
  flags?: string[];
  syscalls: {
    names: string[];
    action: string;
    errnoRet?: number;
    args?: { index: number; value: number | bigint; valueTwo?: number | bigint; op: string }[];
  }[];
}

export interface OciIDMapping {
  containerID: number;
  hostID: number;
  size: number;
}

export interface OciLinux {
  namespaces: OciNamespace[];
  uidMappings: OciIDMapping[];
  gidMappings: OciIDMapping[];
  devices: OciDevice[];
  resources: OciResources;
  /** Below each controller's mount (v1) or the unified mount (v2), starting with a slash. */
  cgroupsPath: string;
  seccomp?: OciSeccomp;
  maskedPaths: string[];
  readonlyPaths: string[];
  sysctl: Record<string, string>;
  rootfsPropagation?: string;
}

export interface OciHook {
  /** On the host. */
  path: string;
  /** With argv[0]; empty: the path alone. */
  args: string[];
  env: string[];
  /** Seconds. */
  timeout?: number;
}

/** Those of config.md that launch runs; the order is that in which they run. */
export const HOOK_KINDS = ["prestart", "createRuntime", "createContainer", "poststart"] as const;
export type HookKind = (typeof HOOK_KINDS)[number];

export interface OciSpec {
  ociVersion: string;
  process: OciProcess;
  root: { path: string; readonly: boolean };
  hostname: string;
  domainname?: string;
  mounts: OciMount[];
  linux: OciLinux;
  hooks?: Partial<Record<HookKind, OciHook[]>>;
  annotations: Record<string, string>;
}

/**
 * The layers of a root file system. Mounted inside the container's own mount namespace, never on the host.
 *
 *   layersDir/l/AB12   a lower directory, named relative to layersDir, the topmost first
 *   upper, work        absolute; on one file system
 */
export interface Rootfs {
  kind: "overlay" | "directory";
  layersDir: string;
  lower: string[];
  /** For `directory`: the root itself. */
  upper: string;
  work: string;
  /** An empty directory to mount on, inside the container's mount namespace only. */
  target: string;
}

export interface Bundle {
  id: string;
  spec: OciSpec;
  rootfs: Rootfs;
}
