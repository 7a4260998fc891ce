// WebSocket framing (RFC 6455) over a connection that has left HTTP: messages in both directions become a plain byte
// stream. Payloads are passed on as they arrive, so a frame of any length needs no memory of its own length.
//
//   0               1               2               3
//  |F|   |opcode |M|  length    |  16 or 64 bits of length, if it is 126 or 127
//  | four bytes of mask, from the client always | payload, XORed with the mask
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { RawStream } from "./hijack.ts";

const ACCEPT_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CONTINUATION = 0x0;
const TEXT = 0x1;
const BINARY = 0x2;
const CLOSE = 0x8;
const PING = 0x9;
const PONG = 0xa;

const NORMAL = 1000;
const PROTOCOL_ERROR = 1002;
const TOO_BIG = 1009;

/** The answer to `Sec-WebSocket-Key`. */
export function acceptKey(key: string): string {
  return createHash("sha1")
    .update(key + ACCEPT_GUID)
    .digest("base64");
}

/** A key is 16 bytes in base64. */
export function isHandshakeKey(key: string | undefined): key is string {
  return key !== undefined && /^[A-Za-z0-9+/]{22}==$/.test(key);
}

class ProtocolError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

interface Frame {
  isFinal: boolean;
  opcode: number;
  length: number;
  mask: Uint8Array;
}

/** `isText`: what we send are text messages, as clients below API 1.28 expect; binary ones otherwise. */
export function webSocketStream(inner: RawStream, options: { isText: boolean }): RawStream {
  return new WebSocketStream(inner, options.isText ? TEXT : BINARY);
}

class WebSocketStream implements RawStream {
  readonly #input: FrameInput;
  /** The rest of a data frame whose first part has been handed out. */
  #open: { left: number; mask: Uint8Array; at: number } | null = null;
  #isInMessage = false;
  #hasSentClose = false;
  #isOver = false;

  constructor(
    private readonly inner: RawStream,
    private readonly opcode: number,
  ) {
    this.#input = new FrameInput(inner);
  }

  async read(): Promise<Uint8Array | null> {
    try {
      while (!this.#isOver) {
        const bytes = this.#open === null ? await this.#nextFrame() : await this.#payload(this.#open);
        if (bytes !== null) return bytes;
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#isOver = true;
      await this.#sendClose(error.code);
      this.inner.closeWrite();
    }
    return null;
  }

  async #nextFrame(): Promise<null> {
    const frame = await this.#input.frame();
    if (frame === null) {
      this.#isOver = true;
    } else if (frame.opcode >= CLOSE) {
      await this.#control(frame);
    } else {
      if (frame.opcode === CONTINUATION ? !this.#isInMessage : this.#isInMessage) {
        throw new ProtocolError(PROTOCOL_ERROR, "fragments out of order");
      }
      if (frame.opcode > BINARY) throw new ProtocolError(PROTOCOL_ERROR, "unknown opcode");
      this.#isInMessage = !frame.isFinal;
      if (frame.length > 0) this.#open = { left: frame.length, mask: frame.mask, at: 0 };
    }
    return null;
  }

