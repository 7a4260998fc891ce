// The content store: blobs by digest, as they arrived. A blob is whole and verified, or it is not there.
//
//   <blobsDir>/sha256/<hex>     a blob; made by rename, so never half of one
//   <ingestDir>/<hex>           the bytes so far of a blob that is wanted; goes on from there, also after a restart
//   <ingestDir>/new-<random>    the same for bytes whose digest is not known yet; dropped at start
//   a row in `blobs`            written last; a file without one is dropped at start, and a row without a file too
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, truncate } from "node:fs/promises";
import type { Trash } from "../../runtime/mod.ts";
import type { BlobRow, ImageRows } from "../db/images.ts";
import { internal, invalid } from "../errors.ts";
import { MAX_MANIFEST_BYTES } from "../limits.ts";
import type { Log } from "../log.ts";
import { algorithmOf, type Digest, hexOf, parseDigest, sha256 } from "./digest.ts";
import type { Descriptor } from "./manifest.ts";

/** A blob on its way in. One at a time for each digest: see openIngest. */
export interface Ingest {
  /** Bytes that are here already. */
  readonly offset: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Throws away what is here: the next byte is the first. */
  restart(): Promise<void>;
  /** Checks size and digest, and makes it a blob. Throws `invalid`, keeping nothing, when they are not as announced. */
  commit(): Promise<Digest>;
  /** Lets go. What has come of a blob with a known digest is kept for the next try. Does nothing after commit. */
  close(): Promise<void>;
}

export interface Content {
  has(digest: string): boolean;
  get(digest: string): BlobRow | null;
  all(): Iterable<BlobRow>;
  path(digest: string): string;
  /** Waits for whoever brings the same blob now; ask has() once more afterwards. */
  openIngest(blob: Descriptor): Promise<Ingest>;
  /** For bytes whose digest will be known at their end. */
  openNew(mediaType: string): Promise<Ingest>;
  /** A path for a file that is made here and becomes a blob by adopt(), or is the caller's to remove. Dropped at start. */
  newFile(): string;
  /** Makes a file of ours, at a path of newFile(), the blob that the descriptor names; the caller vouches for its digest. */
  adopt(file: string, blob: Descriptor): Promise<void>;
  /** Stores a small document. */
  put(bytes: Uint8Array, mediaType: string): Promise<Descriptor>;
  /** Reads a small document: a manifest, an index or a config. */
  readSmall(digest: string): Promise<Uint8Array>;
  /** From a byte on. */
  read(digest: string, signal: AbortSignal, offset?: number): AsyncIterable<Uint8Array>;
  /** Takes a damaged blob out, and lets `bring` store it anew; without that its row goes as well. */
  renew(digest: string, bring: () => Promise<void>): Promise<void>;
  /** Removes blobs that no image uses; returns their bytes. */
  discard(digests: readonly string[]): Promise<number>;
  /** Removes what is left of downloads that nobody has gone on with since then; returns their bytes. */
  discardPartial(beforeMs: number): Promise<number>;
}

export interface ContentDeps {
  blobsDir: string;
  ingestDir: string;
  rows: Pick<ImageRows, "putBlob" | "forget">;
  trash: Trash;
  log: Log;
  now(): Date;
  /** Some random hex digits. */
  random(): string;
}

const NEW = "new-";
/** What is read of a blob at once when it leaves. */
const READ_BYTES = 256 << 10;

