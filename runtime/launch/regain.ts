// Finds a container again after the daemon was restarted, or killed: its shim still holds the ends of its streams. The
// numbers are those of program/descriptors.ts.
import { SyscallError } from "../errors.ts";
import type { Task, TaskRecord, TaskStreams } from "../mod.ts";
import { DESCRIPTOR } from "../program/descriptors.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath } from "../sys/file.ts";
import { openPidfd, startTimeOf, takeDescriptor } from "../sys/process.ts";
import type { LaunchHost } from "./host.ts";
import { RunningTask } from "./task.ts";

const NO_STREAMS: TaskStreams = { stdin: null, stdout: null, stderr: null, terminal: null, staging: null };

/**
 * Never throws for a container that has ended: then `exited` settles from the exit file; and if that holds no record
 * either, as after a restart of the machine, as killed (137). While the shim is there its streams hold what no daemon has
 * read, also after the end.
 */
export async function regain(host: LaunchHost, record: TaskRecord): Promise<Task> {
  const cgroup = await host.cgroups.open(record.cgroupPath);
  const shim = openPidfd(record.shimPid);
  // Compared after the pidfd is open: from here on the number cannot come to mean another process.
  if (!shim || startTimeOf(record.shimPid) !== record.shimStartTime) {
    shim?.close();
    return new RunningTask({ record, streams: NO_STREAMS, cgroup, pidfd: null, shim: null });
  }
  const kept: Fd[] = [shim];
  try {
    const keep = (fd: Fd): Fd => {
      kept.push(fd);
      return fd;
    };
    const reopen = (descriptor: number, flags: number): Fd => keep(reopenPipe(record.shimPid, descriptor, flags));
    // INVARIANT: the reader is open before the exit file is looked at, so the record is seen in one or the other.
    const exitPipe = reopen(DESCRIPTOR.exit, O.RDONLY);
    const read = O.RDONLY | O.NONBLOCK,
      write = O.WRONLY | O.NONBLOCK;
    const staging = { read: reopen(DESCRIPTOR.stagingReader, read), write: reopen(DESCRIPTOR.stagingWriter, write) };
    const streams: TaskStreams = record.hasTerminal
      ? { ...NO_STREAMS, staging, terminal: keep(takeDescriptor(shim, DESCRIPTOR.master)) }
      : {
          stdin: record.hasStdin ? keepIfOpen(keep, record.shimPid, write) : null,
          stdout: reopen(DESCRIPTOR.stdoutReader, read),
          stderr: reopen(DESCRIPTOR.stderrReader, read),
          terminal: null,
          staging,
        };
    return new RunningTask({ record, streams, cgroup, pidfd: openPidfd(record.pid), shim: { pidfd: shim, exitPipe } });
  } catch (error) {
    for (const fd of kept) fd.close();
    // The shim was killed while we looked.
    if (error instanceof SyscallError && startTimeOf(record.shimPid) !== record.shimStartTime) {
      return new RunningTask({ record, streams: NO_STREAMS, cgroup, pidfd: null, shim: null });
    }
    throw error;
  }
}

function reopenPipe(pid: number, descriptor: number, flags: number): Fd {
  return openPath(`/proc/${pid}/fd/${descriptor}`, flags);
}

/** The writer of stdin is gone when end of file was asked for before the restart; and so is every reader after the end. */
function keepIfOpen(keep: (fd: Fd) => Fd, pid: number, flags: number): Fd | null {
  try {
    return keep(reopenPipe(pid, DESCRIPTOR.stdinWriter, flags));
  } catch {
    return null;
  }
}
