// Swarm: what an engine that is in no swarm answers. berth forms no clusters, so that is all it ever answers; clients
// look at `Swarm.LocalNodeState` of /info first, or print these texts.
import { Hono } from "hono";
import { notImplemented, unavailable } from "../errors.ts";
import type { AppEnv } from "./app_env.ts";
import { since } from "./since.ts";

/** COMPAT: the words that the CLI prints for `docker service ls` and its like. */
export const NOT_A_MANAGER =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

/** Method and path of every route that needs a manager, with the API version that brought it. */
const FOR_MANAGERS: readonly (readonly [method: string, path: string, since: number])[] = [
  ["GET", "/swarm", 24],
  ["POST", "/swarm/update", 24],
  ["GET", "/swarm/unlockkey", 24],
  ["POST", "/swarm/unlock", 24],
  ["GET", "/services", 24],
  ["POST", "/services/create", 24],
  ["GET", "/services/:id", 24],
  ["DELETE", "/services/:id", 24],
  ["POST", "/services/:id/update", 24],
  ["GET", "/services/:id/logs", 24],
  ["GET", "/nodes", 24],
  ["GET", "/nodes/:id", 24],
  ["DELETE", "/nodes/:id", 24],
  ["POST", "/nodes/:id/update", 24],
  ["GET", "/tasks", 24],
  ["GET", "/tasks/:id", 24],
  ["GET", "/tasks/:id/logs", 29],
  ["GET", "/secrets", 25],
  ["POST", "/secrets/create", 25],
  ["GET", "/secrets/:id", 25],
  ["DELETE", "/secrets/:id", 25],
  ["POST", "/secrets/:id/update", 26],
  ["GET", "/configs", 30],
  ["POST", "/configs/create", 30],
  ["GET", "/configs/:id", 30],
  ["DELETE", "/configs/:id", 30],
  ["POST", "/configs/:id/update", 30],
];

export function swarmApi(): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  // Before bodies and IDs are looked at: whatever they are, there is no manager to ask.
  for (const [method, path, minor] of FOR_MANAGERS) {
    app.on(method, path, since(minor), () => {
      throw unavailable(NOT_A_MANAGER);
    });
  }
  app.post("/swarm/leave", () => {
    throw unavailable("This node is not part of a swarm");
  });
  app.on("POST", ["/swarm/init", "/swarm/join"], () => {
    throw notImplemented("this engine runs containers on one machine and does not form swarms");
  });
  return app;
}
