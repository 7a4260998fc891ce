// Routes of containers: life cycle, reading, streams. Each handler parses, calls one service method and presents.
import { Hono } from "hono";
import { DEFAULT_APPARMOR_PROFILE } from "../../runtime/mod.ts";
import { apparmorProfile } from "../engine/containers/apparmor.ts";
import { FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import type { Engine } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import { ContainerConfig, ContainerCreate } from "../schema/container.ts";
import { ContainerUpdate } from "../schema/host_config.ts";
import type { Log } from "../log.ts";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { containerArchive } from "./archive.ts";
import { containerCheckpoints, refuseCheckpoint } from "./checkpoints.ts";
import { check, readDocument, readJSON } from "./body.ts";
import { containerStreams } from "./container_streams.ts";
import { inspectView } from "./container_view.ts";
import { fromVersion } from "./older_create.ts";
import { updateOfVersion } from "./older_update.ts";
import { booleanParam, cellsParam, integerParam } from "./params.ts";
import { empty, json } from "./reply.ts";
import { since } from "./since.ts";
import { containerStats } from "./stats.ts";
import { createSummaries } from "./summaries.ts";

export interface RouteDeps {
  log: Log;
  now: () => Date;
}

export function containersApi(engine: Engine, deps: RouteDeps): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  // The first pattern that matches wins, and {id} may hold slashes: the longer patterns come first.
  containerArchive(app, engine);
  containerCheckpoints(app, engine);
  containerStats(app, engine);
  containerStreams(app, engine, deps.log);
  reading(app, engine, deps);
  lifecycle(app, engine);
  return app;
}

function lifecycle(app: Hono<AppEnv>, engine: Engine): void {
  const { containers } = engine;
  app.post("/containers/create", async (c) => {
    const document = await readDocument(c);
    requireConfig(document);
    const platform = isAtLeast(c.get("apiVersion"), 41) ? (c.req.query("platform") ?? "") : "";
    const asked = fromVersion(
      check(ContainerCreate, document),
      c.get("apiVersion"),
      engine.runtime.facts.cgroupVersion,
    );
    const name = c.req.query("name") || null;
    const { id, warnings } = await containers.create({ name, platform, body: asked.body });
    return json({ Id: id, Warnings: [...warnings, ...asked.warnings] }, 201);
  });

  app.post("/containers/prune", since(25), async (c) => {
    const filters = parseFilters(c.req.query("filters"), FILTER_NAMES.containersPrune);
    const { deleted, spaceReclaimed } = await containers.prune(filters);
    return json({ ContainersDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: spaceReclaimed });
  });

  app.post("/containers/:id{.+}/start", async (c) => {
    // COMPAT: 7 bytes is the shortest JSON object with something in it; older clients send `{}` or nothing.
    if (c.req.header("transfer-encoding") !== undefined || Number(c.req.header("content-length") ?? 0) > 7) {
      throw invalid(
        "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
      );
    }
    const checkpoint = c.req.query("checkpoint") ?? "";
    if (checkpoint !== "") refuseCheckpoint(engine, c.req.param("id"), checkpoint);
    return empty((await containers.start(c.req.param("id"))) === "started" ? 204 : 304);
  });

  const stopOptions = (c: Parameters<typeof integerParam>[0], hasSignal: boolean) => ({
    signal: (hasSignal ? c.req.query("signal") : "") || null,
    timeoutSec: integerParam(c, "t"),
  });

  app.post("/containers/:id{.+}/stop", async (c) => {
    const options = stopOptions(c, isAtLeast(c.get("apiVersion"), 42));
    return empty((await containers.stop(c.req.param("id"), options)) === "stopped" ? 204 : 304);
  });

  app.post("/containers/:id{.+}/restart", async (c) => {
    await containers.restart(c.req.param("id"), stopOptions(c, isAtLeast(c.get("apiVersion"), 42)));
    return empty(204);
  });

  app.post("/containers/:id{.+}/kill", async (c) => {
    await containers.kill(c.req.param("id"), c.req.query("signal") || null);
    return empty(204);
  });

  app.post("/containers/:id{.+}/pause", async (c) => {
    await containers.pause(c.req.param("id"));
    return empty(204);
  });

  app.post("/containers/:id{.+}/unpause", async (c) => {
    await containers.unpause(c.req.param("id"));
    return empty(204);
  });

  app.post("/containers/:id{.+}/rename", async (c) => {
    await containers.rename(c.req.param("id"), c.req.query("name") ?? "");
    return empty(204);
  });

  app.post("/containers/:id{.+}/resize", async (c) => {
    const rows = cellsParam(c, "h");
    await containers.resize(c.req.param("id"), rows, cellsParam(c, "w"));
    return empty(200);
  });

  app.post("/containers/:id{.+}/update", async (c) => {
    const change = updateOfVersion(await readJSON(c, ContainerUpdate), c.get("apiVersion"));
    return json({ Warnings: await containers.update(c.req.param("id"), change) });
  });

  app.delete("/containers/:id{.+}", async (c) => {
    const options = { force: booleanParam(c, "force"), volumes: booleanParam(c, "v"), link: booleanParam(c, "link") };
    await containers.remove(c.req.param("id"), options);
    return empty(204);
  });
}

