// The Engine API as one `fetch`: sub-apps side by side, the version taken off the path, one place for errors.
import { Hono } from "hono";
import { getPath } from "hono/utils/url";
import type { Engine } from "../engine/mod.ts";
import { versionOf, withoutVersion } from "../http/version.ts";
import type { AppEnv, HttpBindings } from "./app_env.ts";
import { buildApi } from "./build.ts";
import { containersApi, type RouteDeps } from "./containers.ts";
import { distributionApi, type InspectDistribution } from "./distribution.ts";
import { errorResponse, pageNotFound } from "./error_response.ts";
import { eventsApi } from "./events.ts";
import { execApi } from "./exec.ts";
import { imagesApi } from "./images.ts";
import { networksApi } from "./networks.ts";
import { pluginsApi } from "./plugins.ts";
import { empty } from "./reply.ts";
import { searchApi, type SearchImages } from "./search.ts";
import { swarmApi } from "./swarm.ts";
import { systemApi, type SystemDeps } from "./system.ts";
import { volumesApi } from "./volumes.ts";

export interface App {
  readonly fetch: (request: Request, bindings: HttpBindings) => Response | Promise<Response>;
}

export interface AppDeps extends RouteDeps {
  /** Sub-apps beside containers, exec sessions and events. */
  subApps: readonly Hono<AppEnv>[];
}

export interface ApiDeps extends RouteDeps, SystemDeps {
  /** Asks a registry about an image. */
  inspectDistribution: InspectDistribution;
  searchImages: SearchImages;
}

/** The whole Engine API. */
export function createApi(engine: Engine, deps: ApiDeps): App {
  const subApps = [
    searchApi(deps.searchImages),
    imagesApi(engine),
    networksApi(engine),
    volumesApi(engine),
    systemApi(engine, deps),
    distributionApi(deps.inspectDistribution),
    buildApi(engine),
    pluginsApi(),
    swarmApi(),
  ];
  return createApp(engine, { log: deps.log, now: deps.now, subApps });
}

/** COMPAT: Docker answers HEAD on these alone; elsewhere it is a wrong method. */
const HEAD_PATHS = /^(\/_ping|\/containers\/.+\/archive)$/;

export function createApp(engine: Engine, deps: AppDeps): App {
  const app = new Hono<AppEnv>({
    // WHY: a Request with another URL would keep its whole body in memory, so the path is changed for the router alone.
    getPath: (request) => withoutVersion(getPath(request)),
  });
  app.use("*", async (c, next) => {
    if (c.req.method === "OPTIONS") return empty(200);
    if (c.req.method === "HEAD" && !HEAD_PATHS.test(c.req.path)) return pageNotFound();
    c.set("apiVersion", versionOf(getPath(c.req.raw)));
    await next();
  });
  for (const each of [execApi(engine, deps), containersApi(engine, deps), eventsApi(engine), ...deps.subApps])
    app.route("/", each);
  app.notFound(pageNotFound);
  app.onError((error) => errorResponse(error, deps.log));
  return { fetch: (request, bindings) => app.fetch(request, bindings) };
}