/** Holds the rows against the files, and drops what has no counterpart. `rows` are all there are. */
export async function openContent(deps: ContentDeps, rows: readonly BlobRow[]): Promise<Content> {
  const directory = `${deps.blobsDir}/sha256`;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await mkdir(deps.ingestDir, { recursive: true, mode: 0o700 });
  const blobs = await reconcile(deps, directory, rows);
  /** Digests that are being ingested, and the end of that. */
  const busy = new Map<string, Promise<void>>();

  const path = (digest: string): string => `${deps.blobsDir}/${digest.replace(":", "/")}`;

  async function accept(digest: Digest, file: string, sizeBytes: number, mediaType: string): Promise<void> {
    if (blobs.has(digest)) return await rm(file, { force: true });
    await mkdir(`${deps.blobsDir}/${algorithmOf(digest)}`, { recursive: true, mode: 0o700 });
    await rename(file, path(digest));
    await syncDirectory(`${deps.blobsDir}/${algorithmOf(digest)}`);
    const row = { digest, sizeBytes, mediaType };
    try {
      await deps.rows.putBlob(row, deps.now().getTime());
    } catch (error) {
      // On a full disk a file that no row knows would take its room until the next start.
      await rm(path(digest), { force: true });
      throw error;
    }
    blobs.set(digest, row);
  }

  async function openIngest(blob: Descriptor): Promise<Ingest> {
    const digest = parseDigest(blob.digest);
    for (let before = busy.get(digest); before !== undefined; before = busy.get(digest)) await before;
    const { promise, resolve } = Promise.withResolvers<void>();
    busy.set(digest, promise);
    const done = (): void => {
      if (busy.get(digest) === promise) busy.delete(digest);
      resolve();
    };
    try {
      const file = `${deps.ingestDir}/${hexOf(digest)}`;
      const ingest = new FileIngest(file, { digest, size: blob.size }, done, (found, size) =>
        accept(found, file, size, blob.mediaType),
      );
      await ingest.resume();
      return ingest;
    } catch (error) {
      done();
      throw error;
    }
  }

  async function openNew(mediaType: string): Promise<Ingest> {
    const file = `${deps.ingestDir}/${NEW}${deps.random()}`;
    const take = async (digest: Digest, sizeBytes: number): Promise<void> => {
      // Whoever brings or removes the same blob now goes first.
      await busy.get(digest);
      await accept(digest, file, sizeBytes, mediaType);
    };
    const ingest = new FileIngest(file, null, () => undefined, take);
    await ingest.resume();
    return ingest;
  }

  async function removeBlobs(digests: readonly string[]): Promise<void> {
    for (const digest of digests) await deps.trash.discard(path(digest));
    await deps.rows.forget({ diffIDs: [], digests });
  }

  return {
    has: (digest) => blobs.has(digest),
    get: (digest) => blobs.get(digest) ?? null,
    all: () => blobs.values(),
    path,
    openIngest,
    openNew,
    newFile: () => `${deps.ingestDir}/${NEW}${deps.random()}`,
    async adopt(file, { digest, size, mediaType }) {
      await busy.get(digest);
      const handle = await open(file, "r");
      try {
        await handle.datasync();
      } catch (error) {
        throw storageError(error);
      } finally {
        await handle.close();
      }
      await accept(digest, file, size, mediaType);
    },
    async put(bytes, mediaType) {
      const descriptor = { mediaType, digest: sha256(bytes), size: bytes.length };
      if (blobs.has(descriptor.digest)) return descriptor;
      const ingest = await openIngest(descriptor);
      try {
        if (blobs.has(descriptor.digest)) return descriptor;
        if (ingest.offset > 0) await ingest.restart();
        await ingest.write(bytes);
        await ingest.commit();
      } finally {
        await ingest.close();
      }
      return descriptor;
    },
    async readSmall(digest) {
      const blob = blobs.get(digest);
      if (blob === undefined) throw internal(`blob ${digest} is not in the store`);
      if (blob.sizeBytes > MAX_MANIFEST_BYTES)
        throw invalid(`${digest} has ${blob.sizeBytes} bytes, a document at most ${MAX_MANIFEST_BYTES}`);
      return await readFile(path(digest));
    },
    read: (digest, signal, offset = 0) =>
      createReadStream(path(digest), { highWaterMark: READ_BYTES, signal, start: offset }),
    async renew(digest, bring) {
      blobs.delete(digest);
      await deps.trash.discard(path(digest));
      try {
        await bring();
      } finally {
        if (!blobs.has(digest)) await deps.rows.forget({ diffIDs: [], digests: [digest] });
      }
    },
    async discard(digests) {
      const gone = digests.flatMap((digest) => (busy.has(digest) ? [] : (blobs.get(digest) ?? [])));
      // From here on nobody finds them, and who brings one of them anew waits until the old one is gone.
      for (const { digest } of gone) blobs.delete(digest);
      const work = removeBlobs(gone.map((blob) => blob.digest));
      const ended = work.catch(() => undefined);
      for (const { digest } of gone) busy.set(digest, ended);
      try {
        await work;
      } finally {
        for (const { digest } of gone) if (busy.get(digest) === ended) busy.delete(digest);
      }
      return gone.reduce((sum, blob) => sum + blob.sizeBytes, 0);
    },
    async discardPartial(beforeMs) {
      let bytes = 0;
      for (const name of await readdir(deps.ingestDir)) {
        if (name.startsWith(NEW) || busy.has(`sha256:${name}`)) continue;
        const file = `${deps.ingestDir}/${name}`;
        const status = await stat(file).catch(() => null);
        if (status === null || status.mtimeMs >= beforeMs) continue;
        await deps.trash.discard(file);
        bytes += status.size;
      }
      return bytes;
    },
  };
}

