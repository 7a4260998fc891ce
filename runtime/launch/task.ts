// A running task in the daemon: descriptors of its streams, pidfds of it and of its shim, and the wait for its end. Made
// by launch.ts and, after a restart, by regain.ts.
import { readFileSync } from "node:fs";
import { errnoOf } from "../cgroup/files.ts";
import { parseInterfaces } from "../net/counters.ts";
import type { ExitReport, FileTree, IDMaps, InterfaceCounters, Task, TaskRecord, TaskStreams } from "../mod.ts";
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openAt, openPath } from "../sys/file.ts";
import { SIGNAL, signalPidfd } from "../sys/process.ts";
import { setWindowSize } from "../sys/tty.ts";
import { type ExitWatch, readExitFile, unseenExit, watchExitPipe } from "./exit.ts";
import type { LaunchCgroup } from "./host.ts";
import { fileTree } from "./stopped_files.ts";
import { openRootMount } from "./view.ts";

const SIGUSR2 = 12;

export interface TaskParts {
  record: TaskRecord;
  streams: TaskStreams;
  cgroup: LaunchCgroup;
  /** null when the process had ended before it could be opened. */
  pidfd: Fd | null;
  /** null when the shim is gone: then the exit file is all there is. */
  shim: { pidfd: Fd; exitPipe: Fd } | null;
}

export class RunningTask implements Task {
  readonly record: TaskRecord;
  readonly streams: TaskStreams;
  readonly cgroup: LaunchCgroup;
  readonly exited: Promise<ExitReport>;
  readonly #pidfd: Fd | null;
  readonly #shim: TaskParts["shim"];
  readonly #watch: ExitWatch | null;
  #hasEnded = false;
  #isClosed = false;

  constructor(parts: TaskParts) {
    this.record = parts.record;
    this.streams = parts.streams;
    this.cgroup = parts.cgroup;
    this.#pidfd = parts.pidfd;
    this.#shim = parts.shim;
    this.#watch = parts.shim ? watchExitPipe(parts.shim.exitPipe) : null;
    this.exited = this.#awaitExit();
  }

  get pid(): number {
    return this.record.pid;
  }

  async #awaitExit(): Promise<ExitReport> {
    // A record in the file was written before one in the pipe; a shim that a killed daemon left may have written both.
    let record =
      readExitFile(this.record.exitFile) ?? (await this.#watch?.record) ?? readExitFile(this.record.exitFile);
    // Let go of before its end: the container runs on, and this promise is nobody's any more.
    if (!record && this.#isClosed) return await new Promise<never>(() => undefined);
    if (!record) {
      // INVARIANT: without a shim nobody can tell how the workload ends, so it must not run on.
      await this.cgroup.kill().catch(() => undefined);
      record = unseenExit();
    }
    this.#hasEnded = true;
    return { ...record, oomKilled: hasOomKill(this.cgroup) };
  }

  /** The first process has not been reaped: its number is still its own. */
  isThere(): boolean {
    return this.#pidfd?.isOpen === true && !this.#hasEnded && signalPidfd(this.#pidfd, 0);
  }

  signal(number: number): void {
    if (this.#pidfd?.isOpen && !this.#hasEnded) signalPidfd(this.#pidfd, number);
  }

  resize(rows: number, columns: number): void {
    const { terminal } = this.streams;
    if (!terminal) throw new SyscallError("ioctl", E.ENOTTY, { request: "TIOCSWINSZ" });
    setWindowSize(terminal, rows, columns);
  }

  dropStdin(): void {
    if (this.#shim?.pidfd.isOpen && !this.#hasEnded) signalPidfd(this.#shim.pidfd, SIGNAL.USR1);
  }

  interfaces(): Map<string, InterfaceCounters> | null {
    try {
      // A view of that process's network namespace, for whoever reads it: nobody has to go there.
      const text = readFileSync(`/proc/${this.pid}/net/dev`, "latin1");
      return this.isThere() ? parseInterfaces(text) : null;
    } catch (error) {
      const errno = errnoOf(error);
      // EINVAL: it has ended, and its namespaces are gone before its number is.
      if (errno === E.ENOENT || errno === E.ESRCH || errno === E.EINVAL) return null;
      throw new SyscallError("read", errno, { file: `/proc/${this.pid}/net/dev` });
    }
  }

  openFiles(idMaps: IDMaps | null): FileTree | null {
    try {
      const root = openPath(`/proc/${this.pid}/root`, O.RDONLY | O.DIRECTORY);
      // The number may be another process's by now: it was still its own after the open, or this is nobody's root of ours.
      if (this.isThere()) return fileTree(root, idMaps);
      root.close();
      return null;
    } catch (error) {
      if (error instanceof SyscallError && (error.errno === E.ENOENT || error.errno === E.ESRCH)) return null;
      throw error;
    }
  }

  openRoot(idMaps: IDMaps | null): FileTree | null {
    try {
      using namespace = openPath(`/proc/${this.pid}/ns/mnt`, O.RDONLY);
      if (!this.isThere()) return null;
      using tree = openRootMount(namespace);
      // Its descriptor is O_PATH.
      return fileTree(openAt(tree, ".", O.RDONLY | O.DIRECTORY), idMaps);
    } catch (error) {
      if (error instanceof SyscallError && (error.errno === E.ENOENT || error.errno === E.ESRCH)) return null;
      throw error;
    }
  }

  /**
   * Lets go of our descriptors. Before the end the container runs on. After it this dismisses the shim, and what is still
   * unread in its pipes goes with it: dispose when the streams are drained and the exit is recorded.
   */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#hasEnded && this.#shim) signalPidfd(this.#shim.pidfd, SIGUSR2);
    this.#watch?.stop();
    closeStreams(this.streams);
    this.#pidfd?.close();
    this.#shim?.pidfd.close();
    this.#shim?.exitPipe.close();
    this.cgroup[Symbol.dispose]();
  }
}

function hasOomKill(cgroup: LaunchCgroup): boolean {
  try {
    return cgroup.oomKills() > 0;
  } catch {
    // Its directory has gone with a restart of the machine.
    return false;
  }
}

export function closeStreams(streams: TaskStreams): void {
  for (const fd of [streams.stdin, streams.stdout, streams.stderr, streams.terminal]) fd?.close();
  streams.staging?.read.close();
  streams.staging?.write.close();
}
