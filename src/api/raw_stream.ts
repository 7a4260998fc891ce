// From an attachment or exec session of the engine to a connection that has left HTTP.
import type { Context } from "hono";
import type { ByteStream } from "../engine/mod.ts";
import { serveStream } from "../http/hijack.ts";
import { LINGER_MS } from "../limits.ts";
import type { Log } from "../log.ts";
import { type ApiVersion, type AppEnv, isAtLeast } from "./app_env.ts";

/** What the engine joins to a client's connection. */
export interface Joinable {
  hasTerminal: boolean;
  run(stream: ByteStream): Promise<void>;
  /** Called instead of `run` when the connection cannot be taken: the client has gone. */
  abandon?(): void;
}

const RAW = "application/vnd.docker.raw-stream";
const MULTIPLEXED = "application/vnd.docker.multiplexed-stream";

/** COMPAT: the Go client decides by it whether to look for frames; before 1.42 there was one type for both. */
export function streamType(hasTerminal: boolean, version: ApiVersion): string {
  return hasTerminal || !isAtLeast(version, 42) ? RAW : MULTIPLEXED;
}

/** Takes the connection and joins it; the reply head has then been sent. */
export async function joinRawStream(c: Context<AppEnv>, session: Joinable, log: Log): Promise<Response> {
  const stream = await hijackOr(c, session);
  runInBackground(stream, (each) => session.run(each), log);
  return taken();
}

async function hijackOr(c: Context<AppEnv>, session: Joinable): Promise<ByteStream> {
  try {
    return await hijack(c, session.hasTerminal);
  } catch (error) {
    session.abandon?.();
    throw error;
  }
}

/** COMPAT: 101 when asked for (the CLI insists on it); the older 200 otherwise, which never names frames. */
async function hijack(c: Context<AppEnv>, hasTerminal: boolean): Promise<ByteStream> {
  if (c.req.header("upgrade") === undefined) return await c.env.hijack(200, { "Content-Type": RAW });
  const type = streamType(hasTerminal, c.get("apiVersion"));
  return await c.env.hijack(101, { "Content-Type": type, Connection: "Upgrade", Upgrade: "tcp" });
}

/** The request is answered; what goes on from here belongs to the connection. */
export function runInBackground(stream: ByteStream, run: (stream: ByteStream) => Promise<void>, log: Log): void {
  serveStream(stream, run, LINGER_MS).catch((error: unknown) => log.debug("a hijacked stream ended", { error }));
}

/** The transport has sent a head already and ignores this. */
export function taken(): Response {
  return new Response(null);
}
