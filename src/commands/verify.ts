// `berth verify`: checks every blob and layer of a data root against its digest while no daemon uses it (containers may run
// on), prints what is wrong, and with --repair mends what it can. Answers with the exit status: 0 when all is whole.
import { randomBytes } from "node:crypto";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { createLayerPool, openTrash } from "../../runtime/mod.ts";
import type { CommandLine } from "../config.ts";
import { containerStore } from "../db/containers.ts";
import { imageRows } from "../db/images.ts";
import { openDb } from "../db/open.ts";
import { hasTask } from "../engine/containers/state.ts";
import { openImageStore } from "../image/open_store.ts";
import { createRegistry } from "../image/registry.ts";
import { type Fault, verifyImages } from "../image/verify.ts";
import { LAYER_WORKERS, WORKER_IDLE_MS } from "../limits.ts";
import { createLog } from "../log.ts";
import { spawnLayerWorker } from "../workers.ts";
import { lockDataRoot } from "./locks.ts";

export async function verify({ config, repairs }: CommandLine, print: (text: string) => void): Promise<number> {
  const { dataRoot } = config;
  using _lock = lockDataRoot(dataRoot, process.pid);
  await using undo = new AsyncDisposableStack();
  const now = (): Date => new Date();
  const log = createLog(
    (line) => process.stderr.write(line),
    () => config.logLevel,
    now,
  );
  const { db, relaxed } = undo.use(await openDb(`file:${dataRoot}/berth.db`));
  const trash = await openTrash({
    directory: `${dataRoot}/trash`,
    onError: (path, error) => log.warn("cannot delete from the trash", { path, error }),
  });
  undo.defer(() => trash.emptied());
  const pool = createLayerPool({ spawn: spawnLayerWorker, size: LAYER_WORKERS, idleMs: WORKER_IDLE_MS });
  undo.defer(() => pool.close());
  const store = await openImageStore({ dataRoot, rows: imageRows(db), pool, trash, log, now, randomBytes });
  const running = new Set<string>();
  for (const record of (await containerStore(db, relaxed).all()).records) {
    if (hasTask(record.state)) running.add(record.imageID);
  }
  const registry = createRegistry({ fetch: globalThis.fetch, now: Date.now, log, settings: () => config });
  const summary = await verifyImages(
    {
      store,
      downloads: {
        registry,
        maxAttempts: () => config.maxDownloadAttempts,
        sleep: (ms, signal) => sleep(ms, undefined, { signal }),
      },
      isInUse: (imageID) => running.has(imageID),
      onFault: (fault) => print(`${lineOf(fault)}\n`),
      signal: new AbortController().signal,
    },
    repairs,
  );
  const { images, blobs, layers, unchecked, faults, repaired } = summary;
  if (unchecked > 0) print(`${unchecked} layers of no image have no blob to check them against; prune removes them\n`);
  print(`${images} images, ${blobs} blobs and ${layers} layers checked: ${faults} damaged, ${repaired} repaired\n`);
  return faults === repaired ? 0 : 1;
}

function lineOf({ kind, name, problem, repair }: Fault): string {
  return `${repair === null ? "damaged" : "repaired"}  ${kind} ${name}: ${problem}${repair === null ? "" : `; ${repair}`}`;
}
