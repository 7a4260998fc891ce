// One connection: request after request through `fetch`, until it ends or leaves HTTP. Written for node:net and node:tls
// sockets opened with allowHalfOpen.
//
// The end of the client's side aborts the request's signal: a client that has gone and one that has only half-closed look
// alike until something is written. Handlers of endless replies end by that signal; every reply is still delivered, so a
// client that half-closes after its request gets the answer.
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { DRAIN_BYTES, HEAD_TIMEOUT_MS, KEEP_ALIVE_MS, LINGER_MS, MAX_HEAD_BYTES } from "../limits.ts";
import type { Log } from "../log.ts";
import { ConstantResponse } from "./constant.ts";
import { hijackedSocket, type RawStream, serveStream, type Transport } from "./hijack.ts";
import { Reader } from "./reader.ts";
import { RequestBody } from "./request_body.ts";
import { HttpError, parseHead, type RequestHead } from "./request_head.ts";
import { headerLines, startOfHead } from "./response_head.ts";
import { StreamingResponse } from "./streaming.ts";
import { Writer } from "./writer.ts";

export type Fetch = (request: Request, transport: Transport) => Response | Promise<Response>;

export interface ConnectionDeps {
  fetch: Fetch;
  /** Header lines for every reply. */
  common: string;
  log: Log;
  now: () => number;
  /** The time as the Date header has it. */
  date: () => string;
  timeouts?: Partial<Timeouts>;
}

/** A request whose reply is constant, and that reply around its date. */
interface Constant {
  head: Buffer;
  before: string;
  after: string;
  /** With this date in it. */
  reply: Buffer;
  date: string;
}

export interface Timeouts {
  headMs: number;
  keepAliveMs: number;
  lingerMs: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = { headMs: HEAD_TIMEOUT_MS, keepAliveMs: KEEP_ALIVE_MS, lingerMs: LINGER_MS };

/** Chunks up to this size are copied into one buffer with their framing: one write is cheaper than three. */
const COPIED_CHUNK_BYTES = 128 << 10;
const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const END_OF_HEAD = Buffer.from("\r\n\r\n");

export class Connection {
  /** When the server may cut it off: while a head, or a body nobody wants, is awaited. null: a request runs, or it has left HTTP. */
  deadline: number | null = null;
  readonly #reader: Reader;
  readonly #writer: Writer;
  readonly #timeouts: Timeouts;
  #isIdle = true;
  #isDraining = false;
  #isHijacked = false;
  #isRefused = false;
  #constant: Constant | null = null;

  constructor(
    private readonly socket: Socket,
    private readonly deps: ConnectionDeps,
  ) {
    this.#reader = new Reader(socket);
    this.#writer = new Writer(socket);
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...deps.timeouts };
  }

