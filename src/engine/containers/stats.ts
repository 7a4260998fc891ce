// What containers use: one sampler for all of them, whoever listens. Counters are read once a second for each container
// that somebody listens to, and not at all when nobody does. A listener that is slow gets the newest sample when it comes
// back, never a queue of old ones.
//
//   timer ── a tick each second ──▶ sample of each watched container ──▶ its listeners, newest only ──▶ clients
import { setImmediate } from "node:timers/promises";
import type { CgroupStats, InterfaceCounters, Runtime } from "../../../runtime/mod.ts";
import { notFound } from "../../errors.ts";
import { STATS_PERIOD_MS } from "../../limits.ts";
import type { Log } from "../../log.ts";
import type { StatsFrame, StatsSample } from "../mod.ts";
import type { ContainerRecord } from "./container.ts";
import type { Clock } from "./deps.ts";
import type { Live, Registry } from "./registry.ts";
import { containerOf } from "./sharing.ts";

export interface StatsDeps {
  registry: Pick<Registry, "get">;
  runtime: Pick<Runtime, "cpuTimes" | "facts">;
  clock: Clock;
  log: Log;
}

export interface Stats {
  /** A sample now, and nothing to compare it with. */
  once(live: Live): StatsFrame;
  /** One sample and another one at least half a period before it; zeroes for a container that does not run. */
  pair(live: Live, signal: AbortSignal): Promise<StatsFrame>;
  /** A sample a second, the first at once, until the container is removed or the client has gone. */
  follow(live: Live, signal: AbortSignal): AsyncIterable<StatsFrame>;
  /** Containers that are being sampled. */
  watched(): number;
  /** Ends every stream: the daemon stops. */
  close(): void;
}

/** Containers sampled before other work has its turn: some milliseconds. */
const SLICE = 16;
/** Chains of `container:x` are followed no further; a longer one has no networks to show. */
const MAX_SHARING = 16;

/** A container that somebody listens to. */
interface Watch {
  readonly live: Live;
  readonly listeners: Set<Listener>;
  last: StatsSample | null;
  previous: StatsSample | null;
  sampledAtMs: number;
}

export function createStats(deps: StatsDeps): Stats {
  const watches = new Map<string, Watch>();
  const nowMs = (): number => deps.clock.now().getTime();
  let cancelTick: (() => void) | null = null;
  let isTicking = false;

  function schedule(delayMs: number): void {
    if (cancelTick !== null || isTicking || watches.size === 0) return;
    cancelTick = deps.clock.after(delayMs, () => {
      cancelTick = null;
      void tick();
    });
  }

  async function tick(): Promise<void> {
    isTicking = true;
    const startedMs = nowMs();
    let count = 0;
    for (const watch of Array.from(watches.values())) {
      // One that was sampled just now, for a new listener, waits for the next: too short a time makes wild shares of a CPU.
      if (watch.listeners.size === 0 || startedMs - watch.sampledAtMs < STATS_PERIOD_MS / 2) continue;
      if (++count % SLICE === 0) await setImmediate();
      take(watch);
    }
    isTicking = false;
    schedule(Math.max(STATS_PERIOD_MS - (nowMs() - startedMs), STATS_PERIOD_MS / 10));
  }

  function take(watch: Watch): void {
    watch.previous = watch.last;
    watch.last = sampleOf(deps, watch.live);
    watch.sampledAtMs = nowMs();
    for (const listener of watch.listeners) listener.offer(watch.last);
  }

  function join(live: Live): { watch: Watch; listener: Listener } {
    const listener = new Listener();
    let watch = watches.get(live.id);
    if (watch === undefined) {
      watch = { live, listeners: new Set([listener]), last: null, previous: null, sampledAtMs: 0 };
      watches.set(live.id, watch);
      take(watch);
      schedule(STATS_PERIOD_MS);
    } else {
      watch.listeners.add(listener);
      listener.delivered = watch.previous;
      listener.offer(watch.last);
    }
    return { watch, listener };
  }

  function leave(watch: Watch, listener: Listener): void {
    watch.listeners.delete(listener);
    if (watch.listeners.size > 0) return;
    watches.delete(watch.live.id);
    if (watches.size > 0) return;
    cancelTick?.();
    cancelTick = null;
  }

  async function* follow(live: Live, signal: AbortSignal): AsyncGenerator<StatsFrame> {
    const { watch, listener } = join(live);
    const end = (): void => listener.end();
    live.onRemoved.add(end);
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    try {
      for (;;) {
        const sample = await listener.next();
        if (sample === undefined) return;
        const previous = listener.delivered;
        listener.delivered = sample;
        yield frameOf(live, sample, previous);
      }
    } finally {
      live.onRemoved.delete(end);
      signal.removeEventListener("abort", end);
      leave(watch, listener);
    }
  }

  return {
    once: (live) => frameOf(live, sampleOf(deps, live), null),
    async pair(live, signal) {
      if (live.run === null) return frameOf(live, null, null);
      for await (const frame of follow(live, signal)) {
        // COMPAT: one that has ended meanwhile is told with zeroes, and what it had used before them.
        if (frame.sample === null || frame.previous !== null) return frame;
      }
      signal.throwIfAborted();
      throw notFound(`No such container: ${live.id}`);
    },
    follow,
    watched: () => watches.size,
    close() {
      for (const { listeners } of watches.values()) for (const listener of listeners) listener.end();
    },
  };
}

