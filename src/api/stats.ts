// GET /containers/{id}/stats: one sample a second, or one alone.
import type { Hono } from "hono";
import type { Engine, StatsFrame } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import { streamOf } from "../http/streaming.ts";
import { type ApiVersion, type AppEnv, isAtLeast } from "./app_env.ts";
import { booleanParam } from "./params.ts";
import { statsText } from "./stats_view.ts";

const HEADERS = { "Content-Type": "application/json" };

export function containerStats(app: Hono<AppEnv>, { containers }: Engine): void {
  app.get("/containers/:id{.+}/stats", async (c) => {
    const id = c.req.param("id");
    const version = c.get("apiVersion");
    const isStream = booleanParam(c, "stream", true);
    const isOneShot = isAtLeast(version, 41) && booleanParam(c, "one-shot");
    containers.get(id);
    if (isStream && isOneShot) throw invalid("cannot have stream=true and one-shot=true");
    const { signal } = c.req.raw;
    if (isStream) return streamOf(encode(containers.followStats(id, signal), version), HEADERS);
    const frame = isOneShot ? containers.statsNow(id) : await containers.stats(id, signal);
    return new Response(statsText(frame, version), { headers: HEADERS });
  });
}

async function* encode(frames: AsyncIterable<StatsFrame>, version: ApiVersion): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for await (const frame of frames) yield encoder.encode(statsText(frame, version));
}
