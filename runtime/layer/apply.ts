// A layer's blob to a directory, in one pass: digest of the bytes as stored, decompression, diffID of the tar, files.
// Runs in a Worker (job.ts). The directory is complete and checked when this answers; making it durable (syncfs) and
// giving it its name is the caller's.
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { O, openPath } from "../sys/file.ts";
import { decompress } from "./compression.ts";
import { LayerError } from "./layer_error.ts";
import { READ_BYTES } from "./limits.ts";
import { TarReader } from "./tar_read.ts";
import { TreeWriter } from "./tree_writer.ts";

export interface ApplyRequest {
  blobPath: string;
  /** An empty directory. */
  target: string;
  /** Of the blob's bytes. null: not checked and not computed, for a blob that was verified when it was stored. */
  digest: string | null;
  /** Of the uncompressed tar; null: only computed. */
  diffID: string | null;
}

export interface ApplyResult {
  /** null where the request had none. */
  digest: string | null;
  diffID: string;
  /** Sum of the sizes of files. */
  sizeBytes: number;
  entries: number;
}

export interface ApplyHooks {
  /** Called for each piece read of the blob. */
  onRead(totalBytes: number): void;
  /** Throws to give up; asked for each piece. */
  checkAborted(): void;
}

export async function applyLayer(request: ApplyRequest, hooks: ApplyHooks): Promise<ApplyResult> {
  using root = openPath(request.target, O.DIRECTORY);
  using writer = new TreeWriter(root, { whiteouts: "overlay" });
  const reader = new TarReader(writer, { allowsMissingEnd: request.diffID !== null });
  const blobHash = request.digest === null ? null : createHash("sha256");
  const tarHash = createHash("sha256");
  for await (const chunk of decompress(readBlob(request.blobPath, blobHash, hooks))) {
    hooks.checkAborted();
    tarHash.update(chunk);
    reader.write(chunk);
  }
  const digest = blobHash === null ? null : `sha256:${blobHash.digest("hex")}`;
  const diffID = `sha256:${tarHash.digest("hex")}`;
  // Digests first: a wrong one says more than the damage it did.
  if (digest !== request.digest) throw new LayerError(`the blob has digest ${digest}, not ${request.digest}`);
  if (request.diffID !== null && diffID !== request.diffID)
    throw new LayerError(`the layer has diffID ${diffID}, not ${request.diffID}`);
  reader.finish();
  writer.finish();
  return { digest, diffID, sizeBytes: writer.sizeBytes, entries: writer.entries };
}

/** WHY: a Worker has nothing else to do, and synchronous reads are the fastest. Buffers are fresh: zlib reads them later. */
async function* readBlob(
  path: string,
  hash: ReturnType<typeof createHash> | null,
  hooks: ApplyHooks,
): AsyncGenerator<Uint8Array> {
  const fd = openSync(path, "r");
  try {
    let total = 0;
    while (true) {
      const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
      const count = readSync(fd, buffer, 0, READ_BYTES, null);
      if (count === 0) return;
      const chunk = buffer.subarray(0, count);
      hash?.update(chunk);
      total += count;
      hooks.checkAborted();
      yield chunk;
      hooks.onRead(total);
    }
  } finally {
    closeSync(fd);
  }
}
