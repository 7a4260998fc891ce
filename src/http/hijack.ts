// Connections that have left HTTP: after the reply head both ways are raw bytes.
//
//   POST /containers/x/attach             HTTP/1.1 101 UPGRADED
//   Connection: Upgrade              ->   Content-Type: application/vnd.docker.raw-stream
//   Upgrade: tcp                          Connection: Upgrade
//                                         Upgrade: tcp
//
// Without an Upgrade header the older form: 200 OK, no length, no chunks, and the same bytes.
// INVARIANT: the end of the client's side is not a disconnect. The docker CLI half-closes as soon as it has no stdin, and
// without -i that is before the container starts.
import type { Socket } from "node:net";
import type { Reader } from "./reader.ts";
import type { Writer } from "./writer.ts";

/** What `hijack` gives. The engine's ByteStream has the same shape. */
export interface RawStream {
  /** The next bytes, or null once the peer has half-closed or gone. */
  read(): Promise<Uint8Array | null>;
  /** Resolves when the bytes are on their way; throws or rejects once the peer is gone. */
  write(bytes: Uint8Array): Promise<void> | void;
  /** Ends our direction; reading goes on. */
  closeWrite(): void;
  destroy(): void;
  /** Called once the connection is wholly gone. */
  onGone(callback: () => void): void;
}

/** What the transport lends to a handler with each request. */
export interface Transport {
  /** Sends this head and takes the connection out of HTTP. The handler's Response is ignored from then on. */
  hijack(status: 101 | 200, headers: Record<string, string>): Promise<RawStream>;
}

export function hijackedSocket(socket: Socket, reader: Reader, writer: Writer): RawStream {
  return {
    read: () => reader.read(),
    write: (bytes) => writer.write(bytes),
    closeWrite: () => writer.end(),
    destroy: () => {
      socket.destroy();
    },
    onGone(callback) {
      if (socket.closed) callback();
      else socket.once("close", callback);
    },
  };
}

/**
 * Runs what uses the stream, then closes it so that the peer gets every byte: our end first, then what the peer still
 * sends is swallowed for a while. (A socket closed over unread input resets the connection and can lose output.)
 */
export async function serveStream(
  stream: RawStream,
  run: (stream: RawStream) => Promise<void>,
  lingerMs: number,
): Promise<void> {
  try {
    await run(stream);
    stream.closeWrite();
    await swallow(stream, lingerMs);
  } finally {
    stream.destroy();
  }
}

async function swallow(stream: RawStream, lingerMs: number): Promise<void> {
  const { promise: isTime, resolve: ring } = Promise.withResolvers<null>();
  const timer = setTimeout(() => ring(null), lingerMs);
  stream.onGone(() => ring(null));
  try {
    while ((await Promise.race([stream.read(), isTime])) !== null);
  } finally {
    clearTimeout(timer);
  }
}
