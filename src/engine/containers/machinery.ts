// What containers are given of this machine, read once when the daemon starts.
import { readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { HostFacts } from "../../../runtime/mod.ts";
import { parseCapabilityMask } from "./capabilities.ts";
import type { Machinery } from "./deps.ts";
import { parseSeccompProfile, readSeccompProfile, seccompResolver } from "./seccomp.ts";

export interface MachinerySource {
  facts: HostFacts;
  /** In Docker's own form. */
  defaultSeccompProfile: unknown;
  /** `builtin`, `unconfined`, or the path of a profile. */
  seccompProfile: string;
}

export function readMachinery(source: MachinerySource): Machinery {
  const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  const builtinSeccomp = seccompResolver(readSeccompProfile(source.defaultSeccompProfile), source.facts);
  return {
    hostName: hostname(),
    capabilities: parseCapabilityMask(bounding),
    maskedPaths: thermalPaths("/sys/devices/system/cpu"),
    builtinSeccomp,
    defaultSeccomp: defaultSeccomp(source, builtinSeccomp),
  };
}

function defaultSeccomp({ seccompProfile: choice, facts }: MachinerySource, builtin: Machinery["builtinSeccomp"]) {
  if (choice === "builtin") return builtin;
  if (choice === "unconfined") return null;
  let text: string;
  try {
    text = readFileSync(choice, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`opening seccomp profile (${choice}) failed: ${reason}`, { cause });
  }
  return seccompResolver(parseSeccompProfile(text), facts);
}

/** A container that reads these can tell what its neighbours do. */
function thermalPaths(root: string): string[] {
  return directory(root)
    .filter((name) => /^cpu\d+$/.test(name))
    .filter((name) => directory(`${root}/${name}`).includes("thermal_throttle"))
    .map((name) => `${root}/${name}/thermal_throttle`);
}

function directory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
