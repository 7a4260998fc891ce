// What the runtime throws. The engine turns these into kinds of its own, since it knows what the user was doing.
import { errnoName, errnoText } from "./sys/errno.ts";

/** A system call failed. `args` are the ones a reader needs to find the cause (paths, names, numbers). */
export class SyscallError extends Error {
  override readonly name = "SyscallError";
  constructor(
    readonly call: string,
    readonly errno: number,
    readonly args: Readonly<Record<string, string | number | bigint>> = {},
  ) {
    const list = Object.entries(args)
      .map(([key, value]) => `${key} ${JSON.stringify(String(value))}`)
      .join(", ");
    super(`${call}${list ? ` (${list})` : ""}: ${errnoName(errno)}: ${errnoText(errno)}`);
  }
  /** What strerror(3) says. */
  get reason(): string {
    return errnoText(this.errno);
  }
  /** The name that Node's own errors carry, so that both kinds are told apart by one field. */
  get code(): string {
    return errnoName(this.errno);
  }
}

/** A container or exec session could not be started: which step of its program failed, and how. */
export class LaunchError extends Error {
  override readonly name = "LaunchError";
  /** `step` names the step of the generated program, or of the preparation before it. */
  constructor(
    readonly step: string,
    readonly errno: number,
    /** Set when the step was the workload's own execve: argv[0] as the user gave it. */
    readonly command?: string,
    options?: ErrorOptions,
  ) {
    super(`${step}: ${errnoName(errno)}: ${errnoText(errno)}`, options);
  }
}

/** The user or group that a container should run as is not in its passwd or group file. The message is Docker's. */
export class UserLookupError extends Error {
  override readonly name = "UserLookupError";
}
