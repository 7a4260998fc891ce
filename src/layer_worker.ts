// Entry of a Worker that turns layers into files. Spawned by workers.ts; all it does is in runtime/layer/job.ts.
import { type JobMessage, serveJobs } from "../runtime/layer/job.ts";

declare const self: Worker;

serveJobs({
  postMessage: (reply) => self.postMessage(reply),
  onMessage: (callback) => {
    self.onmessage = (event: MessageEvent<JobMessage>) => callback(event.data);
  },
});
