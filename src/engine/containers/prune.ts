// Removes every container that does not run. One that comes up meanwhile is left alone. COMPAT: anonymous volumes stay, as
// with a removal that does not ask for them: data goes only by `docker volume prune` or `rm -v`.
import { EngineError } from "../../errors.ts";
import { matchesLabels, untilFilter } from "../filters.ts";
import type { Filters } from "../mod.ts";
import type { ContainersDeps } from "./deps.ts";
import { removeHeld } from "./remove.ts";
import { isUp } from "./state.ts";

export async function prune(
  deps: ContainersDeps,
  filters: Filters,
): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  const untilMs = untilFilter(filters, deps.clock.now().getTime());
  const deleted: string[] = [];
  let spaceReclaimed = 0;
  for (const live of Array.from(deps.registry.all())) {
    if (isUp(live.record.state) || !matchesLabels(filters, live.record.config.Labels)) continue;
    if (untilMs !== null && Date.parse(live.record.createdAt) > untilMs) continue;
    try {
      const bytes = await deps.snapshots.usage(live.id);
      using _lock = await deps.registry.lock(live);
      if (isUp(live.record.state)) continue;
      await removeHeld(deps, live, { volumes: false });
      spaceReclaimed += bytes;
      deleted.push(live.id);
    } catch (error) {
      if (!(error instanceof EngineError))
        deps.log.warn("a container could not be pruned", { container: live.id, error });
    }
  }
  deps.events.publish("container", "prune", "", { reclaimed: String(spaceReclaimed) });
  return { deleted, spaceReclaimed };
}
