// Which compression a blob or an archive has, by its first bytes (media types lie), and streams that undo it. gzip by
// node:zlib, which reads all members of a concatenated file (RFC 1952), where one-shot calls stop at the first.
import { once } from "node:events";
import type { Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { decompressByTool } from "./host_tool.ts";
import { LayerError } from "./layer_error.ts";
import { INFLATE_CHUNK_BYTES } from "./limits.ts";

export type Compression = "none" | "gzip" | "zstd";

/** Bytes that detectCompression needs. */
export const MAGIC_BYTES = 6;

const MAGICS: readonly { name: Exclude<Kind, "none">; bytes: readonly number[] }[] = [
  { name: "gzip", bytes: [0x1f, 0x8b] },
  { name: "zstd", bytes: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "bzip2", bytes: [0x42, 0x5a, 0x68] },
  { name: "xz", bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
];

type Kind = Compression | "bzip2" | "xz";

/** Throws LayerError for xz and bzip2, which neither registries nor docker save produce. */
export function detectCompression(head: Uint8Array): Compression {
  const kind = kindOf(head);
  if (kind === "bzip2" || kind === "xz")
    throw new LayerError(`${kind} compression is not supported: use gzip, zstd or none`);
  return kind;
}

function kindOf(head: Uint8Array): Kind {
  // A zstd stream may open with a skippable frame, as zstd:chunked layers do: 0x184D2A50 to 0x184D2A5F.
  const isSkippable = ((head[0] ?? 0) & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18;
  if (isSkippable) return "zstd";
  return MAGICS.find(({ bytes }) => bytes.every((byte, index) => head[index] === byte))?.name ?? "none";
}

export interface DecompressOptions {
  /** bzip2 and xz as well, by the tools of this host. For what a user sends, not for what a registry does. */
  usesHostTools?: boolean;
}

/** The first MAGIC_BYTES of a source, or all where it has fewer, and then everything, with these again. */
export async function peek(
  source: AsyncIterable<Uint8Array>,
): Promise<{ head: Uint8Array; all: AsyncGenerator<Uint8Array> }> {
  const chunks = source[Symbol.asyncIterator]();
  let head: Uint8Array = new Uint8Array(0);
  try {
    while (head.length < MAGIC_BYTES) {
      const next = await chunks.next();
      if (next.done) break;
      head = head.length === 0 ? next.value : Buffer.concat([head, next.value]);
    }
  } catch (error) {
    await chunks.return?.();
    throw error;
  }
  return { head, all: resumed(head, chunks) };
}

async function* resumed(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (head.length > 0) yield head;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

/** The decompressed bytes of `source`, whose kind is read from its start. Holds one chunk of each side at a time. */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  options: DecompressOptions = {},
): AsyncGenerator<Uint8Array> {
  const { head, all } = await peek(source);
  try {
    const kind = options.usesHostTools === true ? kindOf(head) : detectCompression(head);
    if (kind === "none") yield* all;
    else if (kind === "bzip2" || kind === "xz") yield* decompressByTool(kind, all);
    else yield* inflate(all, kind);
  } finally {
    await all.return(undefined);
  }
}

async function* inflate(source: AsyncIterable<Uint8Array>, kind: "gzip" | "zstd"): AsyncGenerator<Uint8Array> {
  const options = { chunkSize: INFLATE_CHUNK_BYTES };
  const stream: Transform = kind === "gzip" ? createGunzip(options) : createZstdDecompress(options);
  // The feeder's failure is thrown below, by the stream it destroys; it never rejects on its own.
  let sourceError: unknown;
  const feeding = feed(stream, source).catch((error: unknown) => {
    sourceError = error;
    stream.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    if (sourceError !== undefined) throw sourceError;
    throw new LayerError(`the ${kind} data is damaged: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  } finally {
    stream.destroy();
    await feeding;
  }
}

async function feed(stream: Transform, source: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of source) {
    if (stream.destroyed) return;
    if (!stream.write(chunk)) await drained(stream);
  }
  if (!stream.destroyed) stream.end();
}

/** Also settles when the stream is destroyed, since no drain follows then. */
async function drained(stream: Transform): Promise<void> {
  if (stream.destroyed || !stream.writableNeedDrain) return;
  const ended = new AbortController();
  const either = [once(stream, "drain", { signal: ended.signal }), once(stream, "close", { signal: ended.signal })];
  await Promise.race(either.map((promise) => promise.catch(() => {})));
  ended.abort();
}
