// A unix socket in front of a daemon that passes every byte on and writes down what is asked and answered: for tests of the
// real docker CLI. Bodies are read alongside; a hijacked connection and a stream pass untouched.
import { createServer, connect, type Server, type Socket } from "node:net";
import { patternOf, problemsOf } from "./engine_api.ts";

/** More of a body is not kept: archives go through here too. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024;

export interface Exchange {
  method: string;
  /** `/containers/json`, without version and query. */
  path: string;
  /** `1.50`; empty when the path has none. */
  version: string;
  query: URLSearchParams;
  /** Names in lower case. */
  requestHeaders: Record<string, string>;
  requestBody: string;
  /** 0 until the reply's head has come. */
  status: number;
  headers: Record<string, string>;
  /** What came of the body so far; empty after a hijack. */
  body: string;
  isHijacked: boolean;
  /** The reply has come to its end. */
  isComplete: boolean;
}

export class RecordingProxy implements AsyncDisposable {
  readonly exchanges: Exchange[] = [];
  #sockets = new Set<Socket>();

  private constructor(
    readonly socket: string,
    private readonly server: Server,
  ) {}

  static async start(socket: string, daemonSocket: string): Promise<RecordingProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new RecordingProxy(socket, server);
    server.on("connection", (client) => proxy.#join(client, connect({ path: daemonSocket, allowHalfOpen: true })));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    return proxy;
  }

  /** The exchanges since the last call. */
  take(): Exchange[] {
    return this.exchanges.splice(0);
  }

  #join(client: Socket, daemon: Socket): void {
    const conversation = new Conversation((exchange) => this.exchanges.push(exchange));
    client.on("data", (bytes) => conversation.asked(bytes as Buffer));
    daemon.on("data", (bytes) => conversation.answered(bytes as Buffer));
    client.pipe(daemon);
    daemon.pipe(client);
    for (const [one, other] of [
      [client, daemon],
      [daemon, client],
    ] as const) {
      this.#sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        conversation.ended();
        this.#sockets.delete(one);
        other.destroySoon();
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}

/** What is wrong with the JSON documents among the replies, by the description of the Engine API. */
export function problemsIn(exchanges: readonly Exchange[]): string[] {
  return exchanges.flatMap(({ method, path, version, status, body, headers, isComplete, isHijacked }) => {
    if (!isComplete || isHijacked || headers["content-type"] !== "application/json") return [];
    const pattern = patternOf(method, path);
    // The head of a wait is flushed at once; a client that leaves before the end never sees a body.
    if (path.endsWith("/wait") && body === "") return [];
    if (pattern === null || /^\/(events|images\/(create|load|.+\/push)|build)$/.test(path)) return [];
    const document = body === "" ? undefined : JSON.parse(body);
    const reply = { method, pattern, status, body: document, version: version || "1.55" };
    return problemsOf(reply).map((problem) => `${method} ${path} ${status}: ${problem}`);
  });
}

/** Both directions of one connection. Requests on it come one after another, as every client of Docker sends them. */
class Conversation {
  #requests = new MessageReader();
  #replies = new MessageReader();
  #waiting: Exchange[] = [];
  #current: Exchange | null = null;

  constructor(private readonly record: (exchange: Exchange) => void) {
    this.#requests.onHead = (line, headers) => {
      const [method = "", target = ""] = line.split(" ");
      const url = new URL(target, "http://proxy");
      const [, version = "", path = ""] = /^(?:\/v(\d+\.\d+))?(\/.*)$/.exec(url.pathname) ?? [];
      this.#current = {
        method,
        path: decodeURIComponent(path),
        version,
        query: url.searchParams,
        requestHeaders: headers,
        requestBody: "",
        status: 0,
        headers: {},
        body: "",
        isHijacked: false,
        isComplete: false,
      };
      this.#waiting.push(this.#current);
      this.record(this.#current);
      if ("content-length" in headers || "transfer-encoding" in headers) return bodyOf(headers);
      return headers.upgrade === undefined ? { length: 0 } : "raw";
    };
    this.#requests.onBody = (text) => {
      if (this.#current) this.#current.requestBody += text;
    };
    this.#replies.onHead = (line, headers) => {
      const status = Number(line.split(" ")[1]);
      const [exchange] = this.#waiting;
      if (exchange === undefined || (status < 200 && status !== 101)) return { length: 0 };
      exchange.status = status;
      exchange.headers = headers;
      const isBodiless = exchange.method === "HEAD" || status === 204 || status === 304;
      if (isBodiless) return { length: 0 };
      const body = status === 101 ? "raw" : bodyOf(headers);
      exchange.isHijacked = body === "raw";
      if (exchange.isHijacked) this.#requests.stop();
      return body;
    };
    this.#replies.onBody = (text) => {
      const [exchange] = this.#waiting;
      if (exchange && !exchange.isHijacked) exchange.body += text;
    };
    this.#replies.onEnd = () => {
      // An interim reply (100) leaves the status at 0: the real one is still to come.
      const [exchange] = this.#waiting;
      if (!exchange || exchange.status === 0) return;
      exchange.isComplete = true;
      this.#waiting.shift();
    };
  }

  asked(bytes: Buffer): void {
    this.#requests.feed(bytes);
  }

  answered(bytes: Buffer): void {
    this.#replies.feed(bytes);
  }

  ended(): void {
    for (const exchange of this.#waiting) if (exchange.isHijacked) exchange.isComplete = true;
  }
}

