// The tables. Rows hold what is looked up or joined by in columns, and the rest of a record as one JSON document, read
// back through a schema. Written only by the files beside this one.
//
//   containers ──image_id──▶ images ◀──image_id── tags          networks      volumes
//        │ snapshot key = id     │ image_layers (position)
//        ▼                       ▼
//   (active snapshot)         layers: one directory each         blobs: one file each, image_blobs holds them
import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const containers = sqliteTable(
  "containers",
  {
    id: text("id").primaryKey(),
    name: text("name").notNull().unique(),
    imageID: text("image_id").notNull(),
    /** The state's kind, for queries; the record holds all of it. */
    status: text("status").notNull(),
    createdAtMs: integer("created_at_ms").notNull(),
    /** What it is: written at create, and when somebody changes it. */
    record: text("record", { mode: "json" }).notNull(),
    /** What becomes of it: state, addresses, ports, counters. Written at every step of its life, so it is kept small. */
    life: text("life", { mode: "json" }).notNull(),
  },
  (table) => [index("containers_image").on(table.imageID)],
);

export const images = sqliteTable("images", {
  /** The digest of its config: what existing scripts pin. */
  id: text("id").primaryKey(),
  createdAtMs: integer("created_at_ms").notNull(),
  /** Bytes of all its unpacked layers. */
  sizeBytes: integer("size_bytes").notNull(),
  record: text("record", { mode: "json" }).notNull(),
});

export const tags = sqliteTable(
  "tags",
  {
    /** Canonical: `docker.io/library/busybox:latest`, or `…@sha256:…` for a digest reference. */
    reference: text("reference").primaryKey(),
    imageID: text("image_id")
      .notNull()
      .references(() => images.id),
    updatedAtMs: integer("updated_at_ms").notNull(),
  },
  (table) => [index("tags_image").on(table.imageID)],
);

export const layers = sqliteTable("layers", {
  /** Digest of the uncompressed tar. A directory depends on nothing else, so images share it whatever lies below. */
  diffID: text("diff_id").primaryKey(),
  /** The directory's short name, so that 128 of them fit in one mount option string. */
  shortName: text("short_name").notNull().unique(),
  sizeBytes: integer("size_bytes").notNull(),
  /** The blob it was unpacked from, where it was one; for `berth verify`, which may come before any image has it. */
  blob: text("blob"),
  createdAtMs: integer("created_at_ms").notNull(),
});

export const imageLayers = sqliteTable(
  "image_layers",
  {
    imageID: text("image_id")
      .notNull()
      .references(() => images.id, { onDelete: "cascade" }),
    position: integer("position").notNull(),
    diffID: text("diff_id")
      .notNull()
      .references(() => layers.diffID),
  },
  (table) => [primaryKey({ columns: [table.imageID, table.position] }), index("image_layers_diff").on(table.diffID)],
);

export const blobs = sqliteTable("blobs", {
  digest: text("digest").primaryKey(),
  sizeBytes: integer("size_bytes").notNull(),
  mediaType: text("media_type").notNull(),
  createdAtMs: integer("created_at_ms").notNull(),
});

export const imageBlobs = sqliteTable(
  "image_blobs",
  {
    imageID: text("image_id")
      .notNull()
      .references(() => images.id, { onDelete: "cascade" }),
    digest: text("digest")
      .notNull()
      .references(() => blobs.digest),
  },
  (table) => [primaryKey({ columns: [table.imageID, table.digest] }), index("image_blobs_digest").on(table.digest)],
);

export const networks = sqliteTable("networks", {
  id: text("id").primaryKey(),
  name: text("name").notNull().unique(),
  driver: text("driver").notNull(),
  createdAtMs: integer("created_at_ms").notNull(),
  record: text("record", { mode: "json" }).notNull(),
});

export const volumes = sqliteTable("volumes", {
  name: text("name").primaryKey(),
  driver: text("driver").notNull(),
  createdAtMs: integer("created_at_ms").notNull(),
  record: text("record", { mode: "json" }).notNull(),
});

/** Facts about this data root: the engine's ID, the version that last wrote here. */
export const facts = sqliteTable("facts", { key: text("key").primaryKey(), value: text("value").notNull() });
