// Fd: a file descriptor with one owner, closed exactly once (`using fd = …`). Plain numbers cross only the FFI edge.
import { check, syscall } from "./ffi.ts";

export class Fd implements Disposable {
  #number: number;

  /** Takes ownership of an open descriptor. */
  constructor(number: number) {
    if (!Number.isInteger(number) || number < 0) throw new RangeError(`not a file descriptor: ${number}`);
    this.#number = number;
  }

  /** The raw number, for a call. Throws after close: a closed number may be somebody else's by now. */
  get number(): number {
    if (this.#number < 0) throw new Error("file descriptor used after close");
    return this.#number;
  }

  get isOpen(): boolean {
    return this.#number >= 0;
  }

  /** Closes it; a second call does nothing. close(2) is not retried on EINTR: Linux has freed the number by then. */
  close(): void {
    if (this.#number < 0) return;
    syscall("close", this.#number);
    this.#number = -1;
  }

  /** Gives the number away: the caller closes it from now on. */
  release(): number {
    const number = this.number;
    this.#number = -1;
    return number;
  }

  /** A second descriptor for the same open file, close-on-exec. */
  duplicate(): Fd {
    const F_DUPFD_CLOEXEC = 1030;
    return new Fd(check("fcntl", [this.number, F_DUPFD_CLOEXEC, 3], { fd: this.number }));
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
