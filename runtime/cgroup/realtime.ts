// Real-time budgets of the cgroup that containers live below (v1, CONFIG_RT_GROUP_SCHED): a group is born with none and can
// give its children no more than it has itself, so every level from the top needs one. See sched-rt-group.rst.
import { SyscallError } from "../errors.ts";
import type { HostFacts } from "../mod.ts";
import { E } from "../sys/errno.ts";
import { writeControl } from "./files.ts";
import { controllerDirectory } from "./place.ts";
import { mkdirSync } from "node:fs";

export interface RealtimeBudget {
  /** In microseconds; 0: as it is. */
  periodUs: number;
  runtimeUs: number;
}

/** Gives each level of `parent` the budget. Throws where this kernel has no such budgets, or the level above has too little. */
export function grantRealtime(facts: HostFacts, parent: string, { periodUs, runtimeUs }: RealtimeBudget): void {
  if (periodUs === 0 && runtimeUs === 0) return;
  if (!facts.hasRealtimeGroups) throw new SyscallError("open", E.ENOENT, { file: "cpu.rt_runtime_us" });
  const names = parent.split("/").filter((name) => name !== "");
  for (let depth = 1; depth <= names.length; depth++) {
    const directory = controllerDirectory(facts, `/${names.slice(0, depth).join("/")}`, "cpu");
    if (directory === null) return;
    mkdirSync(directory, { recursive: true });
    if (periodUs > 0) writeControl(`${directory}/cpu.rt_period_us`, [String(periodUs)]);
    if (runtimeUs > 0) writeControl(`${directory}/cpu.rt_runtime_us`, [String(runtimeUs)]);
  }
}
