// A bundle's namespaces as flags for clone and descriptors to enter, and its cgroup as the program sees it. Opens the
// namespaces that are named by a path, in the daemon: what is passed on cannot change any more.
import type { OciLinux } from "../bundle.ts";
import type { HostFacts } from "../mod.ts";
import { DESCRIPTOR } from "../program/descriptors.ts";
import type { CgroupPlan, NamespacePlan } from "../program/plan.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath } from "../sys/file.ts";
import { CLONE, NAMESPACES } from "../sys/namespace.ts";
import { during } from "./failure.ts";
import type { LaunchCgroup } from "./host.ts";
import type { DescriptorTable } from "./spawn.ts";

/** Namespaces that are opened go into `childSide`, to be closed once the shim has them. */
export function planNamespaces(
  linux: OciLinux,
  given: { netns: Fd | null; userns: Fd | null },
  table: DescriptorTable,
  childSide: DisposableStack,
): NamespacePlan {
  const { netns, userns } = given;
  const plan: NamespacePlan = { create: CLONE.NEWNS, createCgroup: false, enter: [], isMapped: false };
  const enter = (type: keyof typeof NAMESPACES, fd: Fd): void => {
    const descriptor = DESCRIPTOR.namespaces + plan.enter.length;
    table.set(descriptor, fd);
    plan.enter.push({ type, flag: NAMESPACES[type].flag, descriptor });
  };
  for (const { type, path } of linux.namespaces) {
    if (type === "user") plan.isMapped = true;
    if (type === "mount" || (type === "network" && netns) || (type === "user" && userns)) continue;
    if (path !== undefined && path !== "") {
      enter(type, childSide.use(during(`open the ${type} namespace ${path}`, () => openPath(path, O.RDONLY))));
    } else if (type === "cgroup") plan.createCgroup = true;
    else plan.create |= NAMESPACES[type].flag;
  }
  if (netns) enter("network", netns);
  if (userns) {
    enter("user", userns);
    const root = { uid: hostID(0, linux.uidMappings), gid: hostID(0, linux.gidMappings) };
    plan.ownersBy = { descriptor: DESCRIPTOR.namespaces + plan.enter.length - 1, root };
  }
  return plan;
}

export function planCgroup(cgroup: LaunchCgroup, facts: HostFacts, table: DescriptorTable): CgroupPlan {
  const { procsFiles, directory } = cgroup;
  if (directory) table.set(DESCRIPTOR.cgroup, directory);
  const mountPoints = [...new Set(facts.controllers.values())];
  const hierarchies = procsFiles.flatMap((file) => {
    const path = file.slice(0, file.lastIndexOf("/"));
    const mountPoint = mountPoints.find((point) => path.startsWith(`${point}/`));
    return mountPoint ? [{ name: mountPoint.slice(mountPoint.lastIndexOf("/") + 1), directory: path }] : [];
  });
  return { version: facts.cgroupVersion, joinFiles: procsFiles.map(joinFile), hierarchies };
}

/**
 * `tasks` in the place of `cgroup.procs`. WHY: a process that joins has one thread, and for a thread that moves itself the
 * kernel takes no lock on all thread groups; with cgroup.procs it does, and after 100 ms of quiet on the machine that
 * lock alone is worth an RCU grace period, 12 ms.
 */
function joinFile(procsFile: string): string {
  return procsFile.replace(/cgroup\.procs$/, "tasks");
}

/** A container ID as the host sees it; unmapped namespaces are the host's own. Throws for one that has no place. */
export function hostID(id: number, mappings: readonly { containerID: number; hostID: number; size: number }[]): number {
  if (mappings.length === 0) return id;
  const found = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  if (!found) throw new RangeError(`no host ID is mapped to ${id}`);
  return found.hostID + (id - found.containerID);
}
