// The one owner of a socket's read side. It queues what arrives, pauses the socket when the queue is full, and keeps
// reading while a handler runs, so that a client that goes away is noticed.
//
// INVARIANT: nothing else listens for data, end or error on the socket, before or after the connection leaves HTTP.
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { READ_QUEUE_BYTES } from "../limits.ts";
import { HttpError } from "./request_head.ts";

const EMPTY = Buffer.alloc(0);
const CR = 0x0d;
const LF = 0x0a;

export class Reader {
  /** The peer has ended its side, or the connection is gone. */
  hasEnded = false;
  /** Why the connection broke; null after a clean end. */
  error: Error | null = null;
  /** Asked first for what arrives while nothing is queued; true: it has been dealt with. */
  shortcut: ((bytes: Buffer) => boolean) | null = null;
  /** Called when `hasEnded` becomes true. */
  onEnd: (() => void) | null = null;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #isPaused = false;
  #waiters: (() => void)[] = [];

  constructor(private readonly socket: Socket) {
    socket.on("data", (bytes: Buffer) => this.#take(bytes));
    socket.on("end", () => this.#end(null));
    socket.on("error", (error: Error) => this.#end(error));
    socket.on("close", () => this.#end(new Error("connection closed")));
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  #take(bytes: Buffer): void {
    if (this.shortcut !== null && this.#queuedBytes === 0 && this.shortcut(bytes)) return;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    if (this.#queuedBytes >= READ_QUEUE_BYTES && !this.#isPaused) {
      this.#isPaused = true;
      this.socket.pause();
    }
    this.#wake();
  }

  #end(error: Error | null): void {
    if (this.hasEnded) {
      // A broken connection after a half-close still matters to whoever is told at the end.
      this.error ??= error;
      this.#wake();
      return;
    }
    this.hasEnded = true;
    this.error = error;
    this.#wake();
    this.onEnd?.();
  }

  #wake(): void {
    const waiters = this.#waiters;
    if (waiters.length === 0) return;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  #nextEvent(): Promise<void> {
    if (this.#isPaused) {
      this.#isPaused = false;
      this.socket.resume();
    }
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** The next bytes, at most `limit`; null at the end. */
  async read(limit = Infinity): Promise<Buffer | null> {
    while (this.#queuedBytes === 0) {
      if (this.hasEnded) return null;
      await this.#nextEvent();
    }
    return this.#shift(limit);
  }

  /** Takes what is queued already, without waiting; null when nothing is. */
  readNow(limit: number): Buffer | null {
    return this.#queuedBytes === 0 ? null : this.#shift(limit);
  }

  #shift(limit: number): Buffer {
    const first = this.#queue[0] ?? EMPTY;
    if (first.length > limit) {
      this.#queue[0] = first.subarray(limit);
      this.#queuedBytes -= limit;
      return first.subarray(0, limit);
    }
    this.#queue.shift();
    this.#queuedBytes -= first.length;
    return first;
  }

  #flat(): Buffer {
    if (this.#queue.length > 1) this.#queue = [Buffer.concat(this.#queue)];
    return this.#queue[0] ?? EMPTY;
  }

  /** A request head without its closing empty line; null when the peer ends before one begins. */
  async head(limit: number): Promise<Buffer | null> {
    for (let scanned = 0; ;) {
      const bytes = this.#flat();
      // Some clients end a body with an extra line end: RFC 9112 section 2.2 lets a server skip it.
      if (scanned === 0 && bytes.length >= 2 && bytes[0] === CR && bytes[1] === LF) {
        this.#shift(2);
        continue;
      }
      const end = bytes.indexOf("\r\n\r\n", Math.max(0, scanned - 3), "latin1");
      if (end > limit || (end < 0 && bytes.length > limit))
        throw new HttpError(431, `a request head over ${limit} bytes`);
      if (end >= 0) {
        this.#shift(end + 4);
        return bytes.subarray(0, end);
      }
      refuseGarbage(bytes, scanned);
      scanned = bytes.length;
      if (this.hasEnded) {
        if (bytes.length === 0) return null;
        throw new HttpError(400, "the connection ended inside a request head");
      }
      await this.#nextEvent();
    }
  }

  /** A line of chunked framing, without its end. */
  async line(limit: number): Promise<string> {
    for (;;) {
      // Most often it lies in the first piece; the others are joined to it only when it does not.
      let bytes = this.#queue[0] ?? EMPTY;
      let end = bytes.indexOf("\r\n", 0, "latin1");
      if (end < 0 && this.#queue.length > 1) {
        bytes = this.#flat();
        end = bytes.indexOf("\r\n", 0, "latin1");
      }
      if (end > limit || (end < 0 && bytes.length > limit + 2)) {
        throw new HttpError(400, "a line of chunked framing is too long");
      }
      if (end >= 0) {
        this.#shift(end + 2);
        return bytes.toString("latin1", 0, end);
      }
      if (this.hasEnded) throw new HttpError(400, "the connection ended inside the request body");
      await this.#nextEvent();
    }
  }
}

/** What can never become a request head is refused at once rather than when the time is up. */
function refuseGarbage(bytes: Buffer, scanned: number): void {
  const first = bytes[0];
  if (first === undefined) return;
  if (first === 0x16) throw new HttpError(400, "a TLS handshake on a plain HTTP socket");
  if ((first < 0x41 || first > 0x5a) && !(first === CR && bytes.length === 1))
    throw new HttpError(400, "malformed request line");
  for (let at = bytes.indexOf(LF, Math.max(0, scanned - 1)); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at - 1] !== CR) throw new HttpError(400, "a line that ends in a bare LF");
  }
}
