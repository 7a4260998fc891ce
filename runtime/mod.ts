// The door to Linux: what the engine may ask of it. `openRuntime()` (runtime/open.ts) makes one from the real kernel;
// test/support/fake_runtime.ts is the other, and test/contract/runtime.ts keeps both honest.
import type { Bundle, OciIDMapping, OciMount, OciResources, Rootfs } from "./bundle.ts";
import type { Fd } from "./sys/fd.ts";

export type {
  Bundle,
  OciDevice,
  OciDeviceRule,
  OciHook,
  OciMount,
  OciNamespace,
  OciResources,
  OciRlimit,
  OciSeccomp,
  OciSpec,
  OciThrottle,
  Rootfs,
} from "./bundle.ts";
export { HOOK_KINDS, type HookKind } from "./bundle.ts";
export { LaunchError, SyscallError, UserLookupError } from "./errors.ts";
export type { LogOptions, LogPiece, LogReader, Logs, LogWriter } from "./log/mod.ts";
export { forward, type RetryPolicy } from "./log/sink/forwarder.ts";
export { createSink, type SinkTarget } from "./log/sink/mod.ts";
export { createWallClock } from "./sys/clock.ts";
export type { Fd } from "./sys/fd.ts";
export { type FileLock, lockFile, sendUnixDatagram, setCloseOnExec } from "./host.ts";
export * from "./net/mod.ts";
export { createDNSPlane, type DNSPlane, RESOLVER_ADDRESS } from "./dns/plane.ts";
export type { NameSource, UpstreamServer } from "./dns/resolver.ts";
export { type Compression, decompress, detectCompression, MAGIC_BYTES, peek } from "./layer/compression.ts";
export { APPARMOR_PATHS, DEFAULT_APPARMOR_PROFILE, loadDefaultProfile } from "./apparmor.ts";
export { CAPABILITIES } from "./launch/privileges.ts";
export { defaultSeccompProfile } from "./launch/seccomp_default.ts";
export { createLogs } from "./log/mod.ts";
export { toTimeText } from "./log/time_text.ts";
export { copyUp } from "./snapshot/copy_up.ts";
export { createStdioPlane } from "./stdio/plane.ts";
export { openRuntime } from "./open.ts";
export { LayerError } from "./layer/layer_error.ts";
export { createLayerPool, type LayerPool } from "./layer/pool.ts";
export { type HostMount, hostMountsBelow, mountOnHost, unmountOnHost } from "./host_mount.ts";
export { cleanPath } from "./layer/path_text.ts";
export { type TarEntry, TarReader, type TarVisitor } from "./layer/tar_read.ts";
export { type TarHeader, tarEnd, tarHeader, tarPadding } from "./layer/tar_write.ts";
export { openQuotas, type Quotas } from "./quotas.ts";
export { createCopySnapshotter } from "./snapshot/copy.ts";
export { type Found, look, lookAtTarget, lookUpOwner } from "./files/look.ts";
export { checkBeneath, findMount } from "./files/source.ts";
export { type CopyPath, parseCopyPath } from "./files/names.ts";
export { type Change, changes } from "./files/changes.ts";
export { pack, packRoot } from "./files/pack.ts";
export { unpack } from "./files/unpack.ts";
export { canOverlay, createOverlaySnapshotter } from "./snapshot/overlay.ts";
export type { Snapshotter } from "./snapshot/snapshotter.ts";
export { openTrash, type Trash } from "./snapshot/trash.ts";
export type { Stdio, StdioPlane } from "./stdio/plane.ts";

/** What this kernel and this machine offer; read once at start. */
export interface HostFacts {
  kernelVersion: string;
  arch: "x64" | "arm64";
  cgroupVersion: 1 | 2;
  /** v1: mounted controllers with their mount points; v2: those delegated to us, all at the unified mount. */
  controllers: ReadonlyMap<string, string>;
  cpus: number;
  /** `0-3` as the kernel lists online CPUs and memory nodes. */
  cpuList: string;
  memoryNodes: string;
  memoryBytes: number;
  hasSeccomp: boolean;
  hasAppArmor: boolean;
  hasUserNamespaces: boolean;
  hasSwapAccounting: boolean;
  /** v1 with CONFIG_RT_GROUP_SCHED: cgroups have real-time budgets. */
  hasRealtimeGroups: boolean;
  /** A scheduler or controller that weighs block I/O: BFQ, or blk-iocost on v2. */
  hasIOWeight: boolean;
  hasIPv6: boolean;
}

