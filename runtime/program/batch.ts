// Batches: several system calls in one FFI call, made by the interpreter of blob.ts inside the daemon. For hops into
// another network namespace, and for what must not be interrupted by JavaScript.
//
// INVARIANT: a hop is one batch. A thread that Bun starts while this one stands in a foreign namespace would stay there
// for good; between the calls of a batch no JavaScript runs, so none is started. The way back is taken on errors too.
import { SyscallError } from "../errors.ts";
import { hostArch } from "../sys/arch.ts";
import { Fd } from "../sys/fd.ts";
import { addressOf, alloc, codeFunction, mapCode } from "../sys/ffi.ts";
import { AT_FDCWD, O } from "../sys/file.ts";
import { CLONE } from "../sys/namespace.ts";
import { batchCode } from "./blob.ts";
import { CONTEXT_BYTES, Label, Load, Program, type Ref } from "./program.ts";

type RunTable = (firstStep: number, context: number) => number;
let runTable: RunTable | undefined;

/** The results of a batch that succeeded, by slot. */
export type BatchResults = (slot: Ref) => number;

/**
 * Runs a program's table on this thread. Its `failure` label is where a failed step goes on, to undo things; the table
 * ends at `end()`. Throws the last failure: of the step, or of what undoes it. Slots that no step has filled hold -1.
 */
export function runBatch(program: Program): BatchResults {
  const memory = alloc(program.memoryBytes());
  const base = addressOf(memory);
  const { table, titleAt } = program.layOutAt(memory, base);
  memory.fill(0xff, CONTEXT_BYTES, table - base);
  runTable ??= codeFunction(mapCode(batchCode(hostArch())), ["u64_fast", "u64_fast"], "i64_fast");
  // SAFETY: every address in the table points into `memory`, which stays referenced until the results are read.
  const failure = Number(runTable(table, base));
  const view = new DataView(memory.buffer);
  const slot = (ref: Ref): number => Number(view.getBigInt64(ref.offset, true));
  if (failure < 0) {
    const step = Number(view.getBigUint64(8, true));
    throw new BatchFailure(titleAt(step) ?? `step at ${step}`, -failure, slot);
  }
  return slot;
}

/** A failed batch, with what its slots hold so that the caller can close what was opened. */
export class BatchFailure extends SyscallError {
  constructor(
    title: string,
    errno: number,
    readonly slot: BatchResults,
  ) {
    super(title, errno);
  }
}

/**
 * A new network namespace, kept alive by the descriptor alone, after the steps that `furnish` adds were made in it. The
 * daemon stays where it is. A step of `furnish` that goes on after its failure leaves it to `mayFail` whether that counts.
 */
export function createNetns(
  furnish: (program: Program) => void = () => undefined,
  mayFail: (errno: number) => boolean = () => false,
): Fd {
  const fill = (program: Program, made: Ref): void => {
    furnish(program);
    openOwnNetns(program, made, "open the new network namespace");
  };
  return hop(null, fill, mayFail);
}

/** A socket that lives in another network namespace. `type` may carry SOCK_NONBLOCK; close-on-exec is added. */
export function socketIn(netns: Fd, family: number, type: number, protocol: number): Fd {
  return hop(netns, (program, made) => {
    program.step("socket", [family, type | SOCK_CLOEXEC, protocol], { out: made, title: "socket" });
  });
}

export interface BoundSocket {
  family: number;
  type: number;
  protocol: number;
  /** struct sockaddr_in, sockaddr_in6, sockaddr_un or sockaddr_nl. */
  address: Uint8Array;
  /** 32-bit socket options, set before bind: SO_REUSEADDR, IPV6_V6ONLY … */
  options?: { level: number; name: number; value: number }[];
  /** Listen with this backlog. */
  backlog?: number;
}

/** A socket made, bound and (with a backlog) listening in another network namespace. */
export function boundSocketIn(netns: Fd, socket: BoundSocket): Fd {
  return hop(netns, (program, made) => {
    program.step("socket", [socket.family, socket.type | SOCK_CLOEXEC, socket.protocol], {
      out: made,
      title: "socket",
    });
    for (const option of socket.options ?? []) {
      const value = new Uint8Array(Int32Array.of(option.value).buffer);
      program.step("setsockopt", [new Load(made), option.level, option.name, value, 4], { title: "setsockopt" });
    }
    program.step("bind", [new Load(made), socket.address, socket.address.length], { title: "bind" });
    if (socket.backlog !== undefined) program.step("listen", [new Load(made), socket.backlog], { title: "listen" });
  });
}

const SOCK_CLOEXEC = 0o2000000;
/** Exit status when the thread cannot get back: EX_OSERR of sysexits(3). */
const STUCK_STATUS = 71;

/** The steps that `body` adds, made in another network namespace. */
export function runIn(netns: Fd, body: (program: Program) => void): void {
  const program = new Program(hostArch());
  addRoundTrip(program, netns, () => body(program));
  runBatch(program);
}

/** Enters a network namespace (or makes one), lets `body` add steps that leave a descriptor in `made`, and returns. */
function hop(
  netns: Fd | null,
  body: (program: Program, made: Ref) => void,
  mayFail: (errno: number) => boolean = () => false,
): Fd {
  const program = new Program(hostArch());
  const made = program.slot();
  addRoundTrip(program, netns, () => body(program, made));
  try {
    return new Fd(runBatch(program)(made));
  } catch (error) {
    const opened = error instanceof BatchFailure ? error.slot(made) : -1;
    if (opened < 0) throw error;
    const fd = new Fd(opened);
    if (error instanceof BatchFailure && mayFail(error.errno)) return fd;
    fd.close();
    throw error;
  }
}

/** There (null: into a new namespace), what `body` adds, and back, whatever of it fails. */
function addRoundTrip(program: Program, netns: Fd | null, body: () => void): void {
  const home = program.slot();
  const leave = new Label("leave");
  const stuck = new Label("stuck");
  const done = new Label("done");
  openOwnNetns(program, home, "open the daemon's network namespace", done);
  if (netns === null) program.step("unshare", [CLONE.NEWNET], { error: leave, title: "unshare" });
  else program.step("setns", [netns.number, CLONE.NEWNET], { error: leave, title: "setns" });
  body();
  program.mark(program.failure);
  program.step("setns", [new Load(home), CLONE.NEWNET], {
    error: stuck,
    title: "return to the daemon's network namespace",
  });
  program.mark(leave);
  program.step("close", [new Load(home)], { error: done });
  program.mark(done);
  program.end();
  // INVARIANT: the daemon never goes on in a foreign namespace.
  program.mark(stuck);
  const message = "berth: cannot return to the host's network namespace; stopping\n";
  program.step("write", [2, message, message.length], { error: 1 });
  program.step("exit_group", [STUCK_STATUS], { error: 0 });
}

function openOwnNetns(program: Program, out: Ref, title: string, error: Label = program.failure): void {
  program.step("openat", [AT_FDCWD, "/proc/thread-self/ns/net", O.RDONLY | O.CLOEXEC], { out, error, title });
}
