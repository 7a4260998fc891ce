// An image's config: the JSON document whose digest is the image's ID (image-spec, config.md), as Docker writes it.
import * as v from "valibot";
import type { HistoryEntry, ImageConfig } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import { type Digest, isDigest } from "./digest.ts";
import { check, parseJSON } from "./manifest.ts";

const text = () => v.nullish(v.string(), "");
const optionalText = v.nullish(v.string());
const optionalSet = v.nullish(v.record(v.string(), v.nullish(v.looseObject({}), {})));
const optionalList = v.nullish(v.array(v.string()));
const nanoseconds = v.nullish(v.pipe(v.number(), v.integer()));

/** Go writes null for what is empty, so everything may be null; null and absent are the same here. */
const ConfigSchema = v.object({
  User: optionalText,
  ExposedPorts: optionalSet,
  Env: optionalList,
  Entrypoint: optionalList,
  Cmd: optionalList,
  Volumes: optionalSet,
  WorkingDir: optionalText,
  Labels: v.nullish(v.record(v.string(), v.string())),
  StopSignal: optionalText,
  Healthcheck: v.nullish(
    v.object({
      Test: optionalList,
      Interval: nanoseconds,
      Timeout: nanoseconds,
      Retries: nanoseconds,
      StartPeriod: nanoseconds,
      StartInterval: nanoseconds,
    }),
  ),
  Shell: optionalList,
  OnBuild: optionalList,
  ArgsEscaped: v.nullish(v.boolean()),
});

const DiffID = v.custom<Digest>((value) => typeof value === "string" && isDigest(value), "not a digest");

const FileSchema = v.object({
  architecture: text(),
  variant: text(),
  os: text(),
  "os.version": text(),
  created: text(),
  author: text(),
  comment: text(),
  config: v.nullish(ConfigSchema),
  rootfs: v.object({ type: v.literal("layers"), diff_ids: v.nullish(v.array(DiffID), []) }),
  history: v.nullish(
    v.array(
      v.object({
        created: text(),
        created_by: text(),
        comment: text(),
        author: text(),
        empty_layer: v.nullish(v.boolean(), false),
      }),
    ),
    [],
  ),
});

/** A config file as far as we use it. */
export interface ImageConfigFile {
  architecture: string;
  variant: string;
  os: string;
  osVersion: string;
  createdAt: string;
  author: string;
  comment: string;
  config: ImageConfig;
  /** The lowest layer first. */
  diffIDs: Digest[];
  history: Omit<HistoryEntry, "sizeBytes">[];
}

const NEVER = "0001-01-01T00:00:00Z";

/** Throws `invalid`. */
export function parseImageConfig(bytes: Uint8Array): ImageConfigFile {
  const file = check(FileSchema, parseJSON(bytes, "image config"), "image config");
  if (file.os !== "" && file.os !== "linux")
    throw invalid(`cannot use an image for operating system "${file.os}" on this platform`);
  return {
    architecture: file.architecture,
    variant: file.variant,
    os: file.os || "linux",
    osVersion: file["os.version"],
    createdAt: file.created || NEVER,
    author: file.author,
    comment: file.comment,
    config: withoutNulls(file.config ?? {}),
    diffIDs: file.rootfs.diff_ids,
    history: file.history.map((entry) => ({
      created: entry.created || NEVER,
      createdBy: entry.created_by,
      comment: entry.comment,
      author: entry.author,
      isEmptyLayer: entry.empty_layer,
    })),
  };
}

function withoutNulls(config: v.InferOutput<typeof ConfigSchema>): ImageConfig {
  return JSON.parse(JSON.stringify(config, (_key, value: unknown) => value ?? undefined)) as ImageConfig;
}
