// Platforms: `os/arch[/variant]`, their many spellings, and which of several images fits. See image-spec, image-index.md.
import { invalid } from "../errors.ts";

export interface Platform {
  os: string;
  architecture: string;
  /** "" where the architecture has none, or the default one. */
  variant: string;
}

const ARCHITECTURES: Readonly<Record<string, readonly [architecture: string, variant: string]>> = {
  x86_64: ["amd64", ""],
  "x86-64": ["amd64", ""],
  aarch64: ["arm64", ""],
  i386: ["386", ""],
  i686: ["386", ""],
  armhf: ["arm", "v7"],
  armel: ["arm", "v6"],
};

/** One spelling for each platform: arm64/v8 is arm64, arm is arm/v7, amd64/v1 is amd64. */
export function normalise(platform: { os: string; architecture: string; variant?: string }): Platform {
  const os = platform.os.toLowerCase();
  const given = platform.architecture.toLowerCase();
  const [architecture, implied] = ARCHITECTURES[given] ?? [given, ""];
  let variant = platform.variant?.toLowerCase() || implied;
  if (/^\d$/.test(variant)) variant = `v${variant}`;
  if (architecture === "arm64" && variant === "v8") variant = "";
  if (architecture === "amd64" && variant === "v1") variant = "";
  if (architecture === "arm" && variant === "") variant = "v7";
  return { os: os === "macos" ? "darwin" : os, architecture, variant };
}

/** The platform images for this machine are made for. `arch` is process.arch. */
export function hostPlatform(arch: string): Platform {
  return normalise({ os: "linux", architecture: arch === "x64" ? "amd64" : arch });
}

const NAME = /^[A-Za-z0-9_.-]+$/;

/** `linux/arm64/v8`, `linux/amd64`; a lone word is an architecture, or an operating system, of this host. */
export function parsePlatform(text: string, host: Platform): Platform {
  const parts = text.split("/");
  if (parts.length > 3 || !parts.every((part) => NAME.test(part))) {
    throw invalid(`"${text}": unknown operating system or architecture: invalid argument`);
  }
  const [first = "", architecture, variant] = parts;
  if (architecture !== undefined)
    return normalise(variant === undefined ? { os: first, architecture } : { os: first, architecture, variant });
  const isSystem = /^(linux|windows|darwin|freebsd)$/i.test(first);
  return isSystem ? { ...host, os: first.toLowerCase() } : normalise({ os: host.os, architecture: first });
}

export function formatPlatform(platform: Platform): string {
  return `${platform.os}/${platform.architecture}${platform.variant === "" ? "" : `/${platform.variant}`}`;
}

const ARM_VARIANTS = ["v8", "v7", "v6", "v5"];

/**
 * How well an image for `have` serves a wish: 0 not at all, more is better. An arm machine also runs older variants.
 */
export function fitness(wanted: Platform, have: Platform): number {
  if (wanted.os !== have.os) return 0;
  if (wanted.architecture === have.architecture) {
    if (wanted.variant === have.variant) return 100;
    if (wanted.architecture !== "arm") return have.variant === "" ? 90 : 0;
    const distance = ARM_VARIANTS.indexOf(have.variant) - ARM_VARIANTS.indexOf(wanted.variant);
    return distance > 0 ? 90 - distance : 0;
  }
  return 0;
}

/** The best of several for a wish, the first of equals; null when none fits. */
export function chooseByPlatform<T>(
  items: readonly T[],
  wanted: Platform,
  platformOf: (item: T) => Platform | null,
): T | null {
  let best: T | null = null;
  let bestFitness = 0;
  for (const item of items) {
    const have = platformOf(item);
    const value = have === null ? 0 : fitness(wanted, have);
    if (value > bestFitness) [best, bestFitness] = [item, value];
  }
  return best;
}