  async #payload(open: { left: number; mask: Uint8Array; at: number }): Promise<Uint8Array | null> {
    const bytes = await this.#input.some(open.left);
    if (bytes === null) {
      this.#isOver = true;
      return null;
    }
    unmask(bytes, open.mask, open.at);
    open.at += bytes.length;
    open.left -= bytes.length;
    if (open.left === 0) this.#open = null;
    return bytes;
  }

  async #control(frame: Frame): Promise<void> {
    if (!frame.isFinal || frame.length > 125)
      throw new ProtocolError(PROTOCOL_ERROR, "a control frame is short and whole");
    const payload = await this.#input.exactly(frame.length);
    if (payload === null) {
      this.#isOver = true;
      return;
    }
    unmask(payload, frame.mask, 0);
    if (frame.opcode === PING) await this.inner.write(encode(PONG, payload));
    else if (frame.opcode === CLOSE) {
      this.#isOver = true;
      await this.#sendClose(payload.length >= 2 ? payload.readUInt16BE(0) : NORMAL);
      this.inner.closeWrite();
    } else if (frame.opcode !== PONG) throw new ProtocolError(PROTOCOL_ERROR, "unknown opcode");
  }

  write(bytes: Uint8Array): Promise<void> | void {
    return this.inner.write(encode(this.opcode, bytes));
  }

  /** Says goodbye and ends our direction; what the client still sends can be read until its own close. */
  closeWrite(): void {
    void this.#sendClose(NORMAL).finally(() => this.inner.closeWrite());
  }

  async #sendClose(code: number): Promise<void> {
    if (this.#hasSentClose) return;
    this.#hasSentClose = true;
    const payload = Buffer.alloc(2);
    payload.writeUInt16BE(code);
    try {
      await this.inner.write(encode(CLOSE, payload));
    } catch {
      // The peer has gone without waiting for it.
    }
  }

  destroy(): void {
    this.inner.destroy();
  }

  onGone(callback: () => void): void {
    this.inner.onGone(callback);
  }
}

/** Frames out of pieces of any size. Holds at most one piece. */
class FrameInput {
  #rest: Buffer = Buffer.alloc(0);

  constructor(private readonly inner: RawStream) {}

  /** At least one byte and at most `limit`; null at the end. */
  async some(limit: number): Promise<Buffer | null> {
    if (this.#rest.length === 0) {
      const bytes = await this.inner.read();
      if (bytes === null) return null;
      this.#rest = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    const taken = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(taken.length);
    return taken;
  }

  async exactly(count: number): Promise<Buffer | null> {
    const bytes = Buffer.alloc(count);
    for (let at = 0; at < count;) {
      const piece = await this.some(count - at);
      if (piece === null) return null;
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  /** A frame's header; null at the end. Throws ProtocolError. */
  async frame(): Promise<Frame | null> {
    const start = await this.exactly(2);
    if (start === null) return null;
    const [first = 0, second = 0] = start;
    if ((first & 0x70) !== 0) throw new ProtocolError(PROTOCOL_ERROR, "reserved bits without an extension");
    if ((second & 0x80) === 0) throw new ProtocolError(PROTOCOL_ERROR, "a client's frame without a mask");
    const length = await this.#length(second & 0x7f);
    const mask = await this.exactly(4);
    if (length === null || mask === null) return null;
    return { isFinal: (first & 0x80) !== 0, opcode: first & 0x0f, length, mask };
  }

  async #length(short: number): Promise<number | null> {
    if (short < 126) return short;
    const bytes = await this.exactly(short === 126 ? 2 : 8);
    if (bytes === null) return null;
    if (short === 126) return bytes.readUInt16BE(0);
    const length = bytes.readBigUInt64BE(0);
    if (length > BigInt(Number.MAX_SAFE_INTEGER)) throw new ProtocolError(TOO_BIG, "a frame over 2^53 bytes");
    return Number(length);
  }
}

function unmask(bytes: Uint8Array, mask: Uint8Array, offset: number): void {
  for (let at = 0; at < bytes.length; at++) bytes[at] = (bytes[at] ?? 0) ^ (mask[(offset + at) & 3] ?? 0);
}

/** One whole, unmasked frame. */
function encode(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const extra = length < 126 ? 0 : length < 0x10000 ? 2 : 8;
  const frame = Buffer.alloc(2 + extra + length);
  frame[0] = 0x80 | opcode;
  frame[1] = extra === 0 ? length : extra === 2 ? 126 : 127;
  if (extra === 2) frame.writeUInt16BE(length, 2);
  if (extra === 8) frame.writeBigUInt64BE(BigInt(length), 2);
  frame.set(payload, 2 + extra);
  return frame;
}
