// Images, their names, layers and blobs as rows. Read once, at start; the engine answers from memory afterwards. What
// belongs together changes in one batch, which is one transaction.
import { eq, inArray } from "drizzle-orm";
import type { BatchItem } from "drizzle-orm/batch";
import * as v from "valibot";
import type { ImageRecord } from "../engine/mod.ts";
import { during } from "./failure.ts";
import type { Db } from "./open.ts";
import { blobs, imageBlobs, imageLayers, images, layers, tags } from "./schema.ts";

/** A record without what has rows of its own. */
export type ImageBody = Omit<ImageRecord, "tags" | "repoDigests" | "lastTagTime">;

interface ReferenceRow {
  /** Canonical, with a tag or with a digest. */
  reference: string;
  imageID: string;
  updatedAtMs: number;
}

export interface LayerRow {
  diffID: string;
  shortName: string;
  sizeBytes: number;
  /** Digest of the blob it was unpacked from; null: it was made here. */
  blob: string | null;
}

export interface BlobRow {
  digest: string;
  sizeBytes: number;
  mediaType: string;
}

export interface StoredImages {
  images: ImageBody[];
  /** Rows that cannot be read, with the reason: kept, not served. What they use is used. */
  damaged: { id: string; problem: string }[];
  references: ReferenceRow[];
  layers: LayerRow[];
  blobs: BlobRow[];
  /** Which image uses which, damaged ones included. */
  layerUses: { imageID: string; diffID: string }[];
  blobUses: { imageID: string; digest: string }[];
}

export interface ImageRows {
  all(): Promise<StoredImages>;
  putBlob(blob: BlobRow, nowMs: number): Promise<void>;
  putLayer(layer: LayerRow, nowMs: number): Promise<void>;
  /** Adds or replaces an image, with all it uses, and moves the references to it. */
  putImage(
    image: { body: ImageBody; blobs: readonly string[]; references: readonly string[] },
    nowMs: number,
  ): Promise<void>;
  putReference(reference: string, imageID: string, nowMs: number): Promise<void>;
  removeReferences(references: readonly string[]): Promise<void>;
  /** With its references. Layers and blobs stay: see forget. */
  removeImage(imageID: string): Promise<void>;
  /** Drops rows of layers and blobs that are gone. Uses of such a blob go with it. */
  forget(gone: { diffIDs: readonly string[]; digests: readonly string[] }): Promise<void>;
}

export function imageRows(db: Db): ImageRows {
  return {
    async all() {
      const rows = await db.select().from(images);
      const read: ImageBody[] = [];
      const damaged: { id: string; problem: string }[] = [];
      for (const row of rows) {
        const parsed = v.safeParse(Body, row.record);
        if (parsed.success && parsed.output.id === row.id) read.push(parsed.output as ImageBody);
        else
          damaged.push({
            id: row.id,
            problem: parsed.success ? "its record has another ID" : parsed.issues[0].message,
          });
      }
      return {
        images: read,
        damaged,
        references: await db.select().from(tags),
        layers: await db.select().from(layers),
        blobs: await db.select().from(blobs),
        layerUses: await db.select({ imageID: imageLayers.imageID, diffID: imageLayers.diffID }).from(imageLayers),
        blobUses: await db.select().from(imageBlobs),
      };
    },
    async putBlob(blob, nowMs) {
      const put = db
        .insert(blobs)
        .values({ ...blob, createdAtMs: nowMs })
        .onConflictDoUpdate({ target: blobs.digest, set: blob });
      await during(`store blob ${blob.digest}`, put);
    },
    async putLayer(layer, nowMs) {
      const put = db
        .insert(layers)
        .values({ ...layer, createdAtMs: nowMs })
        .onConflictDoUpdate({ target: layers.diffID, set: layer });
      await during(`store layer ${layer.diffID}`, put);
    },
    async putImage({ body, blobs: digests, references }, nowMs) {
      const row = { id: body.id, createdAtMs: nowMs, sizeBytes: body.sizeBytes, record: body };
      const uses = [...new Set(digests)].map((digest) => ({ imageID: body.id, digest }));
      const positions = body.diffIDs.map((diffID, position) => ({ imageID: body.id, position, diffID }));
      await batch(db, `store image ${body.id}`, [
        db
          .insert(images)
          .values(row)
          .onConflictDoUpdate({ target: images.id, set: { record: body, sizeBytes: body.sizeBytes } }),
        db.delete(imageLayers).where(eq(imageLayers.imageID, body.id)),
        db.delete(imageBlobs).where(eq(imageBlobs.imageID, body.id)),
        ...(positions.length > 0 ? [db.insert(imageLayers).values(positions)] : []),
        ...(uses.length > 0 ? [db.insert(imageBlobs).values(uses)] : []),
        ...references.map((reference) => putReference(db, reference, body.id, nowMs)),
      ]);
    },
    async putReference(reference, imageID, nowMs) {
      await during(`store the name ${reference}`, putReference(db, reference, imageID, nowMs));
    },
    async removeReferences(references) {
      if (references.length === 0) return;
      await during("remove names of images", db.delete(tags).where(inArray(tags.reference, [...references])));
    },
    async removeImage(imageID) {
      await batch(db, `remove image ${imageID}`, [
        db.delete(tags).where(eq(tags.imageID, imageID)),
        db.delete(imageLayers).where(eq(imageLayers.imageID, imageID)),
        db.delete(imageBlobs).where(eq(imageBlobs.imageID, imageID)),
        db.delete(images).where(eq(images.id, imageID)),
      ]);
    },
    async forget({ diffIDs, digests }) {
      await batch(db, "forget what is gone", [
        ...diffIDs.map((diffID) => db.delete(layers).where(eq(layers.diffID, diffID))),
        ...digests.map((digest) => db.delete(imageBlobs).where(eq(imageBlobs.digest, digest))),
        ...digests.map((digest) => db.delete(blobs).where(eq(blobs.digest, digest))),
      ]);
    },
  };
}

function putReference(db: Db, reference: string, imageID: string, updatedAtMs: number) {
  return db
    .insert(tags)
    .values({ reference, imageID, updatedAtMs })
    .onConflictDoUpdate({ target: tags.reference, set: { imageID, updatedAtMs } });
}

async function batch(db: Db, what: string, statements: BatchItem<"sqlite">[]): Promise<void> {
  const [first, ...rest] = statements;
  if (first !== undefined) await during(what, db.batch([first, ...rest]));
}

const size = v.pipe(v.number(), v.integer(), v.minValue(0));

const Named = v.object({ mediaType: v.string(), digest: v.string(), size });

const Body = v.object({
  id: v.pipe(v.string(), v.regex(/^sha256:[0-9a-f]{64}$/)),
  createdAt: v.string(),
  author: v.string(),
  comment: v.string(),
  architecture: v.string(),
  variant: v.string(),
  os: v.string(),
  osVersion: v.string(),
  // Checked when the image came (image/image_config.ts), and too deep to be worth saying twice.
  config: v.looseObject({}),
  diffIDs: v.array(v.string()),
  history: v.array(
    v.object({
      created: v.string(),
      createdBy: v.string(),
      comment: v.string(),
      author: v.string(),
      isEmptyLayer: v.boolean(),
      sizeBytes: size,
    }),
  ),
  sizeBytes: size,
  manifest: v.nullable(Named),
  index: v.nullish(Named, null),
});
