// Delivery of containers' logs to their remote drivers: one forwarder for each container that has such a driver, from the
// start of a run (or of the daemon) until all of its log is delivered, whether it still runs or not.
import process from "node:process";
import { createSink, forward, type LogWriter } from "../../../runtime/mod.ts";
import { LOG_FINISH_MS } from "../../limits.ts";
import type { ContainersDeps } from "./deps.ts";
import { extraAttributes, tagOf } from "./log_attributes.ts";
import { retryOf, toSinkTarget } from "./log_drivers.ts";
import { logConfigOf, logReaderOf } from "./log_of.ts";
import { containerDir } from "./paths.ts";
import type { Live } from "./registry.ts";

interface Deps extends Pick<ContainersDeps, "config" | "logs" | "machinery" | "log"> {
  pause(ms: number): Promise<void>;
}

export interface LogDelivery {
  /** There is, or may be, something to deliver. `run`: the run that goes on. */
  begin(live: Live, run: { log: LogWriter; ended: Promise<void> } | null): void;
  /** The container goes: what is undelivered has a moment to go out, unless its receiver is known to be away. */
  finish(id: string): Promise<void>;
  /** Lets go: the next daemon goes on. */
  close(): void;
}

interface Delivering {
  readonly abort: AbortController;
  done: Promise<void>;
  /** The receiver has refused the last batch. */
  isFailing: boolean;
  /** The last `begin`, not taken up yet. */
  next: { log: LogWriter; ended: Promise<void> } | null | undefined;
}

export function createLogDelivery(deps: Deps): LogDelivery {
  const running = new Map<string, Delivering>();

  const work = async (live: Live, mine: Delivering): Promise<void> => {
    try {
      while (mine.next !== undefined && !mine.abort.signal.aborted) {
        const run = mine.next;
        mine.next = undefined;
        await deliver(deps, live, run, mine);
      }
    } catch (error) {
      deps.log.error("a container's log is not delivered any more", { container: live.id, error });
    } finally {
      if (running.get(live.id) === mine) running.delete(live.id);
    }
  };
  return {
    begin(live, run) {
      const config = logConfigOf(live.record);
      if (toSinkTarget(config.type, config.options) === null) return;
      const known = running.get(live.id);
      if (known) {
        known.next = run;
        return;
      }
      const mine: Delivering = { abort: new AbortController(), next: run, isFailing: false, done: Promise.resolve() };
      running.set(live.id, mine);
      mine.done = work(live, mine);
    },
    async finish(id) {
      const mine = running.get(id);
      if (!mine) return;
      if (!mine.isFailing) await Promise.race([mine.done, deps.pause(LOG_FINISH_MS)]);
      mine.abort.abort();
      running.delete(id);
    },
    close() {
      for (const { abort } of running.values()) abort.abort();
      running.clear();
    },
  };
}

async function deliver(
  deps: Deps,
  live: Live,
  run: { log: LogWriter; ended: Promise<void> } | null,
  mine: Delivering,
): Promise<void> {
  const { record } = live;
  const { options, type } = logConfigOf(record);
  const target = toSinkTarget(type, options);
  const reader = logReaderOf(deps, record, run?.log ?? null);
  if (!target || !reader) return;
  const sink = createSink(target, {
    id: record.id,
    name: record.name,
    imageID: record.imageID,
    imageName: record.image,
    command: [record.path, ...record.args].join(" "),
    createdAt: record.createdAt,
    hostName: deps.machinery.hostName,
    tag: tagOf(record, deps.machinery.hostName, options, "{{.ID}}"),
    extra: extraAttributes(record, options),
    pid: process.pid,
  });
  const all = { stdout: true, stderr: true, untilNano: null, tail: null, details: false };
  const followUntil = run?.ended ?? null;
  let takenNano = 0n;
  let dropped = 0;
  let told = 0;
  const tell = (): void => {
    if (dropped === told) return;
    told = dropped;
    deps.log.warn("lines of a log have rotated away before its driver's receiver took them", {
      container: live.id,
      type,
      lines: dropped,
    });
  };
  // A receiver that is only too slow is told of too, with ten times as many each time: not with every file.
  run?.log.watchDropped({
    takenNano: () => takenNano,
    dropped: (lines) => {
      dropped += lines;
      if (!mine.isFailing && dropped >= told * 10) tell();
    },
  });
  using _watch = { [Symbol.dispose]: () => run?.log.watchDropped(null) };
  await forward(
    {
      placePath: `${containerDir(deps.config(), record.id)}/log-delivered`,
      read: (sinceNano, aborted) =>
        reader.read({ ...all, sinceNano, timestamps: true, isFramed: true, followUntil }, aborted),
      sink,
      retry: retryOf(type, options),
      onTaken: (timeNano) => {
        takenNano = timeNano;
      },
      onDelivered: () => {
        if (mine.isFailing) tell();
        mine.isFailing = false;
      },
      onGivenUp: (lines) =>
        deps.log.warn(
          "lines of a log are passed over: their receiver took them in none of the tries that its options allow",
          {
            container: live.id,
            type,
            lines,
          },
        ),
      onProblem: (error) => {
        mine.isFailing = true;
        deps.log.warn("a log driver's receiver fails; it is tried again", { container: live.id, type, error });
      },
    },
    mine.abort.signal,
  );
  tell();
}
