// Progress of long work as lines of JSON. Until the first line a failure is an ordinary error reply; after it the status
// is out, so the failure becomes the last line (`errorDetail` and `error`, which every client knows to look for).
import { JSON_STREAM_BYTES } from "../limits.ts";
import { StreamingResponse } from "./streaming.ts";

export type Write = (message: Readonly<Record<string, unknown>>) => void;

export interface JSONStreamOptions {
  /** COMPAT: pull, push, load and build end their lines with CRLF; docker-py splits on it. */
  lineEnd?: "\r\n" | "\n";
  headers?: Record<string, string>;
}

/**
 * Starts the work and answers with its first message, or rejects with the work's error when it fails before one. Work that
 * ends without a message is an empty 200. The work goes on to its own end if the client leaves; it takes the request's
 * signal where it should stop.
 */
export async function jsonStream(
  work: (write: Write) => Promise<void>,
  options: JSONStreamOptions = {},
): Promise<Response> {
  const queue = new LineQueue(options.lineEnd ?? "\r\n");
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const finished = work((message) => {
    queue.put(message);
    begin();
  }).then(
    () => queue.end(),
    (error: unknown) => {
      if (!queue.hasBegun) throw error;
      const message = error instanceof Error ? error.message : String(error);
      queue.put({ errorDetail: { message }, error: message });
      queue.end();
    },
  );
  await Promise.race([begun, finished]);
  // What fails from here on has been told in band; nothing is left to reject.
  return new StreamingResponse(queue.body, { headers: { "Content-Type": "application/json", ...options.headers } });
}

/** Lines on their way to a client. Bounded: what only moves a progress bar is dropped while the client is slow. */
class LineQueue {
  hasBegun = false;
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly #encoder = new TextEncoder();
  #controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | null = null;

  constructor(private readonly lineEnd: string) {
    this.body = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        cancel: () => {
          this.#controller = null;
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: JSON_STREAM_BYTES }),
    );
  }

  put(message: Readonly<Record<string, unknown>>): void {
    this.hasBegun = true;
    const room = this.#controller?.desiredSize ?? null;
    if (room === null || (room <= 0 && movesOnlyABar(message))) return;
    // A client this far behind on lines that must not be lost is not reading at all.
    if (room < -JSON_STREAM_BYTES) {
      this.#controller?.error(new Error("the client does not read its messages"));
      this.#controller = null;
      return;
    }
    this.#controller?.enqueue(this.#encoder.encode(JSON.stringify(message) + this.lineEnd));
  }

  end(): void {
    this.#controller?.close();
    this.#controller = null;
  }
}

function movesOnlyABar(message: Readonly<Record<string, unknown>>): boolean {
  const detail = message["progressDetail"];
  return typeof detail === "object" && detail !== null && Object.keys(detail).length > 0;
}
