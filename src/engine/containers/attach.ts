// Attach: joins a client's byte stream to a container's output and stdin. `prepareAttach` checks before the connection is
// taken over; what it returns runs until the attachment ends. A slot outlives runs: `docker run` attaches before the start.
//
//   Stdio.attach ──▶ Outlet queue (1 MiB, then the workload waits) ──frames──▶ client
//                        ▲ first the log up to the moment of attaching, then the unfinished lines of that moment, then live
//   client ──▶ detach keys ──▶ Stdio.writeStdin (as fast as the workload reads)
import type { LogReader, LogWriter } from "../../../runtime/log/mod.ts";
import type { Stdio, StdioClient } from "../../../runtime/stdio/plane.ts";
import { notImplemented } from "../../errors.ts";
import { frameHead } from "../../http/multiplex.ts";
import { DetachKeyFilter, parseDetachKeys } from "../detach_keys.ts";
import type { AttachOptions, ByteStream } from "../mod.ts";

/** Output queued for one client before the workload waits; what Docker and the sockets hold together. */
const QUEUE_BYTES = 1 << 20;

/** The place where clients of one container wait for its runs. */
export interface AttachSlot {
  /** The run that goes on now, or null. */
  readonly stdio: Stdio | null;
  /** A run begins. In the same turn as StdioPlane.open, so that waiting clients receive the first byte. */
  bind(stdio: Stdio): void;
  /** Joins the run that goes on, or else the next one. Returns the remover. */
  attach(client: StdioClient): () => void;
  /** The run that goes on, or the next one; null when the slot is released or the client has gone first. */
  next(gone: AbortSignal): Promise<Stdio | null>;
  /** Settles when everything of the present run is in the log and was handed to clients; settled without a run. */
  readonly ended: Promise<void>;
  /** A start has failed, or the container is going: clients that wait for a run are ended. The slot serves on. */
  release(): void;
}

export function createAttachSlot(): AttachSlot {
  return new Slot();
}

interface Waiting {
  readonly client: StdioClient;
  remove: () => void;
}

class Slot implements AttachSlot {
  #stdio: Stdio | null = null;
  readonly #clients = new Set<Waiting>();
  readonly #waiters = new Set<(stdio: Stdio | null) => void>();

  get stdio(): Stdio | null {
    return this.#stdio;
  }

  get ended(): Promise<void> {
    return this.#stdio?.logged ?? Promise.resolve();
  }

