// The pool of Workers, with Workers that answer when the test says so.
import { describe, expect, test } from "bun:test";
import { SyscallError } from "../../../../runtime/errors.ts";
import type { JobMessage, JobReply } from "../../../../runtime/layer/job.ts";
import { LayerError } from "../../../../runtime/layer/layer_error.ts";
import { createLayerPool, type LayerWorker } from "../../../../runtime/layer/pool.ts";

/** A Worker that answers when the test says so. */
class FakeWorker implements LayerWorker {
  readonly received: JobMessage[] = [];
  isTerminated = false;
  reply: (reply: JobReply) => void = () => undefined;
  fail: (error: Error) => void = () => undefined;
  postMessage(message: JobMessage): void {
    this.received.push(message);
  }
  onMessage(callback: (reply: JobReply) => void): void {
    this.reply = callback;
  }
  onError(callback: (error: Error) => void): void {
    this.fail = callback;
  }
  terminate(): void {
    this.isTerminated = true;
  }
  finish(result: unknown = null): void {
    this.reply({ id: this.received.at(-1)?.id ?? 0, result });
  }
}

function makePool(size = 2, idleMs = 60_000) {
  const workers: FakeWorker[] = [];
  const pool = createLayerPool({
    size,
    idleMs,
    spawn: () => {
      const worker = new FakeWorker();
      workers.push(worker);
      return worker;
    },
  });
  return { pool, workers };
}

const path = "/nowhere";

describe("a layer pool", () => {
  test("makes Workers as needed, up to its size, and queues the rest in order", async () => {
    const { pool, workers } = makePool(2);
    expect(pool.size()).toBe(0);
    const done = [1, 2, 3].map((number) => pool.run("sync", { path: `${path}${number}` }));
    expect(workers).toHaveLength(2);
    workers[1]?.finish();
    await done[1];
    expect(workers[1]?.received.map(({ job }) => job.request)).toEqual([{ path: `${path}2` }, { path: `${path}3` }]);
    workers[0]?.finish();
    workers[1]?.finish();
    await Promise.all(done);
    expect(workers).toHaveLength(2);
    pool.close();
    expect(workers.every((worker) => worker.isTerminated)).toBe(true);
  });

  test("passes progress to the one whose job it is", async () => {
    const { pool, workers } = makePool(1);
    const seen: number[] = [];
    const done = pool.run("sync", { path }, { onRead: (bytes) => seen.push(bytes) });
    workers[0]?.reply({ id: 1, read: 5 });
    workers[0]?.reply({ id: 1, read: 9 });
    workers[0]?.finish();
    await done;
    expect(seen).toEqual([5, 9]);
    pool.close();
  });

  test("gives errors back as what they were", async () => {
    const { pool, workers } = makePool(1);
    const fail = async (error: {
      kind: "layer" | "syscall";
      message: string;
      call: string;
      errno: number;
    }): Promise<unknown> => {
      const failing = pool.run("sync", { path }).catch((reason: unknown) => reason);
      workers[0]?.reply({ id: 0, error: { args: { path }, ...error } });
      return await failing;
    };
    expect(await fail({ kind: "layer", message: "bad", call: "", errno: 0 })).toBeInstanceOf(LayerError);
    const refused = await fail({ kind: "syscall", message: "", call: "mkdirat", errno: 28 });
    expect(refused).toBeInstanceOf(SyscallError);
    expect((refused as SyscallError).code).toBe("ENOSPC");
    pool.close();
  });

  test("replaces a Worker that has failed, and tells whose job it had", async () => {
    const { pool, workers } = makePool(1);
    const first = pool.run("sync", { path });
    const second = pool.run("sync", { path });
    workers[0]?.fail(new Error("it fell over"));
    await expect(first).rejects.toThrow("a layer Worker failed: it fell over");
    expect(workers).toHaveLength(2);
    workers[1]?.finish();
    await second;
    pool.close();
  });

  test("drops a waiting job at its abort, and tells a running one to stop", async () => {
    const { pool, workers } = makePool(1);
    const controller = new AbortController();
    const running = pool.run("sync", { path }, { signal: controller.signal });
    const waiting = pool.run("sync", { path }, { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toThrow("given up");
    const flag = workers[0]?.received[0]?.aborted;
    expect(flag && Atomics.load(new Int32Array(flag), 0)).toBe(1);
    workers[0]?.reply({ id: 1, error: { kind: "aborted", message: "stopped", call: "", errno: 0, args: {} } });
    await expect(running).rejects.toThrow("stopped");
    expect(workers[0]?.received).toHaveLength(1);
    pool.close();
  });

  test("ends Workers that have idled", async () => {
    const { pool, workers } = makePool(1, 1);
    const done = pool.run("sync", { path });
    workers[0]?.finish();
    await done;
    const { promise, resolve } = Promise.withResolvers<void>();
    const worker = workers[0];
    if (worker) worker.terminate = resolve;
    await promise;
    expect(pool.size()).toBe(0);
  });

  test("rejects what it cannot do any more once closed", async () => {
    const { pool } = makePool(1);
    const running = pool.run("sync", { path });
    const waiting = pool.run("sync", { path });
    const outcomes = Promise.allSettled([running, waiting]);
    pool.close();
    expect(await outcomes).toMatchObject([{ status: "rejected" }, { status: "rejected" }]);
    expect(() => pool.run("sync", { path })).toThrow("closed");
  });
});
