// The pipes or the terminal of a new process: our ends, and the ends that go into the shim by number.
import type { TaskStreams } from "../mod.ts";
import { PIPE_BYTES } from "../limits.ts";
import { DESCRIPTOR } from "../program/descriptors.ts";
import type { Fd } from "../sys/fd.ts";
import { check } from "../sys/ffi.ts";
import { growPipe, pipe2, setNonBlocking } from "../sys/file.ts";
import type { FsOption } from "../sys/mount.ts";
import { openPty, setWindowSize } from "../sys/tty.ts";
import type { DescriptorTable } from "./spawn.ts";

export interface NewStreams {
  streams: TaskStreams;
  /** Closed by the caller once the shim has them. */
  childSide: Fd[];
}

type Pipe = ReturnType<typeof pipe2>;

/** The ends of a pipe are two open files: making one non-blocking leaves the other as it was. */
function openPipe(owned: DisposableStack, nonBlocking: readonly (keyof Pipe)[]): Pipe {
  const pipe = pipe2();
  owned.use(pipe.read);
  owned.use(pipe.write);
  growPipe(pipe.write, PIPE_BYTES);
  for (const end of nonBlocking) setNonBlocking(pipe[end]);
  return pipe;
}

/** Both ends are ours and the shim's. */
function openStaging(table: DescriptorTable, owned: DisposableStack): Pipe {
  const staging = openPipe(owned, ["read", "write"]);
  table.set(DESCRIPTOR.stagingReader, staging.read).set(DESCRIPTOR.stagingWriter, staging.write);
  return staging;
}

/** Reads nothing but the end. The program puts the container's /dev/null in its place (program/workload.ts says why). */
function emptyPipe(owned: DisposableStack): Fd {
  const { read, write } = pipe2();
  write.close();
  return owned.use(read);
}

/** What is needed for a process without a terminal. The shim keeps its own copies of our ends when `kept`. */
export function openPipes(
  table: DescriptorTable,
  options: { hasStdin: boolean; isKept: boolean; uid: number },
): NewStreams {
  using owned = new DisposableStack();
  // The workload's ends block, as it expects; ours never do.
  const stdin = options.hasStdin ? openPipe(owned, ["write"]) : null;
  const input = stdin?.read ?? emptyPipe(owned);
  const stdout = openPipe(owned, ["read"]),
    stderr = openPipe(owned, ["read"]);
  table.set(DESCRIPTOR.stdin, input).set(DESCRIPTOR.stdout, stdout.write).set(DESCRIPTOR.stderr, stderr.write);
  if (options.isKept) {
    if (stdin) table.set(DESCRIPTOR.stdinWriter, stdin.write);
    table.set(DESCRIPTOR.stdoutReader, stdout.read).set(DESCRIPTOR.stderrReader, stderr.read);
  }
  const childSide = [input, stdout.write, stderr.write];
  giveTo(options.uid, childSide);
  const staging = options.isKept ? openStaging(table, owned) : null;
  owned.move();
  const streams = { stdin: stdin?.write ?? null, stdout: stdout.read, stderr: stderr.read, terminal: null, staging };
  return { streams, childSide };
}

export interface TerminalOptions {
  fsOptions: readonly FsOption[];
  attributes: number;
  size: { rows: number; columns: number } | null;
  uid: number;
}

/** A terminal in a devpts instance of its own. */
export function openTerminal(table: DescriptorTable, options: TerminalOptions): NewStreams {
  using owned = new DisposableStack();
  const { mount, master, slave } = openPty(options.fsOptions, options.attributes);
  for (const fd of [mount, master, slave]) owned.use(fd);
  setNonBlocking(master);
  if (options.size) setWindowSize(master, options.size.rows, options.size.columns);
  giveTo(options.uid, [slave]);
  table.set(DESCRIPTOR.stdin, slave).set(DESCRIPTOR.stdout, slave).set(DESCRIPTOR.stderr, slave);
  table.set(DESCRIPTOR.master, master).set(DESCRIPTOR.ptsMount, mount);
  const streams = { stdin: null, stdout: null, stderr: null, terminal: master, staging: openStaging(table, owned) };
  owned.move();
  return { streams, childSide: [mount, slave] };
}

/** So that a workload that is not root may open /dev/stdout again. */
function giveTo(uid: number, fds: readonly Fd[]): void {
  if (uid === 0) return;
  for (const fd of fds) check("fchown", [fd.number, uid, -1], { uid });
}
