// The one writer of containers' records: check, write the row, show it, publish. INVARIANT: called under the container's
// lock, so that a record read before a write is the record the write builds on.
import { type ContainerStore, isLife } from "../../db/containers.ts";
import type { Log } from "../../log.ts";
import type { Events } from "../mod.ts";
import type { ContainerID, ContainerRecord } from "./container.ts";
import type { Live, Registry } from "./registry.ts";
import { type Event, next } from "./state.ts";

export type RecordPatch = Partial<Omit<ContainerRecord, "id" | "state" | "createdAt">>;

interface Announcement {
  action: string;
  attributes?: Record<string, string>;
}

export interface Machine {
  insert(live: Live): Promise<void>;
  /** Throws `conflict` where the event is not allowed, before anything changes. */
  apply(live: Live, event: Event, more?: { patch?: RecordPatch; announce?: Announcement }): Promise<void>;
  /** The same for what has happened in any case: a row that cannot be written is logged, and the engine goes on. */
  record(live: Live, event: Event, more?: { patch?: RecordPatch; announce?: Announcement }): Promise<void>;
  /** Marks it as being removed, in memory alone. WHY: a removal that a crash cuts short has not happened yet. */
  mark(live: Live, event: Event & { type: "remove" }): void;
  edit(live: Live, patch: RecordPatch): Promise<void>;
  /** The row is gone, and the container with it. */
  drop(live: Live): Promise<void>;
  announce(live: Live, announcement: Announcement): void;
}

export interface MachineDeps {
  store: ContainerStore;
  registry: Registry;
  events: Events;
  log: Log;
}

export function createMachine(deps: MachineDeps): Machine {
  const announce = (live: Live, { action, attributes }: Announcement): void => {
    deps.events.publish("container", action, live.id, containerAttributes(live.record, attributes));
  };
  const changed = (live: Live, event: Event, patch: RecordPatch | undefined): ContainerRecord => ({
    ...live.record,
    ...patch,
    state: next(live.record.state, event, live.record),
  });
  const store = (record: ContainerRecord, patch: RecordPatch = {}): Promise<void> =>
    isLife(Object.keys(patch)) ? deps.store.updateLife(record) : deps.store.update(record);
  return {
    async insert(live) {
      await deps.store.insert(live.record);
      deps.registry.add(live);
    },
    async apply(live, event, more = {}) {
      const record = changed(live, event, more.patch);
      if (record.state !== live.record.state || more.patch) await store(record, more.patch);
      live.record = record;
      if (more.announce) announce(live, more.announce);
    },
    async record(live, event, more = {}) {
      const record = changed(live, event, more.patch);
      try {
        await store(record, more.patch);
      } catch (error) {
        deps.log.error("cannot write a container's row; its state is kept in memory", {
          container: live.id,
          event: event.type,
          error,
        });
      }
      live.record = record;
      if (more.announce) announce(live, more.announce);
    },
    mark(live, event) {
      live.record = changed(live, event, undefined);
    },
    async edit(live, patch) {
      const record = { ...live.record, ...patch };
      await deps.store.update(record);
      const from = live.record.name;
      live.record = record;
      if (record.name !== from) deps.registry.renamed(live, from);
    },
    async drop(live) {
      await deps.store.remove(live.record.id satisfies ContainerID);
      deps.registry.drop(live);
    },
    announce,
  };
}

/** What every container event carries: all labels, the image as given at create, the name without its slash. */
function containerAttributes(record: ContainerRecord, extra: Record<string, string> = {}): Record<string, string> {
  return { ...record.config.Labels, image: record.image, name: record.name, ...extra };
}
