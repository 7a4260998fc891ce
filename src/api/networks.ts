// Routes of networks.
import { type Context, Hono } from "hono";
import { FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import type { Engine } from "../engine/mod.ts";
import { forbidden, notFound } from "../errors.ts";
import { NetworkConnect, NetworkCreate, NetworkDisconnect } from "../schema/network.ts";
import type { AppEnv } from "./app_env.ts";
import { readJSON } from "./body.ts";
import { inspectView, summaryView } from "./network_view.ts";
import { empty, json } from "./reply.ts";
import { since } from "./since.ts";
import { NOT_A_MANAGER } from "./swarm.ts";

export function networksApi({ containers, networks }: Engine): Hono<AppEnv> {
  const app = new Hono<AppEnv>();

  const list = (c: Context<AppEnv>): Response => {
    const found = networks.list(parseFilters(c.req.query("filters"), FILTER_NAMES.networks));
    return json(found.map((network) => summaryView(network, c.get("apiVersion"))));
  };
  app.get("/networks", list);
  app.get("/networks/", list);

  app.get("/networks/:id{.+}", (c) => {
    const id = c.req.param("id");
    const network = networks.get(id);
    const scope = c.req.query("scope") ?? "";
    if (scope !== "" && scope !== network.scope) throw notFound(`network ${id} not found`);
    return json(inspectView(network, containers.all(), c.get("apiVersion")));
  });

  app.post("/networks/create", async (c) => {
    const request = await readJSON(c, NetworkCreate);
    // COMPAT: what an engine outside a swarm answers; it is told before anything else about the request is.
    if (request.Driver === "overlay") throw forbidden(NOT_A_MANAGER);
    const { id, warning } = await networks.create(request);
    return json({ Id: id, Warning: warning }, 201);
  });

  app.post("/networks/prune", since(25), async (c) => {
    const deleted = await networks.prune(parseFilters(c.req.query("filters"), FILTER_NAMES.networksPrune));
    return json({ NetworksDeleted: deleted.length > 0 ? deleted : null });
  });

  app.post("/networks/:id{.+}/connect", async (c) => {
    const { Container, EndpointConfig } = await readJSON(c, NetworkConnect);
    await networks.connect(c.req.param("id"), Container, EndpointConfig);
    return empty(200);
  });

  app.post("/networks/:id{.+}/disconnect", async (c) => {
    const { Container, Force } = await readJSON(c, NetworkDisconnect);
    await networks.disconnect(c.req.param("id"), Container, Force);
    return empty(200);
  });

  app.delete("/networks/:id{.+}", async (c) => {
    await networks.remove(c.req.param("id"));
    return empty(204);
  });

  return app;
}
