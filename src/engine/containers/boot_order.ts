// In which order containers come up with the engine. Pure: records to edges, and edges without cycles.
//
//   hard   what a container shares with another one: its network, ipc or pid namespace, volumes, links. It cannot start before.
//   hint   compose's depends_on, which it writes into a label: `db:service_healthy:false,cache:service_started:true`.
import type { ContainerRecord } from "./container.ts";

/** How far a dependency must have come; hard ones must run. */
export type Condition = "started" | "healthy" | "completed";

interface Dependency {
  /** The container that comes first. */
  id: string;
  condition: Condition;
  isHard: boolean;
}

export type BootOrder = ReadonlyMap<string, readonly Dependency[]>;

const PROJECT = "com.docker.compose.project";
const SERVICE = "com.docker.compose.service";
const DEPENDS_ON = "com.docker.compose.depends_on";

/** Among `records` alone: what does not come up is not waited for. `broken`: the cycles that were cut, by their names. */
export function bootOrder(records: readonly ContainerRecord[]): { order: BootOrder; broken: string[][] } {
  const order = new Map(records.map((record) => [record.id as string, dependenciesOf(record, records)]));
  const names = new Map(records.map(({ id, name }) => [id as string, name]));
  const broken: string[][] = [];
  for (let cycle = findCycle(order); cycle !== null; cycle = findCycle(order)) {
    broken.push(cycle.map((id) => names.get(id) ?? id));
    cut(order, cycle);
  }
  return { order, broken };
}

function dependenciesOf(record: ContainerRecord, records: readonly ContainerRecord[]): Dependency[] {
  const found = new Map<string, Dependency>();
  const add = (id: string, condition: Condition, isHard: boolean): void => {
    if (id !== record.id && !found.get(id)?.isHard) found.set(id, { id, condition, isHard });
  };
  for (const { service, condition } of composeHints(record)) {
    const project = record.config.Labels[PROJECT];
    for (const other of records) {
      const { Labels } = other.config;
      if (Labels[SERVICE] === service && Labels[PROJECT] === project) add(other.id, condition, false);
    }
  }
  for (const named of sharedWith(record)) {
    const other = records.find(({ id, name }) => name === named || id === named || isShort(named, id));
    if (other) add(other.id, "started", true);
  }
  return [...found.values()];
}

/** The containers that HostConfig names, by name or ID. */
function sharedWith({ hostConfig }: ContainerRecord): string[] {
  const modes = [hostConfig.NetworkMode, hostConfig.IpcMode, hostConfig.PidMode]
    .filter((mode) => mode.startsWith("container:"))
    .map((mode) => mode.slice("container:".length));
  const first = (entry: string): string => entry.split(":")[0] ?? "";
  return [...modes, ...hostConfig.VolumesFrom.map(first), ...hostConfig.Links.map(first)]
    .map((name) => name.replace(/^\//, ""))
    .filter((name) => name !== "");
}

function isShort(named: string, id: string): boolean {
  return named.length >= 12 && /^[0-9a-f]+$/.test(named) && id.startsWith(named);
}

const CONDITIONS: Readonly<Record<string, Condition>> = {
  service_started: "started",
  service_healthy: "healthy",
  service_completed_successfully: "completed",
};

function composeHints({ config }: ContainerRecord): { service: string; condition: Condition }[] {
  return (config.Labels[DEPENDS_ON] ?? "")
    .split(",")
    .map((entry) => entry.trim().split(":"))
    .filter(([service = ""]) => service !== "")
    .map(([service = "", condition = ""]) => ({ service, condition: CONDITIONS[condition] ?? "started" }));
}

/** IDs around one cycle, or null. Iterative: a chain may be as long as there are containers. */
function findCycle(order: BootOrder): string[] | null {
  const done = new Set<string>();
  for (const root of order.keys()) {
    const path: { id: string; left: Dependency[] }[] = [];
    const enter = (id: string): void => void path.push({ id, left: [...(order.get(id) ?? [])] });
    if (!done.has(root)) enter(root);
    for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
      const next = top.left.pop();
      if (next === undefined) {
        done.add(top.id);
        path.pop();
        continue;
      }
      const at = path.findIndex(({ id }) => id === next.id);
      if (at >= 0) return path.slice(at).map(({ id }) => id);
      if (!done.has(next.id)) enter(next.id);
    }
  }
  return null;
}

/** Takes one edge out of a cycle: a hint if there is one, else any. */
function cut(order: Map<string, Dependency[]>, cycle: readonly string[]): void {
  const edges = cycle.map((from, at) => ({ from, to: cycle[(at + 1) % cycle.length] ?? from }));
  const isHint = ({ from, to }: { from: string; to: string }): boolean =>
    order.get(from)?.some(({ id, isHard }) => id === to && !isHard) ?? false;
  const edge = edges.find(isHint) ?? edges[0];
  if (!edge) return;
  order.set(
    edge.from,
    (order.get(edge.from) ?? []).filter(({ id }) => id !== edge.to),
  );
}
