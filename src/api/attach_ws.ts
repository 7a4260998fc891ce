// GET /containers/{id}/attach/ws: attach over a WebSocket, for browsers and docker-py. Raw bytes in messages; never frames.
import type { Context } from "hono";
import type { Containers } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import { acceptKey, isHandshakeKey, webSocketStream } from "../http/websocket.ts";
import type { Log } from "../log.ts";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { booleanParam } from "./params.ts";
import { runInBackground, taken } from "./raw_stream.ts";

export async function attachWebSocket(
  c: Context<AppEnv>,
  id: string,
  containers: Containers,
  log: Log,
): Promise<Response> {
  const key = c.req.header("sec-websocket-key");
  if (c.req.header("upgrade")?.toLowerCase() !== "websocket") throw invalid("the request does not ask for a WebSocket");
  if (!isHandshakeKey(key)) throw invalid("missing or malformed Sec-WebSocket-Key");
  if (c.req.header("sec-websocket-version") !== "13") throw invalid("the only Sec-WebSocket-Version served is 13");
  const session = await containers.attach(id, attachOptions(c));
  const stream = await c.env.hijack(101, {
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Accept": acceptKey(key),
  });
  const isText = !isAtLeast(c.get("apiVersion"), 28);
  runInBackground(webSocketStream(stream, { isText }), (each) => session.run(each), log);
  return taken();
}

/** COMPAT: below 1.42 the three stream parameters had no meaning here. */
function attachOptions(c: Context<AppEnv>) {
  const isHonoured = isAtLeast(c.get("apiVersion"), 42);
  return {
    stream: booleanParam(c, "stream"),
    logs: booleanParam(c, "logs"),
    stdin: !isHonoured || booleanParam(c, "stdin"),
    stdout: !isHonoured || booleanParam(c, "stdout"),
    stderr: !isHonoured || booleanParam(c, "stderr"),
    detachKeys: c.req.query("detachKeys") ?? null,
    framed: false,
  };
}
