// One question put to one upstream server, by UDP or TCP, with sockets of our own in the network namespace that is meant:
// node's cannot be made in another one. Called by forwarder.ts; the event loop is told by the poller.
import { SyscallError } from "../errors.ts";
import { addressBytes } from "../net/address.ts";
import { socketIn } from "../program/batch.ts";
import type { Poller } from "../stdio/poller.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { alloc } from "../sys/ffi.ts";
import {
  AF,
  connectSocket,
  openSocket,
  pendingError,
  receiveSome,
  scopedAddress,
  sendDatagram,
  sendSome,
  SOCK,
} from "../sys/socket.ts";
import { isReplyTo, MESSAGE_BYTES_MAX, withID } from "./message.ts";
import type { Transport, UpstreamServer } from "./resolver.ts";

export interface Question {
  bytes: Uint8Array;
  /** Where the question ends in them. */
  questionEnd: number;
  /** What the question is asked under: nobody outside can guess it, nor the port. */
  id: number;
}

const DNS_PORT = 53;
/** A datagram is sent again once if nothing has come by then: one that is lost must not cost a server's whole time. */
const RESEND_MS = 1_500;

/**
 * The server's reply, under the question's `id`. Rejects when it cannot be reached, breaks off, or says nothing in time. `buffer` is for
 * any message; it is used within a turn of the event loop alone, so all questions share one.
 */
export function ask(
  poller: Poller,
  netns: Fd | null,
  server: UpstreamServer,
  transport: Transport,
  question: Question,
  limits: { timeoutMs: number; signal: AbortSignal; buffer: Uint8Array },
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const family = server.address.family === 4 ? AF.INET : AF.INET6;
    const type = (transport === "udp" ? SOCK.DGRAM : SOCK.STREAM) | SOCK.NONBLOCK;
    const socket = netns === null ? openSocket(family, type, 0) : socketIn(netns, family, type, 0);
    const watch = poller.watch(socket);
    const timers = new Set<ReturnType<typeof setTimeout>>();
    let isOver = false;
    const end = (outcome: () => void): void => {
      if (isOver) return;
      isOver = true;
      for (const timer of timers) clearTimeout(timer);
      limits.signal.removeEventListener("abort", abandon);
      watch.close();
      socket.close();
      outcome();
    };
    const fail = (error: unknown): void => end(() => reject(error));
    const abandon = (): void => fail(new SyscallError("recvfrom", E.ECANCELED));
    limits.signal.addEventListener("abort", abandon);
    const guarded = (work: () => void) => (): void => {
      try {
        work();
      } catch (error) {
        fail(error);
      }
    };
    const succeed = (reply: Uint8Array): void => end(() => resolve(reply));
    timers.add(setTimeout(() => fail(new SyscallError("recvfrom", E.ETIMEDOUT)), limits.timeoutMs));
    guarded(() => {
      // Only this server's packets reach a connected socket, and its refusals do too.
      connectSocket(socket, scopedAddress(addressBytes(server.address), DNS_PORT, server.scopeID));
      const asked = withID(question.bytes, question.id);
      const isReply = (reply: Uint8Array): boolean =>
        isReplyTo(reply, question.id, question.bytes, question.questionEnd);
      if (transport === "tcp") {
        const stream = byStream(socket, asked, (reply) => isReply(reply) && succeed(reply));
        watch.onWritable(
          guarded(() => {
            if (stream.onWritable()) watch.onWritable(null);
          }),
        );
        watch.onReadable(guarded(() => stream.onReadable()));
        return;
      }
      const send = (): void => void sendDatagram(socket, asked, asked.length, null);
      send();
      timers.add(setTimeout(guarded(send), RESEND_MS));
      const { buffer } = limits;
      watch.onReadable(
        guarded(() => {
          const length = receiveSome(socket, buffer);
          // What is no reply to this is a stranger's guess: the right one may still come.
          if (length !== null && isReply(buffer.subarray(0, length))) succeed(buffer.slice(0, length));
        }),
      );
    })();
  });
}

/** Each message on a stream has its length in front (RFC 1035, 4.2.2). `onWritable` answers true once all is written. */
function byStream(
  socket: Fd,
  message: Uint8Array,
  onReply: (reply: Uint8Array) => void,
): { onWritable(): boolean; onReadable(): void } {
  let left: Uint8Array = alloc(message.length + 2);
  left[0] = message.length >> 8;
  left[1] = message.length & 0xff;
  left.set(message, 2);
  const input = alloc(MESSAGE_BYTES_MAX + 2);
  let filled = 0;
  return {
    onWritable() {
      const error = pendingError(socket);
      if (error !== 0) throw new SyscallError("connect", error);
      left = left.subarray(sendSome(socket, left));
      return left.length === 0;
    },
    onReadable() {
      const length = receiveSome(socket, input.subarray(filled));
      if (length === null) return;
      filled += length;
      const wanted = 2 + (((input[0] ?? 0) << 8) | (input[1] ?? 0));
      if (filled >= 2 && filled >= wanted) onReply(input.slice(2, wanted));
      // At its end, or full without a reply to our question: nothing more can come.
      if (length === 0 || filled >= 2 + wanted || filled === input.length) throw new SyscallError("recvfrom", E.EPROTO);
    },
  };
}
