// Opens the image store of a data root: rows, blobs and layer directories, each held against the others. Called once, by
// daemon.ts.
//
//   <dataRoot>/blobs, ingest    content.ts          <dataRoot>/layers, tmp    unpack.ts
import type { LayerPool, Trash } from "../../runtime/mod.ts";
import type { ImageRows } from "../db/images.ts";
import type { Log } from "../log.ts";
import { openContent } from "./content.ts";
import { createImageStore, type ImageStore } from "./store.ts";
import { openLayers } from "./unpack.ts";

export interface OpenImageStoreDeps {
  dataRoot: string;
  rows: ImageRows;
  pool: LayerPool;
  trash: Trash;
  log: Log;
  now: () => Date;
  randomBytes(count: number): Uint8Array;
}

/** A download that nobody went on with for a week is not worth its disk. */
const PARTIAL_AGE_MS = 7 * 24 * 3600 * 1000;

export async function openImageStore(deps: OpenImageStoreDeps): Promise<ImageStore> {
  const { dataRoot, rows, pool, trash, log, now } = deps;
  const stored = await rows.all();
  const content = await openContent(
    {
      blobsDir: `${dataRoot}/blobs`,
      ingestDir: `${dataRoot}/ingest`,
      rows,
      trash,
      log,
      now,
      random: () => Buffer.from(deps.randomBytes(8)).toString("hex"),
    },
    stored.blobs,
  );
  await content.discardPartial(now().getTime() - PARTIAL_AGE_MS);
  const layers = await openLayers(
    {
      layersDir: `${dataRoot}/layers`,
      tmpDir: `${dataRoot}/tmp`,
      pool,
      content,
      rows,
      trash,
      log,
      now,
      randomName: (length) => randomName(deps.randomBytes(length)),
    },
    stored.layers,
  );
  const used = new Set(stored.layerUses.map((use) => use.diffID));
  const lost = stored.layers.filter((layer) => layers.get(layer.diffID) === null && !used.has(layer.diffID));
  await rows.forget({ diffIDs: lost.map((layer) => layer.diffID), digests: [] });
  return createImageStore({ content, layers, rows, log, now }, stored);
}

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

function randomName(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => ALPHABET[byte % ALPHABET.length] ?? "").join("");
}
