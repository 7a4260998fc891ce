// The descriptors a generated program is born with, by number. The daemon puts them there (launch/spawn.ts); the shim
// keeps some for as long as it lives, and a later daemon finds them by these numbers in /proc/<shim>/fd (launch/regain.ts).
//
// INVARIANT: numbers 3 to 11 are what running shims of earlier versions hold. They never change meaning.
export const DESCRIPTOR = {
  stdin: 0,
  stdout: 1,
  stderr: 2,
  /** Kept: the exit record is written here. End of file without a record: the shim was killed. */
  exit: 3,
  /** Pid, readiness and failures on the way to the workload's execve; see records below. */
  report: 4,
  /** Kept: a file that outlives the shim, for the exit record. */
  exitFile: 5,
  /** Kept: a writer of stdin, so that the workload reads no end of file while no client is attached. */
  stdinWriter: 6,
  /** Kept: readers, so that output waits in the pipe while no daemon runs. */
  stdoutReader: 7,
  stderrReader: 8,
  /** Kept: the pty master. */
  master: 9,
  /** Kept: both ends of the pipe that output lies in on its way to the log (runtime/stdio). */
  stagingReader: 10,
  stagingWriter: 11,
  /** One byte from the daemon: the user namespace's maps are written. */
  go: 12,
  /** The devpts instance that the pty belongs to, detached. */
  ptsMount: 13,
  /** The cgroup's directory, for CLONE_INTO_CGROUP. */
  cgroup: 14,
  /** The process whose namespaces an exec session enters. */
  target: 15,
  /** Namespaces to enter, by the order of `NamespacePlan.enter`. */
  namespaces: 16,
  /** One byte from the daemon: the container's hooks have run. */
  hold: 31,
} as const;

/** All descriptors above are below this number. */
export const DESCRIPTOR_LIMIT = 32;

/**
 * The records on the report pipe, 16 bytes each: i64 value, u64 where.
 *
 *   value > 0, where 0    the shim: process 1 of the container, as a host pid
 *   value 0,   where 0    init: everything is set up, the workload's execve comes next
 *   value -1,  where 0    init: everything is mounted; it waits at `hold` for the hooks
 *   value < 0, where ≠ 0  a step failed: -errno, and its address; nothing follows
 *   end of file           after "ready" and without a failure: the workload runs
 */
export const REPORT_BYTES = 16;

/** The exit record: i32 wait status, 12 bytes unused, i64 seconds, i64 nanoseconds (CLOCK_REALTIME), struct rusage. */
export const EXIT_RECORD_BYTES = 176;
/** As much of it as goes through the exit pipe. */
export const EXIT_MESSAGE_BYTES = 32;
