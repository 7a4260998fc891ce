// Checkpoints: an experimental part of the Engine API. berth takes none (docs/ARCHITECTURE.md says why), and answers as
// Docker does where CRIU is missing: there are none, none can be made, and nothing starts from one.
import type { Hono } from "hono";
import type { ContainerRecord } from "../engine/containers/container.ts";
import type { Engine } from "../engine/mod.ts";
import { conflict, internal, invalid, notImplemented } from "../errors.ts";
import { CheckpointCreate } from "../schema/container.ts";
import type { AppEnv } from "./app_env.ts";
import { readJSON } from "./body.ts";
import { json } from "./reply.ts";

export function containerCheckpoints(app: Hono<AppEnv>, { config, containers }: Engine): void {
  /** COMPAT: the router's own refusal, which comes before anything else. */
  const requireExperimental = (): void => {
    if (config.isExperimental) return;
    throw notImplemented(
      "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
    );
  };

  app.get("/containers/:id{.+}/checkpoints", (c) => {
    requireExperimental();
    containers.get(c.req.param("id"));
    return json([]);
  });

  app.post("/containers/:id{.+}/checkpoints", async (c) => {
    requireExperimental();
    const name = c.req.param("id");
    const { CheckpointID: checkpoint } = await readJSON(c, CheckpointCreate);
    const record = containers.get(name);
    if (!isRunning(record)) throw conflict(`container ${record.id} is not running`);
    checkName(checkpoint);
    throw internal(`Cannot checkpoint container ${name}: this engine does not support CRIU`);
  });

  app.delete("/containers/:id{.+}/checkpoints/:checkpoint", (c) => {
    requireExperimental();
    const name = c.req.param("id");
    containers.get(name);
    throw noCheckpoint(c.req.param("checkpoint"), name);
  });
}

/** Of `POST …/start?checkpoint=x`: throws, unless the container runs and there is nothing to do. */
export function refuseCheckpoint({ config, containers }: Engine, nameOrID: string, checkpoint: string): void {
  if (!config.isExperimental) throw invalid("checkpoint is only supported in experimental mode");
  const record = containers.get(nameOrID);
  if (isRunning(record)) return;
  throw noCheckpoint(checkpoint, `/${record.name}`);
}

function isRunning({ state }: ContainerRecord): boolean {
  return state.status === "running" || state.status === "paused";
}

function checkName(checkpoint: string): void {
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(checkpoint)) return;
  throw internal(`Invalid checkpoint ID (${checkpoint}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
}

function noCheckpoint(checkpoint: string, container: string): Error {
  return internal(`checkpoint ${checkpoint} does not exist for container ${container}`);
}
