// The netlink codec and one synchronous client: messages and attributes to bytes and back, a request and its answer.
// Everything else in this folder speaks through it. See netlink(7), linux/netlink.h.
//
//   nlmsghdr: u32 length | u16 type | u16 flags | u32 sequence | u32 port       then a family header, then attributes:
//   nlattr:   u16 length | u16 type (0x8000: nested) | payload | pad to 4
//
// Numbers are in the machine's order (both of ours are little-endian) unless a family says otherwise (nf_tables).
// INVARIANT: the kernel has acted and queued its answer before sendto(2) returns, so reading never has to wait: an
// empty queue is a broken protocol, not a reason to block the event loop.
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { alloc } from "../sys/ffi.ts";
import { netlinkPort, receive, sendAll, setIntOption, SO, SOL, trySetIntOption } from "../sys/socket.ts";

export const NETLINK = { ROUTE: 0, NETFILTER: 12 } as const;
export const NLM_F = {
  REQUEST: 1,
  ACK: 4,
  DUMP_INTR: 0x10,
  REPLACE: 0x100,
  EXCL: 0x200,
  DUMP: 0x300,
  CREATE: 0x400,
  APPEND: 0x800,
} as const;
export const NLMSG = { ERROR: 2, DONE: 3 } as const;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const NETLINK_CAP_ACK = 10,
  NETLINK_EXT_ACK = 11;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const HEADER_BYTES = 16;
/** How often a dump that changed under the reader is asked for again. */
const DUMP_TRIES = 8;
/** Messages read for one request: a host with a million routes is not one we must read whole. */
const MAX_REPLIES = 100_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Builds messages into one growing buffer. */
export class MessageWriter {
  #bytes = alloc(4096);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The buffer itself, longer than `length`; valid until the next write. */
  get buffer(): Uint8Array<ArrayBuffer> {
    return this.#bytes;
  }

  /** A copy of what was written. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  reset(): void {
    this.#length = 0;
  }

  u8(value: number): this {
    this.#room(1);
    this.#view.setUint8(this.#length, value);
    this.#length += 1;
    return this;
  }

  u16(value: number): this {
    this.#room(2);
    this.#view.setUint16(this.#length, value, true);
    this.#length += 2;
    return this;
  }

  u32(value: number): this {
    this.#room(4);
    this.#view.setUint32(this.#length, value >>> 0, true);
    this.#length += 4;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#room(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  /** A string is written NUL-terminated. */
  attribute(type: number, value: Uint8Array | string): this {
    const payload = typeof value === "string" ? encoder.encode(`${value}\0`) : value;
    return this.#attribute(type, () => this.bytes(payload));
  }

  attribute32(type: number, value: number): this {
    return this.#attribute(type, () => this.u32(value));
  }

  attribute8(type: number, value: number): this {
    return this.#attribute(type, () => this.u8(value));
  }

  /** rtnetlink takes nests without the flag; nf_tables demands it. */
  nest(type: number, body: () => void, options: { flag: boolean } = { flag: true }): this {
    return this.#attribute(options.flag ? type | NLA_F_NESTED : type, body);
  }

  message(type: number, flags: number, sequence: number, body: () => void): this {
    const start = this.#length;
    this.u32(0).u16(type).u16(flags).u32(sequence).u32(0);
    body();
    this.#view.setUint32(start, this.#length - start, true);
    return this.#pad();
  }

  #attribute(type: number, body: () => void): this {
    const start = this.#length;
    this.u16(0).u16(type);
    body();
    const length = this.#length - start;
    if (length > 0xffff)
      throw new RangeError(`netlink attribute ${type & NLA_TYPE_MASK}: ${length} bytes, it takes 65535`);
    this.#view.setUint16(start, length, true);
    return this.#pad();
  }

  #pad(): this {
    while (this.#length % 4 !== 0) this.u8(0);
    return this;
  }

  #room(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = alloc(Math.max(this.#bytes.length * 2, this.#length + count));
    larger.set(this.#bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}

export interface Message {
  type: number;
  flags: number;
  sequence: number;
  /** Whose message it is: of a notice, the socket that made the change. */
  port: number;
  /** After the header; a view on the receive buffer. */
  payload: Uint8Array;
}

/** Cuts a datagram into messages. Throws EPROTO when a length lies. */
export function parseMessages(bytes: Uint8Array): Message[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const messages: Message[] = [];
  let offset = 0;
  while (offset + HEADER_BYTES <= bytes.length) {
    const length = view.getUint32(offset, true);
    if (length < HEADER_BYTES || offset + length > bytes.length) throw malformed(`message of ${length} bytes`);
    messages.push({
      type: view.getUint16(offset + 4, true),
      flags: view.getUint16(offset + 6, true),
      sequence: view.getUint32(offset + 8, true),
      port: view.getUint32(offset + 12, true),
      payload: bytes.subarray(offset + HEADER_BYTES, offset + length),
    });
    offset += (length + 3) & ~3;
  }
  if (offset < bytes.length) throw malformed(`${bytes.length - offset} bytes after the last message`);
  return messages;
}

/** Attributes by type; of a repeated type the last one counts. Throws EPROTO when a length lies. */
export function parseAttributes(bytes: Uint8Array): Map<number, Uint8Array> {
  return new Map(listAttributes(bytes));
}

/** The same in order, for lists. */
export function listAttributes(bytes: Uint8Array): [type: number, value: Uint8Array][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: [number, Uint8Array][] = [];
  let offset = 0;
  while (offset + 4 <= bytes.length) {
    const length = view.getUint16(offset, true);
    if (length < 4 || offset + length > bytes.length) throw malformed(`attribute of ${length} bytes`);
    found.push([view.getUint16(offset + 2, true) & NLA_TYPE_MASK, bytes.subarray(offset + 4, offset + length)]);
    offset += (length + 3) & ~3;
  }
  return found;
}

export function attributeText(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) return "";
  const end = bytes.indexOf(0);
  return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
}

