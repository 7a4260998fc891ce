// The streams of one task: reads them when they are readable, deals out to clients, and knows when it is over.
import type { ExitReport, TaskStreams } from "../mod.ts";
import { SyscallError } from "../errors.ts";
import { PIPE_BYTES } from "../limits.ts";
import type { LogStream } from "../log/record.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { readOnce } from "../sys/file.ts";
import type { OpenStdio, Stdio, StdioClient } from "./plane.ts";
import type { Poller, Watch } from "./poller.ts";
import { StdinWriter } from "./stdin.ts";
import type { Step, Transfer } from "./transfer.ts";

/**
 * Processes that outlive the task (an exec session's background children) may hold its pipes open for ever. COMPAT: Docker
 * waits two seconds for them, then ends the streams. A container's own processes all end with it.
 */
const ORPHAN_GRACE_MS = 2_000;
/** As much as a stream's pipe and its staging can hold between them, and more. */
const LATE_BYTES = 2 * PIPE_BYTES;
/** A terminal that no process has open reads EIO, until one opens it again (an init system does): looked at this often. */
const TERMINAL_RETRY_MS = 250;

const FRAME_HEAD_BYTES = 8;

export interface TaskStdioDeps {
  poller: Poller;
  /** Shared by all tasks, used within one turn. */
  buffer: Uint8Array;
  /** null: output is not logged. */
  transfer: Transfer | null;
  onProblem(error: unknown): void;
  onClosed(): void;
}

interface Source {
  readonly stream: LogStream;
  readonly fd: Fd;
  readonly watch: Watch;
  state: "open" | "paused" | "ended";
  /** Read after the exit. */
  lateBytes: number;
  retry: ReturnType<typeof setTimeout> | null;
}

interface Receiver {
  readonly client: StdioClient;
  /** Settles when the client has taken all that it was given. */
  pending: Promise<void>;
  /** Settles when it is removed: nobody waits for it from then on. */
  readonly removed: Promise<void>;
}

export class TaskStdio implements Stdio {
  readonly isTTY: boolean;
  readonly logged: Promise<void>;
  readonly drained: Promise<void>;
  readonly #sources: Source[] = [];
  readonly #receivers = new Set<Receiver>();
  readonly #stdin: { watch: Watch; writer: StdinWriter } | null;
  /**
   * Duplicates of the task's descriptors. WHY: one that is closed while epoll watches it, and the shim has it open, would
   * wake us for ever; so the task may be disposed of whenever its owner likes.
   */
  readonly #owned: Fd[] = [];
  readonly #givenStdin: Fd | null;
  readonly #stdinCopy: Fd | null;
  #isStdinClosed = false;
  #hasExited = false;
  #isOver = false;
  #grace: ReturnType<typeof setTimeout> | null = null;
  #onLogged: () => void = () => {};
  #onDrained: () => void = () => {};

