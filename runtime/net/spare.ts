// One thing made ahead of time. An empty network namespace costs a millisecond that a start need not wait for: the next
// one is made while nothing is asked for.

/** After a take, so that the work it was taken for has the machine to itself. */
const REST_MS = 5;

export interface Spare<T> extends Disposable {
  take(): T;
}

/** At most one lies ready. A failure to make it ahead is passed over: `take` then makes it, and says what is wrong. */
export function createSpare<T extends Disposable>(make: () => T): Spare<T> {
  let ready: T | null = null;
  let timer: ReturnType<typeof setTimeout> | null = null;
  let isClosed = false;
  const prepare = (): void => {
    if (isClosed || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      try {
        ready ??= make();
      } catch {
        ready = null;
      }
    }, REST_MS);
    timer.unref();
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
      if (timer !== null) clearTimeout(timer);
      ready?.[Symbol.dispose]();
      ready = null;
    },
  };
}
