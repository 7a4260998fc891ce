// A Runtime without Linux: processes are simulated by their argv, cgroups are sets. For unit tests of the engine; the
// contract suite (test/contract/runtime.ts) keeps it honest against the real one.
//
//   true, false        end at once with 0, 1
//   exit N             ends at once with N
//   sleep …            runs until it is killed; SIGTERM does nothing to process 1, as in a real container
//   trap …             runs until SIGTERM or SIGKILL, and ends with 0 on SIGTERM
//   anything else      LaunchError ENOENT on the command
import type {
  Bundle,
  Cgroup,
  CgroupStats,
  ExecRequest,
  ExecTask,
  ExitReport,
  Fd,
  FileTree,
  HostFacts,
  InterfaceCounters,
  LaunchRequest,
  Rootfs,
  Runtime,
  Task,
  TaskRecord,
  TaskStreams,
} from "../../runtime/mod.ts";
import { LaunchError, SyscallError } from "../../runtime/mod.ts";

export const FACTS: HostFacts = {
  kernelVersion: "6.18.0",
  arch: "x64",
  cgroupVersion: 1,
  controllers: new Map(
    ["memory", "cpu", "cpuset", "devices", "freezer", "blkio", "pids"].map((name) => [name, `/sys/fs/cgroup/${name}`]),
  ),
  cpus: 8,
  cpuList: "0-7",
  memoryNodes: "0",
  memoryBytes: 8 * 2 ** 30,
  hasSeccomp: true,
  hasAppArmor: false,
  hasUserNamespaces: true,
  hasSwapAccounting: true,
  hasRealtimeGroups: true,
  hasIOWeight: true,
  hasIPv6: true,
};

const NO_STREAMS: TaskStreams = { stdin: null, stdout: null, stderr: null, terminal: null, staging: null };
export const NO_STATS: CgroupStats = {
  version: 1,
  cpuTotalNs: 0,
  cpuKernelNs: 0,
  cpuUserNs: 0,
  perCpuNs: [0, 0],
  throttling: { periods: 0, throttledPeriods: 0, throttledTimeNs: 0 },
  memoryUsage: 4096,
  memoryMaxUsage: 8192,
  memoryLimit: null,
  memoryFailCount: 0,
  memoryStats: {},
  pidsCurrent: 1,
  pidsLimit: null,
  blockBytes: [],
  blockOperations: [],
};
const ENOENT = 2,
  ENOTTY = 25;
const SIGKILL = 9,
  SIGTERM = 15;

export class FakeRuntime implements Runtime {
  readonly facts: HostFacts;
  readonly launched: LaunchRequest[] = [];
  readonly tasks = new Map<string, FakeTask>();
  readonly execs: { request: ExecRequest; task: FakeProcess }[] = [];
  /** The next launch throws it. */
  failure: Error | null = null;
  /** When processes end. */
  now: () => Date = () => new Date();
  #pid = 1000;

  constructor(facts: Partial<HostFacts> = {}) {
    this.facts = { ...FACTS, ...facts };
  }

  async launch(request: LaunchRequest): Promise<Task> {
    this.launched.push(request);
    await Promise.resolve();
    const failure = this.failure;
    this.failure = null;
    if (failure) throw failure;
    const argv = request.bundle.spec.process.args;
    checkCommand(argv);
    const task = new FakeTask(this.#nextPid(), argv, this.now, request.bundle, request.hasStdin);
    this.tasks.set(request.bundle.id, task);
    return task;
  }

  cpuTimes(): { totalNs: number; onlineCpus: number } {
    return { totalNs: this.now().getTime() * 1e6 * this.facts.cpus, onlineCpus: this.facts.cpus };
  }

  async regain(record: TaskRecord): Promise<Task> {
    await Promise.resolve();
    const task = this.tasks.get(record.id);
    if (!task || task.pid !== record.pid) throw new SyscallError("pidfd_open", 3, { pid: record.pid });
    return task;
  }

  async endStrays(strays: ReadonlyMap<string, string>): Promise<void> {
    for (const id of strays.keys()) this.tasks.get(id)?.end(128 + SIGKILL, SIGKILL);
  }

  async exec(task: Task, request: ExecRequest): Promise<ExecTask> {
    await Promise.resolve();
    checkCommand(request.args);
    const started = new FakeProcess(this.#nextPid(), request.args, this.now, false);
    this.execs.push({ request, task: started });
    // Its container's end is its own.
    void task.exited.then(() => started.end(128 + SIGKILL, SIGKILL));
    return started;
  }

  createUserNamespace(): Fd {
    throw new SyscallError("clone", ENOENT);
  }

  userNamespaceOf(): Fd {
    throw new SyscallError("openat", ENOENT);
  }

  checkMapping(): void {}

  async openFiles(_rootfs: Rootfs): Promise<FileTree> {
    throw new SyscallError("open_tree", ENOENT);
  }

  openView(_rootfs: Rootfs): Fd {
    throw new SyscallError("open_tree", ENOENT);
  }

  #nextPid(): number {
    return this.#pid++;
  }
}

function checkCommand(argv: readonly string[]): void {
  const [command = ""] = argv;
  if (!["true", "false", "exit", "sleep", "trap"].includes(command)) throw new LaunchError("execve", ENOENT, command);
}

export class FakeProcess implements ExecTask {
  readonly streams = NO_STREAMS;
  readonly exited: Promise<ExitReport>;
  readonly signals: number[] = [];
  readonly sizes: [number, number][] = [];
  isDisposed = false;
  isOOMKilled = false;
  #settle: (report: ExitReport) => void = () => {};