type BodyForm = { length: number } | "chunked" | "raw";

function bodyOf(headers: Record<string, string>): BodyForm {
  if (headers["transfer-encoding"] !== undefined) return "chunked";
  const length = headers["content-length"];
  return length === undefined ? "raw" : { length: Number(length) };
}

/** HTTP/1.1 messages out of the bytes of one direction. What it reads comes from a peer that the test trusts. */
class MessageReader {
  onHead: (line: string, headers: Record<string, string>) => BodyForm = () => ({ length: 0 });
  onBody: (text: string) => void = () => {};
  onEnd: () => void = () => {};
  #kept = Buffer.alloc(0);
  #state: "head" | "body" | "chunk" | "chunk end" | "trailer" | "raw" = "head";
  #left = 0;
  #isChunked = false;
  #decoder = new TextDecoder();
  #keptBytes = 0;

  feed(bytes: Buffer): void {
    if (this.#state === "raw") return;
    this.#kept = Buffer.concat([this.#kept, bytes]);
    while (this.#step());
  }

  /** What comes from now on is no HTTP. */
  stop(): void {
    this.#state = "raw";
    this.#kept = Buffer.alloc(0);
  }

  /** Takes one piece off what has come; false when it needs more. */
  #step(): boolean {
    switch (this.#state) {
      case "head":
        return this.#line("\r\n\r\n", (text) => this.#head(text));
      case "chunk":
        return this.#line("\r\n", (text) => {
          this.#left = Number.parseInt(text, 16);
          this.#state = this.#left === 0 ? "trailer" : "body";
        });
      case "chunk end":
        return this.#line("\r\n", () => (this.#state = "chunk"));
      case "trailer":
        return this.#line("\r\n", (text) => {
          if (text === "") this.#end();
        });
      case "body":
        return this.#body();
      case "raw":
        return false;
    }
  }

  #head(text: string): void {
    const [line = "", ...fields] = text.split("\r\n");
    const headers = Object.fromEntries(
      fields.map((field) => {
        const at = field.indexOf(":");
        return [field.slice(0, at).toLowerCase(), field.slice(at + 1).trim()];
      }),
    );
    const form = this.onHead(line, headers);
    this.#isChunked = form === "chunked";
    if (form === "raw") this.stop();
    else if (form === "chunked") this.#state = "chunk";
    else if (form.length === 0) this.#end();
    else {
      this.#state = "body";
      this.#left = form.length;
    }
  }

  #body(): boolean {
    const piece = this.#kept.subarray(0, this.#left);
    this.#kept = this.#kept.subarray(piece.length);
    this.#left -= piece.length;
    if (this.#keptBytes < MAX_KEPT_BYTES) this.onBody(this.#decoder.decode(piece, { stream: true }));
    this.#keptBytes += piece.length;
    if (this.#left > 0) return false;
    if (this.#isChunked) this.#state = "chunk end";
    else this.#end();
    return true;
  }

  #line(end: string, use: (text: string) => void): boolean {
    const at = this.#kept.indexOf(end);
    if (at < 0) return false;
    const text = this.#kept.subarray(0, at).toString("latin1");
    this.#kept = this.#kept.subarray(at + end.length);
    use(text);
    return true;
  }

  #end(): void {
    this.#state = "head";
    this.#decoder = new TextDecoder();
    this.#keptBytes = 0;
    this.onEnd();
  }
}
