// The daemon from its first socket to its last: listens at once, builds the services, takes up what still runs, and
// closes all of it in reverse. The services themselves are put together in services.ts.
import { releaseExecutablePages } from "../runtime/sys/memory.ts";
import { pingResponse } from "./api/ping.ts";
import type { App } from "./api/app.ts";
import type { Config } from "./config.ts";
import { type HttpServer, listenAll } from "./http/listen.ts";
import { commonHeaders } from "./http/version.ts";
import { BACKGROUND_END_MS, HTTP_CLOSE_MS } from "./limits.ts";
import type { Log } from "./log.ts";
import { createQuiet, type Quiet } from "./quiet.ts";
import type { House } from "./services.ts";
import { VERSION } from "./version.ts";

export interface DaemonDeps {
  log: Log;
  now: () => Date;
  /** Listening sockets from a service manager, for `fd://`. */
  inheritedFds?: readonly number[];
}

export interface Daemon {
  readonly addresses: string[];
  reload(config: Config): void;
  stop(reason: "signal" | "restart"): Promise<void>;
}

/**
 * Resolves once requests are answered. WHY the socket comes first: a ping is answered some 60 ms earlier, and whoever
 * starts us and connects at once waits instead of failing. Other requests wait until containers are taken up.
 */
export async function startDaemon(config: Config, deps: DaemonDeps): Promise<Daemon> {
  await using undo = new AsyncDisposableStack();
  const app = Promise.withResolvers<App>();
  // A client that waits for it hears of a failure by its connection's end.
  app.promise.catch(() => {});
  const quiet = undo.use(createQuiet(releaseExecutablePages));
  const server = await listen(config, deps, app.promise, quiet);
  undo.defer(() => server.close(0));
  let house: House;
  try {
    const { build } = await import("./services.ts");
    house = await build(config, deps, undo);
    await takeUp(house);
  } catch (error) {
    app.reject(error);
    throw error;
  }
  app.resolve(house.app);
  const kept = undo.move();
  return {
    addresses: [...server.addresses],
    reload(next) {
      house.setConfig(next);
      house.engine.events.publish("daemon", "reload", house.engine.id, { name: house.hostName });
    },
    async stop() {
      await shutDown(house, server);
      await kept.disposeAsync();
    },
  };
}

function listen(
  config: Config,
  { log, now, inheritedFds = [] }: DaemonDeps,
  ready: Promise<App>,
  quiet: Quiet,
): Promise<HttpServer> {
  let app: App | null = null;
  ready.then(
    (built) => {
      app = built;
    },
    () => {},
  );
  const answer: App["fetch"] = (request, transport) => {
    if (app) return app.fetch(request, transport);
    // COMPAT: clients ask without a version before anything else. What they ask next waits for the engine.
    if (new URL(request.url).pathname === "/_ping") return pingResponse();
    return ready.then((built) => built.fetch(request, transport));
  };
  return listenAll(config.hosts, {
    fetch: (request, transport) => {
      const done = quiet.busy();
      const reply = answer(request, transport);
      if (reply instanceof Promise) reply.then(done, done);
      else done();
      return reply;
    },
    commonHeaders: commonHeaders({ engineVersion: VERSION, isExperimental: config.isExperimental }),
    log,
    now: () => now().getTime(),
    tls: config.tls,
    group: config.group,
    inheritedFds,
  });
}

async function takeUp({ containers, networks }: House): Promise<void> {
  await containers.load();
  await networks.start(containers.running());
  await containers.regain();
}

async function shutDown(
  { containers, networks, events, background, config }: House,
  server: HttpServer,
): Promise<void> {
  const closed = server.close(HTTP_CLOSE_MS);
  const { isLiveRestore, shutdownTimeoutSec } = config();
  if (!isLiveRestore) await containers.stopAll(shutdownTimeoutSec < 0 ? Infinity : shutdownTimeoutSec * 1000);
  events.close();
  containers.close();
  await closed;
  await background.ended(BACKGROUND_END_MS);
  await networks.stop(containers.running().length === 0);
}
