// The event stream of the engine: a ring of the last events for `since`, and a bounded queue for each listener. The
// engine never waits for a listener: one that is too slow misses events, as under Docker.
import { invalid } from "../errors.ts";
import { EVENTS_KEPT, EVENTS_QUEUED } from "../limits.ts";
import type { EngineEvent, Events, Filters } from "./mod.ts";

export interface EventsDeps {
  now(): Date;
}

export interface EventService extends Events {
  /** Ends every stream, after what is queued in it: the daemon stops. */
  close(): void;
}

export function createEvents(deps: EventsDeps): EventService {
  const ring: EngineEvent[] = [];
  const subscribers = new Set<Subscriber>();
  let lastNano = 0n;
  return {
    publish(type, action, actorID, attributes) {
      // Strictly growing, so that the order of two events can be read from them and `since` never shows one twice.
      const nowNano = BigInt(deps.now().getTime()) * 1_000_000n;
      lastNano = nowNano > lastNano ? nowNano : lastNano + 1n;
      const event: EngineEvent = { type, action, actorID, attributes, timeNano: lastNano };
      ring.push(event);
      if (ring.length > EVENTS_KEPT) ring.shift();
      for (const subscriber of subscribers) subscriber.offer(event);
    },
    subscribe(query, signal) {
      if (query.since !== null && query.until !== null && query.until < query.since) {
        throw invalid("`since` time cannot be after `until` time");
      }
      const matches = eventMatcher(query.filters);
      const sinceNano = query.since === null ? null : toNano(query.since);
      const untilNano = query.until === null ? null : toNano(query.until);
      // COMPAT: without `since` or `until` nothing is replayed; `until` alone replays all that is kept before it.
      const replay =
        sinceNano === null && untilNano === null
          ? []
          : ring.filter(
              (event) =>
                (sinceNano === null || event.timeNano >= sinceNano) &&
                (untilNano === null || event.timeNano <= untilNano) &&
                matches(event),
            );
      const subscriber = new Subscriber(
        replay,
        (event) => (untilNano === null || event.timeNano <= untilNano) && matches(event),
      );
      const remainingMs = query.until === null ? null : query.until * 1000 - deps.now().getTime();
      if (remainingMs !== null && remainingMs <= 0) subscriber.end();
      else subscribers.add(subscriber);
      return follow(subscriber, endOf(subscriber, subscribers, remainingMs, signal));
    },
    listeners: () => subscribers.size,
    close() {
      for (const subscriber of subscribers) subscriber.end();
    },
  };
}

/** setTimeout fires at once beyond 2^31 ms; a client that asks for a month is woken earlier and waits on. */
const LONGEST_TIMER_MS = 0x7fffffff;

/** Arranges for a subscription to end at its time or with its client; the returned function ends it now. */
function endOf(
  subscriber: Subscriber,
  subscribers: Set<Subscriber>,
  remainingMs: number | null,
  signal: AbortSignal,
): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", end);
    subscribers.delete(subscriber);
    subscriber.end();
  };
  const arm = (leftMs: number): void => {
    const stepMs = Math.min(leftMs, LONGEST_TIMER_MS);
    timer = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : end()), stepMs);
  };
  if (remainingMs !== null && remainingMs > 0) arm(remainingMs);
  if (signal.aborted) end();
  else signal.addEventListener("abort", end, { once: true });
  return end;
}

async function* follow(subscriber: Subscriber, end: () => void): AsyncGenerator<EngineEvent> {
  try {
    for (;;) {
      const event = await subscriber.next();
      if (event === null) return;
      yield event;
    }
  } finally {
    end();
  }
}

/** One listener's queue. */
class Subscriber {
  readonly #queue: EngineEvent[];
  readonly #wants: (event: EngineEvent) => boolean;
  #wake: (() => void) | null = null;
  #isOver = false;

  constructor(replay: EngineEvent[], wants: (event: EngineEvent) => boolean) {
    this.#queue = replay;
    this.#wants = wants;
  }

  offer(event: EngineEvent): void {
    if (this.#isOver || this.#queue.length >= EVENTS_QUEUED || !this.#wants(event)) return;
    this.#queue.push(event);
    this.#wake?.();
  }

  end(): void {
    this.#isOver = true;
    this.#wake?.();
  }

  async next(): Promise<EngineEvent | null> {
    while (this.#queue.length === 0) {
      if (this.#isOver) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
    }
    return this.#queue.shift() ?? null;
  }
}

function toNano(seconds: number): bigint {
  return BigInt(Math.round(seconds * 1e6)) * 1000n;
}

/** Filters as the API has them: values of one name are alternatives, labels must all hold. Unknown names were refused. */
export function eventMatcher(filters: Filters): (event: EngineEvent) => boolean {
  const checks: ((event: EngineEvent) => boolean)[] = [];
  const any = (name: string, holds: (event: EngineEvent, value: string) => boolean): void => {
    const values = filters.get(name);
    if (values !== undefined && values.length > 0) checks.push((event) => values.some((value) => holds(event, value)));
  };
  any("type", (event, value) => event.type === value);
  any("scope", (_event, value) => value === "local");
  any("event", isAction);
  any("image", isImage);
  for (const type of ["container", "volume", "network", "daemon", "plugin", "builder"] as const) {
    any(type, (event, value) => isActor(event, type, value));
  }
  // No event of this engine is about one of these.
  for (const name of ["node", "service", "secret", "config"]) any(name, () => false);
  const labels = filters.get("label") ?? [];
  if (labels.length > 0) checks.push((event) => labels.every((label) => hasLabel(event.attributes, label)));
  return (event) => checks.every((check) => check(event));
}

/** COMPAT: these carry their detail in the action (`exec_create: sh -c …`), and are matched by what stands before it. */
function isAction(event: EngineEvent, value: string): boolean {
  if (event.action === value) return true;
  return ["health_status", "exec_create", "exec_start"].includes(value) && event.action.startsWith(`${value}:`);
}

function isActor(event: EngineEvent, type: EngineEvent["type"], value: string): boolean {
  if (event.type !== type || value === "") return false;
  return event.actorID.startsWith(value) || (event.attributes["name"] ?? "").startsWith(value);
}

function isImage(event: EngineEvent, value: string): boolean {
  const reference =
    event.type === "image"
      ? event.attributes["name"]
      : event.type === "container"
        ? event.attributes["image"]
        : undefined;
  const candidates = event.type === "image" ? [event.actorID, reference] : [reference];
  return candidates.some(
    (candidate) => candidate !== undefined && (candidate === value || withoutTag(candidate) === value),
  );
}

/** `host:5000/name:tag` to `host:5000/name`. */
function withoutTag(reference: string): string {
  const slash = reference.lastIndexOf("/");
  const colon = reference.indexOf(":", slash + 1);
  return colon < 0 ? reference : reference.slice(0, colon);
}

function hasLabel(attributes: Readonly<Record<string, string>>, wanted: string): boolean {
  const at = wanted.indexOf("=");
  const key = at < 0 ? wanted : wanted.slice(0, at);
  if (!Object.hasOwn(attributes, key)) return false;
  return at < 0 || attributes[key] === wanted.slice(at + 1);
}
