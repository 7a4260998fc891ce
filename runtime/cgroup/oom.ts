// The OOM killer's strikes in a cgroup: how many there were, and a call on each. v1 tells through an eventfd registered in
// cgroup.event_control, v2 by a change of memory.events (one inotify instance serves every fs.watch of the process).
import { existsSync, watch } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { openPath, O } from "../sys/file.ts";
import { eventfd } from "../sys/eventfd.ts";
import { readerOf } from "../sys/readable.ts";
import { readControl, writeControl } from "./files.ts";
import { parseKeyed } from "./stats.ts";

/** WHY: v1 signals when memory has run out, just before the killer strikes; the count follows within this. */
const COUNT_FOLLOWS_TRIES = 100;
const COUNT_FOLLOWS_EVERY_MS = 5;

/** Kills since the cgroup was made; 0 for one that has gone. `directory` is that of the memory controller. */
export function countOomKills(directory: string, version: 1 | 2): number {
  const file = version === 1 ? "memory.oom_control" : "memory.events";
  return parseKeyed(readControl(`${directory}/${file}`) ?? "")["oom_kill"] ?? 0;
}

/** Calls back once for each rise of the count, until the returned function is called or the cgroup has gone. */
export function watchOomKills(directory: string, version: 1 | 2, onKill: () => void): () => void {
  return version === 1 ? watchV1(directory, onKill) : watchV2(directory, onKill);
}

function watchV1(directory: string, onKill: () => void): () => void {
  const event = eventfd();
  try {
    // The kernel keeps what it needs of oom_control; the descriptor itself is only named here.
    using control = openPath(`${directory}/memory.oom_control`, O.RDONLY);
    writeControl(`${directory}/cgroup.event_control`, [`${event.number} ${control.number}`]);
  } catch (error) {
    event.close();
    throw error;
  }
  const reader = readerOf(event);
  let isStopped = false;
  let seen = countOomKills(directory, 1);
  const follow = async (): Promise<void> => {
    while (!isStopped) {
      const { done } = await reader.read();
      // Removing the cgroup signals the eventfd too.
      if (done || !existsSync(directory)) return;
      for (let tries = 0; tries < COUNT_FOLLOWS_TRIES && !isStopped; tries++) {
        const count = countOomKills(directory, 1);
        if (count > seen) {
          seen = count;
          onKill();
          break;
        }
        await sleep(COUNT_FOLLOWS_EVERY_MS, undefined, { ref: false });
      }
    }
  };
  // A read fails once the descriptor is closed under it; that is how stop() ends this.
  const ended = follow()
    .catch(() => undefined)
    .finally(() => event.close());
  return () => {
    if (isStopped) return;
    isStopped = true;
    void reader
      .cancel()
      .catch(() => undefined)
      .then(() => ended);
  };
}

function watchV2(directory: string, onKill: () => void): () => void {
  let seen = countOomKills(directory, 2);
  const check = (): void => {
    const count = countOomKills(directory, 2);
    if (count <= seen) return;
    seen = count;
    onKill();
  };
  const watcher = watch(`${directory}/memory.events`, { persistent: false }, check);
  // The file goes with its cgroup; some kernels tell it as an error.
  watcher.on("error", () => watcher.close());
  return () => watcher.close();
}
