// Starts a container: looks up its user, makes its cgroup and streams, compiles its program, spawns it, and answers once
// the workload's execve has succeeded. INVARIANT: on a throw nothing is left behind, no process, descriptor or cgroup.
import { writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { OciLinux, OciSpec } from "../bundle.ts";
import { LaunchError, SyscallError } from "../errors.ts";
import { LAUNCH_TIMEOUT_MS, REAP_TIMEOUT_MS } from "../limits.ts";
import type { LaunchRequest, Task, TaskRecord } from "../mod.ts";
import { DESCRIPTOR } from "../program/descriptors.ts";
import { containerProgram } from "../program/init.ts";
import { ptsOptions } from "../program/mounts.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath, pipe2, writeAll } from "../sys/file.ts";
import type { FsOption } from "../sys/mount.ts";
import { CLONE } from "../sys/namespace.ts";
import { openPidfd, SIGNAL, signalPidfd, startTimeOf } from "../sys/process.ts";
import { asLaunchError, during, failureOf } from "./failure.ts";
import type { LaunchCgroup, LaunchHost } from "./host.ts";
import { openHooks, runHooks } from "./hooks.ts";
import { checkHostNodes } from "./mapped_devices.ts";
import { hostID, planCgroup, planNamespaces } from "./namespaces.ts";
import { planWorkload, withHome } from "./privileges.ts";
import { readFromRootfs } from "./rootfs_files.ts";
import { type DescriptorTable, type ShimProcess, spawnShim, watchReport } from "./spawn.ts";
import { type NewStreams, openPipes, openTerminal } from "./streams.ts";
import { seccompFlags } from "./seccomp.ts";
import { closeStreams, RunningTask } from "./task.ts";
import { type ResolvedUser, resolveUser } from "./user.ts";
import { mapText } from "./userns.ts";
import { openRootfsView } from "./view.ts";

const SIGUSR2 = 12;

export async function launch(host: LaunchHost, request: LaunchRequest): Promise<Task> {
  try {
    return await launchOrUndo(host, request);
  } catch (error) {
    throw asLaunchError("start the container", error);
  }
}

async function launchOrUndo(host: LaunchHost, request: LaunchRequest): Promise<Task> {
  const { spec } = request.bundle;
  const user = during("look up the user", () => lookUpUser(host, request));
  await using undo = new AsyncDisposableStack();
  const cgroup = await createCgroup(host, spec.linux);
  undo.defer(() => cgroup.remove());

  // Whatever the shim is given and we do not keep: closed as soon as it has it.
  using childSide = new DisposableStack();
  const table: DescriptorTable = new Map();
  const { streams, childSide: ends } = during("make the streams", () => openStreams(request, user, table));
  ends.forEach((fd) => childSide.use(fd));
  undo.defer(() => closeStreams(streams));
  const namespaces = planNamespaces(
    spec.linux,
    { netns: request.netns, userns: request.userns ?? null },
    table,
    childSide,
  );
  const exitFile = `${request.stateDir}/exit`;
  undo.defer(() => rm(exitFile, { force: true }));
  table.set(DESCRIPTOR.exitFile, childSide.use(openExitFile(exitFile)));
  const exit = pipe2();
  table.set(DESCRIPTOR.exit, childSide.use(exit.write));
  undo.use(exit.read);
  const report = pipe2();
  table.set(DESCRIPTOR.report, childSide.use(report.write));
  using reportReader = report.read;
  const go = namespaces.isMapped ? pipe2() : null;
  using goWriter = go?.write;
  if (go) table.set(DESCRIPTOR.go, childSide.use(go.read));

  const isNewUserns = (namespaces.create & CLONE.NEWUSER) !== 0;

  const hooks = openHooks(host, request);
  const held = hooks ? pipe2() : null;
  using letGo = held?.write;
  if (held) table.set(DESCRIPTOR.hold, childSide.use(held.read));

  const image = during("compile the container's program", () => {
    const { process: workload } = spec;
    const seccomp = spec.linux.seccomp ? host.compileSeccomp(spec.linux.seccomp) : null;
    const env = withHome(workload.env, user.home);
    if (namespaces.isMapped) checkHostNodes(spec.linux.devices);
    return containerProgram(host.facts.arch, {
      bundle: request.bundle,
      workload: {
        ...planWorkload(workload, user, host.limits, {
          env,
          seccomp,
          seccompFlags: seccompFlags(spec.linux.seccomp),
          hasStdin: request.hasStdin,
        }),
        hasInit: request.hasInit ?? false,
      },
      namespaces,
      cgroup: planCgroup(cgroup, host.facts, table),
      features: host.features,
      exitFile,
      isHeld: held !== null,
      hasPtsMount: table.has(DESCRIPTOR.ptsMount),
    });
  });
  const shim = spawnShim(image, table, "berth-shim", request.bundle.id, host.imageDir);
  const spawned: Spawned = { shim: null, first: null };
  const stopping = new AbortController();
  undo.defer(() => stopping.abort());
  // Before anything that can fail: from here on a process runs.
  undo.defer(() => endShim(shim, spawned, cgroup));
  childSide.dispose();
  spawned.shim = openPidfd(shim.pid);
  const watch = watchReport(
    reportReader,
    image,
    (pid) => {
      spawned.first = openPidfd(pid);
      if (goWriter) during("let the container into its user namespace", () => admit(pid, spec, isNewUserns, goWriter));
      if (hooks) hooks.pid = pid;
    },
    async () => {
      if (!hooks || !letGo) return;
      await runHooks(hooks, ["prestart", "createRuntime", "createContainer"], stopping.signal);
      writeAll(letGo, Uint8Array.of(1));
    },
  );
  using _stopped = { [Symbol.dispose]: watch.stop };
  const answer = await withinTime(watch.report);
  const failure = failureOf(answer, spec.process.args[0] ?? "", () => cgroup.oomKills() > 0);
  if (failure) throw failure;
  if (answer.pid === null || !spawned.shim) throw new LaunchError("start the shim", E.ESRCH);
  if (hooks) await runHooks(hooks, ["poststart"], stopping.signal);
  const record: TaskRecord = {
    id: request.bundle.id,
    pid: answer.pid,
    shimPid: shim.pid,
    shimStartTime: startTimeOf(shim.pid) ?? "",
    hasTerminal: spec.process.terminal,
    hasStdin: streams.stdin !== null,
    exitFile,
    cgroupPath: cgroup.path,
  };
  undo.move();
  return new RunningTask({
    record,
    streams,
    cgroup,
    pidfd: spawned.first,
    shim: { pidfd: spawned.shim, exitPipe: exit.read },
  });
}

function lookUpUser(host: LaunchHost, { bundle, user, groupAdd }: LaunchRequest): ResolvedUser {
  const { rootfs } = bundle;
  const openView = (): Fd => openRootfsView(rootfs, host.features);
  const passwd = readFromRootfs(rootfs, "etc", "passwd", host.layerFiles, openView);
  const group = readFromRootfs(rootfs, "etc", "group", host.layerFiles, openView);
  return resolveUser(user, groupAdd, { passwd, group });
}

async function createCgroup(host: LaunchHost, { cgroupsPath, resources }: OciLinux): Promise<LaunchCgroup> {
  try {
    return await host.cgroups.create(cgroupsPath, resources);
  } catch (error) {
    // WHY: a limit that the kernel does not take is the user's to correct, and only the file and the value say which.
    const why = error instanceof SyscallError && "file" in error.args ? `: ${limitText(error)}` : "";
    throw asLaunchError(`create the cgroup ${cgroupsPath}${why}`, error);
  }
}

/** `write "5" to memory.max`. */
function limitText({ call, args }: SyscallError): string {
  const file = String(args["file"]).split("/").at(-1);
  return args["value"] === undefined
    ? `${call} ${file}`
    : `${call} ${JSON.stringify(String(args["value"]))} to ${file}`;
}

function openStreams(request: LaunchRequest, user: ResolvedUser, table: DescriptorTable): NewStreams {
  const { spec } = request.bundle;
  const uid = hostID(user.uid, spec.linux.uidMappings);
  if (!spec.process.terminal) return openPipes(table, { hasStdin: request.hasStdin, isKept: true, uid });
  const { attributes, fsOptions } = ptsOptions(spec.mounts) ?? { attributes: 0, fsOptions: [] };
  const { consoleSize } = spec.process;
  const mapped = fsOptions.map(([key, value]): FsOption =>
    key === "gid" ? [key, String(hostID(Number(value), spec.linux.gidMappings))] : [key, value],
  );
  const size = consoleSize ? { rows: consoleSize.height, columns: consoleSize.width } : null;
  return openTerminal(table, { fsOptions: mapped, attributes, size, uid });
}

function openExitFile(path: string): Fd {
  return during(`create ${path}`, () => openPath(path, O.WRONLY | O.CREAT | O.TRUNC, 0o600));
}

/** Lets a container into its user namespace: the maps of a new one, what it may not do itself, then the byte it waits for. */
function admit(pid: number, { linux, process: { oomScoreAdj } }: OciSpec, isNew: boolean, go: Fd): void {
  if (isNew) {
    writeFileSync(`/proc/${pid}/gid_map`, mapText(linux.gidMappings));
    writeFileSync(`/proc/${pid}/uid_map`, mapText(linux.uidMappings));
  }
  if (oomScoreAdj !== undefined) writeFileSync(`/proc/${pid}/oom_score_adj`, String(oomScoreAdj));
  writeAll(go, Uint8Array.of(1));
}

/** Bounds a wait for the program. */
export async function withinTime<T>(work: Promise<T>): Promise<T> {
  using stop = new DisposableStack();
  const timeout = new AbortController();
  stop.defer(() => timeout.abort());
  const late = sleep(LAUNCH_TIMEOUT_MS, null, { signal: timeout.signal, ref: false }).then(
    () => Promise.reject(new LaunchError("the container did not start in time", E.ETIMEDOUT)),
    () => new Promise<never>(() => undefined),
  );
  return await Promise.race([work, late]);
}

/** What a spawn has made, as far as it is known. */
interface Spawned {
  shim: Fd | null;
  /** Process 1 of the container. */
  first: Fd | null;
}

/** After a failed start: ends what may still run, and waits until the shim has reaped it and is itself reaped. */
async function endShim(shim: ShimProcess, spawned: Spawned, cgroup: LaunchCgroup): Promise<void> {
  using pidfd = spawned.shim;
  using first = spawned.first;
  if (first) signalPidfd(first, SIGNAL.KILL);
  if (pidfd) signalPidfd(pidfd, SIGUSR2);
  try {
    await cgroup.kill();
  } finally {
    await endWithin(shim, pidfd);
  }
}

/** Without a pidfd (no descriptor was left for one) or in time: it is killed. */
export async function endWithin(shim: ShimProcess, pidfd: Fd | null): Promise<void> {
  const timeout = new AbortController();
  const limitMs = pidfd ? REAP_TIMEOUT_MS : 0;
  const late = sleep(limitMs, "late", { signal: timeout.signal, ref: false }).catch(() => "late");
  if ((await Promise.race([shim.exited, late])) === "late") {
    if (pidfd) signalPidfd(pidfd, SIGNAL.KILL);
    else shim.kill();
  }
  timeout.abort();
}
