// Routes of containers that stream: wait, attach, logs.
import { type Context, Hono } from "hono";
import type { AttachOptions, Engine, LogQuery, WaitCondition } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import { encodeFrame } from "../http/multiplex.ts";
import { streamOf } from "../http/streaming.ts";
import type { Log } from "../log.ts";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { attachWebSocket } from "./attach_ws.ts";
import { booleanParam, timeParam } from "./params.ts";
import { joinRawStream, streamType } from "./raw_stream.ts";

export function containerStreams(app: Hono<AppEnv>, { containers }: Engine, log: Log): void {
  app.post("/containers/:id{.+}/wait", async (c) => {
    const { signal } = c.req.raw;
    const { result } = await containers.wait(c.req.param("id"), waitCondition(c), signal);
    const body = waitBody(result, signal);
    // COMPAT: the CLI sends no start before this head has arrived. Below 1.30 the head came with the exit code.
    if (isAtLeast(c.get("apiVersion"), 30)) return streamOf(body, { "Content-Type": "application/json" });
    const { value } = await body.next();
    return new Response(value ?? null, { headers: { "Content-Type": "application/json" } });
  });

  app.post("/containers/:id{.+}/attach", async (c) => {
    const id = c.req.param("id");
    const options = attachOptions(c, !containers.get(id).config.Tty);
    return await joinRawStream(c, await containers.attach(id, options), log);
  });

  app.get("/containers/:id{.+}/attach/ws", (c) => attachWebSocket(c, c.req.param("id"), containers, log));

  app.get("/containers/:id{.+}/logs", async (c) => {
    const query = logQuery(c);
    // Stored lines end by themselves; only a follow must hear that the client has gone.
    const signal = query.follow ? c.req.raw.signal : new AbortController().signal;
    const { chunks, hasTerminal } = await containers.logs(c.req.param("id"), query, signal);
    return streamOf(logBody(chunks, !hasTerminal), { "Content-Type": streamType(hasTerminal, c.get("apiVersion")) });
  });
}

// ---- wait

const CONDITIONS: readonly string[] = ["not-running", "next-exit", "removed"] satisfies WaitCondition[];

function waitCondition(c: Context<AppEnv>): WaitCondition {
  const text = isAtLeast(c.get("apiVersion"), 30) ? (c.req.query("condition") ?? "") : "";
  if (text === "") return "not-running";
  if (!CONDITIONS.includes(text)) throw invalid(`invalid condition: "${text}"`);
  return text as WaitCondition;
}

async function* waitBody(
  result: Promise<{ statusCode: number; error: string | null }>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const answer = (StatusCode: number, error: string | null): Uint8Array<ArrayBuffer> =>
    new TextEncoder().encode(
      `${JSON.stringify({ StatusCode, ...(error === null ? {} : { Error: { Message: error } }) })}\n`,
    );
  try {
    const { error, statusCode } = await result;
    yield answer(statusCode, error);
  } catch (error) {
    // The status is out already, so a failure is told in the body; nobody is left to hear it when the client has gone.
    if (!signal.aborted) yield answer(-1, error instanceof Error ? error.message : String(error));
  }
}

// ---- attach

function attachOptions(c: Context<AppEnv>, framed: boolean): AttachOptions {
  return {
    stream: booleanParam(c, "stream"),
    logs: booleanParam(c, "logs"),
    stdin: booleanParam(c, "stdin"),
    stdout: booleanParam(c, "stdout"),
    stderr: booleanParam(c, "stderr"),
    detachKeys: c.req.query("detachKeys") ?? null,
    framed,
  };
}

// ---- logs

function logQuery(c: Context<AppEnv>): LogQuery {
  const stdout = booleanParam(c, "stdout");
  const stderr = booleanParam(c, "stderr");
  if (!stdout && !stderr) throw invalid("must specify at least one of 'stdout' or 'stderr'");
  return {
    follow: booleanParam(c, "follow"),
    stdout,
    stderr,
    sinceNano: timeParam(c, "since"),
    // COMPAT: `until=0` means none.
    untilNano: timeParam(c, "until") || null,
    tail: tailParam(c),
    timestamps: booleanParam(c, "timestamps"),
    details: booleanParam(c, "details"),
  };
}

/** COMPAT: `all`, a negative number and anything that is no number mean everything. */
function tailParam(c: Context<AppEnv>): number | null {
  const text = c.req.query("tail") ?? "";
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}

const STDERR = 2;

async function* logBody(chunks: AsyncIterable<Uint8Array>, isFramed: boolean): AsyncIterable<Uint8Array> {
  try {
    yield* chunks;
  } catch (error) {
    const text = new TextEncoder().encode(
      `Error grabbing logs: ${error instanceof Error ? error.message : String(error)}\n`,
    );
    yield isFramed ? encodeFrame(STDERR, text) : text;
  }
}
