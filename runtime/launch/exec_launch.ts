// Starts a process in a running container. As in launch.ts, a throw leaves nothing behind.
import { LaunchError, SyscallError } from "../errors.ts";
import type { ExecRequest, ExecTask, ExitReport, Task, TaskStreams } from "../mod.ts";
import { DESCRIPTOR } from "../program/descriptors.ts";
import { execProgram } from "../program/exec.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath, pipe2 } from "../sys/file.ts";
import { CLONE } from "../sys/namespace.ts";
import { openPidfd, SIGNAL, signalPidfd, takeDescriptor } from "../sys/process.ts";
import { setWindowSize } from "../sys/tty.ts";
import { type ExitWatch, unseenExit, watchExitPipe } from "./exit.ts";
import { killFamily } from "./family.ts";
import { asLaunchError, during, failureOf } from "./failure.ts";
import type { LaunchHost } from "./host.ts";
import { endWithin, withinTime } from "./launch.ts";
import { hostID, planCgroup } from "./namespaces.ts";
import { allCapabilities, planWorkload, withHome } from "./privileges.ts";
import { readInRoot } from "./rootfs_files.ts";
import { type DescriptorTable, type ShimProcess, spawnShim, watchReport } from "./spawn.ts";
import { openPipes } from "./streams.ts";
import { seccompFlags } from "./seccomp.ts";
import { closeStreams, RunningTask } from "./task.ts";
import { type ResolvedUser, resolveUser } from "./user.ts";

const ENTERED = CLONE.NEWNS | CLONE.NEWPID | CLONE.NEWNET | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWCGROUP;

export async function exec(host: LaunchHost, task: Task, request: ExecRequest): Promise<ExecTask> {
  try {
    return await execOrUndo(host, task, request);
  } catch (error) {
    throw asLaunchError("start the exec session", error);
  }
}

async function execOrUndo(host: LaunchHost, task: Task, request: ExecRequest): Promise<ExecTask> {
  const { spec } = request.bundle;
  await using undo = new AsyncDisposableStack();
  using childSide = new DisposableStack();
  const table: DescriptorTable = new Map();
  const target = childSide.use(openTarget(task));
  table.set(DESCRIPTOR.target, target);
  const user = during("look up the user", () => lookUpUser(task.pid, request));
  const cgroup = childSide.use(await host.cgroups.open(task.record.cgroupPath));
  const isMapped = spec.linux.namespaces.some(({ type }) => type === "user");

  let streams: TaskStreams = { stdin: null, stdout: null, stderr: null, terminal: null, staging: null };
  undo.defer(() => closeStreams(streams));
  if (request.terminal) {
    // Holds the master's number until the program has opened it, lest another descriptor lands there.
    table.set(DESCRIPTOR.master, target);
  } else {
    const uid = hostID(user.uid, spec.linux.uidMappings);
    const made = openPipes(table, { hasStdin: request.hasStdin, isKept: false, uid });
    made.childSide.forEach((fd) => childSide.use(fd));
    streams = made.streams;
  }
  const exit = pipe2();
  table.set(DESCRIPTOR.exit, childSide.use(exit.write));
  undo.use(exit.read);
  const report = pipe2();
  table.set(DESCRIPTOR.report, childSide.use(report.write));
  using reportReader = report.read;

  const image = during("compile the exec session's program", () => {
    const seccomp = spec.linux.seccomp && !request.privileged ? host.compileSeccomp(spec.linux.seccomp) : null;
    const process = {
      ...spec.process,
      args: request.args,
      cwd: request.cwd,
      terminal: request.terminal !== null,
      ...(request.privileged ? { capabilities: allCapabilities(host.limits), apparmorProfile: "" } : {}),
    };
    const env = withHome(request.env, user.home);
    return execProgram(host.facts.arch, {
      workload: planWorkload(process, user, host.limits, {
        env,
        seccomp,
        seccompFlags: seccompFlags(spec.linux.seccomp),
        hasStdin: request.hasStdin,
      }),
      namespaces: ENTERED | (isMapped ? CLONE.NEWUSER : 0),
      isMapped,
      cgroup: planCgroup(cgroup, host.facts, table),
      terminal: request.terminal,
      terminalUID: hostID(user.uid, spec.linux.uidMappings),
      oomScoreAdj: spec.process.oomScoreAdj ?? null,
    });
  });
  const shim = spawnShim(image, table, "berth-exec", request.bundle.id, host.imageDir);
  const spawned: { shim: Fd | null; command: Fd | null } = { shim: null, command: null };
  // Before anything that can fail: from here on a process runs.
  undo.defer(() => endShim(shim, spawned));
  childSide.dispose();
  spawned.shim = openPidfd(shim.pid);
  const watch = watchReport(reportReader, image, (pid) => {
    spawned.command = openPidfd(pid);
    if (request.terminal && spawned.shim) streams = { ...streams, terminal: takeMaster(spawned.shim) };
  });
  using _stopped = { [Symbol.dispose]: watch.stop };
  const answer = await withinTime(watch.report);
  const failure = failureOf(answer, request.args[0] ?? "", () => false);
  if (failure) throw failure;
  if (answer.pid === null || !spawned.shim) throw new LaunchError("start the exec session", E.ESRCH);
  undo.move();
  spawned.shim.close();
  return new RunningExec(answer.pid, streams, spawned.command, exit.read);
}

