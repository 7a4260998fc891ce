// One TCP client of a resolver: messages with their length in front, in and out. Bounded in what is read ahead, in answers
// waited for, and in idleness. RFC 7766.
import type { Socket } from "node:net";
import { MESSAGE_BYTES_MAX } from "./message.ts";

export type Answerer = (query: Uint8Array) => Uint8Array | null | Promise<Uint8Array | null>;

/** Answers of one connection that are waited for; further queries wait in the socket. */
const PENDING_MAX = 32;
/** A connection that says and hears nothing for this long is closed: longer than three servers are given. */
const IDLE_MS = 15_000;

export function serveStream(socket: Socket, answer: Answerer): void {
  let input = new Uint8Array(0);
  let pending = 0;
  let isEnded = false;
  const reply = (message: Uint8Array | null): void => {
    if (message === null || socket.destroyed) return;
    const framed = new Uint8Array(message.length + 2);
    framed[0] = message.length >> 8;
    framed[1] = message.length & 0xff;
    framed.set(message, 2);
    // A client that does not read its answers is read no further.
    if (!socket.write(framed)) socket.pause();
  };
  const settle = (): void => {
    pending--;
    if (isEnded && pending === 0) socket.end();
    else take();
  };
  const take = (): void => {
    while (input.length >= 2 && pending < PENDING_MAX) {
      const size = ((input[0] ?? 0) << 8) | (input[1] ?? 0);
      if (input.length < 2 + size) break;
      const query = input.slice(2, 2 + size);
      input = input.slice(2 + size);
      const found = answer(query);
      if (found instanceof Promise) {
        pending++;
        void found.then(reply).finally(settle);
      } else reply(found);
    }
    if (input.length > MESSAGE_BYTES_MAX + 2 || pending >= PENDING_MAX) socket.pause();
    else if (!socket.writableNeedDrain) socket.resume();
  };
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  // Followed by `close`, and nobody is there to be told.
  socket.on("error", () => {});
  socket.on("drain", take);
  socket.on("data", (chunk: Buffer) => {
    const joined = new Uint8Array(input.length + chunk.length);
    joined.set(input);
    joined.set(chunk, input.length);
    input = joined;
    take();
  });
  socket.on("end", () => {
    isEnded = true;
    if (pending === 0) socket.end();
  });
}
