// Process 1 of a container that asked for one (`--init`): starts the workload as its child, forwards every signal to it,
// reaps whatever is left behind, and ends with the workload's exit code. The same program as the container's init, so
// nothing is mounted into the container; it has the workload's own rights, and runs under its filter.
//
//   all signals stay blocked; two signalfds say what came: SIGCHLD, and everything else
//   CHILD    wait4(workload): ended, or already gone ─▶ END
//   ORPHANS  wait4(any): reaped one ─▶ CHILD (if it was the workload, its status is the one just read)
//   FORWARD  read a signal, kill(workload, signal) ─▶ FORWARD; none left ─▶ ppoll ─▶ CHILD
//   END      the wait status to an exit code by a table in a small file, since a table of calls cannot shift and add
import { SIGNAL } from "../sys/process.ts";
import type { Calls } from "./calls.ts";
import { Label, Load, type Ref } from "./program.ts";

/** Descriptors in the order in which they are made, after everything else is closed. */
const CHILD_SIGNALS = 3,
  OTHER_SIGNALS = 4,
  EXIT_CODES = 5;
const SFD_NONBLOCK = 0o4000;
const SIGNALFD_INFO_BYTES = 128;
const SIGSET_BYTES = 8;
const POLLIN = 1;
const MFD_NOEXEC_SEAL = 8;
const LOOK_EVERY_NS = 50_000_000;
const WNOHANG = 1;
const ANY_CHILD = -1;
const CORE_DUMPED = 0x80;
const TIOCSPGRP = 0x5410;

/** From here on the steps that follow are the workload's, in a child and in a process group of its own. */
export function addReaper(calls: Calls, hasTerminal: boolean): void {
  const child = calls.slot(),
    workload = new Label("workload");
  calls.step("clone", [SIGNAL.CHLD, 0, 0, 0, 0], {
    out: child,
    zero: workload,
    title: "clone the workload from its init",
  });
  addLoop(calls, child);
  calls.mark(workload);
  calls.step("setpgid", [0, 0], { error: 1 });
  if (!hasTerminal) return;
  // What is typed means the workload. Signals are still blocked, so that this is allowed from the background.
  const own = calls.slot();
  calls.step("getpid", [], { out: own });
  calls.step("ioctl", [0, TIOCSPGRP, own], { error: 1 });
}

function addLoop(calls: Calls, child: Ref): void {
  calls.setName("docker-init");
  calls.step("close_range", [3, 0xffffffff, 0], { error: 1 });
  const childSet = 1n << BigInt(SIGNAL.CHLD - 1);
  calls.step("signalfd4", [-1, calls.words([childSet]), SIGSET_BYTES, SFD_NONBLOCK]);
  calls.step("signalfd4", [-1, calls.words([0xffffffffffffffffn ^ childSet]), SIGSET_BYTES, SFD_NONBLOCK]);
  // Demanded by vm.memfd_noexec=2, unknown to kernels before 6.3.
  calls.step("memfd_create", ["exit-codes", MFD_NOEXEC_SEAL], { error: 1, zero: 2, positive: 2 });
  calls.step("memfd_create", ["exit-codes", 0]);
  const codes = exitCodes();
  calls.step("write", [EXIT_CODES, codes, codes.length]);

  const status = calls.slot(),
    info = calls.slot(SIGNALFD_INFO_BYTES);
  const check = new Label("child"),
    orphans = new Label("orphans"),
    forward = new Label("forward");
  const wait = new Label("wait"),
    blind = new Label("wait for the workload alone"),
    end = new Label("end");
  calls.mark(check);
  // An error is ECHILD: the workload was the one just reaped below, and its status is in the slot.
  calls.step("wait4", [new Load(child), status, WNOHANG, null], { zero: orphans, positive: end, error: end });
  calls.mark(orphans);
  calls.step("wait4", [ANY_CHILD, status, WNOHANG, null], { positive: check, zero: forward, error: forward });
  calls.mark(forward);
  calls.step("read", [OTHER_SIGNALS, info, SIGNALFD_INFO_BYTES], { error: wait });
  // The signal's number is the first field.
  calls.step("kill", [new Load(child), new Load(info)], { error: forward, zero: forward });
  calls.mark(wait);
  const watched = calls.words([pollfd(CHILD_SIGNALS), pollfd(OTHER_SIGNALS)]);
  // A filter of the user's may forbid it: then we look now and then, or, when that is forbidden too, forward nothing.
  calls.step("ppoll", [watched, 2, null, null, SIGSET_BYTES], { error: 1, zero: 2, positive: 2 });
  calls.step("nanosleep", [calls.words([0, LOOK_EVERY_NS]), null], { error: blind, zero: check });
  calls.step("read", [CHILD_SIGNALS, info, SIGNALFD_INFO_BYTES], { error: check, positive: check });
  calls.mark(blind);
  calls.step("wait4", [new Load(child), status, 0, null], { error: end });
  addEnd(calls, status, end);
}

/** struct pollfd: i32 fd, i16 events, i16 revents. */
function pollfd(descriptor: number): bigint {
  return BigInt(descriptor) | (BigInt(POLLIN) << 32n);
}

/** Ended by exit: the code is the status' second byte, and the status lies beyond the table unless it is 0. */
function addEnd(calls: Calls, status: Ref, end: Label): void {
  const code = calls.slot(),
    exited = new Label("exited");
  calls.mark(end);
  calls.step("pread64", [EXIT_CODES, code, 1, new Load(status)], { zero: exited, error: exited });
  calls.step("exit_group", [new Load(code)], { error: 0 });
  calls.mark(exited);
  calls.step("exit_group", [new Load(status.plus(1))], { error: 0 });
}

/** By wait status below 256: 0, or a signal, with or without a core: 128 and its number. */
function exitCodes(): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, status) => {
    const signal = status & ~CORE_DUMPED;
    return signal === 0 ? 0 : 128 + signal;
  });
}
