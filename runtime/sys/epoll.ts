// epoll(7), and the one call that lets an event loop we do not own wait for it: Linux AIO's IOCB_CMD_POLL (io_submit(2)),
// which raises an eventfd once the epoll descriptor is readable.
import { hostArch } from "./arch.ts";
import { Fd } from "./fd.ts";
import { addressOf, alloc, check, syscall } from "./ffi.ts";

export const EPOLL = { IN: 0x001, OUT: 0x004, ERR: 0x008, HUP: 0x010 } as const;

const CLOEXEC = 0o2000000;
const CTL_ADD = 1,
  CTL_DEL = 2,
  CTL_MOD = 3;
const SIGSET_BYTES = 8;

export interface EpollEvent {
  events: number;
  token: number;
}

/** An epoll instance whose entries carry a number of the caller's. */
export class Epoll implements Disposable {
  readonly fd: Fd;
  // struct epoll_event is packed on x86-64 alone.
  readonly #stride = hostArch() === "x64" ? 12 : 16;
  readonly #dataOffset = hostArch() === "x64" ? 4 : 8;
  readonly #one: DataView<ArrayBuffer>;
  readonly #oneBytes: Uint8Array<ArrayBuffer>;
  readonly #many: Uint8Array<ArrayBuffer>;
  readonly #manyView: DataView<ArrayBuffer>;

  constructor(readonly batch: number) {
    this.fd = new Fd(check("epoll_create1", [CLOEXEC]));
    this.#oneBytes = alloc(16);
    this.#one = new DataView(this.#oneBytes.buffer);
    this.#many = alloc(batch * this.#stride);
    this.#manyView = new DataView(this.#many.buffer);
  }

  add(fd: Fd, events: number, token: number): void {
    this.#control(CTL_ADD, fd, events, token);
  }

  modify(fd: Fd, events: number, token: number): void {
    this.#control(CTL_MOD, fd, events, token);
  }

  remove(fd: Fd): void {
    this.#control(CTL_DEL, fd, 0, 0);
  }

  #control(operation: number, fd: Fd, events: number, token: number): void {
    this.#one.setUint32(0, events, true);
    this.#one.setUint32(this.#dataOffset, token, true);
    this.#one.setUint32(this.#dataOffset + 4, 0, true);
    // SAFETY: 16 bytes, at least sizeof(struct epoll_event); read before the call returns.
    check("epoll_ctl", [this.fd.number, operation, fd.number, this.#oneBytes], { operation, fd: fd.number });
  }

  /** What is ready now; never waits. */
  ready(): EpollEvent[] {
    // SAFETY: the buffer holds `batch` events and is a field of ours.
    const count = check("epoll_pwait", [this.fd.number, this.#many, this.batch, 0, null, SIGSET_BYTES]);
    return Array.from({ length: count }, (_, index) => ({
      events: this.#manyView.getUint32(index * this.#stride, true),
      token: this.#manyView.getUint32(index * this.#stride + this.#dataOffset, true),
    }));
  }

  [Symbol.dispose](): void {
    this.fd.close();
  }
}

const IOCB_CMD_POLL = 5,
  IOCB_FLAG_RESFD = 1,
  POLLIN = 1;
const IOCB_BYTES = 64,
  IO_EVENT_BYTES = 32,
  RING = 4;

/** Raises `signal` (an eventfd) once `target` is readable, for each call of `arm`. */
export class ReadinessSignal implements Disposable {
  readonly #context: number;
  readonly #request: Uint8Array<ArrayBuffer>;
  readonly #list: Uint8Array<ArrayBuffer>;
  readonly #events: Uint8Array<ArrayBuffer>;
  #isClosed = false;

  constructor(target: Fd, signal: Fd) {
    const answer = alloc(8);
    // EAGAIN here: all of fs.aio-max-nr is in use.
    check("io_setup", [RING, answer], { events: RING });
    this.#context = Number(new DataView(answer.buffer).getBigUint64(0, true));
    this.#request = alloc(IOCB_BYTES);
    const iocb = new DataView(this.#request.buffer);
    iocb.setUint16(16, IOCB_CMD_POLL, true);
    iocb.setUint32(20, target.number, true);
    iocb.setBigUint64(24, BigInt(POLLIN), true);
    iocb.setUint32(56, IOCB_FLAG_RESFD, true);
    iocb.setUint32(60, signal.number, true);
    this.#list = alloc(8);
    new DataView(this.#list.buffer).setBigUint64(0, BigInt(addressOf(this.#request)), true);
    this.#events = alloc(IO_EVENT_BYTES * RING);
  }

  /** One shot. If the target is readable already, the signal is raised at once. */
  arm(): void {
    // SAFETY: the kernel copies the iocb during the call; both buffers are fields of ours.
    check("io_submit", [this.#context, 1, this.#list]);
  }

  /** Takes the completion off the ring, after the signal was seen. */
  acknowledge(): void {
    // SAFETY: room for RING events. A zero minimum never waits.
    check("io_getevents", [this.#context, 0, RING, this.#events, null]);
  }

  /** Cancels what is armed. Takes some 30 ms in the kernel (it waits for an RCU grace period): for the end of the daemon. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    syscall("io_destroy", this.#context);
  }
}
