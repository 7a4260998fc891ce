// Containers that nobody knows as running: a daemon was killed between their launch and the row that says so. Found by the
// name of their shim, ended, and their cgroups removed. Called once, when a daemon starts.
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { openPidfd, SIGNAL, signalPidfd } from "../sys/process.ts";
import type { LaunchHost } from "./host.ts";

const SIGUSR2 = 12;
const SHIM_NAME = "berth-shim";

/** IDs of containers to the paths of their cgroups. Does nothing for what is not there. One that resists spares no other. */
export async function endStrays(host: LaunchHost, strays: ReadonlyMap<string, string>): Promise<void> {
  if (strays.size === 0) return;
  for (const shim of shimsOf(strays)) {
    for (const child of childrenOf(shim)) signal(child, SIGNAL.KILL);
    // It reaps its child first, and then goes.
    signal(shim, SIGUSR2);
  }
  const cleared = await Promise.allSettled([...strays.values()].map((path) => clear(host, path)));
  const failures = cleared.flatMap((one): unknown[] => (one.status === "rejected" ? [one.reason] : []));
  if (failures.length > 0) throw new AggregateError(failures, "containers that nobody knows could not all be ended");
}

async function clear(host: LaunchHost, path: string): Promise<void> {
  using cgroup = await host.cgroups.open(path);
  await cgroup.kill();
  await cgroup.remove();
}

function signal(pid: number, number: number): void {
  using pidfd = openPidfd(pid);
  if (pidfd) signalPidfd(pidfd, number);
}

function shimsOf(strays: ReadonlyMap<string, string>): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      if (!(pid > 1) || pid === process.pid) return false;
      const [name, id = ""] = readOr(`/proc/${pid}/cmdline`).split("\0");
      return name === SHIM_NAME && strays.has(id);
    });
}

function childrenOf(pid: number): number[] {
  return readOr(`/proc/${pid}/task/${pid}/children`)
    .trim()
    .split(" ")
    .filter((text) => text !== "")
    .map(Number);
}

function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // It has ended meanwhile.
    return "";
  }
}
