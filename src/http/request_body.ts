// A request body as it is framed: a content-length, or chunks. Pulled, so that backpressure reaches the client; the first
// pull answers `Expect: 100-continue`.
import type { Buffer } from "node:buffer";
import { MAX_CHUNK_LINE_BYTES } from "../limits.ts";
import type { Reader } from "./reader.ts";
import { HttpError, type RequestHead } from "./request_head.ts";

const CHUNK_SIZE = /^([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?$/;

export class RequestBody {
  /** All of it has been read. */
  isDone: boolean;
  /** Reading has begun. */
  isTouched = false;
  /** Wrongly framed, or broken off: where the next request begins is not known. */
  hasFailed = false;
  /** A piece is being waited for: a handler has given up on a body that did not come. */
  isBeingRead = false;
  readonly #isChunked: boolean;
  #left: number;

  constructor(
    private readonly reader: Reader,
    head: Pick<RequestHead, "bodyLength">,
    private readonly onFirstRead: () => void,
  ) {
    this.#isChunked = head.bodyLength === "chunked";
    this.#left = head.bodyLength === "chunked" ? 0 : head.bodyLength;
    this.isDone = head.bodyLength === 0;
  }

  /** The next piece, or null at the end. Throws HttpError when the framing is wrong or the client is gone. */
  async next(): Promise<Buffer | null> {
    if (this.isDone) return null;
    if (!this.isTouched) {
      this.isTouched = true;
      this.onFirstRead();
    }
    try {
      this.isBeingRead = true;
      return await this.#nextPiece();
    } catch (error) {
      this.hasFailed = true;
      throw error;
    } finally {
      this.isBeingRead = false;
    }
  }

  async #nextPiece(): Promise<Buffer | null> {
    if (this.#isChunked && this.#left === 0 && !(await this.#openChunk())) return null;
    const bytes = await this.reader.read(this.#left);
    if (bytes === null) throw new HttpError(400, "the connection ended inside the request body");
    this.#left -= bytes.length;
    if (this.#left === 0) await this.#finishPiece();
    return bytes;
  }

  /** False: that was the last one. */
  async #openChunk(): Promise<boolean> {
    const size = CHUNK_SIZE.exec(await this.reader.line(MAX_CHUNK_LINE_BYTES))?.[1];
    if (size === undefined) throw new HttpError(400, "malformed chunk size");
    this.#left = Number.parseInt(size, 16);
    if (this.#left > 0) return true;
    for (let lines = 0; (await this.reader.line(MAX_CHUNK_LINE_BYTES)) !== ""; lines++) {
      if (lines === 32) throw new HttpError(400, "too many trailer lines");
    }
    this.isDone = true;
    return false;
  }

  async #finishPiece(): Promise<void> {
    if (!this.#isChunked) this.isDone = true;
    else if ((await this.reader.line(0)) !== "") throw new HttpError(400, "malformed end of a chunk");
  }

  stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    const pull = async (controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> => {
      const bytes = await this.next();
      if (bytes === null) controller.close();
      else controller.enqueue(bytes as Uint8Array<ArrayBuffer>);
    };
    return new ReadableStream({ pull }, { highWaterMark: 0 });
  }

  /** Reads the rest away so that the connection can be used again; false when it is too much or wrong. */
  async drain(limit: number): Promise<boolean> {
    try {
      for (let drained = 0; drained <= limit;) {
        const bytes = await this.next();
        if (bytes === null) return true;
        drained += bytes.length;
      }
      return false;
    } catch {
      return false;
    }
  }
}
