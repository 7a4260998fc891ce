// What the daemon does when nobody asks for anything: it gives memory back. Called at each request's begin and end.
import { QUIET_MS } from "./limits.ts";

export interface Quiet extends Disposable {
  /** A request has begun; call the result when it has ended. */
  busy(): () => void;
}

/** `rest` runs once after each time of quiet, never while a request is under way, and not again until there was one. */
export function createQuiet(rest: () => void): Quiet {
  let running = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const arm = (): void => {
    clearTimeout(timer);
    timer = setTimeout(rest, QUIET_MS);
    timer.unref();
  };
  arm();
  return {
    busy() {
      running++;
      clearTimeout(timer);
      let isOver = false;
      return () => {
        if (isOver) return;
        isOver = true;
        if (--running === 0) arm();
      };
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  };
}
