// Processes by pidfd, their start times, rlimits, and the layouts that a generated program needs about processes.
// See pidfd_open(2), pidfd_getfd(2), pidfd_send_signal(2), prlimit(2), proc(5).
import { readFileSync } from "node:fs";
import { SyscallError } from "../errors.ts";
import { E } from "./errno.ts";
import { Fd } from "./fd.ts";
import { alloc, check, syscall } from "./ffi.ts";

export const SIGNAL = { KILL: 9, USR1: 10, CHLD: 17, STOP: 19 } as const;

/** pidfd_open(2), close-on-exec; null when no such process is left. */
export function openPidfd(pid: number): Fd | null {
  const result = syscall("pidfd_open", pid, 0);
  if (result === -E.ESRCH) return null;
  if (result < 0) throw new SyscallError("pidfd_open", -result, { pid });
  return new Fd(result);
}

/** Sends a signal; false when the process has ended. */
export function signalPidfd(pidfd: Fd, signal: number): boolean {
  const result = syscall("pidfd_send_signal", pidfd.number, signal, null, 0);
  if (result === -E.ESRCH) return false;
  if (result < 0) throw new SyscallError("pidfd_send_signal", -result, { signal });
  return true;
}

/** A copy of another process's descriptor: the same open file. Needs the right to ptrace it. */
export function takeDescriptor(pidfd: Fd, descriptor: number): Fd {
  return new Fd(check("pidfd_getfd", [pidfd.number, descriptor, 0], { descriptor }));
}

/**
 * Field 22 of /proc/<pid>/stat, in clock ticks since boot: with the pid it names a process for as long as the machine is
 * up. null for a process that is gone, and for a zombie: nothing of it can be reached any more.
 */
export function startTimeOf(pid: number): string | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch {
    return null;
  }
  // The second field is the name in parentheses, and may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields[0],
    startTime = fields[19];
  return state === "Z" || state === "X" || startTime === undefined ? null : startTime;
}

export interface Rlimit {
  soft: bigint;
  hard: bigint;
}

export const RLIM_INFINITY = 0xffffffffffffffffn;

/** RLIMIT_* numbers (asm-generic/resource.h: the same on x86-64 and aarch64). */
export const RLIMITS: Readonly<Record<string, number>> = {
  RLIMIT_CPU: 0,
  RLIMIT_FSIZE: 1,
  RLIMIT_DATA: 2,
  RLIMIT_STACK: 3,
  RLIMIT_CORE: 4,
  RLIMIT_RSS: 5,
  RLIMIT_NPROC: 6,
  RLIMIT_NOFILE: 7,
  RLIMIT_MEMLOCK: 8,
  RLIMIT_AS: 9,
  RLIMIT_LOCKS: 10,
  RLIMIT_SIGPENDING: 11,
  RLIMIT_MSGQUEUE: 12,
  RLIMIT_NICE: 13,
  RLIMIT_RTPRIO: 14,
  RLIMIT_RTTIME: 15,
};

/** struct rlimit64. */
export function rlimit64({ soft, hard }: Rlimit): Uint8Array<ArrayBuffer> {
  const bytes = alloc(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, soft, true);
  view.setBigUint64(8, hard, true);
  return bytes;
}

/** prlimit(2), reading. pid 0 is this process. */
export function readRlimit(pid: number, resource: number): Rlimit {
  const bytes = alloc(16);
  check("prlimit64", [pid, resource, null, bytes], { pid, resource });
  const view = new DataView(bytes.buffer);
  return { soft: view.getBigUint64(0, true), hard: view.getBigUint64(8, true) };
}

/** A wait status as wait4(2) gives it. */
export function parseWaitStatus(status: number): { exitCode: number; signal: number | null } {
  const signal = status & 0x7f;
  return signal === 0 ? { exitCode: (status >>> 8) & 0xff, signal: null } : { exitCode: 128 + signal, signal };
}
