// What a Worker does for us: bytes to files and nothing else. The messages between pool.ts and a Worker, and the
// Worker's side of them. A Worker has one job at a time.
//
//   pool ── { id, job, aborted } ──▶ Worker        aborted: one shared Int32, 1 once the caller has given up
//        ◀── { id, read } … ───────                bytes of the blob read so far
//        ◀── { id, result } | { id, error } ──
import { SyscallError } from "../errors.ts";
import { O, openPath } from "../sys/file.ts";
import { check } from "../sys/ffi.ts";
import { copyLowers } from "../snapshot/copy.ts";
import { applyLayer, type ApplyRequest, type ApplyResult } from "./apply.ts";
import { compressLayer, type CompressRequest, type CompressResult } from "./compress.ts";
import { diffLayer, type DiffRequest, type DiffResult } from "./diff.ts";
import { compareLayers, type CompareRequest, type CompareResult } from "./compare.ts";
import { LayerError } from "./layer_error.ts";

/** A job's kind to what it takes and gives. */
export interface Jobs {
  /** A layer's blob to a directory. */
  apply: { request: ApplyRequest; result: ApplyResult };
  /** syncfs(2) of the file system that holds `path`: everything written to it is on disk afterwards. */
  sync: { request: { path: string }; result: null };
  /** The view that an overlay of `lower` (topmost first) would give, copied into an empty directory. */
  copy: { request: { layersDir: string; lower: string[]; target: string }; result: null };
  /** What a container has changed, to a tar. */
  diff: { request: DiffRequest; result: DiffResult };
  /** Whether two unpacked layers are the same. */
  compare: { request: CompareRequest; result: CompareResult };
  /** A tar to a gzip file. */
  compress: { request: CompressRequest; result: CompressResult };
}

export type JobKind = keyof Jobs;
export type Job = { [K in JobKind]: { kind: K; request: Jobs[K]["request"] } }[JobKind];

export interface JobMessage {
  id: number;
  job: Job;
  aborted: SharedArrayBuffer;
}

export type JobReply = { id: number; read: number } | { id: number; result: unknown } | { id: number; error: JobError };

/** An error in a form that crosses to another thread. */
export interface JobError {
  kind: "layer" | "syscall" | "aborted" | "other";
  message: string;
  call: string;
  errno: number;
  args: Readonly<Record<string, string | number | bigint>>;
}

/** The side of a Worker that this file needs; `self` there. */
export interface JobScope {
  postMessage(reply: JobReply): void;
  onMessage(callback: (message: JobMessage) => void): void;
}

const CLONE_FS = 0x200;
/** Progress is told in steps of this many bytes. */
const PROGRESS_STEP_BYTES = 1 << 20;

/** Makes this thread a Worker. Called once, by src/layer_worker.ts. */
export function serveJobs(scope: JobScope): void {
  // WHY: threads share their umask. This one gets its own and sets it to zero, so that the modes of a layer's entries
  // are what open(2) and mkdir(2) are given, while the daemon's stays as it is.
  check("unshare", [CLONE_FS]);
  check("umask", [0]);
  scope.onMessage(({ id, job, aborted }) => {
    const flag = new Int32Array(aborted);
    void work(job, flag, (read) => scope.postMessage({ id, read })).then(
      (result) => scope.postMessage({ id, result }),
      (error: unknown) => scope.postMessage({ id, error: toJobError(error) }),
    );
  });
}

class JobAborted extends Error {}

async function work(job: Job, aborted: Int32Array, onRead: (bytes: number) => void): Promise<unknown> {
  const checkAborted = (): void => {
    if (Atomics.load(aborted, 0) !== 0) throw new JobAborted("the job was given up");
  };
  if (job.kind === "apply") {
    let told = 0;
    return await applyLayer(job.request, {
      checkAborted,
      onRead: (total) => {
        if (total - told < PROGRESS_STEP_BYTES) return;
        told = total;
        onRead(total);
      },
    });
  }
  if (job.kind === "copy") {
    copyLowers(job.request.layersDir, job.request.lower, job.request.target, checkAborted);
    return null;
  }
  if (job.kind === "diff") return diffLayer(job.request, checkAborted);
  if (job.kind === "compare") return compareLayers(job.request, checkAborted);
  if (job.kind === "compress") return await compressLayer(job.request, checkAborted);
  using directory = openPath(job.request.path, O.DIRECTORY);
  check("syncfs", [directory.number], { path: job.request.path });
  return null;
}

function toJobError(error: unknown): JobError {
  const plain = { message: error instanceof Error ? error.message : String(error), call: "", errno: 0, args: {} };
  if (error instanceof SyscallError)
    return { ...plain, kind: "syscall", call: error.call, errno: error.errno, args: error.args };
  return { ...plain, kind: error instanceof LayerError ? "layer" : error instanceof JobAborted ? "aborted" : "other" };
}

/** The error that a Worker told, as it was there. */
export function fromJobError(error: JobError): Error {
  if (error.kind === "layer") return new LayerError(error.message);
  if (error.kind === "syscall") return new SyscallError(error.call, error.errno, error.args);
  if (error.kind === "aborted") return new DOMException(error.message, "AbortError");
  return new Error(error.message);
}
