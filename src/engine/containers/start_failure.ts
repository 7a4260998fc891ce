// Why a container could not be started: from what the runtime or the networks threw, to the text and status that Docker's
// clients know and to the exit code the container then shows. Decided by errno, never by reading a text.
import { LaunchError, SyscallError, UserLookupError } from "../../../runtime/mod.ts";
import { EngineError, internal, invalid } from "../../errors.ts";
import { errorText } from "./error_text.ts";

export interface StartFailure {
  error: EngineError;
  exitCode: number;
}

const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const UNKNOWN = 128;

const ENOENT = 2,
  EACCES = 13,
  ENOTDIR = 20,
  EISDIR = 21;

export function toStartFailure(cause: unknown): StartFailure {
  if (cause instanceof EngineError) return { error: cause, exitCode: UNKNOWN };
  if (cause instanceof LaunchError) {
    const { text, exitCode } = describeLaunch(cause);
    const message = `failed to create task for container: failed to create shim task: OCI runtime create failed: ${text}`;
    const isUsers = exitCode === NOT_EXECUTABLE || exitCode === NOT_FOUND;
    return { error: (isUsers ? invalid : internal)(message, { cause }), exitCode };
  }
  // COMPAT: shown as it is.
  if (cause instanceof UserLookupError) return { error: internal(cause.message, { cause }), exitCode: UNKNOWN };
  return { error: internal(`failed to create task for container: ${errorText(cause)}`, { cause }), exitCode: UNKNOWN };
}

/** The text that goes into the stream of an exec session, and the session's exit code. */
export function toExecFailure(cause: unknown): { text: string; exitCode: number } {
  if (cause instanceof LaunchError) {
    const { text, exitCode } = describeLaunch(cause, "exec failed: ");
    // COMPAT: 126 is what Docker falls back to when it cannot tell.
    return { text: `OCI runtime exec failed: ${text}`, exitCode: exitCode === UNKNOWN ? NOT_EXECUTABLE : exitCode };
  }
  return {
    text: `OCI runtime exec failed: exec failed: unable to start container process: ${errorText(cause)}`,
    exitCode: NOT_EXECUTABLE,
  };
}

function describeLaunch(error: LaunchError, verb = ""): { text: string; exitCode: number } {
  const front = `${verb}unable to start container process: ${verb === "" ? "error during container init: " : ""}`;
  if (error.command !== undefined) {
    const { text, exitCode } = describeCommand(error.command, error.errno);
    return { text: `${front}${text}`, exitCode };
  }
  const { text, exitCode } = describeStep(error);
  return { text: `${front}${text}`, exitCode };
}

/** COMPAT: `docker run` takes its exit code from `executable file not found`, `no such file or directory`, `permission denied`. */
function describeCommand(command: string, errno: number): { text: string; exitCode: number } {
  const name = JSON.stringify(command);
  switch (errno) {
    case ENOENT:
      return command.includes("/")
        ? { text: `exec: ${name}: stat ${command}: no such file or directory`, exitCode: NOT_FOUND }
        : { text: `exec: ${name}: executable file not found in $PATH`, exitCode: NOT_FOUND };
    case EACCES:
      return { text: `exec: ${name}: permission denied`, exitCode: NOT_EXECUTABLE };
    case EISDIR:
      return { text: `exec: ${name}: is a directory: permission denied`, exitCode: NOT_EXECUTABLE };
    case ENOTDIR:
      return { text: `exec: ${name}: stat ${command}: not a directory`, exitCode: NOT_FOUND };
    default:
      return { text: `exec ${command}: ${errnoWords(errno)}`, exitCode: UNKNOWN };
  }
}

/** A step before the workload's own execve: a mount, a limit, the working directory, the user. */
function describeStep(error: LaunchError): { text: string; exitCode: number } {
  // What the launch found wrong by looking, not by a system call, is told in its own words.
  const text = error.errno === 0 ? error.step : `${error.step}: ${errnoWords(error.errno)}`;
  switch (error.errno) {
    case EACCES:
      return { text, exitCode: NOT_EXECUTABLE };
    case EISDIR:
      return { text: `${text}: permission denied`, exitCode: NOT_EXECUTABLE };
    case ENOTDIR:
      return {
        text:
          `${text}: Are you trying to mount a directory onto a file (or vice-versa)? ` +
          "Check if the specified host path exists and is the expected type",
        exitCode: NOT_FOUND,
      };
    case ENOENT:
      return { text, exitCode: NOT_FOUND };
    default:
      return { text, exitCode: UNKNOWN };
  }
}

/** `no such file or directory`: as strerror(3) says it, in lower case as Docker prints it. */
function errnoWords(errno: number): string {
  const [, words = ""] = /: ([^:]*)$/.exec(new SyscallError("", errno).message) ?? [];
  return words.toLowerCase();
}
