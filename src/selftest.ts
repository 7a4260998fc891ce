// doctor's container: an image of one generated program, made on the spot, run with the namespaces, mounts, limits and
// devices of any container. It needs no registry and no files, so that a fresh machine without internet can show that it runs
// containers. Everything it makes lies in one directory that is removed afterwards.
import { mkdirSync, mkdtempSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { writeHelloProgram } from "../runtime/doctor.ts";
import type { Fd, OciSpec, Rootfs, Runtime, Task } from "../runtime/mod.ts";
import { DEV, DEV_MQUEUE, DEV_PTS, PROC } from "./engine/containers/default_mounts.ts";

export const GREETING = "Hello from a container: berth can run containers on this machine.\n";
/** The container writes one line and ends. */
const TIMEOUT_MS = 10_000;

export interface SelfTestOptions {
  /** A directory on the file system of the data root; exists. */
  directory: string;
  cgroupParent: string;
  /** Whether overlayfs works on that file system. */
  hasOverlay: boolean;
}

/** Runs the container and answers what it wrote. Throws LaunchError, or an Error that says what was wrong. */
export async function runSelfTest(runtime: Runtime, options: SelfTestOptions): Promise<string> {
  const directory = mkdtempSync(join(options.directory, "selftest-"));
  try {
    const rootfs = makeRootfs(directory, options.hasOverlay);
    const id = `berth-selftest-${process.pid}`;
    const stateDir = join(directory, "state");
    mkdirSync(stateDir);
    const bundle = { id, spec: helloSpec(rootfs, `${options.cgroupParent}-selftest-${process.pid}`), rootfs };
    using task = await runtime.launch({ bundle, stateDir, hasStdin: false, netns: null, user: "", groupAdd: [] });
    try {
      return await outputOf(task);
    } finally {
      await task.cgroup.kill();
      await task.cgroup.remove();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function makeRootfs(directory: string, hasOverlay: boolean): Rootfs {
  const path = (name: string): string => join(directory, name);
  const image = hasOverlay ? path("image") : path("upper");
  for (const name of ["image", "upper", "work", "rootfs"]) mkdirSync(path(name), { mode: 0o755 });
  for (const name of ["dev", "proc", "sys"]) mkdirSync(join(image, name), { mode: 0o755 });
  writeHelloProgram(join(image, "hello"), GREETING);
  return {
    kind: hasOverlay ? "overlay" : "directory",
    layersDir: directory,
    lower: hasOverlay ? ["image"] : [],
    upper: path("upper"),
    work: path("work"),
    target: path("rootfs"),
  };
}

function helloSpec(rootfs: Rootfs, cgroupsPath: string): OciSpec {
  return {
    ociVersion: "1.2.0",
    process: {
      terminal: false,
      user: { uid: 0, gid: 0, additionalGids: [] },
      args: ["/hello"],
      env: ["PATH=/"],
      cwd: "/",
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      rlimits: [],
      noNewPrivileges: true,
    },
    root: { path: rootfs.target, readonly: true },
    hostname: "berth-selftest",
    mounts: [
      PROC,
      DEV,
      DEV_PTS,
      {
        destination: "/dev/shm",
        type: "tmpfs",
        source: "shm",
        options: ["nosuid", "noexec", "nodev", "mode=1777", "size=64k"],
      },
      DEV_MQUEUE,
      { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
    ],
    linux: {
      namespaces: (["pid", "network", "mount", "ipc", "uts", "cgroup"] as const).map((type) => ({ type })),
      uidMappings: [],
      gidMappings: [],
      devices: [{ path: "/dev/null", type: "c", major: 1, minor: 3, fileMode: 0o666, uid: 0, gid: 0 }],
      resources: {
        devices: [
          { allow: false, type: "a", access: "rwm" },
          { allow: true, type: "c", access: "m" },
          { allow: true, type: "b", access: "m" },
          { allow: true, type: "c", major: 1, minor: 3, access: "rwm" },
        ],
        memory: { limit: 32 << 20 },
        pids: { limit: 8 },
      },
      cgroupsPath,
      maskedPaths: ["/proc/kcore", "/sys/firmware"],
      readonlyPaths: ["/proc/sys", "/proc/sysrq-trigger"],
      sysctl: {},
    },
    annotations: {},
  };
}

async function outputOf(task: Task): Promise<string> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`the container has not ended within ${TIMEOUT_MS} ms`)), TIMEOUT_MS);
  try {
    const { exitCode } = await Promise.race([task.exited, late]);
    const output = task.streams.stdout === null ? "" : readPipe(task.streams.stdout);
    if (exitCode !== 0) throw new Error(`the container ended with ${exitCode}`);
    if (output !== GREETING) throw new Error(`the container wrote ${JSON.stringify(output)}`);
    return output.trim();
  } finally {
    clearTimeout(timer);
  }
}

/** What lies in a pipe of which the writer has ended. */
function readPipe(pipe: Fd): string {
  const buffer = new Uint8Array(4096);
  try {
    return new TextDecoder().decode(buffer.subarray(0, readSync(pipe.number, buffer)));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EAGAIN") return "";
    throw error;
  }
}
