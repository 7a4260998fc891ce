// GET /events: replay, then live, one JSON object per line.
import { type Context, Hono } from "hono";
import { FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import type { Engine, EngineEvent } from "../engine/mod.ts";
import { streamOf } from "../http/streaming.ts";
import { type ApiVersion, type AppEnv, isAtLeast } from "./app_env.ts";
import { secondsParam } from "./params.ts";

export function eventsApi({ events }: Engine): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  app.get("/events", (c) => {
    const query = {
      since: secondsParam(c, "since"),
      until: untilParam(c),
      filters: parseFilters(c.req.query("filters"), FILTER_NAMES.events),
    };
    const type = contentType(c);
    const { signal } = c.req.raw;
    return streamOf(encode(events.subscribe(query, signal), c.get("apiVersion"), type === JSON_SEQUENCE), {
      "Content-Type": type,
    });
  });
  return app;
}

/** COMPAT: `until=0` means none. */
function untilParam(c: Context<AppEnv>): number | null {
  return secondsParam(c, "until") || null;
}

const JSON_LINES = "application/jsonl";
const JSON_SEQUENCE = "application/json-seq";
const OFFERED = [JSON_LINES, "application/x-ndjson", JSON_SEQUENCE] as const;

/** From 1.52 the client chooses; what it does not know to ask for stays what it was. */
function contentType(c: Context<AppEnv>): string {
  if (!isAtLeast(c.get("apiVersion"), 52)) return "application/json";
  const accepted = (c.req.header("accept") ?? "")
    .split(",")
    .map(parseRange)
    .filter(({ quality }) => quality > 0);
  accepted.sort((a, b) => b.quality - a.quality);
  for (const { type } of accepted) {
    const offered = OFFERED.find((each) => each === type);
    if (offered !== undefined) return offered;
  }
  return JSON_LINES;
}

function parseRange(text: string): { type: string; quality: number } {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const quality = parameters.find((each) => each.startsWith("q="));
  return { type, quality: quality === undefined ? 1 : Number(quality.slice(2)) || 0 };
}

async function* encode(
  events: AsyncIterable<EngineEvent>,
  version: ApiVersion,
  isSequence: boolean,
): AsyncIterable<Uint8Array> {
  const encoder = new TextEncoder();
  for await (const event of events) {
    // COMPAT: image `create` is new in 1.46.
    if (event.type === "image" && event.action === "create" && !isAtLeast(version, 46)) continue;
    // RFC 7464: each text of a sequence begins with a record separator.
    yield encoder.encode(`${isSequence ? "\x1e" : ""}${eventText(event, version)}\n`);
  }
}

/** Written by hand for the sake of `timeNano`: its digits do not fit into a JavaScript number. */
export function eventText(event: EngineEvent, version: ApiVersion): string {
  const fields = JSON.stringify({
    ...legacyFields(event, version),
    Type: event.type,
    Action: event.action,
    Actor: { ID: event.actorID, Attributes: event.attributes },
    scope: "local",
    time: Number(event.timeNano / 1_000_000_000n),
  });
  return `${fields.slice(0, -1)},"timeNano":${event.timeNano}}`;
}

/** COMPAT: gone in 1.52; older tools read these rather than Action and Actor. */
function legacyFields(event: EngineEvent, version: ApiVersion): object {
  if (isAtLeast(version, 52) || (event.type !== "container" && event.type !== "image")) return {};
  const from = event.type === "container" ? event.attributes["image"] : undefined;
  return { status: event.action, id: event.actorID, ...(from === undefined ? {} : { from }) };
}
