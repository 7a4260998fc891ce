// Waiting for a container to end, or to be gone. Registered before this returns: the CLI starts the container only once
// it knows that somebody listens.
import type { WaitCondition } from "../mod.ts";
import type { Live, Registry } from "./registry.ts";
import { type Exit, exitCodeOf, isUp } from "./state.ts";

export interface WaitResult {
  statusCode: number;
  error: string | null;
}

export function wait(
  deps: { registry: Registry },
  nameOrID: string,
  condition: WaitCondition,
  signal: AbortSignal,
): { result: Promise<WaitResult> } {
  const live = deps.registry.get(nameOrID);
  if (condition === "not-running" && !isUp(live.record.state)) {
    return { result: Promise.resolve(ended(exitCodeOf(live.record.state))) };
  }
  return { result: next(live, condition, signal) };
}

function next(live: Live, condition: WaitCondition, signal: AbortSignal): Promise<WaitResult> {
  const { promise, resolve, reject } = Promise.withResolvers<WaitResult>();
  const forget = (): void => {
    live.onExit.delete(exited);
    live.onRemoved.delete(removed);
    signal.removeEventListener("abort", aborted);
  };
  const exited = (exit: Exit): void => {
    forget();
    resolve(ended(exit.exitCode));
  };
  // A removal wakes every waiter: nothing else will ever happen to this container.
  const removed = (): void => {
    forget();
    resolve(ended(exitCodeOf(live.record.state)));
  };
  const aborted = (): void => {
    forget();
    reject(signal.reason instanceof Error ? signal.reason : new DOMException("the client has gone", "AbortError"));
  };
  if (condition !== "removed") live.onExit.add(exited);
  live.onRemoved.add(removed);
  if (signal.aborted) aborted();
  else signal.addEventListener("abort", aborted, { once: true });
  // Whoever asked may be gone before it looks at the result.
  promise.catch(() => {});
  return promise;
}

function ended(statusCode: number): WaitResult {
  return { statusCode, error: null };
}