  bind(stdio: Stdio): void {
    this.#stdio = stdio;
    for (const waiting of this.#clients) waiting.remove = stdio.attach(waiting.client);
    this.#clients.clear();
    this.#wake(stdio);
    void stdio.logged.then(() => {
      if (this.#stdio === stdio) this.#stdio = null;
    });
  }

  attach(client: StdioClient): () => void {
    if (this.#stdio) return this.#stdio.attach(client);
    const waiting: Waiting = { client, remove: () => this.#clients.delete(waiting) };
    this.#clients.add(waiting);
    return () => waiting.remove();
  }

  next(gone: AbortSignal): Promise<Stdio | null> {
    if (this.#stdio || gone.aborted) return Promise.resolve(this.#stdio);
    return new Promise((resolve) => {
      const wake = (stdio: Stdio | null): void => {
        this.#waiters.delete(wake);
        gone.removeEventListener("abort", lost);
        resolve(stdio);
      };
      const lost = (): void => wake(null);
      this.#waiters.add(wake);
      gone.addEventListener("abort", lost);
    });
  }

  release(): void {
    for (const { client } of this.#clients) void client.end();
    this.#clients.clear();
    this.#wake(null);
  }

  #wake(stdio: Stdio | null): void {
    for (const wake of this.#waiters) wake(stdio);
  }
}

/** What attach needs of one container. */
export interface AttachTarget {
  slot: AttachSlot;
  config: { isTTY: boolean; isStdinOpen: boolean; isStdinOnce: boolean };
  /** null: the driver keeps no log. */
  reader: () => LogReader | null;
  /** The log as it is being written; null when the container does not run. */
  writer: () => LogWriter | null;
  /** The engine's own default keys, as configured; "" is ctrl-p,ctrl-q. */
  detachKeys: string;
  /** A client has typed its detach keys: the event `detach`. */
  onDetach(): void;
}

/** Checks the options (throws invalid, notImplemented); the returned function resolves when the attachment has ended. */
export function prepareAttach(target: AttachTarget, options: AttachOptions): (client: ByteStream) => Promise<void> {
  const asked = options.detachKeys ?? "";
  const keys = parseDetachKeys(asked === "" ? target.detachKeys : asked);
  if (options.logs && target.reader() === null)
    throw notImplemented("configured logging driver does not support reading");
  const hasKeys = options.stdin && (target.config.isTTY || asked !== "");
  return (client) => attach(target, options, hasKeys ? keys : null, client);
}

async function attach(
  target: AttachTarget,
  options: AttachOptions,
  keys: Uint8Array | null,
  client: ByteStream,
): Promise<void> {
  using outlet = new Outlet(client, options.framed && !target.config.isTTY);
  if (options.logs) outlet.startReplay(replay(target, options, outlet.gone));
  if (!options.stream) {
    ignoreInput(client);
    await outlet.end();
    return closeOutput(client);
  }
  // WHY in this turn: the replay ends exactly where the live output begins.
  const remove = target.slot.attach({
    stdout: options.stdout,
    stderr: options.stderr,
    write: (_, bytes, framed) => outlet.write(bytes, framed),
    end: () => outlet.end(),
  });
  try {
    const ends: Promise<unknown>[] = [outlet.ended];
    if (options.stdin && target.config.isStdinOpen) ends.push(copyInput(target, keys, client, outlet.gone));
    else ignoreInput(client);
    await Promise.race(ends);
  } finally {
    remove();
  }
  closeOutput(client);
}

/** Our side first: the peer reads to the end. It may have gone already, which is as good. */
function closeOutput(client: ByteStream): void {
  client.closeWrite();
}

/** The log up to now and the lines that are unfinished now, as it was at the call. */
function replay(target: AttachTarget, options: AttachOptions, gone: AbortSignal): AsyncIterable<Piece> {
  const writer = target.writer();
  const tails = ([1, 2] as const).map((stream) => ({
    stream,
    bytes: writer?.tail(stream).slice() ?? new Uint8Array(0),
  }));
  const { stderr, stdout } = options;
  const all = { sinceNano: null, untilNano: null, tail: null, timestamps: false, details: false };
  const stored = target.reader()?.read({ stdout, stderr, ...all, isFramed: false, followUntil: null }, gone);
  return (async function* (): AsyncGenerator<Piece> {
    if (stored) yield* stored;
    for (const piece of tails) if (piece.bytes.length > 0 && (piece.stream === 1 ? stdout : stderr)) yield piece;
  })();
}

/**
 * Resolves when the attachment shall end because of its input: detach keys, or the end of input where that is not the
 * workload's. COMPAT: with StdinOnce and no terminal the end closes the workload's stdin and the client stays for output;
 * otherwise it ends the attachment, as under Docker.
 */
async function copyInput(
  target: AttachTarget,
  keys: Uint8Array | null,
  client: ByteStream,
  gone: AbortSignal,
): Promise<void> {
  const stdio = await target.slot.next(gone);
  // No run came: the outlet has ended too.
  if (!stdio) return;
  const filter = keys && new DetachKeyFilter(keys);
  for (;;) {
    const input = await client.read().catch(() => null);
    if (input === null) break;
    const { bytes, detached } = filter ? filter.take(input) : { bytes: input, detached: false };
    if (bytes.length > 0) await stdio.writeStdin(bytes);
    if (detached) return target.onDetach();
  }
  const rest = filter?.rest();
  if (rest && rest.length > 0) await stdio.writeStdin(rest);
  const { isStdinOnce, isTTY } = target.config;
  if (!isStdinOnce || isTTY) return;
  stdio.closeStdin();
  if (!gone.aborted)
    await new Promise<void>((resolve) => gone.addEventListener("abort", () => resolve(), { once: true }));
}

/** Input that nobody asked for is read and dropped, so that the connection notices its end. A half-close means nothing. */
function ignoreInput(client: ByteStream): void {
  void (async () => {
    while ((await client.read()) !== null);
  })().catch(() => {});
}

interface Piece {
  stream: 1 | 2;
  bytes: Uint8Array;
}

/** The way out to one client: a bounded queue and one writer, so that order is kept. */
class Outlet implements Disposable {
  /** Aborts once the client has gone. */
  readonly gone: AbortSignal;
  /** Settles when the last byte was delivered after end(), or the client has gone. */
  readonly ended: Promise<void>;
  readonly #abort = new AbortController();
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #isEnding = false;
  #isReplaying = false;
  #isPumping = false;
  #onRoom: (() => void)[] = [];
  #onEnded: () => void = () => {};

  constructor(
    private readonly client: ByteStream,
    private readonly isFramed: boolean,
  ) {
    this.gone = this.#abort.signal;
    this.ended = new Promise((resolve) => (this.#onEnded = resolve));
    client.onGone(() => this.#lost());
  }

  /** Live output. The promise settles when there is room again. */
  write(bytes: Uint8Array, framed: Uint8Array): Promise<void> | void {
    if (this.gone.aborted) return;
    this.#queue.push(this.isFramed ? framed : bytes);
    this.#queuedBytes += (this.isFramed ? framed : bytes).length;
    void this.#pump();
    if (this.#queuedBytes > QUEUE_BYTES) return new Promise((resolve) => this.#onRoom.push(resolve));
  }

  /** What goes out before all live output, which queues meanwhile. */
  startReplay(pieces: AsyncIterable<Piece>): void {
    this.#isReplaying = true;
    void (async () => {
      for await (const piece of pieces) {
        if (this.gone.aborted) return;
        await this.#send(piece);
      }
    })()
      .catch((error: unknown) => this.#tell(error))
      .finally(() => {
        this.#isReplaying = false;
        void this.#pump();
      });
  }

  /** Nothing more will come: resolves when everything was delivered, or the client has gone. */
  end(): Promise<void> {
    this.#isEnding = true;
    void this.#pump();
    return this.ended;
  }

  [Symbol.dispose](): void {
    this.#lost();
  }

  async #pump(): Promise<void> {
    if (this.#isPumping || this.#isReplaying) return;
    this.#isPumping = true;
    try {
      for (;;) {
        const bytes = this.#queue.shift();
        if (!bytes || this.gone.aborted) break;
        await this.client.write(bytes);
        this.#queuedBytes -= bytes.length;
        if (this.#queuedBytes <= QUEUE_BYTES / 2) this.#makeRoom();
      }
    } catch {
      // A write to a peer that has gone: there is nobody to tell.
      this.#lost();
    }
    this.#isPumping = false;
    if (this.#isEnding && !this.#isReplaying && this.#queue.length === 0) this.#onEnded();
  }

  async #send({ bytes, stream }: Piece): Promise<void> {
    if (this.isFramed) await this.client.write(frameHead(stream, bytes.length));
    await this.client.write(bytes);
  }

  /** COMPAT: the log cannot be read; Docker says so on the stream. */
  async #tell(error: unknown): Promise<void> {
    const message = error instanceof Error ? error.message : String(error);
    const bytes = new TextEncoder().encode(`Error grabbing logs: ${message}\n`);
    await this.#send({ stream: 2, bytes }).catch(() => this.#lost());
  }

  #lost(): void {
    this.#abort.abort();
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#makeRoom();
    this.#onEnded();
  }

  #makeRoom(): void {
    const waiting = this.#onRoom;
    this.#onRoom = [];
    for (const resolve of waiting) resolve();
  }
}
