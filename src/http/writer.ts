// The write side of a socket, with backpressure: a write answers at once while the kernel keeps up, and otherwise when
// the socket has drained or is gone.
import type { Socket } from "node:net";

export class Writer {
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(private readonly socket: Socket) {
    socket.on("drain", () => this.#settle(null));
    socket.on("close", () => this.#settle(new Error("connection closed")));
  }

  #settle(error: Error | null): void {
    const waiters = this.#waiters;
    if (waiters.length === 0) return;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (error) waiter.reject(error);
      else waiter.resolve();
    }
  }

  /** Bytes, or latin1 text. They belong to the socket from here on. Throws or rejects once the connection is gone. */
  write(data: Uint8Array | string): Promise<void> | void {
    if (this.socket.destroyed || this.socket.writableEnded) throw new Error("connection closed");
    const isFlowing = typeof data === "string" ? this.socket.write(data, "latin1") : this.socket.write(data);
    if (isFlowing) return;
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** Sends FIN (TLS: close_notify) after what is queued; reading goes on. */
  end(): void {
    if (!this.socket.destroyed && !this.socket.writableEnded) this.socket.end();
  }
}
