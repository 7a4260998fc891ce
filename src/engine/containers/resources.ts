// Limits of a HostConfig to the runtime-spec's. Pure.
import type { OciDeviceRule, OciResources } from "../../../runtime/mod.ts";
import type { HostConfig, Resources } from "../../schema/host_config.ts";
import { DEFAULT_DEVICE_RULES, EVERY_DEVICE, parseDeviceRule } from "./device_rules.ts";
import type { HostDevices } from "./devices.ts";

const CPU_PERIOD_US = 100_000;

export function toResources(hostConfig: HostConfig, devices: HostDevices): OciResources {
  const rules: readonly OciDeviceRule[] = hostConfig.Privileged
    ? EVERY_DEVICE
    : [...DEFAULT_DEVICE_RULES, ...devices.rules, ...hostConfig.DeviceCgroupRules.map(parseDeviceRule)];
  return { devices: [...rules], ...toLimits(hostConfig, devices) };
}

/** Without device rules: what `update` writes too. What is zero is absent. */
export function toLimits(
  limits: Resources,
  devices: Omit<HostDevices, "devices" | "rules">,
): Omit<OciResources, "devices"> {
  const memory = filled({
    limit: limits.Memory || undefined,
    reservation: limits.MemoryReservation || undefined,
    swap: limits.MemorySwap || undefined,
    swappiness: limits.MemorySwappiness ?? undefined,
    disableOOMKiller: limits.OomKillDisable || undefined,
  });
  const cpu = filled({
    shares: limits.CpuShares || undefined,
    ...quotaOf(limits),
    realtimePeriod: limits.CpuRealtimePeriod || undefined,
    realtimeRuntime: limits.CpuRealtimeRuntime || undefined,
    cpus: limits.CpusetCpus || undefined,
    mems: limits.CpusetMems || undefined,
  });
  const blockIO = filled({
    weight: limits.BlkioWeight || undefined,
    weightDevice: listed(devices.weights),
    throttleReadBpsDevice: listed(devices.readBps),
    throttleWriteBpsDevice: listed(devices.writeBps),
    throttleReadIOPSDevice: listed(devices.readIOps),
    throttleWriteIOPSDevice: listed(devices.writeIOps),
  });
  return (
    filled({
      memory,
      cpu,
      blockIO,
      pids: limits.PidsLimit !== null && limits.PidsLimit !== 0 ? { limit: limits.PidsLimit } : undefined,
    }) ?? {}
  );
}

function quotaOf(limits: Resources): { quota: number | undefined; period: number | undefined } {
  if (limits.NanoCpus > 0) return { quota: Math.round((limits.NanoCpus * CPU_PERIOD_US) / 1e9), period: CPU_PERIOD_US };
  return { quota: limits.CpuQuota || undefined, period: limits.CpuPeriod || undefined };
}

function listed<T>(items: readonly T[]): T[] | undefined {
  return items.length > 0 ? [...items] : undefined;
}

type Filled<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without its undefined fields; undefined when none is left. */
function filled<T extends object>(fields: T): Filled<T> | undefined {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return entries.length > 0 ? (Object.fromEntries(entries) as Filled<T>) : undefined;
}