/** COMPAT: the configuration is embedded in the body, so one without any of its fields has none. */
function requireConfig(document: unknown): void {
  const known = new Set(Object.keys(ContainerConfig.entries).map((name) => name.toLowerCase()));
  const given = typeof document === "object" && document !== null ? Object.keys(document) : [];
  const isOther =
    document !== undefined && document !== null && (typeof document !== "object" || Array.isArray(document));
  if (isOther || given.some((name) => known.has(name.toLowerCase()))) return;
  throw invalid("config cannot be empty in order to create a container");
}

function reading(app: Hono<AppEnv>, engine: Engine, { now }: RouteDeps): void {
  const { config, containers } = engine;
  const networkID = (name: string): string => engine.networks.get(name).id;
  const summaries = createSummaries();
  const containerName = (id: string): string => [...containers.all()].find((record) => record.id === id)?.name ?? id;

  app.get("/containers/json", async (c) => {
    const found = await containers.list({
      all: booleanParam(c, "all"),
      limit: integerParam(c, "limit") ?? 0,
      size: booleanParam(c, "size"),
      filters: parseFilters(c.req.query("filters"), FILTER_NAMES.containers),
    });
    const context = { config, networkID, now: now(), version: c.get("apiVersion") };
    const images = new Map<string, string | null>();
    const body = summaries.list(
      found.map(({ record, sizes }) => {
        let now = images.get(record.image);
        if (now === undefined) images.set(record.image, (now = imageNow(engine, record.image)));
        return { record, sizes, health: containers.health(record.id), imageNow: now };
      }),
      context,
    );
    return new Response(body, { headers: { "Content-Type": "application/json" } });
  });

  app.get("/containers/:id{.+}/json", async (c) => {
    const record = containers.get(c.req.param("id"));
    const sizes = booleanParam(c, "size") ? await containers.sizes(record.id) : null;
    const facts = {
      record,
      sizes,
      logPath: containers.logPath(record.id),
      execIDs: containers.execIDs(record.id),
      health: containers.health(record.id),
      apparmor: apparmorProfile(record.hostConfig, engine.runtime.facts.hasAppArmor, DEFAULT_APPARMOR_PROFILE),
    };
    return json(inspectView(facts, { config, networkID, containerName, now: now(), version: c.get("apiVersion") }));
  });

  app.get("/containers/:id{.+}/top", async (c) => {
    return json(await containers.top(c.req.param("id"), c.req.query("ps_args") || "-ef"));
  });
}

/** The image that a name stands for now; null when there is none. */
function imageNow(engine: Engine, name: string): string | null {
  try {
    return engine.images.get(name).id;
  } catch {
    return null;
  }
}
