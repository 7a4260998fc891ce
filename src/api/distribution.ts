// GET /distribution/{name}/json: what a registry holds under a name, without pulling it.
import { Hono } from "hono";
import type { RegistryCredentials } from "../engine/mod.ts";
import type { AppEnv } from "./app_env.ts";
import { credentialsOf } from "./registry_credentials.ts";
import { json } from "./reply.ts";
import { since } from "./since.ts";

/** An answer of the registry, in the API's own spelling: descriptors are OCI's. */
interface DistributionFacts {
  Descriptor: { mediaType: string; digest: string; size: number };
  Platforms: { architecture: string; os: string; variant?: string }[];
}

/** Asks the registry. */
export type InspectDistribution = (
  name: string,
  credentials: RegistryCredentials | null,
  signal: AbortSignal,
) => Promise<DistributionFacts>;

export function distributionApi(inspect: InspectDistribution): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  app.get("/distribution/:name{.+}/json", since(30), async (c) => {
    return json(await inspect(c.req.param("name"), credentialsOf(c), c.req.raw.signal));
  });
  return app;
}
