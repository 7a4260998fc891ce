// One daemon for each data root and each pidfile. Taken before anything else is touched, freed by the kernel whatever happens.
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { type FileLock, lockFile } from "../../runtime/mod.ts";
import { ConfigError } from "../config.ts";

/** Makes the data root where it is absent, and takes it for this process. */
export function lockDataRoot(dataRoot: string, pid: number): FileLock {
  makeDirectory("data root", dataRoot, 0o711);
  const result = lockFile(`${dataRoot}/berth.lock`, `${pid}\n`);
  if ("held" in result) return result.held;
  throw new ConfigError(`data root ${dataRoot} is in use by another berth (pid ${result.heldBy || "unknown"})`);
}

/** Writes the pidfile, unless it belongs to a daemon that runs. Disposing removes it. */
export function takePidfile(path: string, pid: number): Disposable {
  makeDirectory("directory of the pidfile", dirname(path), 0o755);
  const previous = readPid(path);
  if (previous !== null && previous !== pid && isDaemon(previous)) throw pidfileInUse(path, previous);
  const result = lockFile(path, `${pid}\n`);
  if (!("held" in result)) throw pidfileInUse(path, result.heldBy);
  return {
    [Symbol.dispose]() {
      rmSync(path, { force: true });
      result.held[Symbol.dispose]();
    },
  };
}

function pidfileInUse(path: string, pid: number | string): ConfigError {
  // COMPAT: dockerd's words.
  return new ConfigError(
    `failed to start daemon, ensure docker is not running or delete ${path}: process with PID ${pid} is still running`,
  );
}

function readPid(path: string): number | null {
  try {
    const pid = Number(readFileSync(path, "utf8").trim());
    return Number.isInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}

/** WHY the name: after a crash the number may be any other process's; a running berth holds the lock beside. */
function isDaemon(pid: number): boolean {
  try {
    const argv0 = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0] ?? "";
    return ["dockerd", "berth"].includes(argv0.split("/").at(-1) ?? "");
  } catch {
    return false;
  }
}

function makeDirectory(what: string, path: string, mode: number): void {
  try {
    mkdirSync(path, { recursive: true, mode });
  } catch (error) {
    throw new ConfigError(`cannot make the ${what} ${path}`, { cause: error });
  }
}