  constructor(
    task: { streams: TaskStreams; exited: Promise<ExitReport> },
    private readonly options: OpenStdio,
    private readonly deps: TaskStdioDeps,
  ) {
    this.isTTY = options.isTTY;
    this.logged = new Promise((resolve) => (this.#onLogged = resolve));
    this.drained = new Promise((resolve) => (this.#onDrained = resolve));
    // Where descriptors or watches run out half-way, those taken until then are given back.
    using taken = new DisposableStack();
    const own = (fd: Fd | null): Fd | null => {
      const copy = fd ? taken.use(fd.duplicate()) : null;
      if (copy) this.#owned.push(copy);
      return copy;
    };
    const watch = (fd: Fd): Watch => taken.adopt(deps.poller.watch(fd), (watched) => watched.close());
    // One for reading and writing.
    const terminal = own(task.streams.terminal);
    const [stdin, stdout, stderr] = terminal
      ? [null, null, null]
      : [own(task.streams.stdin), own(task.streams.stdout), own(task.streams.stderr)];
    this.#givenStdin = task.streams.stdin;
    this.#stdinCopy = stdin;
    for (const [stream, fd] of [
      [1, terminal],
      [1, stdout],
      [2, stderr],
    ] as const) {
      if (fd) this.#sources.push({ stream, fd, watch: watch(fd), state: "open", lateBytes: 0, retry: null });
    }
    const input = terminal ?? stdin;
    const inputWatch = this.#sources.find(({ fd }) => fd === input)?.watch ?? (input && watch(input));
    this.#stdin = input && inputWatch ? { watch: inputWatch, writer: new StdinWriter(input, inputWatch) } : null;
    for (const source of this.#sources) this.#listen(source);
    taken.move();
    void task.exited.then(() => this.#exited());
  }

  attach(client: StdioClient): () => void {
    if (this.#isOver) {
      void client.end();
      return () => {};
    }
    let onRemoved: () => void = () => {};
    const removed = new Promise<void>((resolve) => (onRemoved = resolve));
    const receiver: Receiver = { client, pending: Promise.resolve(), removed };
    this.#receivers.add(receiver);
    return () => {
      this.#receivers.delete(receiver);
      onRemoved();
    };
  }

  async writeStdin(bytes: Uint8Array): Promise<void> {
    if (this.#stdin && !this.#isStdinClosed) await this.#stdin.writer.write(bytes);
  }

  closeStdin(): void {
    if (!this.#stdin || this.#isStdinClosed || this.isTTY) return;
    this.#isStdinClosed = true;
    this.#stdin.writer.end(() => {
      if (this.#isOver) return;
      this.#releaseStdin();
      this.#givenStdin?.close();
      this.options.dropStdin?.();
    });
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#letGo();
  }

  // ---- reading

  #listen(source: Source): void {
    if (source.state !== "open" || this.#isOver) return;
    source.watch.onReadable(() => this.#serve(source));
  }

  /** One chunk. Called by the poller as long as there is something to read. */
  #serve(source: Source): void {
    let step: Step;
    try {
      step = this.#step(source);
    } catch (error) {
      // Whatever it is, waiting for more of this stream is pointless; the others go on.
      this.deps.onProblem(error);
      return this.#end(source);
    }
    if (step.kind === "bytes") this.#deal(source, step.bytes);
    else if (step.kind === "end") this.#atEnd(source);
  }

  #step(source: Source): Step {
    const { transfer } = this.deps;
    return transfer ? transfer.step(source.stream, source.fd, this.isTTY) : this.#read(source);
  }

  /** Without a journal: read, log if there is a log, deal out. */
  #read(source: Source): Step {
    const { buffer } = this.deps;
    let count: number | null;
    try {
      count = readOnce(source.fd, buffer);
    } catch (error) {
      if (error instanceof SyscallError && error.errno === E.EIO) return { kind: "end" };
      throw error;
    }
    if (count === null) return { kind: "empty" };
    if (count === 0) return { kind: "end" };
    const bytes = buffer.subarray(0, count);
    this.options.log?.append(source.stream, bytes);
    return { kind: "bytes", bytes };
  }

  #deal(source: Source, shared: Uint8Array): void {
    const waits: Promise<void>[] = [];
    let framed: Uint8Array | null = null;
    for (const receiver of this.#receivers) {
      const { client } = receiver;
      if (!(source.stream === 1 ? client.stdout : client.stderr)) continue;
      // One copy for all of them: the buffer serves the next chunk, and clients queue.
      framed ??= frame(source.stream, shared);
      const wait = this.#give(receiver, source.stream, framed);
      if (wait) waits.push(wait);
    }
    // WHY not after exit: what the pipes still hold is bounded by their size, and the log must not wait for a client. What
    // comes beyond that is from processes that live on and hold the pipes: they wait like any other.
    if (this.#hasExited) source.lateBytes += shared.length;
    if (waits.length === 0 || (this.#hasExited && source.lateBytes <= LATE_BYTES)) return;
    source.state = "paused";
    source.watch.onReadable(null);
    void Promise.all(waits).then(() => this.#resume(source));
  }

  #give(receiver: Receiver, stream: LogStream, framed: Uint8Array): Promise<void> | null {
    const drop = (): void => {
      this.#receivers.delete(receiver);
    };
    try {
      const taken = receiver.client.write(stream, framed.subarray(FRAME_HEAD_BYTES), framed);
      if (!taken) return null;
      const settled = Promise.race([taken, receiver.removed]).then(undefined, drop);
      receiver.pending = settled;
      return settled;
    } catch {
      // Gone: clients come and go, and this one said so by throwing.
      drop();
      return null;
    }
  }

  #resume(source: Source): void {
    if (source.state !== "paused") return;
    source.state = "open";
    this.#listen(source);
  }

  // ---- the end

  #atEnd(source: Source): void {
    if (!this.isTTY || this.#hasExited) return this.#end(source);
    source.watch.onReadable(null);
    source.retry ??= setTimeout(() => {
      source.retry = null;
      this.#listen(source);
    }, TERMINAL_RETRY_MS);
  }

  #exited(): void {
    this.#hasExited = true;
    if (this.#isOver) return;
    for (const source of this.#sources) {
      this.#resume(source);
      if (source.retry) clearTimeout(source.retry);
      source.retry = null;
      this.#listen(source);
    }
    this.#grace = setTimeout(() => {
      for (const source of this.#sources) this.#readRest(source);
    }, ORPHAN_GRACE_MS);
    this.#checkOver();
  }

  /** What is in the pipe now, then the end, although somebody holds it open. */
  #readRest(source: Source): void {
    // A bound for an orphan that writes faster than we read.
    for (let restBytes = 0; restBytes < LATE_BYTES && source.state !== "ended";) {
      const step = this.#step(source);
      if (step.kind !== "bytes") break;
      restBytes += step.bytes.length;
      this.#deal(source, step.bytes);
    }
    this.#end(source);
  }

  #end(source: Source): void {
    if (source.state === "ended") return;
    source.state = "ended";
    source.watch.close();
    if (this.deps.transfer) this.deps.transfer.finish(source.stream);
    else this.options.log?.flushPartial(source.stream);
    this.#checkOver();
  }

  #checkOver(): void {
    if (this.#isOver || !this.#hasExited || this.#sources.some(({ state }) => state !== "ended")) return;
    this.#isOver = true;
    this.#letGo();
    const receivers = [...this.#receivers];
    this.#onLogged();
    void Promise.all(receivers.map((receiver) => this.#finish(receiver))).then(() => this.#onDrained());
  }

  /** In order behind what it was given; a client that fails here has gone. */
  async #finish(receiver: Receiver): Promise<void> {
    await receiver.pending;
    const isThere = this.#receivers.delete(receiver);
    if (isThere) await Promise.race([receiver.client.end(), receiver.removed]).catch(() => {});
  }

  #letGo(): void {
    if (this.#grace) clearTimeout(this.#grace);
    for (const { retry, watch } of this.#sources) {
      if (retry) clearTimeout(retry);
      watch.close();
    }
    this.#releaseStdin();
    for (const fd of this.#owned) fd.close();
    this.deps.onClosed();
  }

  #releaseStdin(): void {
    this.#stdin?.writer.close();
    this.#stdin?.watch.close();
    this.#stdinCopy?.close();
  }
}

/** A copy behind the head that http/multiplex draws: stream, three zeros, big-endian length. */
function frame(stream: LogStream, bytes: Uint8Array): Uint8Array {
  const framed = new Uint8Array(FRAME_HEAD_BYTES + bytes.length);
  framed[0] = stream;
  new DataView(framed.buffer).setUint32(4, bytes.length);
  framed.set(bytes, FRAME_HEAD_BYTES);
  return framed;
}
