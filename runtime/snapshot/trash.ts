// The trash: what is no longer wanted is renamed into one directory at once, and deleted from there in the background.
// WHY: unlinking files whose data is on disk waits for the disk, some 10 ms to seconds for a tree; a rename does not.
import { randomUUID } from "node:crypto";
import { renameSync } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { basename } from "node:path";

export interface Trash {
  /** Takes a file or directory out of its place. Does nothing for what is not there. On the trash's own file system only. */
  discard: (path: string) => Promise<void>;
  /** Settles once all that was discarded so far is deleted, or has failed to be. */
  emptied: () => Promise<void>;
}

export interface TrashOptions {
  /** A directory of its own; what a killed daemon left in it is deleted, too. */
  directory: string;
  /** Told of what cannot be deleted; it is tried again at the next start. */
  onError: (path: string, error: unknown) => void;
}

export async function openTrash(options: TrashOptions): Promise<Trash> {
  await mkdir(options.directory, { recursive: true, mode: 0o700 });
  // One after the other: deletion is never urgent, and the disk has better things to do.
  let tail: Promise<void> = Promise.resolve();
  const enqueue = (path: string): void => {
    tail = tail
      .then(() => rm(path, { recursive: true, force: true }))
      .catch((error: unknown) => options.onError(path, error));
  };
  for (const name of await readdir(options.directory)) enqueue(`${options.directory}/${name}`);
  return {
    discard(path) {
      const place = `${options.directory}/${basename(path).slice(0, 64)}-${randomUUID()}`;
      return new Promise((resolve) => {
        if (rename(path, place)) enqueue(place);
        resolve();
      });
    },
    emptied: () => tail,
  };
}

/** Whether there was something to rename. Synchronous: it takes less than a thread's help would. */
function rename(from: string, to: string): boolean {
  try {
    renameSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}