/** One client: the newest sample that it has not had yet. */
class Listener {
  /** What it had last: what the next one is compared with. */
  delivered: StatsSample | null = null;
  /** undefined: nothing new. null: the container does not run. */
  #newest: StatsSample | null | undefined = undefined;
  #wake: (() => void) | null = null;
  #isOver = false;

  offer(sample: StatsSample | null): void {
    this.#newest = sample;
    this.#wake?.();
  }

  end(): void {
    this.#isOver = true;
    this.#wake?.();
  }

  /** undefined: it is over. */
  async next(): Promise<StatsSample | null | undefined> {
    while (this.#newest === undefined && !this.#isOver) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
    if (this.#isOver) return undefined;
    const newest = this.#newest;
    this.#newest = undefined;
    return newest;
  }
}

function frameOf({ record }: Live, sample: StatsSample | null, previous: StatsSample | null): StatsFrame {
  return { id: record.id, name: record.name, sample, previous };
}

/** null: it does not run. */
function sampleOf(deps: StatsDeps, live: Live): StatsSample | null {
  const { run } = live;
  if (run === null) return null;
  try {
    const counters = run.task.cgroup.stats();
    const { totalNs, onlineCpus } = deps.runtime.cpuTimes();
    return {
      readAt: deps.clock.now().toISOString(),
      counters,
      memoryLimitBytes: memoryLimit(counters, deps.runtime.facts.memoryBytes),
      systemCpuNs: totalNs,
      onlineCpus,
      interfaces: interfacesOf(deps, live.record, run.task.interfaces()),
    };
  } catch (error) {
    deps.log.warn("a container's counters cannot be read", { container: live.id, error });
    return null;
  }
}

/** COMPAT: no limit, and one beyond what the machine has, is what the machine has. */
function memoryLimit({ memoryLimit: limit }: CgroupStats, hostBytes: number): number {
  return limit === null ? hostBytes : Math.min(limit, hostBytes);
}

/**
 * COMPAT: those of its networks alone: not the loopback, not what the kernel puts into every namespace, none of the
 * host's. With `container:x` they are x's.
 */
function interfacesOf(
  deps: StatsDeps,
  record: ContainerRecord,
  counters: ReadonlyMap<string, InterfaceCounters> | null,
): Map<string, InterfaceCounters> {
  const found = new Map<string, InterfaceCounters>();
  if (counters === null || record.config.NetworkDisabled) return found;
  for (const { interfaceName } of ownerOfNetwork(deps, record)?.endpoints ?? []) {
    const counted = counters.get(interfaceName);
    if (counted !== undefined) found.set(interfaceName, counted);
  }
  return found;
}

function ownerOfNetwork({ registry }: StatsDeps, record: ContainerRecord): ContainerRecord | null {
  let owner = record;
  for (let hops = 0; hops < MAX_SHARING; hops++) {
    const name = containerOf(owner.hostConfig.NetworkMode);
    if (name === null) return owner;
    try {
      owner = registry.get(name).record;
    } catch {
      // It has been removed, and its namespace lives on without anybody who knows its interfaces.
      return null;
    }
  }
  return null;
}
