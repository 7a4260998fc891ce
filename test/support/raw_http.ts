// A server on a unix socket of its own, and a client that sends exact bytes: for tests of what goes over the wire.
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Fetch } from "../../src/http/connection.ts";
import { type HttpServer, listenAll, type ListenDeps } from "../../src/http/listen.ts";
import { commonHeaders } from "../../src/http/version.ts";
import { createLog } from "../../src/log.ts";

/** How long a test waits for bytes before it says what it got instead. */
const PATIENCE_MS = 5_000;

export const NO_TLS = { isOn: false, verifies: false, caFile: "", certFile: "", keyFile: "" };

export const quietLog = createLog(
  () => {},
  () => "fatal",
  () => new Date(0),
);

export interface TestServer extends AsyncDisposable {
  socket: string;
  http: HttpServer;
}

export async function serve(fetch: Fetch, change: Partial<ListenDeps> = {}): Promise<TestServer> {
  const directory = mkdtempSync(join(tmpdir(), "berth-http-"));
  const socket = join(directory, "s.sock");
  const http = await listenAll([`unix://${socket}`], {
    fetch,
    commonHeaders: commonHeaders({ engineVersion: "0.1.0", isExperimental: false }),
    log: quietLog,
    now: () => Date.now(),
    tls: NO_TLS,
    group: "",
    inheritedFds: [],
    ...change,
  });
  return {
    socket,
    http,
    async [Symbol.asyncDispose]() {
      await http.close(0);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** One connection, byte by byte. */
export class RawClient implements Disposable {
  received = "";
  hasEnded = false;
  isClosed = false;
  #wake: (() => void)[] = [];

  private constructor(readonly socket: Socket) {
    const change = (apply: () => void) => () => {
      apply();
      for (const wake of this.#wake.splice(0)) wake();
    };
    socket.on("data", (bytes: Buffer) => change(() => (this.received += bytes.toString("latin1")))());
    socket.on(
      "end",
      change(() => (this.hasEnded = true)),
    );
    socket.on(
      "close",
      change(() => (this.isClosed = this.hasEnded = true)),
    );
    socket.on("error", () => {});
  }

  static open(path: string): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path, allowHalfOpen: true });
      const client = new RawClient(socket);
      socket.once("connect", () => resolve(client));
      socket.once("error", reject);
    });
  }

  send(text: string): void {
    this.socket.write(text, "latin1");
  }

  /** Shuts the write side only. */
  halfClose(): void {
    this.socket.end();
  }

  /** Waits until what has been received satisfies this. */
  async until(isEnough: (received: string) => boolean): Promise<string> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!isEnough(this.received)) {
      if (this.hasEnded) throw new Error(`the connection ended after ${JSON.stringify(this.received.slice(-500))}`);
      await this.#change(deadline);
    }
    return this.received;
  }

  /** Everything up to the server's end of its side. */
  async untilEnd(): Promise<string> {
    const deadline = Date.now() + PATIENCE_MS;
    while (!this.hasEnded) await this.#change(deadline);
    return this.received;
  }

  #change(deadline: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`still waiting after ${JSON.stringify(this.received.slice(-500))}`)),
        deadline - Date.now(),
      );
      this.#wake.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** Sends these bytes on a connection of their own and gives all that comes back until the server ends. */
export async function exchange(server: TestServer, text: string): Promise<string> {
  using client = await RawClient.open(server.socket);
  client.send(text);
  return await client.untilEnd();
}

/** Waits for a condition; for what happens on the server's side. */
export async function eventually(isTrue: () => boolean, what: string): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; !isTrue();) {
    if (Date.now() > deadline) throw new Error(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
