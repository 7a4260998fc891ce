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
  maxAttempts: () => number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

interface DownloadWatcher {
  onOffset(offset: number): void;
  /** `Retrying in 3 seconds`. */
  onStatus(status: string): void;
}

export interface Downloads {
  /**
   * Brings a blob into the store. Who asks for one that the same user is fetching already shares that transfer; it is
   * given up once the last of them has aborted, and what has come is kept.
   */
  fetch(repository: Repository, descriptor: Descriptor, watcher: DownloadWatcher, signal: AbortSignal): Promise<void>;
}

interface Running {
  result: Promise<void>;
  controller: AbortController;
  watchers: Set<DownloadWatcher>;
}

export function createDownloads(deps: DownloadDeps): Downloads {
  const running = new Map<string, Running>();

  function start(key: string, repository: Repository, descriptor: Descriptor): Running {
    const controller = new AbortController();
    const watchers = new Set<DownloadWatcher>();
    const everyone: DownloadWatcher = {
      onOffset: (offset) => watchers.forEach((each) => each.onOffset(offset)),
      onStatus: (status) => watchers.forEach((each) => each.onStatus(status)),
    };
    const result = download(deps, repository, descriptor, everyone, controller.signal).finally(() => {
      if (running.get(key)?.controller === controller) running.delete(key);
    });
    // Each waiter sees the failure through its own promise; with none left nobody needs it.
    result.catch(() => undefined);
    const job = { result, controller, watchers };
    running.set(key, job);
    return job;
  }

  return {
    async fetch(repository, descriptor, watcher, signal) {
      signal.throwIfAborted();
      const { domain, path, credentials } = repository;
      // Somebody else's right to read it is not this user's.
      const key = JSON.stringify([descriptor.digest, domain, path, credentials]);
      let job = running.get(key);
      // One that its last waiter has given up is on its way out: wait for that, then go on where it stood.
      while (job?.controller.signal.aborted) {
        await job.result.catch(() => undefined);
        job = running.get(key);
      }
      await wait(job ?? start(key, repository, descriptor), watcher, signal);
    },
  };
}

/** One more that waits for a transfer; it leaves at its own abort, and the last one out ends it. */
async function wait(job: Running, watcher: DownloadWatcher, signal: AbortSignal): Promise<void> {
  job.watchers.add(watcher);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([job.result, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    job.watchers.delete(watcher);
    if (job.watchers.size === 0) {
      job.controller.abort(signal.reason);
      // Nothing writes any more once this caller goes on.
      await job.result.catch(() => undefined);
    }
  }
}

/**
 * Attempts are counted anew whenever bytes have come: only standing still uses them up. A mirror that fails is avoided by
 * the next attempt.
 */
async function download(
  deps: DownloadDeps,
  repository: Repository,
  descriptor: Descriptor,
  watcher: DownloadWatcher,
  signal: AbortSignal,
): Promise<void> {
  const avoid = new Set<string>();
  for (let attempt = 1; ; attempt++) {
    // A digest that does not fit drops what has come: the next attempt needs an ingest of its own.
    const ingest = await deps.content.openIngest(descriptor);
    const before = ingest.offset;
    const source: Source = { mirror: null };
    try {
      // Another pull may have brought it while this one waited.
      if (deps.content.has(descriptor.digest)) return;
      await transfer(deps.registry, repository, descriptor, ingest, { watcher, avoid, source }, signal);
      await ingest.commit();
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (source.mirror !== null) {
        avoid.add(source.mirror);
        continue;
      }
      if (ingest.offset > before) attempt = 0;
      if (!(error instanceof TransientError) || attempt >= deps.maxAttempts()) throw error;
      const delayMs = error.retryAfterMs ?? Math.min(1000 * 2 ** Math.max(attempt - 1, 0), RETRY_DELAY_MAX_MS);
      await ingest.close();
      await countDown(deps, delayMs, watcher, signal);
    } finally {
      await ingest.close();
    }
  }
}

/** Which mirror the bytes come from; null: the registry itself. */
interface Source {
  mirror: string | null;
}

async function transfer(
  registry: Registry,
  repository: Repository,
  descriptor: Descriptor,
  ingest: Ingest,
  { watcher, avoid, source }: { watcher: DownloadWatcher; avoid: ReadonlySet<string>; source: Source },
  signal: AbortSignal,
): Promise<void> {
  if (ingest.offset === descriptor.size) return;
  const stream = await registry.blob(repository, descriptor.digest, ingest.offset, signal, avoid);
  source.mirror = stream.mirror;
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
  #used = 0;
  #waiting: (() => void)[] = [];

  constructor(private readonly count: () => number) {}

  get isFull(): boolean {
    return this.#used >= Math.max(1, this.count());
  }

  async use<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    while (this.isFull) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#used++;
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      this.#used--;
      this.#waiting.shift()?.();
    }
  }
}
