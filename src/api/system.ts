// Routes of the engine itself: ping, version, info, disk usage, and the check of registry credentials.
import { type Context, Hono } from "hono";
import type { Engine, RegistryCredentials } from "../engine/mod.ts";
import type { SystemFacts } from "../engine/system.ts";
import { invalid } from "../errors.ts";
import { AuthConfig } from "../schema/system.ts";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { readJSON } from "./body.ts";
import { diskUsage, diskUsageView, OBJECT_TYPES, type ObjectType } from "./disk_usage_view.ts";
import { booleanParam } from "./params.ts";
import { pingResponse } from "./ping.ts";
import { toCredentials } from "./registry_credentials.ts";
import { json } from "./reply.ts";
import { infoView, versionView } from "./system_view.ts";

export interface SystemDeps {
  /** Read anew for each request: a kernel setting may have changed. */
  facts: () => Promise<SystemFacts>;
  now(): Date;
  /** Logs in to a registry. Throws `unauthorized` with the registry's words. */
  checkAuth(
    server: string,
    credentials: RegistryCredentials,
    signal: AbortSignal,
  ): Promise<{ status: string; identityToken: string }>;
}

export function systemApi(engine: Engine, deps: SystemDeps): Hono<AppEnv> {
  const app = new Hono<AppEnv>();

  // HEAD comes here too: the router takes it for a GET and drops the body.
  app.get("/_ping", pingResponse);

  app.get("/version", async () => json(versionView(await deps.facts(), engine.config)));

  app.get("/info", async (c) => {
    const { count } = await engine.images.totals();
    const info = { engine, facts: await deps.facts(), images: count, now: deps.now() };
    return json(infoView(info, c.get("apiVersion")));
  });

  const networkID = (name: string): string => engine.networks.get(name).id;
  const shared = new Map<string, Promise<object>>();
  app.get("/system/df", async (c) => {
    const version = c.get("apiVersion");
    const types = objectTypes(c);
    const isVerbose = booleanParam(c, "verbose");
    const key = `${version.minor} ${isVerbose} ${types.join(" ")}`;
    // It walks every volume and writable layer: callers at the same time share one walk.
    const running =
      shared.get(key) ??
      diskUsage(engine, types)
        .then((usage) =>
          diskUsageView(usage, { version, isVerbose, config: engine.config, networkID, now: deps.now() }),
        )
        .finally(() => shared.delete(key));
    shared.set(key, running);
    return json(await running);
  });

  app.post("/auth", async (c) => {
    const body = await readJSON(c, AuthConfig);
    const credentials = toCredentials(body);
    if (credentials === null) throw invalid("no credentials were given: a user name or a token is needed");
    const { status, identityToken } = await deps.checkAuth(body.serveraddress, credentials, c.req.raw.signal);
    return json({ Status: status, IdentityToken: identityToken });
  });

  return app;
}

/** `type` repeats since 1.42; none means all. */
function objectTypes(c: Context<AppEnv>): ObjectType[] {
  const given = isAtLeast(c.get("apiVersion"), 42) ? (c.req.queries("type") ?? []) : [];
  const wrong = given.find((type) => !(OBJECT_TYPES as readonly string[]).includes(type));
  if (wrong !== undefined) throw invalid(`unknown object type: ${wrong}`);
  return given.length === 0 ? [...OBJECT_TYPES] : OBJECT_TYPES.filter((type) => given.includes(type));
}
