// New limits and a new restart policy for a container, running or not. What is zero in the request is left as it is.
import { gatherBlockIO } from "./devices.ts";
import type { Resources, RestartPolicy } from "../../schema/host_config.ts";
import { conflict, EngineError, internal } from "../../errors.ts";
import type { ContainersDeps } from "./deps.ts";
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
  if (hasTask(state) && live.run) {
    try {
      // Device rules are not part of an update: those in force stay.
      const devices = live.run.bundle.spec.linux.resources.devices;
      live.run.task.cgroup.update({ devices, ...toLimits(changedOnly(limits, merged), gatherBlockIO(limits)) });
    } catch (cause) {
      if (cause instanceof EngineError) throw cause;
      const reason = errorText(cause);
      throw internal(`Cannot update container ${live.id}: ${reason}`, { cause });
    }
  }
  await deps.machine.edit(live, {
    hostConfig: { ...merged, RestartPolicy: policy && policy.Name !== "" ? policy : hostConfig.RestartPolicy },
  });
  deps.machine.announce(live, { action: "update" });
  return warnings;
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
const LISTS = ["BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"] as const;

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
  if (
    given.Memory !== 0 &&
    given.MemorySwap === 0 &&
    stored.MemorySwap !== -1 &&
    given.Memory > stored.MemorySwap &&
    stored.MemorySwap !== 0
  ) {
    throw refuse(
      "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
    );
  }
  const merged = { ...stored };
  for (const field of NUMBERS) if (given[field] !== 0) merged[field] = given[field];
  for (const field of TEXTS) if (given[field] !== "") merged[field] = given[field];
  for (const field of LISTS) if (given[field].length > 0) merged[field] = given[field];
  if (given.PidsLimit !== null && given.PidsLimit !== 0)
    merged.PidsLimit = given.PidsLimit === -1 ? null : given.PidsLimit;
  return merged;
}

/** What goes to the kernel: the given limits; memory and its swap belong together, so both go when one changes. */
function changedOnly(given: Resources, merged: Resources): Resources {
  const isMemory = given.Memory !== 0 || given.MemorySwap !== 0;
  return {
    ...given,
    Memory: isMemory ? merged.Memory : 0,
    MemorySwap: isMemory ? merged.MemorySwap : 0,
    MemorySwappiness: null,
    OomKillDisable: null,
  };
}