/** How a process ended. A signal's exit code is 128 + its number. */
export interface ExitReport {
  exitCode: number;
  signal: number | null;
  exitedAt: Date;
  /** The same to the nanosecond, as the shim saw it; absent when it has not. */
  exitedAtNano?: bigint;
  oomKilled: boolean;
}

/** Everything needed to find a running task again after the daemon was killed. Plain JSON: it is stored with the container. */
export interface TaskRecord {
  id: string;
  pid: number;
  shimPid: number;
  /** Field 22 of /proc/<shim>/stat: guards against a reused pid. */
  shimStartTime: string;
  hasTerminal: boolean;
  hasStdin: boolean;
  /** Holds the exit record once the shim has written it. */
  exitFile: string;
  cgroupPath: string;
}

/** The daemon's ends of a task's streams. With a terminal: `terminal` alone; without: the pipes. */
export interface TaskStreams {
  stdin: Fd | null;
  stdout: Fd | null;
  stderr: Fd | null;
  terminal: Fd | null;
  /**
   * A pipe that the shim holds open too: output on its way to the log lies here, so that a killed daemon neither loses
   * nor repeats a byte (runtime/stdio/transfer.ts draws the protocol).
   */
  staging: { read: Fd; write: Fd } | null;
}

/** A container's files with all that is mounted there. Paths below the root are opened with openInRoot. */
export interface FileTree extends AsyncDisposable {
  /** O_RDONLY. */
  readonly root: Fd;
  /** Its IDs are others than those inside: of a running container in a user namespace. */
  readonly idMaps: IDMaps | null;
}

/** A running container. Closing it lets go of our descriptors; the container runs on. */
export interface Task extends Disposable {
  readonly record: TaskRecord;
  readonly pid: number;
  readonly streams: TaskStreams;
  /** Resolves once, also when the process ended while no daemon ran. Never rejects. */
  readonly exited: Promise<ExitReport>;
  readonly cgroup: Cgroup;
  /** kill(2) on process 1 of the container, by pidfd. Does nothing once it has ended. */
  signal(number: number): void;
  /** TIOCSWINSZ, in cells. Throws SyscallError without a terminal. */
  resize(rows: number, columns: number): void;
  /** Drops the shim's own writer of stdin: the workload reads EOF once ours is closed too. */
  dropStdin(): void;
  /** The interfaces of its network namespace by name, without the loopback; null once process 1 has ended. */
  interfaces(): Map<string, InterfaceCounters> | null;
  /** What process 1 sees from its root on; null once that has ended. Stays open beyond its end, without what was mounted. */
  openFiles(idMaps: IDMaps | null): FileTree | null;
  /** Its root file system alone, without what is mounted in it; null once process 1 has ended. */
  openRoot(idMaps: IDMaps | null): FileTree | null;
}

export interface Cgroup {
  readonly path: string;
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** It is frozen, or was told to be. */
  isFrozen(): boolean;
  /** SIGKILL to every process in it. */
  kill(): Promise<void>;
  /** Host pids of all processes in it. */
  pids(): number[];
  /**
   * Writes limits, all or none: on a throw those of before are in force again. So they are once the returned function has
   * been called, as long as nobody else has changed them. Absent limits, and device rules where none are given, stay.
   */
  update(resources: OciResources): () => void;
  stats(): CgroupStats;
  /** How often the kernel's OOM killer has struck here since the cgroup was made. */
  oomKills(): number;
  /** Calls back on each OOM kill until the returned function is called. */
  watchOom(onKill: () => void): () => void;
  /** Removes it. Waits, within a bound, for processes to leave. */
  remove(): Promise<void>;
}

/** One line of a cgroup's block I/O counters: bytes, or operations. */
export interface BlockCounter {
  major: number;
  minor: number;
  op: string;
  value: number;
}

