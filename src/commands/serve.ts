// `berth serve`: takes the locks, starts the daemon, tells the service manager, and waits for a signal to end it.
import { mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { type CommandLine, type Config, ConfigError, planReload } from "../config.ts";
import { createLog, type Log } from "../log.ts";
import { createNotifier, type Environment, inheritedSockets } from "../notify.ts";
import { VERSION } from "../version.ts";
import { lockDataRoot, takePidfile } from "./locks.ts";

/** A daemon that serves. Made by daemon.ts. */
export interface RunningDaemon {
  /** What it listens on, as in Config.hosts. */
  readonly addresses: string[];
  reload(config: Config): void;
  stop(reason: "signal" | "restart"): Promise<void>;
}

export interface ServeDeps {
  startDaemon: (
    config: Config,
    deps: { log: Log; now: () => Date; inheritedFds: readonly number[] },
  ) => Promise<RunningDaemon>;
  env: Environment;
  now: () => Date;
  /** Reads the command line and the file again, for SIGHUP. */
  parseAgain: () => CommandLine;
  /** Called once requests are answered. */
  onReady: (addresses: string[]) => void;
}

/** COMPAT: as dockerd, the third signal ends a daemon that hangs in its shutdown. */
const SIGNALS_TO_FORCE = 3;
const FORCED_STATUS = 128 + 15;

/** Serves until a signal. Resolves to the exit status. */
export async function serve(commandLine: CommandLine, deps: ServeDeps): Promise<number> {
  let { config } = commandLine;
  const log = createLog(
    (line) => void process.stderr.write(line),
    () => config.logLevel,
    deps.now,
    config.logFormat,
  );
  checkRoot();
  using _data = lockDataRoot(config.dataRoot, process.pid);
  using _pidfile = config.pidfile === "" ? null : takePidfile(config.pidfile, process.pid);
  mkdirSync(config.execRoot, { recursive: true, mode: 0o711 });
  for (const warning of commandLine.warnings) log.warn(warning);
  if (config.oomScoreAdjust !== 0) setOOMScore(config.oomScoreAdjust);
  guard(log);

  const notifier = createNotifier(deps.env, log);
  const stopped = firstStopSignal(log);
  const daemon = await deps.startDaemon(config, {
    log,
    now: deps.now,
    inheritedFds: inheritedSockets(deps.env, process.pid).map(({ descriptor }) => descriptor),
  });
  process.on("SIGHUP", () => {
    notifier.reloading(process.hrtime.bigint() / 1000n);
    config = reload(config, deps.parseAgain, daemon, log);
    notifier.ready("serving");
  });
  log.info("serving", { version: VERSION, addresses: daemon.addresses.join(",") });
  notifier.ready("serving");
  deps.onReady(daemon.addresses);

  const signal = await stopped;
  log.info("stopping", { signal });
  notifier.stopping();
  await daemon.stop("signal");
  log.info("stopped");
  return 0;
}

function checkRoot(): void {
  if (process.getuid?.() !== 0) {
    throw new ConfigError(
      "berth needs to be started as root: it mounts file systems and makes namespaces, cgroups and bridges",
    );
  }
}

/** For the daemon alone: the first process of each container has the score that its container asks for. See proc(5). */
function setOOMScore(score: number): void {
  try {
    writeFileSync("/proc/self/oom_score_adj", String(score));
  } catch (error) {
    throw new ConfigError(
      `cannot set oom-score-adjust to ${score}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/**
 * WHY the daemon goes on: it holds the stdio of every running container, and a mistake in one request, or in one container's
 * bookkeeping, must not end the service of all others. What a request owns is let go by its own disposables; the log has the
 * stack. An error before the daemon serves ends it all the same, by startDaemon's rejection.
 */
function guard(log: Log): void {
  const report =
    (what: string) =>
    (error: unknown): void => {
      log.error(what, { error, stack: error instanceof Error ? error.stack : undefined });
    };
  process.on("uncaughtException", report("an error reached the top of the daemon; please report it"));
  process.on("unhandledRejection", report("a rejection reached the top of the daemon; please report it"));
}

/** Listens from now on, so that a signal during a slow start is kept. */
function firstStopSignal(log: Log): Promise<NodeJS.Signals> {
  const { promise, resolve } = Promise.withResolvers<NodeJS.Signals>();
  let count = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    resolve(signal);
    if (++count < SIGNALS_TO_FORCE) return;
    log.error("forced to stop: containers and their records may need the next start to be put in order");
    process.exit(FORCED_STATUS);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return promise;
}

/** SIGHUP. A configuration with a mistake changes nothing. */
function reload(running: Config, parseAgain: () => CommandLine, daemon: RunningDaemon, log: Log): Config {
  try {
    const { applied, changed, needRestart } = planReload(running, parseAgain().config);
    if (needRestart.length > 0) log.warn("these changes need a restart of berth", { fields: needRestart.join(",") });
    log.info("configuration reloaded", { changed: changed.join(",") });
    daemon.reload(applied);
    return applied;
  } catch (error) {
    log.error("the configuration is not reloaded", { error });
    return running;
  }
}
