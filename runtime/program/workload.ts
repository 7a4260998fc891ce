// The last stretch of a container's first process and of an exec session alike: from a process with all rights inside the
// container's namespaces to the workload. The order is what makes it work:
//
//   while root       session, terminal, directory, limits, signals, bounding set, groups and IDs (capabilities are kept)
//   ready            every preparation has succeeded; reported, for end of file alone could also be our death
//   locked down      no_new_privs, seccomp, capabilities, execve; what the filter has to allow is only these three
import { AT_FDCWD, O } from "../sys/file.ts";
import { TIOCSCTTY } from "../sys/tty.ts";
import type { Calls } from "./calls.ts";
import { DESCRIPTOR, REPORT_BYTES } from "./descriptors.ts";
import type { WorkloadPlan } from "./plan.ts";
import { Label, Load, type Ref } from "./program.ts";
import { addReaper } from "./reaper.ts";

const CAP_SYS_ADMIN = 1n << 21n;
const X_OK = 1,
  AT_EACCESS = 0x200;
const F_SETFL = 4;
const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** How titles begin of the steps that are the workload's own execve. */
export const COMMAND_TITLE = "exec ";

/**
 * Leaves nothing open but stdin, stdout, stderr and the report pipe, and so nothing outside the container within reach of
 * the paths that come now: working directory and command. `apparmor` is the open attr/exec file of this process, or null.
 */
export function closeAllButStreams(calls: Calls, plan: WorkloadPlan, apparmor: Ref | null): void {
  if (apparmor) {
    const text = `exec ${plan.apparmorProfile}`;
    const title = `apply the AppArmor profile ${plan.apparmorProfile}`;
    calls.step("write", [new Load(apparmor), text, Buffer.byteLength(text)], { title });
  }
  calls.closeRange(DESCRIPTOR.stderr + 1, DESCRIPTOR.report - 1);
  calls.closeRange(DESCRIPTOR.report + 1);
}

/** Comes after closeAllButStreams. */
export function addWorkload(calls: Calls, plan: WorkloadPlan): void {
  calls.step("setsid", [], { error: 1 });
  if (plan.hasTerminal) calls.step("ioctl", [DESCRIPTOR.stdin, TIOCSCTTY, 0], { title: "TIOCSCTTY" });
  // COMPAT: the words that docker exec shows for a directory that is not there.
  calls.changeDirectory(plan.cwd, { title: `chdir to cwd (${JSON.stringify(plan.cwd)}) set in config.json failed` });
  for (const { name, resource, limit } of plan.rlimits) calls.setRlimit(name, resource, limit);
  calls.setUmask(plan.umask);
  calls.resetSignals();
  calls.keepCapabilities();
  const { capabilities, identity, lastCapability } = plan;
  calls.limitBounding(capabilities.bounding, lastCapability);
  calls.setIDs(identity.uid, identity.gid, identity.groups);
  if (!plan.hasStdin && !plan.hasTerminal) readFromNull(calls);
  calls.closeOnExecFrom(3);
  calls.report(DESCRIPTOR.report, calls.slot(REPORT_BYTES), REPORT_BYTES);
  // With an init the signals are let through in its child alone.
  if (!plan.hasInit) calls.setSignalMask(0n);
  const final = finalCapabilities(plan);
  if (plan.noNewPrivileges) calls.noNewPrivileges();
  if (plan.seccomp) {
    if (!plan.noNewPrivileges && identity.uid !== 0) {
      // Without no_new_privs a filter takes CAP_SYS_ADMIN, which setresuid has made ineffective.
      const permitted = final.permitted | CAP_SYS_ADMIN;
      calls.setCapabilities({ effective: CAP_SYS_ADMIN, permitted, inheritable: 0n });
    }
    calls.seccomp(plan.seccomp, plan.seccompFlags);
  }
  calls.setCapabilities(final);
  if (capabilities.ambient !== 0n) calls.raiseAmbient(capabilities.ambient, lastCapability);
  if (plan.hasInit) {
    addReaper(calls, plan.hasTerminal);
    calls.setSignalMask(0n);
  }
  addExecve(calls, plan.args, plan.env);
}

/**
 * The container's own /dev/null as stdin. WHY: with a descriptor of the host's, its root could change the mode of the
 * host's. As the user, and without waiting, since in an exec session anything may lie there; where it cannot be opened, the
 * empty pipe that is stdin until now stays.
 */
function readFromNull(calls: Calls): void {
  const kept = new Label("stdin is set");
  const flags = O.RDWR | O.NONBLOCK | calls.noFollow;
  const opened = calls.open("/dev/null", flags, { error: kept, title: "open /dev/null" });
  calls.step("dup3", [new Load(opened), DESCRIPTOR.stdin, 0], { title: "dup /dev/null" });
  calls.close(opened);
  calls.step("fcntl", [DESCRIPTOR.stdin, F_SETFL, O.RDWR], { error: 1, title: "F_SETFL" });
  calls.mark(kept);
}

/**
 * What the process has when it calls execve. For a user other than root the kernel grants at execve no more than the
 * ambient set; before it, more would let the lookup of the command pass where the user may not.
 */
function finalCapabilities({ capabilities, identity }: WorkloadPlan) {
  const { effective, permitted, inheritable, ambient } = capabilities;
  if (identity.uid === 0) return { effective, permitted, inheritable };
  return { effective: effective & ambient, permitted: permitted & ambient, inheritable: inheritable & ambient };
}

function addExecve(calls: Calls, args: string[], env: string[]): void {
  const [command = ""] = args;
  const argv = calls.strings(args),
    envp = calls.strings(env);
  const title = `${COMMAND_TITLE}${command}`;
  const execve = (path: string, error: number | Label): void => {
    calls.step("execve", [path, argv, envp], { error, title });
  };
  if (command.includes("/")) {
    execve(command, 1);
    // COMPAT: the kernel answers EACCES for a directory; Docker says that it is one.
    calls.step("openat", [AT_FDCWD, command, O.PATH | calls.directory, 0], { error: 2, title });
    calls.step("openat", [AT_FDCWD, command, O.WRONLY, 0], { title });
    execve(command, calls.failure);
    return;
  }
  // COMPAT: as Go's exec.LookPath searches, so as Docker does: what is a directory, or may not be executed, is passed
  // over; the first file that may be is the command, and its failure (no interpreter, wrong format) is the answer.
  for (const path of searchPath(env, command)) {
    const next = new Label("next directory");
    execve(path, 1);
    calls.step("openat", [AT_FDCWD, path, O.PATH | calls.directory, 0], {
      error: 1,
      zero: next,
      positive: next,
      title,
    });
    calls.step("faccessat2", [AT_FDCWD, path, X_OK, AT_EACCESS], { error: next, title });
    execve(path, calls.failure);
    calls.mark(next);
  }
  // Nothing found: an empty path is ENOENT.
  execve("", calls.failure);
}

/** Where to look for a command without a slash. The last PATH counts; an empty entry is the current directory. */
export function searchPath(env: readonly string[], command: string): string[] {
  if (command === "") return [];
  const path = env.findLast((entry) => entry.startsWith("PATH=")) ?? DEFAULT_PATH;
  const directories = path.slice("PATH=".length);
  if (directories === "") return [];
  return directories.split(":").map((directory) => `${directory === "" ? "." : directory}/${command}`);
}
