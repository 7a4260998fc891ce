// GET /system/df: how much each kind of object takes. Up to 1.52 a list of the objects with their sizes, from 1.52 on sums
// (with 1.52 itself answering both).
import type { Engine, VolumeRecord } from "../engine/mod.ts";
import { isAtLeast } from "./app_env.ts";
import { type SummaryFacts, type ViewContext, summaryView as containerSummary } from "./container_view.ts";
import { type ListedImage, summaryView as imageSummary } from "./image_view.ts";
import { volumeView } from "./volumes.ts";

export const OBJECT_TYPES = ["container", "image", "volume", "build-cache"] as const;
export type ObjectType = (typeof OBJECT_TYPES)[number];

/** What was measured; null for a kind that was not asked for. */
export interface DiskUsage {
  images: { layersBytes: number; listed: ListedImage[] } | null;
  containers: SummaryFacts[] | null;
  volumes: { volume: VolumeRecord; sizeBytes: number; refCount: number }[] | null;
  hasBuildCache: boolean;
}

export async function diskUsage(engine: Engine, types: readonly ObjectType[]): Promise<DiskUsage> {
  return {
    images: types.includes("image") ? await imageUsage(engine) : null,
    containers: types.includes("container") ? await containerUsage(engine) : null,
    volumes: types.includes("volume") ? await volumeUsage(engine) : null,
    hasBuildCache: types.includes("build-cache"),
  };
}

async function imageUsage({ images }: Engine): Promise<DiskUsage["images"]> {
  const { layersBytes } = await images.totals();
  return { layersBytes, listed: await images.list({ all: false, filters: new Map(), sharedSize: true }) };
}

async function containerUsage({ containers, images }: Engine): Promise<DiskUsage["containers"]> {
  const listed = await containers.list({ all: true, limit: 0, size: true, filters: new Map() });
  return listed.map((each) => ({
    ...each,
    health: containers.health(each.record.id),
    imageNow: imageNow(images, each.record.image),
  }));
}

function imageNow(images: Engine["images"], name: string): string | null {
  try {
    return images.get(name).id;
  } catch {
    return null;
  }
}

async function volumeUsage({ volumes }: Engine): Promise<DiskUsage["volumes"]> {
  const measured: NonNullable<DiskUsage["volumes"]> = [];
  for (const volume of (await volumes.list(new Map())).volumes) {
    // One that was removed meanwhile takes nothing any more.
    const usage = await volumes.usage(volume.name).catch(() => null);
    if (usage !== null) measured.push({ volume, ...usage });
  }
  return measured;
}

export interface DiskUsageContext extends ViewContext {
  isVerbose: boolean;
}

export function diskUsageView(usage: DiskUsage, context: DiskUsageContext): object {
  return {
    ...(isAtLeast(context.version, 53) ? {} : legacyView(usage, context)),
    ...(isAtLeast(context.version, 52) ? sumsView(usage, context) : {}),
  };
}

const images = (usage: DiskUsage, { version }: DiskUsageContext): object[] =>
  // COMPAT: here the number of containers was always real, unlike in the list of images.
  (usage.images?.listed ?? []).map((each) => ({ ...imageSummary(each, version), Containers: each.containers }));

const containers = (usage: DiskUsage, context: DiskUsageContext): object[] =>
  (usage.containers ?? []).map((each) => containerSummary(each, context));

const volumes = (usage: DiskUsage): object[] =>
  (usage.volumes ?? []).map(({ volume, sizeBytes, refCount }) => ({
    ...volumeView(volume),
    UsageData: { Size: sizeBytes, RefCount: refCount },
  }));

function legacyView(usage: DiskUsage, context: DiskUsageContext): object {
  return {
    LayersSize: usage.images?.layersBytes ?? 0,
    Images: usage.images ? images(usage, context) : null,
    Containers: usage.containers ? containers(usage, context) : null,
    Volumes: usage.volumes ? volumes(usage) : null,
    BuildCache: usage.hasBuildCache ? [] : null,
    ...(isAtLeast(context.version, 42) ? {} : { BuilderSize: 0 }),
  };
}

function sumsView(usage: DiskUsage, context: DiskUsageContext): object {
  const items = (list: object[]): object => (context.isVerbose ? { Items: list } : {});
  return {
    ...(usage.images ? { ImageUsage: { ...imageSums(usage.images), ...items(images(usage, context)) } } : {}),
    ...(usage.containers
      ? { ContainerUsage: { ...containerSums(usage.containers), ...items(containers(usage, context)) } }
      : {}),
    ...(usage.volumes ? { VolumeUsage: { ...volumeSums(usage.volumes), ...items(volumes(usage)) } } : {}),
    ...(usage.hasBuildCache
      ? { BuildCacheUsage: { ActiveCount: 0, TotalCount: 0, Reclaimable: 0, TotalSize: 0, ...items([]) } }
      : {}),
  };
}

interface Sums {
  ActiveCount: number;
  TotalCount: number;
  Reclaimable: number;
  TotalSize: number;
}

/** Reclaimable is what no image in use holds: a layer shared with one stays. */
function imageSums({ layersBytes, listed }: NonNullable<DiskUsage["images"]>): Sums {
  const active = listed.filter((each) => each.containers > 0);
  const held = sum(active.map((each) => each.image.sizeBytes - Math.max(each.sharedSizeBytes, 0)));
  const Reclaimable = Math.max(layersBytes - held, 0);
  return { ActiveCount: active.length, TotalCount: listed.length, Reclaimable, TotalSize: layersBytes };
}

function containerSums(listed: NonNullable<DiskUsage["containers"]>): Sums {
  const isActive = ({ record: { state } }: (typeof listed)[number]): boolean =>
    state.status === "running" || state.status === "paused" || state.status === "restarting";
  const size = (each: (typeof listed)[number]): number => each.sizes?.rwBytes ?? 0;
  return {
    ActiveCount: listed.filter(isActive).length,
    TotalCount: listed.length,
    Reclaimable: sum(listed.filter((each) => !isActive(each)).map(size)),
    TotalSize: sum(listed.map(size)),
  };
}

/** A size of -1 is unknown and counts nothing. */
function volumeSums(listed: NonNullable<DiskUsage["volumes"]>): Sums {
  const size = (each: (typeof listed)[number]): number => Math.max(each.sizeBytes, 0);
  return {
    ActiveCount: listed.filter((each) => each.refCount > 0).length,
    TotalCount: listed.length,
    Reclaimable: sum(listed.filter((each) => each.refCount === 0).map(size)),
    TotalSize: sum(listed.map(size)),
  };
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
