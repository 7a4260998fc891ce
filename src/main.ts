// The executable's entry: argv to a command. What serving does not need is loaded only when it is asked for.
import { readFileSync, writeSync } from "node:fs";
import { execFileSync } from "node:child_process";
import process from "node:process";
import { type CommandLine, ConfigError, helpText, parseCommandLine } from "./config.ts";
import { type Accounts, withRemap } from "./userns_remap.ts";
import { COMMIT, VERSION } from "./version.ts";

const STDERR = 2;

const ACCOUNTS: Accounts = {
  readFile,
  run: (program, args) => void execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" }),
};

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    return await run(parse());
  } catch (error) {
    writeSync(STDERR, `${explain(error)}\n`);
    // A daemon that failed half-way through its start must not live on by a socket or a timer it had opened.
    return process.exit(1);
  }
}

/** What is wrong with the user's wishes is said in a sentence; anything else is ours and comes with its stack. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return `berth: ${String(error)}`;
  const cause = error.cause instanceof Error ? `: ${error.cause.message}` : "";
  return error instanceof ConfigError ? `${error.message}${cause}` : `berth: ${error.stack ?? error.message}${cause}`;
}

function parse(): CommandLine {
  // The first two words are Bun's own and the script's (or the executable's) path.
  return parseCommandLine({ argv0: process.argv0, args: process.argv.slice(2), env: process.env, readFile });
}

async function run(commandLine: CommandLine): Promise<number> {
  const { command, program, config } = commandLine;
  const remapped = (read: CommandLine): CommandLine => ({ ...read, config: withRemap(read.config, ACCOUNTS) });
  switch (command) {
    case "help":
      process.stdout.write(helpText(program));
      return 0;
    case "version":
      // COMPAT: scripts that call a link named dockerd look for its words.
      process.stdout.write(`${program === "dockerd" ? "Docker" : "berth"} version ${VERSION}, build ${COMMIT}\n`);
      return 0;
    case "validate":
      for (const warning of commandLine.warnings) process.stderr.write(`${warning}\n`);
      // COMPAT: dockerd says it here too.
      process.stderr.write("configuration OK\n");
      return 0;
    case "doctor": {
      const { doctor } = await import("./commands/doctor.ts");
      return (await doctor(config, (text) => void process.stdout.write(text))) ? 0 : 1;
    }
    case "verify": {
      const { verify } = await import("./commands/verify.ts");
      return await verify(remapped(commandLine), (text) => void process.stdout.write(text));
    }
    case "up": {
      const { doctor } = await import("./commands/doctor.ts");
      if (!(await doctor(config, (text) => void process.stdout.write(text)))) return 1;
      return await startServing(remapped(commandLine), () => remapped(parse()), printExport);
    }
    case "serve":
      return await startServing(
        remapped(commandLine),
        () => remapped(parse()),
        () => {},
      );
  }
}

async function startServing(
  commandLine: CommandLine,
  parseAgain: () => CommandLine,
  onReady: (addresses: string[]) => void,
): Promise<number> {
  const [{ serve }, { startDaemon }] = await Promise.all([import("./commands/serve.ts"), import("./daemon.ts")]);
  const status = await serve(commandLine, {
    startDaemon,
    env: process.env,
    now: () => new Date(),
    parseAgain,
    onReady,
  });
  // Timers and sockets of a stopped daemon keep nobody waiting.
  process.exit(status);
}

/** The line that a shell takes to make this daemon its Docker. */
function printExport(addresses: string[]): void {
  const socket = addresses.find((address) => address.startsWith("unix://")) ?? addresses[0] ?? "";
  process.stdout.write(`\nberth is serving. In another shell:\n\n  export DOCKER_HOST=${socket}\n  docker version\n\n`);
}

function readFile(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
}
