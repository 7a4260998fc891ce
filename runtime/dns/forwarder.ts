// Puts questions to upstream servers, one after the other until one answers. Bounded in what is waited for at once: for one
// container, so that none takes it all, and in all, since each question holds a socket.
import type { Fd } from "../sys/fd.ts";
import type { Poller } from "../stdio/poller.ts";
import { ask } from "./exchange.ts";
import { RCODE, rcodeOf, withID } from "./message.ts";
import type { Forwarder } from "./resolver.ts";

/** COMPAT: as many as Docker's resolver tries, and for as long each: clients' own time-outs are made for that. */
const SERVERS_TRIED = 3;
const SERVER_TIMEOUT_MS = 4_000;
/** Questions of one container that are waited for. COMPAT: Docker's number. */
const IN_FLIGHT_MAX = 1024;
/** Of all containers: each holds a descriptor, of which the daemon has some ten thousand. */
const ALL_IN_FLIGHT_MAX = 4096;

/** What all containers' forwarders share. */
export interface Shared {
  /** Questions that are waited for now. */
  inFlight: number;
  /** Room for one message, `alloc`ed. */
  buffer: Uint8Array;
}

export interface ForwarderDeps {
  poller: Poller;
  shared: Shared;
  /** A number in [0, 65536) that cannot be guessed. */
  newID(): number;
}

/** `netns`: the container's, for servers that are asked from there; the forwarder never closes it. `signal`: it has ended. */
export function createForwarder(deps: ForwarderDeps, netns: Fd, signal: AbortSignal): Forwarder {
  const { poller, shared } = deps;
  const limits = { timeoutMs: SERVER_TIMEOUT_MS, signal, buffer: shared.buffer };
  let own = 0;
  return {
    async forward(queryBytes, query, transport, servers) {
      if (own >= IN_FLIGHT_MAX || shared.inFlight >= ALL_IN_FLIGHT_MAX) return "busy";
      own++;
      shared.inFlight++;
      try {
        for (const server of servers.slice(0, SERVERS_TRIED)) {
          if (signal.aborted) return null;
          const question = { bytes: queryBytes, questionEnd: query.questionEnd, id: deps.newID() };
          const from = server.from === "host" ? null : netns;
          const reply = await ask(poller, from, server, transport, question, limits).catch(() => null);
          // A server that cannot or will not answer is no answer: another one may.
          if (reply === null || rcodeOf(reply) === RCODE.SERVFAIL || rcodeOf(reply) === RCODE.REFUSED) continue;
          return withID(reply, query.id);
        }
        return null;
      } finally {
        own--;
        shared.inFlight--;
      }
    },
  };
}
