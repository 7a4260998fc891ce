// An exec session's program: a shim that enters the container's namespaces, and a child that becomes the command. Unlike
// a container's shim it holds no ends of the streams: without a daemon nobody could reach them.
//
//   daemon ──SIGUSR1──▶ shim   let go of the pty master: the daemon has its own copy now
import type { Arch } from "../sys/arch.ts";
import { O } from "../sys/file.ts";
import { MOUNT_ATTR } from "../sys/mount.ts";
import { CLONE } from "../sys/namespace.ts";
import { SIGNAL } from "../sys/process.ts";
import { TIOCGPTPEER, TIOCSPTLCK, TIOCSWINSZ, winsize } from "../sys/tty.ts";
import { Calls } from "./calls.ts";
import { DESCRIPTOR, EXIT_MESSAGE_BYTES, REPORT_BYTES } from "./descriptors.ts";
import { openApparmor } from "./init.ts";
import type { ExecPlan } from "./plan.ts";
import { type Image, Label, Load, type Ref } from "./program.ts";
import { becomeShim, cloneInto, signalBit, waitForEnd } from "./shim.ts";
import { addWorkload, closeAllButStreams } from "./workload.ts";

const FAILED_STATUS = 126;
const FETCH_PATIENCE_SEC = 10;

export function execProgram(arch: Arch, plan: ExecPlan): Image {
  const calls = new Calls(arch);
  const command = new Label("command");
  becomeShim(calls, "berth-exec");
  // The host's cgroup files are out of sight once the namespaces are entered.
  const cgroups = plan.cgroup.joinFiles.map((path) => calls.open(path, O.WRONLY, { title: `open the cgroup ${path}` }));
  const score = plan.oomScoreAdj === null ? null : calls.open("/proc/self/oom_score_adj", O.WRONLY);
  if (score && plan.oomScoreAdj !== null) writeScore(calls, score, plan.oomScoreAdj);
  const title = "enter the container's namespaces";
  calls.step("setns", [DESCRIPTOR.target, plan.namespaces & ~CLONE.NEWUSER], { title });
  // Still with the host's root's rights: in a user namespace it could not be given to anybody.
  if (plan.terminal) openTerminal(calls, plan.terminal, plan.terminalUID);
  if (plan.namespaces & CLONE.NEWUSER) calls.step("setns", [DESCRIPTOR.target, CLONE.NEWUSER], { title });
  const child = calls.slot(REPORT_BYTES);
  cloneInto(calls, 0, plan.cgroup.version === 2, child, command);
  calls.report(DESCRIPTOR.report, child, REPORT_BYTES);
  for (const descriptor of [DESCRIPTOR.stdin, DESCRIPTOR.stdout, DESCRIPTOR.stderr, DESCRIPTOR.report]) {
    calls.close(descriptor);
  }
  calls.closeRange(DESCRIPTOR.master + 1);
  if (plan.terminal) awaitFetch(calls);
  const record = waitForEnd(calls, child, DESCRIPTOR.master);
  calls.step("write", [DESCRIPTOR.exit, record, EXIT_MESSAGE_BYTES], { error: 1 });
  calls.exit(0);

  calls.mark(command);
  for (const cgroup of cgroups) {
    calls.step("write", [new Load(cgroup), "0", 1], { title: "join the container's cgroup" });
    calls.close(cgroup);
  }
  if (plan.isMapped) calls.setIDs(0, 0, []);
  // WHY here already: the paths that follow are the container's, and one may be /proc/self/fd/<n>.
  closeAllButStreams(calls, plan.workload, plan.workload.apparmorProfile === "" ? null : openOwnApparmor(calls));
  addWorkload(calls, plan.workload);
  calls.failHere(DESCRIPTOR.report, FAILED_STATUS);
  return calls.toImage();
}

/**
 * A command may end before the daemon has its copy of the master: what it wrote must not go with us, so its end is looked
 * for only then. Bounded, since a daemon that has died fetches nothing.
 */
function awaitFetch(calls: Calls): void {
  const [fetched, patience] = [calls.words([signalBit(SIGNAL.USR1)]), calls.words([FETCH_PATIENCE_SEC, 0])];
  calls.step("rt_sigtimedwait", [fetched, null, patience, 8], { error: 1 });
  calls.close(DESCRIPTOR.master);
}

/** The child inherits the score; the shim goes with its command. */
function writeScore(calls: Calls, file: Ref, value: number): void {
  const text = String(value);
  calls.step("write", [new Load(file), text, text.length], { title: `set oom_score_adj to ${text}` });
  calls.close(file);
}

/** A terminal of the container's own /dev/pts, so that `tty` inside names it. The daemon fetches the master by pidfd_getfd. */
function openTerminal(calls: Calls, size: { rows: number; columns: number }, uid: number): void {
  // Not blocking: whatever the container has put there, opening it must not hang us.
  const master = calls.open("/dev/pts/ptmx", O.RDWR | O.NOCTTY | O.NONBLOCK, { title: "open /dev/pts/ptmx" });
  const slave = calls.slot();
  calls.step("ioctl", [new Load(master), TIOCSPTLCK, new Uint8Array(4)], { title: "TIOCSPTLCK" });
  calls.step("ioctl", [new Load(master), TIOCGPTPEER, O.RDWR | O.NOCTTY | O.CLOEXEC], {
    out: slave,
    title: "TIOCGPTPEER",
  });
  // The user may open /dev/stdout.
  if (uid !== 0) calls.step("fchown", [new Load(slave), uid, -1], { error: 1, title: "fchown the terminal" });
  const { rows, columns } = size;
  if (rows > 0 && columns > 0) {
    calls.step("ioctl", [new Load(master), TIOCSWINSZ, winsize(rows, columns)], { title: "TIOCSWINSZ" });
  }
  for (const descriptor of [DESCRIPTOR.stdin, DESCRIPTOR.stdout, DESCRIPTOR.stderr]) {
    calls.step("dup3", [new Load(slave), descriptor, 0], { title: "dup the terminal" });
  }
  calls.step("dup3", [new Load(master), DESCRIPTOR.master, O.CLOEXEC], { title: "dup the master" });
  calls.close(slave);
  calls.close(master);
}

/** Through a procfs of our own: the container may have put anything at its /proc. */
function openOwnApparmor(calls: Calls): Ref {
  return openApparmor(calls, calls.newFs("proc", MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC));
}
