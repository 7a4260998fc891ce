// Maps of sparse files: which pieces of the file the archive holds. Four notations for one thing: the fixed fields of old
// GNU headers, comma lists in pax headers (0.0 and 0.1), decimal lines before the data (1.0).
import { LayerError } from "./layer_error.ts";
import { MAX_SPARSE_PIECES } from "./limits.ts";
import { decodePath } from "./path_text.ts";
import { readNumber } from "./tar_read.ts";

export interface SparsePiece {
  offset: number;
  size: number;
}

/** `count` pieces of 12 + 12 bytes, ended early by an empty one. */
export function readGnuPieces(bytes: Uint8Array, at: number, count: number): SparsePiece[] {
  const pieces: SparsePiece[] = [];
  for (let index = 0; index < count; index++) {
    const start = at + index * 24;
    if (bytes[start] === 0) break;
    pieces.push({
      offset: readNumber(bytes, start, 12, "offset"),
      size: readNumber(bytes, start + 12, 12, "piece size"),
    });
  }
  return pieces;
}

/** `offset,size,offset,size`. */
export function parseCommaMap(value: Uint8Array): SparsePiece[] {
  const text = decodePath(value);
  return text === "" ? [] : pairs(text.split(","));
}

/** `count\noffset\nsize\n…`, or null while lines are missing. */
export function parseDecimalMap(bytes: Uint8Array): SparsePiece[] | null {
  const lines = decodePath(bytes).split("\n");
  const count = lines.length > 1 ? parseCount(lines[0] ?? "") : null;
  if (count === null || lines.length - 1 < 1 + 2 * count) return null;
  return pairs(lines.slice(1, 1 + 2 * count));
}

function parseCount(text: string): number {
  const count = /^\d{1,8}$/.test(text) ? Number(text) : -1;
  if (count < 0 || count > MAX_SPARSE_PIECES) throw new LayerError("a sparse tar entry with a bad map");
  return count;
}

function pairs(numbers: string[]): SparsePiece[] {
  if (numbers.length % 2 !== 0 || numbers.length > 2 * MAX_SPARSE_PIECES)
    throw new LayerError("a sparse tar entry with a bad map");
  const pieces: SparsePiece[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    const [offset, size] = [numbers[index] ?? "", numbers[index + 1] ?? ""];
    if (!/^\d{1,16}$/.test(offset) || !/^\d{1,16}$/.test(size))
      throw new LayerError("a sparse tar entry with a bad map");
    pieces.push({ offset: Number(offset), size: Number(size) });
  }
  return pieces;
}

/** Pieces must ascend without overlap, end inside the file, and (dataSize) add up to what the archive holds. */
export function checkPieces(pieces: SparsePiece[], realSize: number, dataSize: number | null): void {
  let end = 0;
  let sum = 0;
  for (const { offset, size } of pieces) {
    if (offset < end || !Number.isSafeInteger(offset + size))
      throw new LayerError("the pieces of a sparse tar entry overlap");
    end = offset + size;
    sum += size;
  }
  if (end > realSize || pieces.length > MAX_SPARSE_PIECES || (dataSize !== null && sum !== dataSize)) {
    throw new LayerError("the map of a sparse tar entry does not fit its size");
  }
}
