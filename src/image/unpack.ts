// Unpacked layers: one directory for each diffID, whatever images it is part of and whatever lies below it there.
//
//   <layersDir>/k7w2q      what overlay mounts take as a lower directory; complete, checked and on disk
//   <tmpDir>/layer-…       one that is being made; dropped at start
//   a row in `layers`      written last; a directory without one is dropped at start, a row without one unpacked again
import { mkdir, readdir, rename } from "node:fs/promises";
import type { LayerPool, Trash } from "../../runtime/mod.ts";
import { LayerError } from "../../runtime/mod.ts";
import type { ImageRows, LayerRow } from "../db/images.ts";
import { internal, invalid } from "../errors.ts";
import type { Log } from "../log.ts";
import { type Content, storageError, syncDirectory } from "./content.ts";

/** A layer's blob and what it must unpack to. */
interface LayerSource {
  digest: string;
  diffID: string;
  /** Where the tar lies, compressed or not, when that is not the blob. */
  path?: string;
}

interface UnpackOptions {
  /** Bytes of the blob read so far. */
  onRead?: (totalBytes: number) => void;
  signal?: AbortSignal;
}

export interface Layers {
  readonly layersDir: string;
  get(diffID: string): LayerRow | null;
  all(): Iterable<LayerRow>;
  /**
   * Makes sure a layer is there. Who asks for one that is being unpacked already shares that work; it is given up once
   * the last of them has aborted. Throws `invalid` for a damaged or hostile layer.
   */
  unpack(source: LayerSource, options?: UnpackOptions): Promise<LayerRow>;
  /** The same for a blob of ours whose diffID nobody knows yet; the row has it. */
  unpackNew(digest: string, options?: UnpackOptions): Promise<LayerRow>;
  /** How a layer differs from what its blob unpacks to; nothing: it is whole. Throws `invalid` for a damaged blob. */
  check(source: LayerSource, signal: AbortSignal): Promise<string[]>;
  /** Unpacks it anew, in place of the one that is there. No container may stand on that. */
  renew(source: LayerSource): Promise<void>;
  /** Removes layers that no image uses; returns their bytes. */
  discard(diffIDs: readonly string[]): Promise<number>;
}

export interface LayersDeps {
  layersDir: string;
  tmpDir: string;
  pool: LayerPool;
  content: Content;
  rows: Pick<ImageRows, "putLayer" | "forget">;
  trash: Trash;
  log: Log;
  now(): Date;
  /** A few random letters and digits: layers' names are short, so that 128 of them fit into one mount. */
  randomName(length: number): string;
}

const TEMPORARY = "layer-";
const NAME_LENGTH = 5;

interface Unpacking {
  result: Promise<LayerRow>;
  controller: AbortController;
  listeners: Set<(totalBytes: number) => void>;
  waiters: number;
}

