// One promise queue per key: who asks first is served first. A container's lock is held for a change of its state and
// never while waiting for a client or for the workload.
import { conflict } from "../errors.ts";

export interface Locks {
  /** Waits for the key's turn and holds it until disposed. Not re-entrant. */
  hold(key: string): Promise<Disposable>;
  /** Whether anybody holds or awaits this key now. */
  isHeld(key: string): boolean;
}

export function createLocks(): Locks {
  /** The last in each key's queue. A key that nobody holds has no entry, so the map is as small as what is going on. */
  const tails = new Map<string, Promise<void>>();
  return {
    async hold(key) {
      const before = tails.get(key);
      const { promise, resolve } = Promise.withResolvers<void>();
      tails.set(key, promise);
      if (before) await before;
      let isHeld = true;
      return {
        [Symbol.dispose]() {
          if (!isHeld) return;
          isHeld = false;
          if (tails.get(key) === promise) tails.delete(key);
          resolve();
        },
      };
    },
    isHeld: (key) => tails.has(key),
  };
}

/** The same work, refused while it is being done. */
export function oneAtATime<Args extends unknown[], Result>(
  what: string,
  work: (...args: Args) => Promise<Result>,
): (...args: Args) => Promise<Result> {
  let isRunning = false;
  return async (...args) => {
    if (isRunning) throw conflict(`${what} is already running`);
    isRunning = true;
    try {
      return await work(...args);
    } finally {
      isRunning = false;
    }
  };
}
