// One blob from a registry into the content store, whatever happens on the way: a connection that breaks or stalls is
// replaced, and the download goes on where it stood. Called by pull.ts; bounded over all pulls.
import { internal } from "../errors.ts";
import { RETRY_DELAY_MAX_MS } from "../limits.ts";
import type { Content, Ingest } from "./content.ts";
import type { Descriptor } from "./manifest.ts";
import { type Registry, type Repository, TransientError } from "./registry.ts";

export interface DownloadDeps {
  registry: Registry;
  content: Pick<Content, "has" | "openIngest">;
  maxAttempts: number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface DownloadWatcher {
  onOffset(offset: number): void;
  /** `Retrying in 3 seconds`. */
  onStatus(status: string): void;
}

/** Attempts are counted anew whenever bytes have come: only standing still uses them up. */
export async function download(
  deps: DownloadDeps,
  repository: Repository,
  descriptor: Descriptor,
  watcher: DownloadWatcher,
  signal: AbortSignal,
): Promise<void> {
  const ingest = await deps.content.openIngest(descriptor);
  try {
    // Another pull may have brought it while this one waited.
    if (deps.content.has(descriptor.digest)) return;
    for (let attempt = 1; ; attempt++) {
      const before = ingest.offset;
      try {
        await transfer(deps.registry, repository, descriptor, ingest, watcher, signal);
        await ingest.commit();
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (ingest.offset > before) attempt = 1;
        if (!(error instanceof TransientError) || attempt >= deps.maxAttempts) throw error;
        const delayMs = error.retryAfterMs ?? Math.min(1000 * 2 ** (attempt - 1), RETRY_DELAY_MAX_MS);
        await countDown(deps, delayMs, watcher, signal);
      }
    }
  } finally {
    await ingest.close();
  }
}

async function transfer(
  registry: Registry,
  repository: Repository,
  descriptor: Descriptor,
  ingest: Ingest,
  watcher: DownloadWatcher,
  signal: AbortSignal,
): Promise<void> {
  if (ingest.offset === descriptor.size) return;
  const stream = await registry.blob(repository, descriptor.digest, ingest.offset, signal);
  if (stream.offset !== ingest.offset) {
    if (stream.offset !== 0) {
      throw internal(`${descriptor.digest}: asked for byte ${ingest.offset}, the registry sends byte ${stream.offset}`);
    }
    await ingest.restart();
  }
  for await (const chunk of stream.chunks) {
    if (ingest.offset + chunk.length > descriptor.size) {
      await ingest.restart();
      throw internal(
        `${descriptor.digest}: the registry sends more than the ${descriptor.size} bytes that the manifest names`,
      );
    }
    await ingest.write(chunk);
    watcher.onOffset(ingest.offset);
  }
  if (ingest.offset < descriptor.size) {
    throw new TransientError(
      `${descriptor.digest}: the connection ended after ${ingest.offset} of ${descriptor.size} bytes`,
      null,
    );
  }
}

/** COMPAT: the CLI shows the seconds in the layer's line. */
async function countDown(
  deps: DownloadDeps,
  delayMs: number,
  watcher: DownloadWatcher,
  signal: AbortSignal,
): Promise<void> {
  for (let left = Math.ceil(delayMs / 1000); left > 0; left--) {
    watcher.onStatus(`Retrying in ${left} second${left === 1 ? "" : "s"}`);
    await deps.sleep(Math.min(1000, delayMs), signal);
  }
}

/** A bounded number of downloads at once. */
export class Slots {
  #free: number;
  #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = Math.max(1, count);
  }

  get isFull(): boolean {
    return this.#free === 0;
  }

  async use<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
