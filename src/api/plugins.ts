// Managed plugins: berth has none, so every name is unknown, and none can be installed.
import { Hono } from "hono";
import { FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import { invalid, notFound, notImplemented } from "../errors.ts";
import type { AppEnv } from "./app_env.ts";
import { json } from "./reply.ts";
import { since } from "./since.ts";

const UNSUPPORTED = "installing plugins is not supported by this engine";

export function pluginsApi(): Hono<AppEnv> {
  const app = new Hono<AppEnv>();

  app.get("/plugins", (c) => {
    parseFilters(c.req.query("filters"), FILTER_NAMES.plugins);
    return json([]);
  });

  for (const path of ["/plugins/pull", "/plugins/create"]) {
    app.post(path, () => {
      throw notImplemented(UNSUPPORTED);
    });
  }
  app.get("/plugins/privileges", () => {
    throw notImplemented(UNSUPPORTED);
  });

  app.post("/plugins/:name{.+}/enable", (c) => {
    const timeout = c.req.query("timeout") ?? "";
    if (!/^[+-]?\d+$/.test(timeout)) throw invalid(`strconv.Atoi: parsing ${JSON.stringify(timeout)}: invalid syntax`);
    throw unknown(c.req.param("name"));
  });
  app.post("/plugins/:name{.+}/upgrade", since(26), (c) => {
    throw unknown(c.req.param("name"));
  });
  for (const verb of ["disable", "push", "set"]) {
    app.post(`/plugins/:name{.+}/${verb}`, (c) => {
      throw unknown(c.req.param("name"));
    });
  }
  app.get("/plugins/:name{.+}/json", (c) => {
    throw unknown(c.req.param("name"));
  });
  app.delete("/plugins/:name{.+}", (c) => {
    throw unknown(c.req.param("name"));
  });

  return app;
}

function unknown(name: string | undefined): Error {
  return notFound(`plugin ${JSON.stringify(name ?? "")} not found`);
}