/**
 * The container's first process. INVARIANT: its number is taken for it only while the task's own pidfd says that it has not
 * been reaped: afterwards the number may belong to a process of the host.
 */
function openTarget(task: Task): Fd {
  const target = openPidfd(task.pid);
  if (target && (!(task instanceof RunningTask) || task.isThere())) return target;
  target?.close();
  throw new LaunchError("enter the container's namespaces", E.ESRCH);
}

/** Accounts as the container sees them now, with whatever is mounted over its files. */
function lookUpUser(pid: number, { user, groupAdd }: ExecRequest): ResolvedUser {
  using root = openPath(`/proc/${pid}/root`, O.PATH | O.DIRECTORY);
  return resolveUser(user, groupAdd, { passwd: readInRoot(root, "etc/passwd"), group: readInRoot(root, "etc/group") });
}

/** Copies the master out of the shim, and tells it to let go: when the daemon ends, the session's terminal hangs up. */
function takeMaster(shim: Fd): Fd {
  const master = during("fetch the terminal", () => takeDescriptor(shim, DESCRIPTOR.master));
  signalPidfd(shim, SIGNAL.USR1);
  return master;
}

async function endShim(shim: ShimProcess, spawned: { shim: Fd | null; command: Fd | null }): Promise<void> {
  using pidfd = spawned.shim;
  using command = spawned.command;
  if (command) signalPidfd(command, SIGNAL.KILL);
  await endWithin(shim, pidfd);
}

class RunningExec implements ExecTask {
  readonly exited: Promise<ExitReport>;
  readonly #watch: ExitWatch;
  #isClosed = false;

  constructor(
    readonly pid: number,
    readonly streams: TaskStreams,
    readonly pidfd: Fd | null,
    readonly exitPipe: Fd,
  ) {
    this.#watch = watchExitPipe(exitPipe);
    this.exited = this.#watch.record.then((record) => ({ ...(record ?? unseenExit()), oomKilled: false }));
  }

  signal(number: number): void {
    if (this.pidfd?.isOpen) signalPidfd(this.pidfd, number);
  }

  killAll(): void {
    // Until it has been reaped, its number is its own: the pidfd is asked first.
    if (this.pidfd?.isOpen && signalPidfd(this.pidfd, 0)) killFamily(this.pid, this.pidfd);
  }

  resize(rows: number, columns: number): void {
    const { terminal } = this.streams;
    if (!terminal) throw new SyscallError("ioctl", E.ENOTTY, { request: "TIOCSWINSZ" });
    setWindowSize(terminal, rows, columns);
  }

  /** The shim of an exec session holds no writer of its own: ours is the last. */
  dropStdin(): void {}

  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#watch.stop();
    closeStreams(this.streams);
    this.pidfd?.close();
    this.exitPipe.close();
  }
}
