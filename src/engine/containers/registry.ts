// The containers there are: in memory, by ID and by name. The records here are what every reader sees; the database
// mirrors them (machine.ts writes it first). Reading takes no lock and never waits.
import type { Bundle, LogWriter, Stdio, Task } from "../../../runtime/mod.ts";
import { createLocks } from "../locks.ts";
import { nameTaken, resolveContainer } from "../names.ts";
import { type AttachSlot, createAttachSlot } from "./attach.ts";
import type { ContainerRecord } from "./container.ts";
import type { HealthReport } from "./health.ts";
import type { Probing } from "./probing.ts";
import { type Exit, exitOf } from "./state.ts";

/** What belongs to one run of a container, from its start until its exit has been dealt with. */
export interface Run {
  readonly task: Task;
  readonly stdio: Stdio;
  /** null: the driver keeps nothing. */
  readonly log: LogWriter | null;
  readonly bundle: Bundle;
  readonly startedAtMs: number;
  readonly probing: Probing;
  /** Ends the health probes and the watch for OOM kills. */
  readonly stopWatching: () => void;
  /** Its end has been asked for by a health check that wants it started again: no policy and no stop by hand decides. */
  isEndedForHealth: boolean;
}

/** A policy restart that is due. */
interface PendingRestart {
  cancel(): void;
}

/** A container while the daemon runs. */
export interface Live {
  readonly id: string;
  /** Replaced as a whole by machine.ts, never changed in place: whoever holds one holds a consistent one. */
  record: ContainerRecord;
  run: Run | null;
  /** Where clients wait for the next run, or have joined this one: an attach may come before the start. */
  readonly slot: AttachSlot;
  /** Called once, after `die`. Waiters of `removed` are in the other set; a removal calls both. */
  readonly onExit: Set<(exit: Exit) => void>;
  readonly onRemoved: Set<() => void>;
  pendingRestart: PendingRestart | null;
  /** How long the next policy restart will wait; see restart_policy.ts. */
  restartDelayMs: number;
  /** How many `restart`s are between their stop and their start: AutoRemove and the policy must not act meanwhile. */
  restartsByHand: number;
  /** A forced removal is under way: its end waits for no client. */
  isForcedOut: boolean;
  health: HealthReport | null;
  /** What is still being cleared away after the last run: its cgroup. A start waits for it. */
  clearing: Promise<void> | null;
}

export function newLive(record: ContainerRecord): Live {
  return {
    id: record.id,
    record,
    run: null,
    slot: createAttachSlot(),
    onExit: new Set(),
    onRemoved: new Set(),
    pendingRestart: null,
    restartDelayMs: 0,
    restartsByHand: 0,
    isForcedOut: false,
    health: exitOf(record.state)?.health ?? null,
    clearing: null,
  };
}

export interface Registry {
  /** By full ID, name or unique prefix; throws Docker's notFound and invalid. */
  get(nameOrID: string): Live;
  byID(id: string): Live | undefined;
  all(): IterableIterator<Live>;
  isNameTaken: (name: string) => boolean;
  /** Takes a name before the container is there, or throws Docker's conflict. Disposing gives it back, unless kept. */
  reserveName(name: string, id: string): NameReservation;
  add(live: Live): void;
  /** The name goes with it. */
  drop(live: Live): void;
  renamed(live: Live, from: string): void;
  /** Waits for the container's turn. Throws notFound when it has been removed meanwhile. */
  lock(live: Live): Promise<Disposable>;
}

interface NameReservation extends Disposable {
  readonly name: string;
  keep(): void;
}

export function createRegistry(): Registry {
  const byID = new Map<string, Live>();
  /** Name to ID. Holds names of containers that are being made, too. */
  const names = new Map<string, string>();
  const locks = createLocks();
  const directory = {
    byID: (id: string) => byID.get(id),
    byName: (name: string) => byID.get(names.get(name) ?? ""),
    ids: () => byID.keys(),
  };
  return {
    get: (nameOrID) => resolveContainer(directory, nameOrID),
    byID: (id) => byID.get(id),
    all: () => byID.values(),
    isNameTaken: (name) => names.has(name),
    reserveName(name, id) {
      const owner = names.get(name);
      if (owner !== undefined) throw nameTaken(name, owner);
      names.set(name, id);
      let isKept = false;
      return {
        name,
        keep: () => {
          isKept = true;
        },
        [Symbol.dispose]: () => {
          if (!isKept && names.get(name) === id) names.delete(name);
        },
      };
    },
    add(live) {
      byID.set(live.id, live);
      names.set(live.record.name, live.id);
    },
    drop(live) {
      byID.delete(live.id);
      if (names.get(live.record.name) === live.id) names.delete(live.record.name);
    },
    renamed(live, from) {
      if (names.get(from) === live.id) names.delete(from);
      names.set(live.record.name, live.id);
    },
    async lock(live) {
      const held = await locks.hold(live.id);
      if (byID.get(live.id) === live) return held;
      held[Symbol.dispose]();
      resolveContainer(directory, live.id);
      throw new Error(`container ${live.id} was replaced while its lock was awaited`);
    },
  };
}
