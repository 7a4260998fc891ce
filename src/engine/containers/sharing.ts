// Namespaces that a container shares with another one: `container:x` for its network, its processes or its IPC.
import { conflict } from "../../errors.ts";
import type { ContainerRecord } from "./container.ts";
import type { Registry } from "./registry.ts";
import { hasTask } from "./state.ts";

type Deps = { registry: Registry };

/** The running container whose network namespace this one shares; null: it has its own, or the host's. */
export function networkDonor(deps: Deps, record: ContainerRecord): { record: ContainerRecord; pid: number } | null {
  const name = containerOf(record.hostConfig.NetworkMode);
  if (name === null) return null;
  const donor = sharedContainer(deps, name, "network");
  return { record: donor, pid: hasTask(donor.state) ? donor.state.task.pid : 0 };
}

/** `container:x` to x. */
export function containerOf(mode: string): string | null {
  return mode.startsWith("container:") ? mode.slice("container:".length) : null;
}

export function sharedContainer(deps: Deps, name: string, namespace: string): ContainerRecord {
  let donor: ContainerRecord;
  try {
    donor = deps.registry.get(name).record;
  } catch (cause) {
    throw conflict(`joining ${namespace} namespace of container: No such container: ${name}`, { cause });
  }
  if (hasTask(donor.state)) return donor;
  throw conflict(
    `cannot join ${namespace} namespace of a non running container: container ${donor.name} is ${donor.state.status}`,
  );
}
