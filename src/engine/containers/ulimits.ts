// --ulimit and the daemon's default ones to rlimits. See setrlimit(2).
import type { OciRlimit } from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";
import type { Resources } from "../../schema/host_config.ts";
import { ULIMIT_NAMES } from "../../ulimit_names.ts";

type Ulimit = Resources["Ulimits"][number];

export function checkUlimits(ulimits: readonly Ulimit[]): void {
  for (const { Name, Soft, Hard } of ulimits) {
    if (!ULIMIT_NAMES.includes(Name)) throw invalid(`invalid ulimit type: ${Name}`);
    // -1 is no limit at all.
    if (Hard !== -1 && (Soft === -1 || Soft > Hard)) {
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${Soft} > ${Hard}`);
    }
  }
}

/** The container's own win over the daemon's defaults. */
export function toRlimits(
  own: readonly Ulimit[],
  defaults: Readonly<Record<string, { soft: number; hard: number }>>,
): OciRlimit[] {
  const limits = new Map<string, OciRlimit>();
  for (const [name, { soft, hard }] of Object.entries(defaults)) limits.set(name, toRlimit(name, soft, hard));
  for (const { Name, Soft, Hard } of own) limits.set(Name, toRlimit(Name, Soft, Hard));
  return [...limits.values()];
}

function toRlimit(name: string, soft: number, hard: number): OciRlimit {
  return { type: `RLIMIT_${name.toUpperCase()}`, soft, hard };
}
