// Spawns the Worker whose entry lies beside this file. Both stay beside main.ts: in the compiled binary Bun finds a
// Worker's file only relative to an entry point.
import type { JobMessage, JobReply } from "../runtime/layer/job.ts";
import type { LayerWorker } from "../runtime/layer/pool.ts";

export function spawnLayerWorker(): LayerWorker {
  const worker = new Worker(new URL("./layer_worker.ts", import.meta.url), { type: "module", name: "layer" });
  return {
    postMessage: (message: JobMessage) => worker.postMessage(message),
    onMessage: (callback) => {
      worker.onmessage = (event: MessageEvent<JobReply>) => callback(event.data);
    },
    onError: (callback) => {
      worker.onerror = (event: ErrorEvent) => {
        event.preventDefault();
        callback(new Error(event.message));
      };
    },
    terminate: () => worker.terminate(),
  };
}
