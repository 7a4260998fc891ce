// Replies that are streams. Their head leaves at once, each chunk as it comes, and a failure on the way breaks the
// connection, so that no client takes half a stream for a whole one.

/** Marks a reply for the transport. Every other reply is sent whole, with a content-length. */
export class StreamingResponse extends Response {}

/**
 * Sends what an iterable gives, at the client's pace. The iterable is told to stop (`return`) when the client is gone; one
 * that may wait for long must end by the request's signal too.
 */
export function streamOf(chunks: AsyncIterable<Uint8Array>, headers: Record<string, string>): StreamingResponse {
  const iterator = chunks[Symbol.asyncIterator]();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { value, done } = await iterator.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
  return new StreamingResponse(body as ReadableStream<Uint8Array<ArrayBuffer>>, { headers });
}
