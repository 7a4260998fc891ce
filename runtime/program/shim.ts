// The shim's table: clone the container's first process, keep its streams and wait for its end. It has no logic beyond
// these steps, and outlives the daemon; whatever becomes of the daemon, the exit status and unread output stay here.
//
//   daemon ──SIGUSR1──▶ shim   close the held writer of stdin
//   daemon ──SIGUSR2──▶ shim   after the exit: everything is read and recorded, you may go
//   shim ──exit record──▶ exit file, then exit pipe
//
// INVARIANT: after the workload's end the shim stays until SIGUSR2, or until its exit file has been removed. It holds the
// readers of the pipes, so what a daemon that was killed has not read yet is there for the next one.
import { AT_FDCWD } from "../sys/file.ts";
import { CLONE } from "../sys/namespace.ts";
import { SIGNAL } from "../sys/process.ts";
import type { Calls } from "./calls.ts";
import { DESCRIPTOR, DESCRIPTOR_LIMIT, EXIT_MESSAGE_BYTES, EXIT_RECORD_BYTES, REPORT_BYTES } from "./descriptors.ts";
import type { ContainerPlan } from "./plan.ts";
import { Label, Load, type Ref } from "./program.ts";
import { openOverlay } from "./rootfs.ts";
import type { OciMount } from "../bundle.ts";
import { copyOutside } from "./mounts.ts";

const SA_NOCLDSTOP = 1;
const WNOHANG = 1;
const CLONE_ARGS_BYTES = 88;
const SIGUSR2 = 12;
const CLOCK_REALTIME = 0;

const F_OK = 0;
/** How often a shim that nobody has dismissed looks whether anybody still can. */
const LOOK_EVERY_SEC = 2;

const ALL_SIGNALS = 0xffffffffffffffffn;

/** The bit of a signal in a sigset_t. */
export function signalBit(signal: number): bigint {
  return 1n << BigInt(signal - 1);
}

/** Detached mounts that were made before a user namespace was entered. */
export interface Outside {
  overlay: Ref | null;
  trees: Map<OciMount, Ref>;
}

/** Steps of the shim; `init` is where the clone goes on. Returns what was mounted ahead, for a user namespace. */
export function addShim(calls: Calls, plan: ContainerPlan, init: Label): Outside {
  becomeShim(calls, "berth-shim");
  // Inside a user namespace overlayfs would be mounted with less trust: it is mounted out here and taken along.
  // Above the numbers that init closes on its way.
  const { isMapped, ownersBy } = plan.namespaces;
  const overlay = isMapped
    ? calls.moveAbove(
        openOverlay(calls, plan.bundle.rootfs, plan.features, ownersBy),
        DESCRIPTOR_LIMIT,
        "keep the overlay",
      )
    : null;
  const trees = isMapped ? copyOutside(calls, plan) : new Map<OciMount, Ref>();
  // A child enters a pid namespace only by birth, and a user namespace has to be entered by the parent to own the rest.
  enter(calls, plan, "pid");
  enter(calls, plan, "user");
  const child = calls.slot(REPORT_BYTES);
  cloneInto(calls, plan.namespaces.create, plan.cgroup.version === 2, child, init);
  calls.report(DESCRIPTOR.report, child, REPORT_BYTES);
  for (const descriptor of [DESCRIPTOR.stdin, DESCRIPTOR.stdout, DESCRIPTOR.stderr, DESCRIPTOR.report]) {
    calls.close(descriptor);
  }
  calls.closeRange(DESCRIPTOR.go);
  calls.changeDirectory("/", { error: 1 });
  const record = waitForEnd(calls, child, DESCRIPTOR.stdinWriter);
  calls.step("pwrite64", [DESCRIPTOR.exitFile, record, EXIT_RECORD_BYTES, 0], { error: 1 });
  calls.step("write", [DESCRIPTOR.exit, record, EXIT_MESSAGE_BYTES], { error: 1 });
  awaitDismissal(calls, plan.exitFile);
  calls.exit(0);
  return { overlay, trees };
}

/** Until SIGUSR2, or until the exit file is gone, and with it every trace by which a later daemon could find this shim. */
function awaitDismissal(calls: Calls, exitFile: string): void {
  const again = new Label("wait to be dismissed"),
    dismissed = new Label("dismissed");
  const [signals, patience] = [calls.words([signalBit(SIGUSR2)]), calls.words([LOOK_EVERY_SEC, 0])];
  calls.mark(again);
  calls.step("rt_sigtimedwait", [signals, null, patience, 8], { error: 1, positive: dismissed });
  calls.step("faccessat2", [AT_FDCWD, exitFile, F_OK, 0], { error: 1, zero: again });
  calls.mark(dismissed);
}

function enter(calls: Calls, plan: ContainerPlan, type: "pid" | "user"): void {
  const namespace = plan.namespaces.enter.find((entered) => entered.type === type);
  if (namespace) calls.enterNamespace(namespace);
}

/** A session of its own, no signal but those waited for, a name in ps, and nobody who traces it or its child. */
export function becomeShim(calls: Calls, name: string): void {
  calls.forbidTracing();
  calls.step("setsid", [], { error: 1 });
  calls.setSignalMask(ALL_SIGNALS);
  calls.setName(name);
  // SIGCHLD must not be ignored, or the status is lost; stops and continues are no news.
  const action = calls.words([0, SA_NOCLDSTOP, 0, 0]);
  calls.step("rt_sigaction", [SIGNAL.CHLD, action, null, 8], { title: "rt_sigaction SIGCHLD" });
}

/** clone(2), or clone3 straight into the cgroup's directory. The child goes on at `init`, its pid is stored in `child`. */
export function cloneInto(calls: Calls, flags: number, intoCgroup: boolean, child: Ref, init: Label): void {
  if (!intoCgroup) {
    calls.step("clone", [flags | SIGNAL.CHLD, 0, 0, 0, 0], { out: child, zero: init, title: "clone" });
    return;
  }
  // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup
  const all = BigInt(flags) | BigInt(CLONE.INTO_CGROUP);
  const args = calls.words([all, 0, 0, 0, SIGNAL.CHLD, 0, 0, 0, 0, 0, DESCRIPTOR.cgroup]);
  calls.step("clone3", [args, CLONE_ARGS_BYTES], { out: child, zero: init, title: "clone3" });
}

/** Waits for the child; on SIGUSR1 closes `closeOnUser1` and waits on. Returns the exit record. */
export function waitForEnd(calls: Calls, child: Ref, closeOnUser1: number): Ref {
  const record = calls.slot(EXIT_RECORD_BYTES);
  const again = new Label("wait"),
    done = new Label("ended");
  calls.mark(again);
  const awaited = calls.words([signalBit(SIGNAL.CHLD) | signalBit(SIGNAL.USR1)]);
  calls.step("rt_sigtimedwait", [awaited, null, null, 8], { error: again });
  const usage = record.plus(EXIT_MESSAGE_BYTES);
  calls.step("wait4", [new Load(child), record, WNOHANG, usage], { error: done, positive: done });
  // No child has ended, so the signal was SIGUSR1.
  calls.step("close", [closeOnUser1], { error: again, zero: again });
  calls.mark(done);
  calls.step("clock_gettime", [CLOCK_REALTIME, record.plus(16)], { error: 1 });
  return record;
}
