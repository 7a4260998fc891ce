// A bounded pool of Workers, made when there is work and ended when there has been none for a while: an idle daemon keeps
// none (2.8 MB each). The spawner is handed in: Bun finds a Worker's file only from beside main.ts (src/workers.ts).
import { fromJobError, type Job, type JobKind, type JobMessage, type JobReply, type Jobs } from "./job.ts";
import { MAX_WAITING_JOBS } from "./limits.ts";

/** What the pool needs of a Worker. */
export interface LayerWorker {
  postMessage(message: JobMessage): void;
  onMessage(callback: (reply: JobReply) => void): void;
  /** The Worker has failed as a whole: its file cannot be loaded, or it threw outside a job. */
  onError(callback: (error: Error) => void): void;
  terminate(): void;
}

export interface LayerPoolOptions {
  spawn: () => LayerWorker;
  /** How many at once. */
  size: number;
  idleMs: number;
}

interface RunOptions {
  /** Rejects with an AbortError; what the job has written is the caller's to remove, once this has settled. */
  signal?: AbortSignal;
  onRead?: (totalBytes: number) => void;
}

export interface LayerPool {
  run<K extends JobKind>(kind: K, request: Jobs[K]["request"], options?: RunOptions): Promise<Jobs[K]["result"]>;
  /** Workers alive now. */
  size(): number;
  /** Ends all Workers; jobs that run or wait are rejected. */
  close(): void;
}

interface Task {
  job: Job;
  options: RunOptions;
  aborted: SharedArrayBuffer;
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
}

interface Slot {
  worker: LayerWorker;
  task: Task | null;
  idleTimer: ReturnType<typeof setTimeout> | null;
}

export function createLayerPool(options: LayerPoolOptions): LayerPool {
  const slots = new Set<Slot>();
  const waiting: Task[] = [];
  let nextID = 1;
  let isClosed = false;

  function dispatch(): void {
    while (waiting.length > 0) {
      const slot = [...slots].find((each) => each.task === null) ?? (slots.size < options.size ? spawn() : null);
      if (slot === null) return;
      const task = waiting.shift();
      if (task !== undefined) give(slot, task);
    }
  }

  function spawn(): Slot {
    const slot: Slot = { worker: options.spawn(), task: null, idleTimer: null };
    slots.add(slot);
    slot.worker.onMessage((reply) => onReply(slot, reply));
    slot.worker.onError((error) => drop(slot, error));
    return slot;
  }

  function give(slot: Slot, task: Task): void {
    if (slot.idleTimer !== null) clearTimeout(slot.idleTimer);
    slot.idleTimer = null;
    slot.task = task;
    slot.worker.postMessage({ id: nextID++, job: task.job, aborted: task.aborted });
  }

  function onReply(slot: Slot, reply: JobReply): void {
    const task = slot.task;
    if (task === null) return;
    if ("read" in reply) {
      task.options.onRead?.(reply.read);
      return;
    }
    slot.task = null;
    slot.idleTimer = setTimeout(() => drop(slot, new Error("idle")), options.idleMs);
    slot.idleTimer.unref?.();
    if ("error" in reply) task.reject(fromJobError(reply.error));
    else task.resolve(reply.result);
    dispatch();
  }

  function drop(slot: Slot, error: Error): void {
    if (!slots.delete(slot)) return;
    if (slot.idleTimer !== null) clearTimeout(slot.idleTimer);
    slot.worker.terminate();
    slot.task?.reject(new Error(`a layer Worker failed: ${error.message}`, { cause: error }));
    if (!isClosed) dispatch();
  }

  /** A waiting job leaves at once; a running one at its next piece, so that nothing writes once we have settled. */
  function abort(task: Task): void {
    Atomics.store(new Int32Array(task.aborted), 0, 1);
    const index = waiting.indexOf(task);
    if (index < 0) return;
    waiting.splice(index, 1);
    task.reject(new DOMException("the job was given up", "AbortError"));
  }

  return {
    run<K extends JobKind>(
      kind: K,
      request: Jobs[K]["request"],
      runOptions: RunOptions = {},
    ): Promise<Jobs[K]["result"]> {
      runOptions.signal?.throwIfAborted();
      if (isClosed) throw new Error("the layer pool is closed");
      if (waiting.length >= MAX_WAITING_JOBS) throw new Error(`${MAX_WAITING_JOBS} layer jobs are waiting already`);
      const { promise, resolve, reject } = Promise.withResolvers<Jobs[K]["result"]>();
      const task: Task = {
        // Kind and request belong together by the signature above, which TypeScript cannot see through a mapped union.
        job: { kind, request } as Job,
        options: runOptions,
        aborted: new SharedArrayBuffer(4),
        resolve: resolve as (result: unknown) => void,
        reject,
      };
      const onAbort = (): void => abort(task);
      runOptions.signal?.addEventListener("abort", onAbort, { once: true });
      waiting.push(task);
      dispatch();
      return promise.finally(() => runOptions.signal?.removeEventListener("abort", onAbort));
    },
    size: () => slots.size,
    close() {
      isClosed = true;
      for (const task of waiting.splice(0)) task.reject(new Error("the layer pool is closed"));
      for (const slot of Array.from(slots)) drop(slot, new Error("the layer pool is closed"));
    },
  };
}