async function reconcile(
  deps: ContentDeps,
  directory: string,
  rows: readonly BlobRow[],
): Promise<Map<string, BlobRow>> {
  for (const name of await readdir(deps.ingestDir))
    if (name.startsWith(NEW)) await deps.trash.discard(`${deps.ingestDir}/${name}`);
  const files = new Set(await readdir(directory));
  const blobs = new Map<string, BlobRow>();
  const lost: string[] = [];
  for (const row of rows) {
    const isHere = row.digest.startsWith("sha256:") ? files.delete(hexOf(row.digest)) : true;
    if (isHere) blobs.set(row.digest, row);
    else lost.push(row.digest);
  }
  for (const name of files) await deps.trash.discard(`${directory}/${name}`);
  if (lost.length > 0) {
    deps.log.warn("blobs have vanished from the disk", { digests: lost.join(" ") });
    await deps.rows.forget({ diffIDs: [], digests: lost });
  }
  return blobs;
}

/** Entries of a directory are on the disk: those that were renamed into it, too. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Bytes into one file, hashed as they come. */
class FileIngest implements Ingest {
  offset = 0;
  #handle: FileHandle | null = null;
  #hash: Hash;
  #isDone = false;

  constructor(
    private readonly file: string,
    /** null: the digest is computed, of any size, and what has come is not kept. */
    private readonly expected: { digest: Digest; size: number } | null,
    private readonly onEnd: () => void,
    private readonly accept: (digest: Digest, sizeBytes: number) => Promise<void>,
  ) {
    this.#hash = this.#newHash();
  }

  #newHash(): Hash {
    return createHash(this.expected === null ? "sha256" : algorithmOf(this.expected.digest));
  }

  /** Takes up what is there. */
  async resume(): Promise<void> {
    this.#handle = await open(this.file, "a+", 0o600);
    const { size } = await this.#handle.stat();
    if (size === 0) return;
    if (this.expected === null || size > this.expected.size) return await this.restart();
    for await (const chunk of createReadStream(this.file, { highWaterMark: 1 << 20 })) {
      this.#hash.update(chunk as Uint8Array);
      this.offset += (chunk as Uint8Array).length;
    }
  }

  async restart(): Promise<void> {
    await truncate(this.file, 0);
    this.offset = 0;
    this.#hash = this.#newHash();
  }

  async write(bytes: Uint8Array): Promise<void> {
    const handle = this.#handle;
    if (handle === null) throw internal("a blob is written to after its end");
    if (this.expected !== null && this.offset + bytes.length > this.expected.size) {
      await this.#drop();
      throw invalid(`blob ${this.expected.digest} is larger than the ${this.expected.size} bytes announced for it`);
    }
    try {
      for (let done = 0; done < bytes.length;)
        done += (await handle.write(bytes, done, bytes.length - done)).bytesWritten;
    } catch (error) {
      // What has come only fills a disk that has no room left.
      await this.#drop();
      throw storageError(error);
    }
    this.#hash.update(bytes);
    this.offset += bytes.length;
  }

  async commit(): Promise<Digest> {
    const handle = this.#handle;
    if (handle === null) throw internal("a blob is committed after its end");
    const expected = this.expected;
    if (expected !== null && this.offset !== expected.size) {
      const told = `blob ${expected.digest} has ${this.offset} bytes, not the ${expected.size} announced for it`;
      await this.#drop();
      throw invalid(told);
    }
    const digest =
      `${expected === null ? "sha256" : algorithmOf(expected.digest)}:${this.#hash.digest("hex")}` as Digest;
    if (expected !== null && digest !== expected.digest) {
      await this.#drop();
      throw invalid(`unexpected digest ${digest}, expected ${expected.digest}`);
    }
    try {
      await handle.datasync();
      await this.#closeHandle();
      await this.accept(digest, this.offset);
    } catch (error) {
      await this.#drop();
      throw storageError(error);
    }
    this.#end();
    return digest;
  }

  async close(): Promise<void> {
    if (this.#isDone) return;
    // Nothing has come, or somebody else has brought the blob.
    if (this.expected === null || this.offset === 0) return await this.#drop();
    await this.#closeHandle();
    this.#end();
  }

  async #drop(): Promise<void> {
    if (this.#isDone) return;
    await this.#closeHandle();
    await rm(this.file, { force: true });
    this.#end();
  }

  async #closeHandle(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }

  #end(): void {
    this.#isDone = true;
    this.onEnd();
  }
}

/** A full disk is told in so many words; it is the one failure that users can mend. */
export function storageError(error: unknown): Error {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code === "ENOSPC" || code === "EDQUOT")
    return internal("no space left on device: the image cannot be stored", { cause: error });
  return error instanceof Error ? error : internal(String(error));
}
