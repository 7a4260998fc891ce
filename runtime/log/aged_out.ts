// Counts what rotation drops before a remote driver's receiver has had it. The file is opened before it is unlinked and read
// afterwards, in pieces, so that the workload waits for nothing.
import { createReadStream, openSync } from "node:fs";
import { createGunzip } from "node:zlib";
import type { RecordFormat } from "./record.ts";

const BLOCK_BYTES = 256 << 10;

/** Called in the turn that will remove the file; null when it is not there. */
export function openAgedOut(path: string): number | null {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    return null;
  }
}

/**
 * How many records it has, if all of them are later than `takenNano`; 0 if not: then its reader is in it, and reads it to its
 * end by a descriptor of its own. Closes `fd`. What is damaged is not counted.
 */
export async function countUntaken(
  fd: number,
  isCompressed: boolean,
  format: RecordFormat,
  takenNano: bigint,
): Promise<number> {
  const source = createReadStream("", { fd, highWaterMark: BLOCK_BYTES });
  const plain = isCompressed ? source.pipe(createGunzip({ chunkSize: BLOCK_BYTES })) : source;
  source.on("error", (error) => plain.destroy(error));
  const counter = format.counter();
  const decoder = format.decoder();
  let firstNano: bigint | null = null;
  try {
    for await (const block of plain) {
      if (!(block instanceof Uint8Array)) break;
      if (firstNano === null) decoder.feed(block, (record) => (firstNano ??= record.timeNano()));
      if (firstNano !== null && firstNano <= takenNano) return 0;
      counter.feed(block);
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  } finally {
    source.destroy();
    plain.destroy();
  }
  return counter.count;
}
