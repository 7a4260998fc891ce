// One thing made ahead of time. An empty network namespace costs a millisecond that a start need not wait for: the next
// one is made as soon as the start that took the last waits for its new process.

export interface Spare<T> extends Disposable {
  take(): T;
}

/** At most one lies ready. A failure to make it ahead is passed over: `take` then makes it, and says what is wrong. */
export function createSpare<T extends Disposable>(make: () => T): Spare<T> {
  let ready: T | null = null;
  let next: ReturnType<typeof setImmediate> | null = null;
  let isClosed = false;
  const prepare = (): void => {
    if (isClosed || next !== null) return;
    next = setImmediate(() => {
      next = null;
      try {
        ready ??= make();
      } catch {
        ready = null;
      }
    });
  };
  return {
    take() {
      const taken = ready ?? make();
      ready = null;
      prepare();
      return taken;
    },
    [Symbol.dispose]() {
      isClosed = true;
      if (next !== null) clearImmediate(next);
      ready?.[Symbol.dispose]();
      ready = null;
    },
  };
}
