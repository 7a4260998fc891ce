// The stdio plane: one reader for each output stream of each task; every chunk goes to the log first, then to the attach
// clients. A client whose buffer is full makes the stream wait, and so the workload, as under Docker; one that has gone is
// dropped at once. After the task has ended nobody is waited for: what is left in its pipes is read, logged and queued.
import type { LogWriter } from "../log/mod.ts";
import type { LogStream } from "../log/record.ts";
import type { ExitReport, TaskStreams } from "../mod.ts";
import type { Fd } from "../sys/fd.ts";
import { alloc } from "../sys/ffi.ts";
import { growPipe, O, openPath, pipe2, setNonBlocking } from "../sys/file.ts";
import { pipeSize } from "../sys/splice.ts";
import { Journal, journalCalls } from "./journal.ts";
import { createPoller, type Poller } from "./poller.ts";
import { TaskStdio } from "./task_stdio.ts";
import { pipeCalls, Transfer, TRANSFER_BYTES, type TransferParts } from "./transfer.ts";

/** One receiver of a task's output. */
export interface StdioClient {
  stdout: boolean;
  stderr: boolean;
  /**
   * Takes ownership of the bytes, which other clients share: not to be changed. `framed`: the same behind the eight bytes of
   * a stream without terminal, in one piece. A promise means: wait with the next chunk of this stream until it settles. A
   * rejection drops the client.
   */
  write(stream: LogStream, bytes: Uint8Array, framed: Uint8Array): Promise<void> | void;
  /** Nothing more will come. A promise: until everything was delivered. */
  end(): Promise<void> | void;
}

export interface Stdio {
  readonly isTTY: boolean;
  /** Adds a client from now on; returns its remover. */
  attach(client: StdioClient): () => void;
  /** Resolves when the bytes are with the kernel. Ignored without a stdin, and after closeStdin. */
  writeStdin(bytes: Uint8Array): Promise<void>;
  /** The workload reads EOF after what was written. A terminal has no such end: nothing happens. */
  closeStdin(): void;
  /** After exit: every byte is in the log and was handed to each client. What follows an exit waits for this, not for clients. */
  readonly logged: Promise<void>;
  /** After `logged`: and each client has taken, or refused, its last byte, and its end() is through. */
  readonly drained: Promise<void>;
  /** Lets go without ending anything (daemon shutdown with live restore). */
  close(): void;
}

export interface OpenStdio {
  /** null: nothing is logged (exec sessions, driver none). */
  log: LogWriter | null;
  /** A file below the exec root that outlives the daemon. null: an interrupted transfer is not remembered. */
  journalPath: string | null;
  isTTY: boolean;
  /** The shim's own writer of stdin must go too before the workload reads EOF: Task.dropStdin. */
  dropStdin?: () => void;
}

export interface StdioPlane {
  /**
   * Nothing is read before the next turn of the event loop: clients attached until then receive the first byte. Takes
   * duplicates of the streams but staging; that must stay open until `logged` or close().
   */
  open(task: { streams: TaskStreams; exited: Promise<ExitReport> }, options: OpenStdio): Stdio;
  close(): void;
}

/** `onProblem`: a stream that could not be read any more, or a journal that could not be written. */
export function createStdioPlane(onProblem: (error: unknown) => void): StdioPlane {
  return new Plane(onProblem);
}

class Plane implements StdioPlane {
  readonly #poller: Poller;
  readonly #parts: TransferParts;
  readonly #open = new Set<TaskStdio>();
  #isClosed = false;

  constructor(private readonly onProblem: (error: unknown) => void) {
    this.#poller = createPoller(onProblem);
    const scratch = pipe2(O.NONBLOCK);
    growPipe(scratch.write, TRANSFER_BYTES);
    this.#parts = {
      scratch,
      buffer: alloc(TRANSFER_BYTES),
      devNull: openPath("/dev/null", O.WRONLY),
      calls: pipeCalls,
    };
  }

  open(task: { streams: TaskStreams; exited: Promise<ExitReport> }, options: OpenStdio): Stdio {
    const { streams } = task;
    for (const fd of [streams.stdin, streams.stdout, streams.stderr, streams.terminal]) if (fd) setNonBlocking(fd);
    const journal =
      options.log && options.journalPath ? new Journal(options.journalPath, journalCalls, this.onProblem) : null;
    try {
      const transfer =
        options.log && journal && streams.staging ? this.#transfer(streams.staging, options.log, journal) : null;
      const stdio: TaskStdio = new TaskStdio(task, options, {
        poller: this.#poller,
        buffer: this.#parts.buffer,
        transfer,
        onProblem: this.onProblem,
        onClosed: () => {
          journal?.close();
          this.#open.delete(stdio);
        },
      });
      this.#open.add(stdio);
      return stdio;
    } catch (error) {
      journal?.close();
      throw error;
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const stdio of this.#open) stdio.close();
    this.#poller.close();
    this.#parts.scratch.read.close();
    this.#parts.scratch.write.close();
    this.#parts.devNull.close();
  }

  #transfer(staging: { read: Fd; write: Fd }, log: LogWriter, journal: Journal): Transfer {
    const stagingBytes = growPipe(staging.write, TRANSFER_BYTES);
    const scratchBytes = growPipe(
      this.#parts.scratch.write,
      Math.max(stagingBytes, pipeSize(this.#parts.scratch.write)),
    );
    // INVARIANT: all of staging can be repeated in scratch at once, and fits the buffer.
    if (scratchBytes < stagingBytes || this.#parts.buffer.length < stagingBytes) {
      throw new Error(`staging of ${stagingBytes} bytes, the pipe to read it by holds ${scratchBytes}`);
    }
    const transfer = new Transfer(this.#parts, staging, log, journal);
    transfer.recover();
    return transfer;
  }
}