export function attributeU32(bytes: Uint8Array | undefined): number | null {
  if (bytes === undefined || bytes.length < 4) return null;
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
}

function malformed(what: string): SyscallError {
  return new SyscallError("netlink", E.EPROTO, { what });
}

export interface Refusal {
  /** 0: an acknowledgement. */
  errno: number;
  /** The kernel's own words, where it gave any. */
  text: string;
}

/** Reads an NLMSG_ERROR: i32 error | nlmsghdr of the request | (the request itself, unless capped) | attributes. */
export function parseRefusal(message: Message): Refusal {
  const { payload } = message;
  if (payload.length < 4 + HEADER_BYTES) throw malformed(`error message of ${payload.length} bytes`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const errno = -view.getInt32(0, true);
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, text: "" };
  const requestBytes = (message.flags & NLM_F_CAPPED) !== 0 ? HEADER_BYTES : view.getUint32(4, true);
  const start = 4 + requestBytes;
  if (start > payload.length) return { errno, text: "" };
  return { errno, text: attributeText(parseAttributes(payload.subarray(start)).get(NLMSGERR_ATTR_MSG)) };
}

/** One netlink socket. Calls on it never interleave, since each is over before JavaScript goes on. */
export class NetlinkSocket implements Disposable {
  readonly #socket: Fd;
  readonly #writer = new MessageWriter();
  readonly #replies: Uint8Array<ArrayBuffer>;
  #sequence = 0;

  /** Takes ownership of a netlink socket, opened in the namespace that it is to act in. */
  constructor(socket: Fd, options: { replyBytes: number; sendBytes: number } = { replyBytes: 64 << 10, sendBytes: 0 }) {
    this.#socket = socket;
    this.#replies = alloc(options.replyBytes);
    setIntOption(socket, SOL.NETLINK, NETLINK_CAP_ACK, 1);
    setIntOption(socket, SOL.NETLINK, NETLINK_EXT_ACK, 1);
    if (options.sendBytes > 0) {
      trySetIntOption(socket, SOL.SOCKET, SO.SNDBUFFORCE, options.sendBytes);
      trySetIntOption(socket, SOL.SOCKET, SO.RCVBUFFORCE, options.sendBytes);
    }
  }

  /** Sends one request and answers what came back before its acknowledgement. `operation` names it in errors. */
  request(operation: string, type: number, flags: number, body: (writer: MessageWriter) => void): Message[] {
    const sequence = this.#next();
    this.#writer.reset();
    this.#writer.message(type, NLM_F.REQUEST | NLM_F.ACK | flags, sequence, () => body(this.#writer));
    sendAll(this.#socket, this.#writer.buffer, this.#writer.length);
    return this.#collect(operation, sequence).messages;
  }

  /** A dump, asked for again while the table changes under us. */
  dump(operation: string, type: number, body: (writer: MessageWriter) => void): Message[] {
    for (let attempt = 1; ; attempt++) {
      const sequence = this.#next();
      this.#writer.reset();
      this.#writer.message(type, NLM_F.REQUEST | NLM_F.DUMP, sequence, () => body(this.#writer));
      sendAll(this.#socket, this.#writer.buffer, this.#writer.length);
      const { messages, isInterrupted } = this.#collect(operation, sequence);
      if (!isInterrupted) return messages;
      if (attempt === DUMP_TRIES) throw new SyscallError(operation, E.EINTR, { attempts: attempt });
    }
  }

  /** Sends prepared bytes and hands over every message that came back. For transactions, which have many answers. */
  exchange(bytes: Uint8Array, sizeBytes: number): Message[] {
    sendAll(this.#socket, bytes, sizeBytes);
    const messages: Message[] = [];
    for (;;) {
      const length = receive(this.#socket, this.#replies);
      if (length === null) return messages;
      messages.push(...parseMessages(this.#replies.slice(0, length)));
    }
  }

  /** The number that the kernel knows this socket by, once something was sent. */
  get port(): number {
    return netlinkPort(this.#socket);
  }

  /** Throws away answers nobody waits for, so that the next request starts clean. */
  drain(): void {
    for (;;) {
      try {
        if (receive(this.#socket, this.#replies) === null) return;
      } catch (error) {
        if (!(error instanceof SyscallError && error.errno === E.ENOBUFS)) throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  #next(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }

  #collect(operation: string, sequence: number): { messages: Message[]; isInterrupted: boolean } {
    const messages: Message[] = [];
    let isInterrupted = false;
    for (;;) {
      const length = receive(this.#socket, this.#replies);
      if (length === null) throw new SyscallError(operation, E.EPROTO, { what: "no answer from the kernel" });
      // A copy: a dump's messages outlive the buffer.
      for (const message of parseMessages(this.#replies.slice(0, length))) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F.DUMP_INTR) !== 0) isInterrupted = true;
        if (message.type === NLMSG.DONE) {
          const errno = -(new Int32Array(message.payload.slice(0, 4).buffer)[0] ?? 0);
          if (errno > 0) throw new SyscallError(operation, errno);
          return { messages, isInterrupted };
        }
        if (message.type === NLMSG.ERROR) {
          const refusal = parseRefusal(message);
          if (refusal.errno === 0) return { messages, isInterrupted };
          this.drain();
          throw new SyscallError(operation, refusal.errno, refusal.text === "" ? {} : { kernel: refusal.text });
        }
        messages.push(message);
        if (messages.length > MAX_REPLIES) throw new SyscallError(operation, E.EOVERFLOW, { replies: MAX_REPLIES });
      }
    }
  }
}
