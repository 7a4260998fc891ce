// What containers are given of this machine, read once when the daemon starts.
import { readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import type { HostFacts } from "../../../runtime/mod.ts";
import { parseCapabilityMask } from "./capabilities.ts";
import type { Machinery } from "./deps.ts";
import { readSeccompProfile, seccompResolver } from "./seccomp.ts";

export interface MachinerySource {
  facts: HostFacts;
  /** In Docker's own form. */
  defaultSeccompProfile: unknown;
}

export function readMachinery(source: MachinerySource): Machinery {
  const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0";
  return {
    hostName: hostname(),
    capabilities: parseCapabilityMask(bounding),
    maskedPaths: thermalPaths("/sys/devices/system/cpu"),
    defaultSeccomp: seccompResolver(readSeccompProfile(source.defaultSeccompProfile), source.facts),
  };
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
