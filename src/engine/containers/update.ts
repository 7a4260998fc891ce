// New limits and a new restart policy for a container, running or not. What is zero in the request is left as it is.
import { gatherBlockIO } from "./devices.ts";
import type { Resources, RestartPolicy } from "../../schema/host_config.ts";
import { conflict, EngineError, internal } from "../../errors.ts";
import type { ContainersDeps } from "./deps.ts";
import type { Live, Run } from "./registry.ts";
import { toLimits } from "./resources.ts";
import { hasTask } from "./state.ts";
import { validateRestartPolicy } from "./validate.ts";
import { validateLimits } from "./validate_limits.ts";
import { errorText } from "./error_text.ts";

export type Change = Resources & { RestartPolicy: RestartPolicy | null };

export async function update(deps: ContainersDeps, nameOrID: string, change: Change): Promise<string[]> {
  const live = deps.registry.get(nameOrID);
  const { RestartPolicy: policy, ...given } = change;
  const { limits, warnings } = validateLimits(given, deps.runtime.facts, true);
  if (policy) validateRestartPolicy(policy);
  using _lock = await deps.registry.lock(live);
  const { hostConfig, state } = live.record;
  const refuse = (why: string) => conflict(`Cannot update container ${live.id}: ${why}`);
  if (state.status === "removing" || state.status === "dead") {
    throw refuse(`container is marked for removal and cannot be "update"`);
  }
  if (policy && policy.Name !== "" && policy.Name !== "no" && hostConfig.AutoRemove) {
    throw refuse("Restart policy cannot be updated because AutoRemove is enabled for the container");
  }
  const merged = merge(hostConfig, limits, (why) => refuse(why));
  warnings.push(...leftAlone(hostConfig, given));
  // Looked up also for a container that does not run: a device that is not there is refused now, not at its start.
  const blockIO = gatherBlockIO(limits);
  const undo =
    hasTask(state) && live.run ? write(live, live.run, toLimits(changedOnly(limits, merged), blockIO)) : null;
  try {
    await deps.machine.edit(live, {
      hostConfig: { ...merged, RestartPolicy: policy && policy.Name !== "" ? policy : hostConfig.RestartPolicy },
    });
  } catch (error) {
    // What is not written down must not be in force either.
    undo?.();
    throw error;
  }
  deps.machine.announce(live, { action: "update" });
  return warnings;
}

/** All of them or none; answers with what takes them back. */
function write(live: Live, run: Run, limits: ReturnType<typeof toLimits>): () => void {
  try {
    // Device rules are not part of an update: those in force stay.
    return run.task.cgroup.update({ devices: [], ...limits });
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    throw internal(`Cannot update container ${live.id}: ${errorText(cause)}`, { cause });
  }
}

const FIXED = [
  "CgroupParent",
  "Devices",
  "DeviceCgroupRules",
  "DeviceRequests",
  "Init",
  "MemorySwappiness",
  "OomKillDisable",
  "Ulimits",
] as const;

/** Fields that clients send along and that only a new container can have: said, unless they are what they are already. */
function leftAlone(stored: Resources, given: Resources): string[] {
  const isSet = (value: unknown): boolean =>
    value !== null && value !== "" && value !== -1 && value !== false && !(Array.isArray(value) && value.length === 0);
  return FIXED.filter(
    (field) => isSet(given[field]) && JSON.stringify(given[field]) !== JSON.stringify(stored[field]),
  ).map((field) => `${field} cannot be changed by an update, and is left as it is.`);
}

const NUMBERS = [
  "CpuShares",
  "CpuPeriod",
  "CpuQuota",
  "CpuRealtimePeriod",
  "CpuRealtimeRuntime",
  "Memory",
  "MemoryReservation",
  "MemorySwap",
  "BlkioWeight",
  "NanoCpus",
] as const;
const TEXTS = ["CpusetCpus", "CpusetMems"] as const;
const THROTTLES = ["BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"] as const;

/** The stored limits with the given ones on top. Throws Docker's conflicts between an old and a new limit. */
function merge<R extends Resources>(stored: R, given: Resources, refuse: (why: string) => Error): R {
  if (given.NanoCpus > 0 && stored.CpuPeriod > 0) {
    throw refuse("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set");
  }
  if (given.NanoCpus > 0 && stored.CpuQuota > 0) {
    throw refuse("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set");
  }
  if (given.CpuPeriod > 0 && stored.NanoCpus > 0) {
    throw refuse("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set");
  }
  if (given.CpuQuota > 0 && stored.NanoCpus > 0) {
    throw refuse("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set");
  }
  // COMPAT: also where no limit of both was set, or none at all: 0 and -1 are smaller than any.
  if (given.Memory > stored.MemorySwap && given.Memory !== 0 && given.MemorySwap === 0) {
    throw refuse(
      "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
    );
  }
  const merged = { ...stored };
  for (const field of NUMBERS) if (given[field] !== 0) merged[field] = given[field];
  for (const field of TEXTS) if (given[field] !== "") merged[field] = given[field];
  merged.BlkioWeightDevice = mergeByPath(stored.BlkioWeightDevice, given.BlkioWeightDevice);
  for (const field of THROTTLES) merged[field] = mergeByPath(stored[field], given[field]);
  if (given.PidsLimit !== null) merged.PidsLimit = given.PidsLimit <= 0 ? null : given.PidsLimit;
  return merged;
}

/** As the kernel has them: a new value for one device leaves those of others. */
function mergeByPath<Limit extends { Path: string }>(stored: readonly Limit[], given: readonly Limit[]): Limit[] {
  return [...new Map([...stored, ...given].map((limit) => [limit.Path, limit])).values()];
}

/** What goes to the kernel: the given limits; memory and its swap belong together, so both go when one changes. */
function changedOnly(given: Resources, merged: Resources): Resources {
  const isMemory = given.Memory !== 0 || given.MemorySwap !== 0;
  // One file on cgroup v2, and each is only right beside the other.
  const isQuota = given.CpuQuota !== 0 || given.CpuPeriod !== 0;
  return {
    ...given,
    Memory: isMemory ? merged.Memory : 0,
    MemorySwap: isMemory ? merged.MemorySwap : 0,
    CpuQuota: isQuota ? merged.CpuQuota : 0,
    CpuPeriod: isQuota ? merged.CpuPeriod : 0,
    // 0 is a limit of its own here: none.
    PidsLimit: given.PidsLimit !== null && given.PidsLimit <= 0 ? -1 : given.PidsLimit,
    MemorySwappiness: null,
    OomKillDisable: null,
  };
}
