// Which images a list or a prune means: the filters of the Engine API on image records. Pure, but for the clock.
import { invalid } from "../errors.ts";
import { familiar, familiarName, parseReference } from "../image/reference.ts";
import { booleanFilter, matchesLabels, untilFilter } from "./filters.ts";
import type { Filters, ImageRecord } from "./mod.ts";

export interface ImageFilterDeps {
  /** For `before` and `since`; throws notFound. */
  resolve(nameOrID: string): ImageRecord;
  now(): Date;
}

/** A record with the names that the filters leave, or null for an image that they leave out. */
export type ImageFilter = (image: ImageRecord) => ImageRecord | null;

/** Reads the filters once, so that a bad one is told before anything is done. */
export function imageFilter(filters: Filters, deps: ImageFilterDeps): ImageFilter {
  const isDangling = booleanFilter(filters, "dangling", null);
  const untilMs = untilFilter(filters, deps.now().getTime());
  const beforeMs = edge(filters, "before", deps, Math.min);
  const sinceMs = edge(filters, "since", deps, Math.max);
  const patterns = filters.get("reference")?.map((text) => glob(text)) ?? null;
  return (image) => {
    const createdMs = createdAtMs(image);
    if (isDangling !== null && isDangling !== (image.tags.length === 0)) return null;
    if (untilMs !== null && createdMs > untilMs) return null;
    if (beforeMs !== null && createdMs >= beforeMs) return null;
    if (sinceMs !== null && createdMs <= sinceMs) return null;
    if (!matchesLabels(filters, image.config.Labels ?? {})) return null;
    if (patterns === null) return image;
    const matches = (name: string): boolean => isNamed(name, patterns);
    const tags = image.tags.filter(matches);
    const repoDigests = image.repoDigests.filter(matches);
    return tags.length + repoDigests.length === 0 ? null : { ...image, tags, repoDigests };
  };
}

/** The moment of the image that `before` or `since` names. */
function edge(
  filters: Filters,
  name: "before" | "since",
  deps: ImageFilterDeps,
  pick: (...times: number[]) => number,
): number | null {
  const values = filters.get(name);
  return values === undefined ? null : pick(...values.map((value) => createdAtMs(deps.resolve(value))));
}

/** Unix milliseconds; 0 for an image that does not say. Dates carry nanoseconds, which Date.parse drops. */
export function createdAtMs(image: ImageRecord): number {
  const time = Date.parse(image.createdAt);
  return Number.isNaN(time) ? 0 : time;
}

/** COMPAT: a pattern is held against the familiar name with and without its tag. */
function isNamed(name: string, patterns: readonly RegExp[]): boolean {
  const reference = parseReference(name);
  const forms = [familiar(reference), familiarName(reference)];
  return patterns.some((pattern) => forms.some((form) => pattern.test(form)));
}

/** A shell pattern as Go's path.Match has it: `*` and `?` stop at a slash. */
function glob(pattern: string): RegExp {
  let source = "";
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? "";
    const set = character === "[" ? /^\[\^?(?:\\.|[^\]\\])+\]/.exec(pattern.slice(at))?.[0] : undefined;
    if (character === "[" && set === undefined) throw badPattern(pattern);
    if (set !== undefined) {
      source += set;
      at += set.length - 1;
    } else if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "\\") source += escape(pattern[++at] ?? "\\");
    else source += escape(character);
  }
  try {
    return new RegExp(`^${source}$`, "u");
  } catch {
    throw badPattern(pattern);
  }
}

function escape(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}

function badPattern(pattern: string): Error {
  return invalid(`invalid filter 'reference=[${pattern}]'`);
}
