// A stream connection to a log receiver: made with the first write, made again after it broke. A write resolves when the
// kernel has taken it; what it had not yet delivered when the connection broke is the receiver's loss unless the protocol
// acknowledges.
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { connect as connectTLS } from "node:tls";
import type { TlsFiles, Transport } from "./mod.ts";

/** To connect, to take a write, or to acknowledge: a receiver that does nothing for so long has gone. */
const TIMEOUT_MS = 10_000;
/** An acknowledgement has some forty bytes. */
const MAX_ANSWER_BYTES = 64 << 10;

export class StreamConnection {
  #socket: Socket | null = null;
  /** The same, from before it is connected. */
  #latest: Socket | null = null;
  /** What the receiver said and nobody has read yet. */
  #answer: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  #onData: () => void = () => {};
  #onBroken: (error: Error) => void = () => {};

  constructor(
    private readonly transport: Transport,
    private readonly tls: TlsFiles | null = null,
    private readonly timeoutMs = TIMEOUT_MS,
  ) {}

  async write(bytes: Uint8Array): Promise<void> {
    const socket = this.#socket ?? (await this.#open());
    this.#answer = Buffer.alloc(0);
    await this.#orBroken("write", (resolve, reject) =>
      socket.write(bytes, (error) => (error ? reject(error) : resolve())),
    );
  }

  /** Waits until `take` finds what it wants in all that has come since the last write. */
  async read<T>(take: (answer: Buffer) => T | null): Promise<T> {
    let found: T | null = take(this.#answer);
    while (found === null) {
      await this.#orBroken("answer", (resolve) => (this.#onData = resolve));
      found = take(this.#answer);
    }
    return found;
  }

  close(): void {
    this.#onBroken(new Error("closed"));
    this.#socket?.destroySoon();
    this.#socket = null;
    this.#latest = null;
  }

  async #open(): Promise<Socket> {
    const { host, path, port, protocol } = this.transport;
    const isTLS = protocol === "tcp+tls" || protocol === "tls";
    const socket = isTLS
      ? connectTLS({ host, port, ...secrets(this.tls, host) })
      : connect(path ? { path } : { host, port });
    this.#latest = socket;
    const broken = (error: Error): void => {
      // The end of an earlier connection, or of one that we have closed, is no news for this one.
      if (this.#latest !== socket) return;
      this.#latest = null;
      this.#socket = null;
      this.#onBroken(error);
    };
    socket.on("error", broken);
    socket.on("close", () => broken(new Error(`the connection to ${path || `${host}:${port}`} was closed`)));
    // The end of the receiver's side: what is written from now on would be lost without a word.
    socket.on("end", () => socket.destroy());
    socket.on("data", (bytes: Uint8Array) => {
      this.#answer = Buffer.concat([this.#answer, bytes]);
      // A receiver that talks without being asked is let go.
      if (this.#answer.length > MAX_ANSWER_BYTES) socket.destroy();
      this.#onData();
    });
    try {
      await this.#orBroken("connect", (resolve) => socket.once(isTLS ? "secureConnect" : "connect", () => resolve()));
    } catch (error) {
      socket.destroy();
      throw error;
    }
    this.#socket = socket;
    return socket;
  }

  async #orBroken(what: string, act: (resolve: () => void, reject: (error: Error) => void) => void): Promise<void> {
    const { promise, reject, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      reject(new Error(`${what}: nothing in ${this.timeoutMs} ms`));
      this.#socket?.destroy();
    }, this.timeoutMs);
    this.#onBroken = reject;
    act(resolve, reject);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#onBroken = () => {};
      this.#onData = () => {};
    }
  }
}

/** Read for each connection: certificates are replaced while containers run. */
function secrets(tls: TlsFiles | null, host: string): object {
  const read = (path: string | undefined): string | undefined => (path ? readFileSync(path, "utf8") : undefined);
  return {
    // An address is no server name (RFC 6066).
    ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
    ca: read(tls?.caFile),
    cert: read(tls?.certFile),
    key: read(tls?.keyFile),
    rejectUnauthorized: !(tls?.skipsVerify ?? false),
    minVersion: "TLSv1.2",
  };
}
