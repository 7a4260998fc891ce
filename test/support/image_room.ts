// An image service on the real disk, with real Workers and a database of its own, for tests that run as root.
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { createLayerPool, type LayerPool, openTrash, type Trash } from "../../runtime/mod.ts";
import { imageRows } from "../../src/db/images.ts";
import { openDb } from "../../src/db/open.ts";
import { createImages, type ImageService, type ImagesDeps } from "../../src/engine/images.ts";
import type { ImageUse } from "../../src/engine/image_remove.ts";
import type { EngineEvent, ProgressMessage } from "../../src/engine/mod.ts";
import { notImplemented } from "../../src/errors.ts";
import { openImageStore } from "../../src/image/open_store.ts";
import { hostPlatform } from "../../src/image/platform.ts";
import { openRemoteFile } from "../../src/image/remote_file.ts";
import type { ImageStore } from "../../src/image/store.ts";
import { createLog } from "../../src/log.ts";
import { spawnLayerWorker } from "../../src/workers.ts";
import { inPieces } from "./images.ts";

export interface ImageRoom extends AsyncDisposable {
  readonly dataRoot: string;
  readonly images: ImageService;
  readonly store: ImageStore;
  readonly pool: LayerPool;
  readonly trash: Trash;
  readonly events: Pick<EngineEvent, "action" | "actorID" | "attributes">[];
  readonly logged: string[];
  /** Containers that use images; tests change it. */
  uses: ImageUse[];
  now: Date;
  load(archive: Uint8Array, options?: { quiet?: boolean; platforms?: string[] }): Promise<ProgressMessage[]>;
  save(...names: string[]): Promise<Uint8Array>;
  /** Names below the data root that hold images: what is left on the disk. */
  leftovers(): string[];
  /** The daemon is killed, and another one starts on the same data root. */
  reopen(): Promise<ImageRoom>;
}

export async function openImageRoom(dataRoot = mkdtempSync(`${tmpdir()}/berth-images-`)): Promise<ImageRoom> {
  const opened = await openDb(`file:${dataRoot}/berth.db`);
  const logged: string[] = [];
  const log = createLog(
    (line) => logged.push(line),
    () => "debug",
    () => new Date(),
  );
  const pool = createLayerPool({ spawn: spawnLayerWorker, size: 2, idleMs: 1000 });
  const trash = await openTrash({
    directory: `${dataRoot}/trash`,
    onError: (path, error) => logged.push(`${path}: ${String(error)}`),
  });
  const events: ImageRoom["events"] = [];
  const clock = { now: new Date() };
  const now = (): Date => clock.now;
  const store = await openImageStore({ dataRoot, rows: imageRows(opened.db), pool, trash, log, now, randomBytes });
  const room: { uses: ImageUse[] } = { uses: [] };
  const deps: ImagesDeps = {
    store,
    now,
    pull: () => Promise.reject(notImplemented("no registry here")),
    push: () => Promise.reject(notImplemented("no registry here")),
    events: { publish: (_type, action, actorID, attributes) => void events.push({ action, actorID, attributes }) },
    usedBy: () => room.uses,
    host: hostPlatform(process.arch),
    layerPool: pool,
    openRemoteFile: (address, signal) => openRemoteFile(globalThis.fetch, address, signal),
  };
  const images = createImages(deps);
  const close = async (): Promise<void> => {
    pool.close();
    await trash.emptied();
    opened[Symbol.dispose]();
  };
  return {
    dataRoot,
    images,
    store,
    pool,
    trash,
    events,
    logged,
    get uses() {
      return room.uses;
    },
    set uses(uses) {
      room.uses = uses;
    },
    get now() {
      return clock.now;
    },
    set now(value) {
      clock.now = value;
    },
    async load(archive, { quiet = false, platforms = [] } = {}) {
      const messages: ProgressMessage[] = [];
      const signal = new AbortController().signal;
      await images.load(inPieces(archive, 65536), { quiet, platforms }, (message) => messages.push(message), signal);
      return messages;
    },
    async save(...names) {
      const stream = await images.save(names, { platforms: [] }, new AbortController().signal);
      return Buffer.concat(await Array.fromAsync(stream));
    },
    leftovers() {
      const list = (directory: string): string[] => {
        const path = `${dataRoot}/${directory}`;
        return existsSync(path) ? readdirSync(path).map((name) => `${directory}/${name}`) : [];
      };
      return ["blobs/sha256", "ingest", "layers", "tmp", "trash"].flatMap(list);
    },
    async reopen() {
      await close();
      return await openImageRoom(dataRoot);
    },
    async [Symbol.asyncDispose]() {
      await close();
      rmSync(dataRoot, { recursive: true, force: true });
    },
  };
}