  /** Serves until the connection ends or leaves HTTP. Never rejects. */
  async serve(): Promise<void> {
    try {
      while (await this.#serveNext());
    } catch (error) {
      if (error instanceof HttpError) await this.#refuse(error);
      else this.socket.destroy();
    }
  }

  /** Ends it once the request that runs has its answer; at once when none does. */
  drain(): void {
    this.#isDraining = true;
    if (this.#isIdle && !this.#isHijacked) this.socket.destroySoon();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Has taken too long to send its head: it is answered and let go. */
  expire(): void {
    this.deadline = null;
    if (this.#reader.queuedBytes === 0) this.socket.destroy();
    else void this.#refuse(new HttpError(408, "the request took too long to arrive"));
  }

  /** One request and its reply; false when the connection is done with HTTP. */
  async #serveNext(): Promise<boolean> {
    const awaited = await this.#awaitHead();
    if (awaited === null) {
      this.#writer.end();
      this.socket.destroySoon();
      return false;
    }
    const { head } = awaited;
    const body = new RequestBody(this.#reader, head, () => {
      if (head.expectsContinue) void this.#ignoringPace(CONTINUE);
    });
    const gone = new AbortController();
    this.#reader.onEnd = () => gone.abort(new Error("the client has gone"));
    if (this.#reader.hasEnded) this.#reader.onEnd();
    const response = await this.#ask(head, body, gone.signal);
    if (this.#isHijacked) return false;
    const isReusable = head.isKeptAlive && !this.#isDraining && !this.#reader.hasEnded && mayDrain(body, head);
    if (isReusable && response instanceof ConstantResponse) await this.#replyAgain(response, awaited.bytes, head);
    else await this.#reply(response, head, isReusable);
    this.#reader.onEnd = null;
    if (isReusable && (body.isDone || (await this.#readAway(body)))) return true;
    await this.#close(body);
    return false;
  }

  /** A reply that the same head gets again; see #repeat. */
  async #replyAgain(response: ConstantResponse, request: Buffer, head: RequestHead): Promise<void> {
    const date = this.deps.date();
    const [before = "", rest = ""] = startOfHead(response, head.minorVersion, this.deps.common, date).split(date);
    const body = head.method === "HEAD" ? "" : Buffer.from(await response.bytes()).toString("latin1");
    const kept = head.minorVersion === 0 ? "Connection: keep-alive\r\n" : "";
    const length = head.method === "HEAD" ? lengthOfNothing(response) : String(body.length);
    const after = `${rest}${kept}${length === null ? "" : `Content-Length: ${length}\r\n`}\r\n${body}`;
    const reply = Buffer.from(`${before}${date}${after}`, "latin1");
    const isWhole = head.bodyLength === 0 && !head.expectsContinue;
    this.#constant = isWhole ? { head: Buffer.concat([request, END_OF_HEAD]), before, after, reply, date } : null;
    await this.#writer.write(reply);
  }

  /** INVARIANT: the same bytes, and nothing beside them: they would be parsed to the same request. */
  #repeat(bytes: Buffer): boolean {
    const constant = this.#constant;
    if (constant === null || this.#isDraining || this.#isRefused) return false;
    if (bytes.length !== constant.head.length || !bytes.equals(constant.head)) return false;
    // A client that does not read its answers is served at its own pace.
    if (this.socket.destroyed || this.socket.writableLength > 0) return false;
    const date = this.deps.date();
    if (date !== constant.date) {
      constant.reply = Buffer.from(`${constant.before}${date}${constant.after}`, "latin1");
      constant.date = date;
    }
    this.deadline = this.deps.now() + this.#timeouts.keepAliveMs;
    this.socket.write(constant.reply);
    return true;
  }

  async #awaitHead(): Promise<{ head: RequestHead; bytes: Buffer } | null> {
    this.#isIdle = this.#reader.queuedBytes === 0;
    // A fresh connection and one whose head has begun owe us a head; one between requests may idle.
    const isFresh = this.deadline === null && this.socket.bytesWritten === 0;
    this.deadline = this.deps.now() + (isFresh || !this.#isIdle ? this.#timeouts.headMs : this.#timeouts.keepAliveMs);
    if (this.#constant !== null) this.#reader.shortcut = (chunk) => this.#repeat(chunk);
    const bytes = await this.#reader.head(MAX_HEAD_BYTES);
    this.#reader.shortcut = null;
    this.deadline = null;
    this.#isIdle = false;
    return bytes === null || this.#isRefused ? null : { head: parseHead(bytes), bytes };
  }

  async #ask(head: RequestHead, body: RequestBody, signal: AbortSignal): Promise<Response> {
    const init: RequestInit & { duplex?: "half" } = { method: head.method, headers: head.headers, signal };
    if (!body.isDone && head.method !== "GET" && head.method !== "HEAD") {
      init.body = body.stream();
      init.duplex = "half";
    }
    const transport: Transport = { hijack: (status, headers) => this.#hijack(status, headers, head, body) };
    try {
      // The URL's host means nothing to the API, so the client's is not trusted to make one.
      return await this.deps.fetch(new Request(`http://engine${head.target}`, init), transport);
    } catch (error) {
      this.deps.log.error("request handler failed", { error });
      return errorReply(500, error instanceof Error ? error.message : String(error));
    }
  }

  async #hijack(
    status: 101 | 200,
    headers: Record<string, string>,
    head: RequestHead,
    body: RequestBody,
  ): Promise<RawStream> {
    // A body with a length comes before the stream (exec start). Chunks that nobody has read are the stream (dockerode).
    if (head.bodyLength !== "chunked" || body.isTouched) while ((await body.next()) !== null);
    this.#isHijacked = true;
    this.#reader.onEnd = null;
    const statusLine = status === 101 ? "HTTP/1.1 101 UPGRADED" : `HTTP/1.${head.minorVersion} 200 OK`;
    await this.#writer.write(`${statusLine}\r\n${headerLines(headers)}${this.deps.common}\r\n`);
    return hijackedSocket(this.socket, this.#reader, this.#writer);
  }

  async #reply(response: Response, head: RequestHead, isReusable: boolean): Promise<void> {
    const start = startOfHead(response, head.minorVersion, this.deps.common, this.deps.date());
    const isChunked =
      response instanceof StreamingResponse && head.minorVersion === 1 && !response.headers.has("content-length");
    const isDelimited = isChunked || !(response instanceof StreamingResponse) || response.headers.has("content-length");
    const connection =
      isReusable && isDelimited
        ? head.minorVersion === 0
          ? "Connection: keep-alive\r\n"
          : ""
        : "Connection: close\r\n";
    const hasNoBody = head.method === "HEAD" || response.status === 204 || response.status === 304;
    if (response instanceof StreamingResponse && !hasNoBody) {
      await this.#stream(response, start + connection, isChunked);
      if (!isDelimited) this.#writer.end();
      return;
    }
    const bytes = hasNoBody || response.body === null ? null : await response.bytes();
    const length = hasNoBody ? lengthOfNothing(response) : String(bytes?.length ?? 0);
    if (hasNoBody) await response.body?.cancel();
    const text = `${start}${connection}${length === null ? "" : `Content-Length: ${length}\r\n`}\r\n`;
    await this.#writer.write(bytes === null || bytes.length === 0 ? text : joined(text, bytes));
  }

  /** The head at once, then each chunk as it comes. A stream that breaks destroys the socket: no clean end marker. */
  async #stream(response: Response, start: string, isChunked: boolean): Promise<void> {
    const length = response.headers.get("content-length");
    const framing = isChunked
      ? "Transfer-Encoding: chunked\r\n"
      : length === null
        ? ""
        : `Content-Length: ${length}\r\n`;
    const chunks = response.body?.getReader();
    const giveUp = (): void => {
      chunks
        ?.cancel(new Error("the client has gone"))
        .catch((error: unknown) => this.deps.log.debug("cancelled stream", { error }));
    };
    this.socket.once("close", giveUp);
    try {
      await this.#writer.write(`${start}${framing}\r\n`);
      for (;;) {
        const next = await chunks?.read();
        if (next === undefined || next.done) break;
        if (next.value.length > 0) await (isChunked ? this.#writeChunk(next.value) : this.#writer.write(next.value));
      }
      if (isChunked) await this.#writer.write("0\r\n\r\n");
    } catch (error) {
      if (!this.socket.destroyed) this.deps.log.warn("a reply broke off", { error });
      giveUp();
      this.socket.destroy();
      throw error;
    } finally {
      this.socket.off("close", giveUp);
    }
  }

  #writeChunk(bytes: Uint8Array): Promise<void> | void {
    const size = `${bytes.length.toString(16)}\r\n`;
    if (bytes.length > COPIED_CHUNK_BYTES) {
      void this.#ignoringPace(size);
      void this.#ignoringPace(bytes);
      return this.#writer.write("\r\n");
    }
    const framed = Buffer.allocUnsafe(size.length + bytes.length + 2);
    framed.write(size, 0, "latin1");
    framed.set(bytes, size.length);
    framed.write("\r\n", framed.length - 2, "latin1");
    return this.#writer.write(framed);
  }

  /** For all but the last of several writes: the last one waits for the socket to drain. */
  async #ignoringPace(data: Uint8Array | string): Promise<void> {
    try {
      await this.#writer.write(data);
    } catch {
      // The write that follows fails too, and that one is awaited.
    }
  }

  /** The answer to what never became a request, and the end. */
  async #refuse(error: HttpError): Promise<void> {
    this.#reader.onEnd = null;
    if (this.socket.destroyed || this.#isRefused) return;
    this.#isRefused = true;
    const response = errorReply(error.status, error.message);
    const bytes = await response.bytes();
    const start = startOfHead(response, 1, this.deps.common, this.deps.date());
    const text = `${start}Connection: close\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    try {
      await this.#writer.write(joined(text, bytes));
      await this.#linger();
    } catch {
      this.socket.destroy();
    }
  }

  /** What the handler left of the body, so that the connection can be used again. */
  async #readAway(body: RequestBody): Promise<boolean> {
    this.deadline = this.deps.now() + this.#timeouts.headMs;
    const isRead = await body.drain(DRAIN_BYTES);
    this.deadline = null;
    return isRead && !this.#isRefused;
  }

  async #close(body: RequestBody): Promise<void> {
    if (body.isDone || this.#reader.hasEnded) {
      this.#writer.end();
      this.socket.destroySoon();
    } else await this.#linger();
  }

  /** FIN, then input is swallowed for a while, so that a client in the middle of its body still reads the answer. */
  async #linger(): Promise<void> {
    const stream = hijackedSocket(this.socket, this.#reader, this.#writer);
    await serveStream(stream, async () => {}, this.#timeouts.lingerMs);
  }
}

/** Whether what is left of the body is worth reading to keep the connection. */
function mayDrain(body: RequestBody, head: RequestHead): boolean {
  if (body.isDone) return true;
  if (body.hasFailed || body.isBeingRead) return false;
  // Nobody has asked the client to go on: it may or may not send the body.
  if (head.expectsContinue && !body.isTouched) return false;
  return head.bodyLength === "chunked" || head.bodyLength <= DRAIN_BYTES;
}

/** COMPAT: Docker's reply to HEAD /_ping says Content-Length: 0; 204 and 304 must not have one. */
function lengthOfNothing(response: Response): string | null {
  return response.headers.get("content-length") ?? (response.status === 204 || response.status === 304 ? null : "0");
}

function errorReply(status: number, message: string): Response {
  return new Response(`${JSON.stringify({ message })}\n`, { status, headers: { "Content-Type": "application/json" } });
}

/** Head and body in one buffer: one write, and one packet where it fits. */
function joined(head: string, body: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 0, "latin1");
  bytes.set(body, head.length);
  return bytes;
}
