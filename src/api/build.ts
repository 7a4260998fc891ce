// Building: not here yet, and said so plainly, so that clients fall back or tell their user. /grpc and /session are how
// buildx and compose find out whether an engine has BuildKit inside.
import { Hono } from "hono";
import { FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import type { Engine } from "../engine/mod.ts";
import { notImplemented } from "../errors.ts";
import type { AppEnv } from "./app_env.ts";
import { json } from "./reply.ts";
import { since } from "./since.ts";

export function buildApi({ events }: Pick<Engine, "events">): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  for (const path of ["/build", "/build/cancel", "/grpc"]) {
    app.post(path, () => {
      throw notImplemented("building images is not supported by this engine yet");
    });
  }
  app.post("/session", since(31), () => {
    throw notImplemented("building images is not supported by this engine yet");
  });

  // A build cache is only ever filled by builds: pruning what is empty is no lie.
  app.post("/build/prune", since(31), (c) => {
    parseFilters(c.req.query("filters"), FILTER_NAMES.buildPrune);
    events.publish("builder", "prune", "", { reclaimed: "0" });
    return json({ CachesDeleted: null, SpaceReclaimed: 0 });
  });
  return app;
}
