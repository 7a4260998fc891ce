// Input to a workload: bytes to its stdin pipe or its terminal, in order, never blocking the daemon. Raw write(2) and
// EPOLLOUT: Bun's own writer clears O_NONBLOCK on a pty and would block.
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { writeOnce } from "../sys/splice.ts";
import type { Watch } from "./poller.ts";

/** Handed to one write(2): a terminal takes 4 KiB, a pipe up to its size. */
const WRITE_BYTES = 64 << 10;

export class StdinWriter {
  #last: Promise<void> = Promise.resolve();
  #isClosed = false;
  #isRefused = false;
  /** Ends a wait for room. */
  #release: (() => void) | null = null;

  /** `fd` is O_NONBLOCK; `watch` is its entry in the poller. Neither is closed here. */
  constructor(
    private readonly fd: Fd,
    private readonly watch: Watch,
  ) {}

  /**
   * Resolves once the bytes are with the kernel, after all earlier ones: writers that wait for it keep the queue as short as
   * they are many. Bytes for a workload that has closed its stdin, or ended, are dropped.
   */
  write(bytes: Uint8Array): Promise<void> {
    const mine = this.#last.then(() => this.#writeAll(bytes));
    // A failure is the business of whoever wrote; the next write has its own.
    this.#last = mine.catch(() => {});
    return mine;
  }

  /** Lets earlier writes finish, then calls back: that is when the workload should read the end. */
  end(close: () => void): void {
    void this.#last.then(close);
  }

  /** At once: a write that waits for room is over. */
  close(): void {
    this.#isClosed = true;
    this.#release?.();
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    // WHY a copy: the address of a caller's small array may not be stable (runtime/sys/ffi.ts, alloc).
    const stable = new Uint8Array(new ArrayBuffer(bytes.length));
    stable.set(bytes);
    for (let offset = 0; offset < stable.length && !this.#isClosed && !this.#isRefused;) {
      const result = writeOnce(this.fd, stable.subarray(offset, offset + WRITE_BYTES));
      if (result > 0) offset += result;
      else if (result === -E.EAGAIN) await this.#room();
      // The workload has closed its end, or its terminal is gone: as under Docker, nobody is told.
      else if (result === -E.EPIPE || result === -E.EIO) this.#isRefused = true;
      else if (result !== -E.EINTR) throw new SyscallError("write", -result, { fd: this.fd.number });
    }
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#release = () => {
        this.#release = null;
        if (!this.#isClosed) this.watch.onWritable(null);
        resolve();
      };
      this.watch.onWritable(this.#release);
    });
  }
}
