// The service manager's side of a daemon: sd_notify(3) and socket activation (sd_listen_fds(3)), from the environment that
// it started us with. Without a service manager all of it does nothing.
import { sendUnixDatagram, setCloseOnExec } from "../runtime/mod.ts";
import type { Log } from "./log.ts";

export interface Notifier {
  ready(status: string): void;
  /** `monotonicUs`: CLOCK_MONOTONIC now, which Type=notify-reload wants. */
  reloading(monotonicUs: bigint): void;
  stopping(): void;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Tells `$NOTIFY_SOCKET`. A failure is logged: it must not end a daemon that works. */
export function createNotifier(
  env: Environment,
  log: Log,
  send: (address: string, text: string) => void = sendUnixDatagram,
): Notifier {
  const address = env["NOTIFY_SOCKET"] ?? "";
  const tell = (lines: string[]): void => {
    if (address === "") return;
    try {
      send(address, lines.join("\n"));
    } catch (error) {
      log.warn("cannot tell the service manager", { address, state: lines[0], error });
    }
  };
  return {
    ready: (status) => tell(["READY=1", `STATUS=${status}`]),
    reloading: (monotonicUs) => tell(["RELOADING=1", `MONOTONIC_USEC=${monotonicUs}`]),
    stopping: () => tell(["STOPPING=1"]),
  };
}

export interface InheritedSocket {
  descriptor: number;
  /** From FileDescriptorName= of the socket unit; `unknown` when it has none. */
  name: string;
}

const FIRST_DESCRIPTOR = 3;
/** No unit has more sockets; a larger number is a mistake in the environment. */
const SOCKETS_MAX = 256;

/** The listening sockets a socket unit hands over, for `fd://`. None when LISTEN_PID names another process. */
export function inheritedSockets(env: Environment, pid: number, adopt = setCloseOnExec): InheritedSocket[] {
  if (env["LISTEN_PID"] !== String(pid)) return [];
  const count = Number(env["LISTEN_FDS"]);
  if (!Number.isInteger(count) || count < 1 || count > SOCKETS_MAX) return [];
  const names = (env["LISTEN_FDNAMES"] ?? "").split(":");
  return Array.from({ length: count }, (_, index) => ({
    descriptor: FIRST_DESCRIPTOR + index,
    name: names[index] || "unknown",
  })).filter(({ descriptor }) => adopt(descriptor));
}
