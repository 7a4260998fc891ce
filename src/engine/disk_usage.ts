// How much is stored below a directory: what `docker system df` shows. A walk that gives other work its turn, follows no
// link, leaves no file system, counts a hard-linked file once, and ends at a bound.
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { MAX_USAGE_ENTRIES } from "../limits.ts";

/** Sum of the sizes of all files below `path`; -1 (the API's "unknown") when there are more than a bound, or it is gone. */
export async function diskUsage(path: string, maxEntries = MAX_USAGE_ENTRIES): Promise<number> {
  const top = await lstat(path).catch(() => null);
  if (top === null) return -1;
  const counted = new Set<number>();
  const pending = [path];
  let total = 0;
  let entries = 0;
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    // A directory that vanishes in between counts nothing: the volume is in use.
    for (const name of await readdir(directory).catch(() => [])) {
      if (++entries > maxEntries) return -1;
      const child = join(directory, name);
      const status = await lstat(child).catch(() => null);
      if (status === null || status.dev !== top.dev) continue;
      if (status.isDirectory()) pending.push(child);
      else if (status.nlink > 1 && counted.has(status.ino)) continue;
      else if (status.nlink > 1) counted.add(status.ino);
      if (!status.isDirectory()) total += status.size;
    }
  }
  return total;
}