  constructor(
    readonly pid: number,
    readonly argv: readonly string[],
    private readonly now: () => Date,
    readonly isInit: boolean,
  ) {
    this.exited = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const [command, argument] = argv;
    if (command === "true") this.end(0);
    if (command === "false") this.end(1);
    if (command === "exit") this.end(Number(argument ?? 0));
  }

  /** The process ends now; what comes later does nothing. */
  end(exitCode: number, signal: number | null = null): void {
    this.#settle({ exitCode, signal, exitedAt: this.now(), oomKilled: this.isOOMKilled });
  }

  signal(number: number): void {
    this.signals.push(number);
    if (number === SIGKILL) this.end(128 + SIGKILL, SIGKILL);
    else if (number === SIGTERM && this.argv[0] === "trap") this.end(0);
    else if (number === SIGTERM && !this.isInit) this.end(128 + SIGTERM, SIGTERM);
  }

  killAll(): void {
    this.signal(SIGKILL);
  }

  resize(rows: number, columns: number): void {
    if (!this.argv.length) throw new SyscallError("ioctl", ENOTTY);
    this.sizes.push([rows, columns]);
  }

  dropStdin(): void {}

  [Symbol.dispose](): void {
    this.isDisposed = true;
  }
}

export class FakeTask extends FakeProcess implements Task {
  /** What its process 1 would see. */
  files: FileTree | null = null;
  readonly record: TaskRecord;
  readonly cgroup: FakeCgroup;

  constructor(
    pid: number,
    argv: readonly string[],
    now: () => Date,
    readonly bundle: Bundle,
    hasStdin: boolean,
  ) {
    super(pid, argv, now, true);
    this.cgroup = new FakeCgroup(bundle.spec.linux.cgroupsPath, this);
    this.record = {
      id: bundle.id,
      pid,
      shimPid: pid + 100_000,
      shimStartTime: "1",
      hasTerminal: bundle.spec.process.terminal,
      hasStdin,
      exitFile: "/none",
      cgroupPath: this.cgroup.path,
    };
  }

  openRoot(): FileTree | null {
    return this.files;
  }

  /** What its interfaces have counted. */
  counters = new Map<string, InterfaceCounters>();

  interfaces(): Map<string, InterfaceCounters> | null {
    return this.counters;
  }

  openFiles(): FileTree | null {
    return this.files;
  }
}

export class FakeCgroup implements Cgroup {
  #isFrozen = false;
  isRemoved = false;
  readonly updates: unknown[] = [];
  readonly #onOom = new Set<() => void>();

  constructor(
    readonly path: string,
    private readonly process: FakeProcess,
  ) {}

  async freeze(): Promise<void> {
    this.#isFrozen = true;
  }
  async thaw(): Promise<void> {
    this.#isFrozen = false;
  }
  isFrozen(): boolean {
    return this.#isFrozen;
  }
  async kill(): Promise<void> {
    this.process.end(128 + SIGKILL, SIGKILL);
  }
  pids(): number[] {
    return [this.process.pid];
  }
  update(resources: unknown): () => void {
    this.updates.push(resources);
    return () => void this.updates.pop();
  }
  /** How often it was asked for its counters; each time it has used a millisecond more. */
  asked = 0;
  stats(): CgroupStats {
    this.asked++;
    return { ...NO_STATS, cpuTotalNs: this.asked * 1_000_000 };
  }
  oomKills(): number {
    return this.process.isOOMKilled ? 1 : 0;
  }
  watchOom(onKill: () => void): () => void {
    this.#onOom.add(onKill);
    return () => this.#onOom.delete(onKill);
  }
  /** The kernel's OOM killer strikes process 1. */
  oom(): void {
    this.process.isOOMKilled = true;
    for (const call of this.#onOom) call();
    this.process.end(128 + SIGKILL, SIGKILL);
  }
  async remove(): Promise<void> {
    this.isRemoved = true;
  }
}

/** As much of a bundle as the fake looks at. */
export function fakeBundle(id: string, args: string[]): Bundle {
  return {
    id,
    rootfs: { kind: "directory", layersDir: "", lower: [], upper: "/", work: "", target: "" },
    spec: {
      ociVersion: "1.2.0",
      process: {
        terminal: false,
        user: { uid: 0, gid: 0, additionalGids: [] },
        args,
        env: [],
        cwd: "/",
        capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
        rlimits: [],
        noNewPrivileges: false,
      },
      root: { path: "/", readonly: false },
      hostname: id,
      mounts: [],
      linux: {
        namespaces: [],
        uidMappings: [],
        gidMappings: [],
        devices: [],
        resources: { devices: [] },
        cgroupsPath: `/fake/${id}`,
        maskedPaths: [],
        readonlyPaths: [],
        sysctl: {},
      },
      annotations: {},
    },
  };
}