/** Holds the rows against the directories. `rows` are all there are. */
export async function openLayers(deps: LayersDeps, rows: readonly LayerRow[]): Promise<Layers> {
  await mkdir(deps.layersDir, { recursive: true, mode: 0o711 });
  await mkdir(deps.tmpDir, { recursive: true, mode: 0o700 });
  const layers = await reconcile(deps, rows);
  const unpacking = new Map<string, Unpacking>();
  const discarding = new Map<string, Promise<void>>();
  const sync = createSync(() => deps.pool.run("sync", { path: deps.layersDir }));

  function start(source: LayerSource): Unpacking {
    const controller = new AbortController();
    const listeners = new Set<(totalBytes: number) => void>();
    const onRead = (bytes: number): void => listeners.forEach((listener) => listener(bytes));
    const result = make(source, controller.signal, onRead).finally(() => unpacking.delete(source.diffID));
    // Each waiter sees the failure through its own promise; with none left nobody needs it.
    result.catch(() => undefined);
    const job = { result, controller, listeners, waiters: 0 };
    unpacking.set(source.diffID, job);
    return job;
  }

  async function make(
    source: { digest: string; path?: string; diffID: string | null },
    signal: AbortSignal,
    onRead: (bytes: number) => void,
  ): Promise<LayerRow> {
    let target = `${deps.tmpDir}/${TEMPORARY}${deps.randomName(16)}`;
    try {
      await mkdir(target, { mode: 0o755 });
      // The blob was verified when it was stored, and the diffID vouches for every byte once more.
      const blobPath = source.path ?? deps.content.path(source.digest);
      const request = { blobPath, target, digest: null, diffID: source.diffID };
      const { sizeBytes, diffID } = await deps.pool.run("apply", request, { signal, onRead });
      await sync();
      signal.throwIfAborted();
      const known = source.diffID === null ? await existing(diffID) : null;
      if (known !== null) {
        await deps.trash.discard(target);
        return known;
      }
      const blob = source.path === undefined ? source.digest : null;
      const row = { diffID, shortName: freeName(), sizeBytes, blob };
      await rename(target, `${deps.layersDir}/${row.shortName}`);
      // From here on a failure has to take it away from there.
      target = `${deps.layersDir}/${row.shortName}`;
      await syncDirectory(deps.layersDir);
      await deps.rows.putLayer(row, deps.now().getTime());
      layers.set(row.diffID, row);
      return row;
    } catch (error) {
      await deps.trash.discard(target);
      if (error instanceof LayerError) throw invalid(`failed to register layer: ${error.message}`, { cause: error });
      throw storageError(error);
    }
  }

  /** One that is there, or that somebody else is making. */
  async function existing(diffID: string): Promise<LayerRow | null> {
    await discarding.get(diffID);
    return layers.get(diffID) ?? (await unpacking.get(diffID)?.result.catch(() => null)) ?? null;
  }

  async function removeLayers(gone: readonly LayerRow[]): Promise<void> {
    for (const { shortName } of gone) await deps.trash.discard(`${deps.layersDir}/${shortName}`);
    await deps.rows.forget({ diffIDs: gone.map((layer) => layer.diffID), digests: [] });
  }

  /** Collisions in 32^5 names are rare, and would cost a layer. */
  function freeName(): string {
    const taken = new Set([...layers.values()].map((layer) => layer.shortName));
    for (let tries = 0; tries < 100; tries++) {
      const name = deps.randomName(NAME_LENGTH);
      if (!taken.has(name)) return name;
    }
    throw internal("no free name for a layer");
  }

  return {
    layersDir: deps.layersDir,
    get: (diffID) => layers.get(diffID) ?? null,
    all: () => layers.values(),
    async unpack(source, { onRead, signal } = {}) {
      signal?.throwIfAborted();
      await discarding.get(source.diffID);
      const known = layers.get(source.diffID);
      if (known !== undefined) return known;
      // One that its last waiter has given up is on its way out: wait for that, then start afresh.
      let job = unpacking.get(source.diffID);
      while (job?.controller.signal.aborted) {
        await job.result.catch(() => undefined);
        job = unpacking.get(source.diffID);
      }
      return await share(job ?? start(source), onRead, signal);
    },
    unpackNew: (digest, { onRead = () => undefined, signal = new AbortController().signal } = {}) =>
      make({ digest, diffID: null }, signal, onRead),
    async check({ digest, diffID }, signal) {
      const known = layers.get(diffID);
      if (known === undefined) return ["is not there"];
      const target = `${deps.tmpDir}/${TEMPORARY}${deps.randomName(16)}`;
      try {
        await mkdir(target, { mode: 0o755 });
        await deps.pool.run("apply", { blobPath: deps.content.path(digest), target, digest, diffID }, { signal });
        const request = { expected: target, actual: `${deps.layersDir}/${known.shortName}` };
        return (await deps.pool.run("compare", request, { signal })).differences;
      } finally {
        await deps.trash.discard(target);
      }
    },
    async renew({ digest, diffID }) {
      const old = layers.get(diffID);
      await make({ digest, diffID }, new AbortController().signal, () => undefined);
      if (old !== undefined) await deps.trash.discard(`${deps.layersDir}/${old.shortName}`);
    },
    async discard(diffIDs) {
      const gone = diffIDs.flatMap((diffID) => layers.get(diffID) ?? []);
      // From here on nobody finds them, and who wants one of them anew waits until the old one is gone.
      for (const { diffID } of gone) layers.delete(diffID);
      const work = removeLayers(gone);
      const ended = work.catch(() => undefined);
      for (const { diffID } of gone) discarding.set(diffID, ended);
      try {
        await work;
      } finally {
        for (const { diffID } of gone) if (discarding.get(diffID) === ended) discarding.delete(diffID);
      }
      return gone.reduce((sum, layer) => sum + layer.sizeBytes, 0);
    },
  };
}

/** One more that waits for a job; it leaves at its own abort, and the last one out stops the work. */
async function share(
  job: Unpacking,
  onRead: UnpackOptions["onRead"],
  signal: AbortSignal | undefined,
): Promise<LayerRow> {
  job.waiters++;
  if (onRead !== undefined) job.listeners.add(onRead);
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([job.result, aborted.promise]);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    if (onRead !== undefined) job.listeners.delete(onRead);
    job.waiters--;
    if (job.waiters === 0) {
      job.controller.abort();
      // Nothing writes any more once this caller goes on.
      await job.result.catch(() => undefined);
    }
  }
}

/**
 * syncfs for many layers at once: a call that comes while one is running shares the next, since the one that runs may
 * have passed over its files already.
 */
function createSync(run: () => Promise<unknown>): () => Promise<unknown> {
  let running: Promise<unknown> | null = null;
  let next: Promise<unknown> | null = null;
  const begin = (): Promise<unknown> => {
    const current = run().finally(() => {
      if (running === current) running = null;
    });
    running = current;
    return current;
  };
  return () => {
    if (running === null) return begin();
    next ??= running
      .catch(() => undefined)
      .then(() => {
        next = null;
        return begin();
      });
    return next;
  };
}

async function reconcile(deps: LayersDeps, rows: readonly LayerRow[]): Promise<Map<string, LayerRow>> {
  for (const name of await readdir(deps.tmpDir))
    if (name.startsWith(TEMPORARY)) await deps.trash.discard(`${deps.tmpDir}/${name}`);
  const directories = new Set(await readdir(deps.layersDir));
  const layers = new Map<string, LayerRow>();
  for (const row of rows) {
    if (directories.delete(row.shortName)) layers.set(row.diffID, row);
    else
      deps.log.warn("an unpacked layer has vanished from the disk", { diffID: row.diffID, directory: row.shortName });
  }
  for (const name of directories) await deps.trash.discard(`${deps.layersDir}/${name}`);
  return layers;
}
