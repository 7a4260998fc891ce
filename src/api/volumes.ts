// Routes of volumes, and their view.
import { Hono } from "hono";
import { FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import type { Engine, VolumeRecord } from "../engine/mod.ts";
import { unavailable } from "../errors.ts";
import { VolumeCreate } from "../schema/volume.ts";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { readJSON } from "./body.ts";
import { booleanParam } from "./params.ts";
import { empty, json } from "./reply.ts";
import { since } from "./since.ts";

export function volumesApi({ volumes }: Engine): Hono<AppEnv> {
  const app = new Hono<AppEnv>();

  app.get("/volumes", async (c) => {
    const found = await volumes.list(parseFilters(c.req.query("filters"), FILTER_NAMES.volumes));
    return json({
      Volumes: found.volumes.map(volumeView),
      Warnings: found.warnings.length > 0 ? found.warnings : null,
    });
  });

  app.post("/volumes/create", async (c) =>
    json(volumeView(await volumes.create(await readJSON(c, VolumeCreate))), 201),
  );

  app.post("/volumes/prune", since(25), async (c) => {
    const filters = new Map(parseFilters(c.req.query("filters"), FILTER_NAMES.volumesPrune));
    // COMPAT: before 1.42 a prune took named volumes too.
    if (!isAtLeast(c.get("apiVersion"), 42)) filters.set("all", ["true"]);
    const { deleted, spaceReclaimed } = await volumes.prune(filters);
    return json({ VolumesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: spaceReclaimed });
  });

  app.get("/volumes/:name{.+}", async (c) => {
    const { status, ...volume } = await volumes.inspect(c.req.param("name"));
    return json({ ...volumeView(volume), ...(Object.keys(status).length > 0 ? { Status: status } : {}) });
  });

  app.put("/volumes/:name{.+}", since(42), () => {
    throw unavailable("volume update only valid for cluster volumes, but swarm is unavailable");
  });

  app.delete("/volumes/:name{.+}", async (c) => {
    await volumes.remove(c.req.param("name"), booleanParam(c, "force"));
    return empty(204);
  });

  return app;
}

/** COMPAT: labels and options that are none are null, as templates in scripts know them. */
export function volumeView(volume: VolumeRecord): object {
  return {
    CreatedAt: volume.createdAt,
    Driver: volume.driver,
    Labels: Object.keys(volume.labels).length > 0 ? volume.labels : null,
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: Object.keys(volume.options).length > 0 ? volume.options : null,
    Scope: volume.scope,
  };
}
