// A place to run containers in without a daemon: a layer made of this machine's static busybox, a cgroup parent and a
// directory of its own, and bundles as the engine makes them. Disposing checks that nothing is left.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { Bundle, OciLinux, OciMount, OciProcess, OciSeccomp } from "../../runtime/bundle.ts";
import { openCgroup } from "../../runtime/cgroup/cgroup.ts";
import { cgroupDirectories } from "../../runtime/cgroup/place.ts";
import { readHostFacts } from "../../runtime/facts.ts";
import { defaultSeccompProfile } from "../../runtime/launch/seccomp_default.ts";
import type { ExitReport, LaunchRequest, Runtime, Task, TaskStreams } from "../../runtime/mod.ts";
import { openRuntime } from "../../runtime/open.ts";
import { DEFAULT_CAPABILITIES } from "../../src/engine/containers/capabilities.ts";
import { DEV, DEV_MQUEUE, DEV_PTS, PROC } from "../../src/engine/containers/default_mounts.ts";
import { parseSeccompProfile, resolveSeccomp } from "../../src/engine/containers/seccomp.ts";

const MOUNTS: OciMount[] = [
  PROC,
  DEV,
  DEV_PTS,
  { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
  {
    destination: "/sys/fs/cgroup",
    type: "cgroup",
    source: "cgroup",
    options: ["ro", "nosuid", "noexec", "nodev", "relatime"],
  },
  DEV_MQUEUE,
  {
    destination: "/dev/shm",
    type: "tmpfs",
    source: "shm",
    options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
  },
];

const NODES: readonly [major: number, minor: number][] = [
  [1, 3],
  [1, 5],
  [1, 7],
  [1, 8],
  [1, 9],
  [5, 0],
  [5, 1],
  [5, 2],
];

export interface BundleChanges {
  process?: Partial<OciProcess>;
  linux?: Partial<OciLinux>;
  mounts?: OciMount[];
  readonly?: boolean;
  hostname?: string;
  domainname?: string;
}

export interface RunResult {
  stdout: string;
  stderr: string;
  exit: ExitReport;
}

export class ContainerRoom implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "berth-room-"));
  readonly cgroupParent: string;
  readonly runtime: Runtime;
  readonly seccomp: OciSeccomp;
  readonly #descriptors: number;
  #count = 0;

  constructor(name: string) {
    this.cgroupParent = `/berth-test-${name}-${process.pid}`;
    this.runtime = openRuntime({ imageDir: this.directory });
    const { arch, kernelVersion } = this.runtime.facts;
    const profile = parseSeccompProfile(JSON.stringify(defaultSeccompProfile()));
    this.seccomp = resolveSeccomp(profile, { arch, kernelVersion, capabilities: DEFAULT_CAPABILITIES });
    makeBusyboxLayer(join(this.directory, "layers/busybox"));
    this.#descriptors = openDescriptors().length;
  }

  /** A bundle with the engine's defaults; its layers: an empty upper over busybox. */
  bundle(args: string[], changes: BundleChanges = {}): Bundle {
    const id = `c${++this.#count}`;
    const own = join(this.directory, "containers", id);
    // Overlay's upper cannot lie on another overlay: where the machine's root is one, /tmp has to be a tmpfs.
    for (const name of ["upper", "work", "rootfs", "state"]) mkdirSync(join(own, name), { recursive: true });
    return {
      id,
      rootfs: {
        kind: "overlay",
        layersDir: join(this.directory, "layers"),
        lower: ["busybox"],
        upper: join(own, "upper"),
        work: join(own, "work"),
        target: join(own, "rootfs"),
      },
      spec: {
        ociVersion: "1.2.0",
        process: {
          terminal: false,
          user: { uid: 0, gid: 0, additionalGids: [] },
          args,
          env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
          cwd: "/",
          capabilities: {
            bounding: [...DEFAULT_CAPABILITIES],
            effective: [...DEFAULT_CAPABILITIES],
            permitted: [...DEFAULT_CAPABILITIES],
            inheritable: [],
            ambient: [],
          },
          rlimits: [],
          noNewPrivileges: false,
          ...changes.process,
        },
        root: { path: join(own, "rootfs"), readonly: changes.readonly ?? false },
        hostname: changes.hostname ?? id,
        ...(changes.domainname === undefined ? {} : { domainname: changes.domainname }),
        mounts: [...MOUNTS, ...(changes.mounts ?? [])],
        linux: {
          namespaces: (["mount", "network", "uts", "pid", "ipc", "cgroup"] as const).map((type) => ({ type })),
          uidMappings: [],
          gidMappings: [],
          devices: [],
          resources: {
            devices: [
              { allow: false, type: "a", access: "rwm" },
              { allow: true, type: "c", access: "m" },
              { allow: true, type: "b", access: "m" },
              ...NODES.map(([major, minor]) => ({ allow: true, type: "c" as const, major, minor, access: "rwm" })),
              { allow: true, type: "c", major: 136, access: "rwm" },
            ],
          },
          cgroupsPath: `${this.cgroupParent}/${id}`,
          seccomp: this.seccomp,
          maskedPaths: ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"],
          readonlyPaths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
          sysctl: {},
          ...changes.linux,
        },
        annotations: {},
      },
    };
  }

  request(bundle: Bundle, changes: Partial<LaunchRequest> = {}): LaunchRequest {
    const stateDir = join(this.directory, "containers", bundle.id, "state");
    return { bundle, stateDir, hasStdin: false, netns: null, user: "", groupAdd: [], ...changes };
  }

  launch(bundle: Bundle, changes: Partial<LaunchRequest> = {}): Promise<Task> {
    return this.runtime.launch(this.request(bundle, changes));
  }

  /** Runs to the end, and takes everything away again. */
  async run(bundle: Bundle, changes: Partial<LaunchRequest> = {}): Promise<RunResult> {
    const task = await this.launch(bundle, changes);
    const output = readStreams(task.streams);
    const exit = await task.exited;
    const { stdout, stderr } = await output;
    await this.finish(task);
    return { stdout, stderr, exit };
  }

  /** `sh -c script` in a container with these changes. */
  sh(script: string, changes: BundleChanges = {}, request: Partial<LaunchRequest> = {}): Promise<RunResult> {
    return this.run(this.bundle(["sh", "-c", script], changes), request);
  }

  /** Dismisses an ended task and waits until its shim has gone. */
  async finish(task: Task): Promise<void> {
    await task.exited;
    task[Symbol.dispose]();
    await task.cgroup.remove();
    await until(() => !isRunning(task.record.shimPid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const facts = readHostFacts();
    const left = cgroupDirectories(facts, this.cgroupParent).flatMap((directory) =>
      existsSync(directory)
        ? readdirSync(directory, { withFileTypes: true })
            .filter((entry) => entry.isDirectory())
            .map(({ name }) => name)
        : [],
    );
    await openCgroup(facts, this.cgroupParent).remove();
    const mounts = readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter((line) => line.includes(this.directory));
    rmSync(this.directory, { recursive: true, force: true });
    if (left.length > 0 || mounts.length > 0) throw new Error(`left behind: ${[...left, ...mounts].join("; ")}`);
  }

  /** How many descriptors are open now beyond those at the start. */
  newDescriptors(): string[] {
    return openDescriptors().length > this.#descriptors ? openDescriptors() : [];
  }
}

export function makeBusyboxLayer(directory: string): void {
  for (const name of ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "home/alice", "data"]) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  chmodSync(join(directory, "tmp"), 0o1777);
  copyFileSync("/bin/busybox", join(directory, "bin/busybox"));
  for (const name of execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).trim().split("\n")) {
    if (name !== "busybox") symlinkSync("busybox", join(directory, "bin", name));
  }
  writeFileSync(
    join(directory, "etc/passwd"),
    "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n",
  );
  writeFileSync(join(directory, "etc/group"), "root:x:0:\nwheel:x:10:root\nalice:x:1000:\nextra:x:77:alice\n");
}

/** All output of a task, until both pipes end. */
export async function readStreams(streams: TaskStreams): Promise<{ stdout: string; stderr: string }> {
  const [stdout, stderr] = await Promise.all(
    [streams.stdout, streams.stderr].map(async (fd) => {
      return fd ? await new Response(Bun.file(fd.number).stream()).text() : "";
    }),
  );
  return { stdout: stdout ?? "", stderr: stderr ?? "" };
}

export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/\) [ZX] /.test(stat);
  } catch {
    return false;
  }
}

export async function until(isTrue: () => boolean, what = "the condition"): Promise<void> {
  const patience = Number(process.env["BERTH_TEST_PATIENCE"] ?? 1);
  for (let tries = 0; tries < 2000 * patience; tries++) {
    if (isTrue()) return;
    await Bun.sleep(5);
  }
  throw new Error(`${what} never came true`);
}

function openDescriptors(): string[] {
  return readdirSync("/proc/self/fd");
}