/** Counters in the units of the Engine API: nanoseconds and bytes. */
export interface CgroupStats {
  version: 1 | 2;
  cpuTotalNs: number;
  cpuKernelNs: number;
  cpuUserNs: number;
  perCpuNs: number[] | null;
  throttling: { periods: number; throttledPeriods: number; throttledTimeNs: number };
  memoryUsage: number;
  memoryMaxUsage: number | null;
  memoryLimit: number | null;
  memoryFailCount: number;
  memoryStats: Record<string, number>;
  pidsCurrent: number;
  pidsLimit: number | null;
  blockBytes: BlockCounter[];
  /** v1. */
  blockOperations: BlockCounter[] | null;
}

/** What has gone through a network interface since it was made. */
export interface InterfaceCounters {
  rxBytes: number;
  rxPackets: number;
  rxErrors: number;
  rxDropped: number;
  txBytes: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
}

/** What IDs inside a user namespace are outside. */
export interface IDMaps {
  uidMappings: readonly OciIDMapping[];
  gidMappings: readonly OciIDMapping[];
}

export interface LaunchRequest {
  bundle: Bundle;
  /** A directory of this container's own below the exec root, for the exit file. Exists. */
  stateDir: string;
  /** Keep a stdin pipe open for attach (OpenStdin); otherwise the workload reads /dev/null. */
  hasStdin: boolean;
  /** A prepared network namespace; null: what `spec.linux.namespaces` says. */
  netns: Fd | null;
  /** A user namespace made by createUserNamespace or another container's, with the maps that the bundle says. */
  userns?: Fd | null;
  /** The user as given in the config (`name[:group]`), resolved inside the root file system; "" is root. */
  user: string;
  /** Names or numbers from GroupAdd. */
  groupAdd: string[];
  /** Process 1 is a small one of ours (`--init`): it starts the workload, forwards signals to it, and reaps. */
  hasInit?: boolean;
}

export interface ExecRequest {
  args: string[];
  env: string[];
  cwd: string;
  user: string;
  groupAdd: string[];
  terminal: { rows: number; columns: number } | null;
  hasStdin: boolean;
  privileged: boolean;
  /** The container's own bundle: capabilities, seccomp and limits are taken from it. */
  bundle: Bundle;
}

/** A process started in a running container. */
export interface ExecTask extends Disposable {
  readonly pid: number;
  readonly streams: TaskStreams;
  readonly exited: Promise<ExitReport>;
  signal(number: number): void;
  /** SIGKILL to it and to everything that it has started and not left behind. */
  killAll(): void;
  resize(rows: number, columns: number): void;
  dropStdin(): void;
}

export interface Runtime {
  readonly facts: HostFacts;
  /** What all CPUs together have spent since the machine was started, idle time included. */
  cpuTimes(): { totalNs: number; onlineCpus: number };
  /** Answers once the workload's execve has succeeded; throws LaunchError otherwise, with nothing left behind. */
  launch(request: LaunchRequest): Promise<Task>;
  /** Finds a task again after a restart. When it has ended, `exited` is already settled from its exit file. */
  regain(record: TaskRecord): Promise<Task>;
  /** When a daemon starts: ends what a killed one launched and never wrote down. IDs to the paths of their cgroups. */
  endStrays(strays: ReadonlyMap<string, string>): Promise<void>;
  /** A user namespace with these maps. It lives as long as a descriptor or a process holds it. */
  createUserNamespace(maps: IDMaps): Fd;
  /** That of a running container, for another one that shares what belongs to it. */
  userNamespaceOf(pid: number): Fd;
  /** Throws where this kernel, or the file system of a directory, cannot show owners through a user namespace. */
  checkMapping(directory: string, maps: IDMaps): void;
  /** The same promise as launch's: the command runs, or a LaunchError says why not. */
  exec(task: Task, request: ExecRequest): Promise<ExecTask>;
  /**
   * The files of a container that does not run, its volumes and bind mounts among them (the others are passed over). With
   * `isWritable` it must not be started until they are disposed.
   */
  openFiles(rootfs: Rootfs, options: { isWritable: boolean; mounts: readonly OciMount[] }): Promise<FileTree>;
  /** A read-only view of a root file system as a detached mount: open paths below it with openInRoot. Not on the host's mount table. */
  openView(rootfs: Rootfs): Fd;
}
