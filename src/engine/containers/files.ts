// A container's files: looked at, copied out, copied in. Those of a running one are what its process 1 sees, volumes and
// tmpfs included; those of another are put together for the while (runtime/launch/stopped_files.ts).
//
//   copyOut   opened under the lock, read without it: a start, even a removal, does not wait for a client
//   copyIn    running: without the lock; it ends when the container does
//             otherwise: under the lock to its end, as Docker does, but no longer than bytes come
import { existsSync } from "node:fs";
import {
  type CopyPath,
  type FileTree,
  type Found,
  LayerError,
  look,
  lookAtTarget,
  lookUpOwner,
  type OciMount,
  pack,
  parseCopyPath,
  SyscallError,
  unpack,
  UserLookupError,
} from "../../../runtime/mod.ts";
import { conflict, invalid, notFound } from "../../errors.ts";
import { COPY_IDLE_MS } from "../../limits.ts";
import type { CopyInOptions, PathStat } from "../mod.ts";
import type { ContainersDeps } from "./deps.ts";
import { containerDir } from "./paths.ts";
import type { Live } from "./registry.ts";
import { hasTask } from "./state.ts";
import { idMapsIn } from "./user_namespace.ts";

/** Which path of which container, both as the client has named them. */
interface Place {
  nameOrID: string;
  path: string;
}

export async function statPath(deps: ContainersDeps, nameOrID: string, path: string): Promise<PathStat> {
  const live = deps.registry.get(nameOrID);
  await using files = await openForReading(deps, live);
  using found = find(files, parseCopyPath(path), { nameOrID, path });
  return toPathStat(found);
}

export async function copyOut(
  deps: ContainersDeps,
  nameOrID: string,
  path: string,
): Promise<{ stat: PathStat; chunks: AsyncIterable<Uint8Array> }> {
  const live = deps.registry.get(nameOrID);
  await using opened = new AsyncDisposableStack();
  const files = opened.use(await openForReading(deps, live));
  const found = opened.use(find(files, parseCopyPath(path), { nameOrID, path }));
  const stat = toPathStat(found);
  deps.machine.announce(live, { action: "archive-path" });
  const held = opened.move();
  const onSkipped = (skipped: string, error: Error): void =>
    deps.log.warn("a file was left out of a copy", { container: live.id, path: skipped, error });
  return { stat, chunks: holding(pack(found, { onSkipped, idMaps: files.idMaps }), held) };
}

export async function copyIn(
  deps: ContainersDeps,
  nameOrID: string,
  path: string,
  archive: AsyncIterable<Uint8Array>,
  options: CopyInOptions,
  signal: AbortSignal,
): Promise<void> {
  const live = deps.registry.get(nameOrID);
  const place = { nameOrID, path };
  if (!(await copyIntoRunning(live, place, archive, options, signal))) {
    await copyIntoStopped(deps, live, place, archive, options, signal);
  }
  deps.machine.announce(live, { action: "extract-to-dir" });
}

// ---- opening

/** Null for a container without a process, and for one whose process has just ended. */
function runningFiles(live: Live): FileTree | null {
  return hasTask(live.record.state) ? (live.run?.task.openFiles(idMapsIn(live)) ?? null) : null;
}

async function openForReading(deps: ContainersDeps, live: Live): Promise<FileTree> {
  const running = runningFiles(live);
  if (running) return running;
  using _lock = await deps.registry.lock(live);
  return runningFiles(live) ?? (await openStopped(deps, live, false));
}

/** Under the container's lock. */
async function openStopped(deps: ContainersDeps, live: Live, isWritable: boolean): Promise<FileTree> {
  const { record } = live;
  const { status } = record.state;
  if (status === "dead" || status === "removing") {
    throw conflict(`container ${record.id} is marked for removal: its files cannot be copied`);
  }
  const layers = await deps.images.rootfsLayers(record.imageID);
  const rootfs = deps.snapshots.rootfs(record.id, layers);
  // The tree holds what was mounted for it, also when the driver has unmounted it again.
  await using entered = await deps.mounts.enter(record, `${record.id}-files`);
  const own = (await deps.mounts.toOci(entered.mounts, rootfs)).filter(({ type }) => type !== "tmpfs");
  const mounts = [...networkFiles(containerDir(deps.config(), record.id), own), ...own];
  return await deps.runtime.openFiles(rootfs, { isWritable, mounts });
}

/** What the container sees of its hosts, host name and resolver: made at its first start. */
function networkFiles(directory: string, own: readonly OciMount[]): OciMount[] {
  const isOwn = (path: string): boolean => own.some(({ destination }) => destination === path);
  return ["hosts", "hostname", "resolv.conf"]
    .map((name) => ({ source: `${directory}/${name}`, destination: `/etc/${name}`, type: "bind", options: ["bind"] }))
    .filter(({ source, destination }) => !isOwn(destination) && existsSync(source));
}

function find({ root }: FileTree, path: CopyPath, place: Place): Found {
  try {
    return look(root, path);
  } catch (error) {
    throw toPathError(error, place);
  }
}

function toPathError(error: unknown, { nameOrID, path }: Place): unknown {
  if (!(error instanceof SyscallError)) return error;
  const cause = { cause: error };
  if (error.code === "ENOENT") return notFound(`Could not find the file ${path} in container ${nameOrID}`, cause);
  if (error.code === "ENOTDIR") return invalid(`${path}: not a directory`, cause);
  if (error.code === "ELOOP") return invalid(`${path}: too many levels of symbolic links`, cause);
  if (error.code === "ENAMETOOLONG") return invalid(`${path}: file name too long`, cause);
  return error;
}

function toPathStat({ base, status, linkTarget }: Found): PathStat {
  return { name: base, sizeBytes: status.sizeBytes, mode: status.mode, modified: status.modified, linkTarget };
}

/** The same chunks; what they are read from is let go at their end, and when nobody has begun to read them, too. */
export function holding(chunks: AsyncGenerator<Uint8Array>, held: AsyncDisposableStack): AsyncIterable<Uint8Array> {
  const iterator: AsyncIterator<Uint8Array> = {
    async next() {
      try {
        const next = await chunks.next();
        if (next.done === true) await held.disposeAsync();
        return next;
      } catch (error) {
        await held.disposeAsync();
        throw error;
      }
    },
    async return() {
      await chunks.return(undefined);
      await held.disposeAsync();
      return { value: undefined, done: true };
    },
  };
  return { [Symbol.asyncIterator]: () => iterator };
}

// ---- copying in

/** False: it does not run. */
async function copyIntoRunning(
  live: Live,
  place: Place,
  archive: AsyncIterable<Uint8Array>,
  options: CopyInOptions,
  signal: AbortSignal,
): Promise<boolean> {
  const running = runningFiles(live);
  if (!running) return false;
  await using files = running;
  const ended = new AbortController();
  // INVARIANT: the next run has its overlay to itself.
  const onExit = (): void =>
    ended.abort(conflict(`container ${live.id} stopped while files were being copied into it`));
  live.onExit.add(onExit);
  try {
    await copyInto(files, live, place, until(archive, AbortSignal.any([signal, ended.signal])), options);
  } finally {
    live.onExit.delete(onExit);
  }
  return true;
}

/** Its process is there: what state it is in may follow only once we let go of the lock. */
async function isRunning(live: Live): Promise<boolean> {
  const files = runningFiles(live);
  await files?.[Symbol.asyncDispose]();
  return files !== null;
}

async function copyIntoStopped(
  deps: ContainersDeps,
  live: Live,
  place: Place,
  archive: AsyncIterable<Uint8Array>,
  options: CopyInOptions,
  signal: AbortSignal,
): Promise<void> {
  const lock = await deps.registry.lock(live);
  try {
    if (!(await isRunning(live))) {
      await using files = await openStopped(deps, live, true);
      const chunks = until(archive, signal, { clock: deps.clock, ms: COPY_IDLE_MS });
      return await copyInto(files, live, place, chunks, options);
    }
  } finally {
    lock[Symbol.dispose]();
  }
  // It was started while we waited for our turn.
  if (await copyIntoRunning(live, place, archive, options, signal)) return;
  throw conflict(`container ${live.id} is being started and stopped: files cannot be copied into it now`);
}

async function copyInto(
  files: FileTree,
  live: Live,
  place: Place,
  archive: Bounded,
  options: CopyInOptions,
): Promise<void> {
  const { config, hostConfig } = live.record;
  const { path } = parseCopyPath(place.path);
  checkTarget(files, path, place, hostConfig.ReadonlyRootfs);
  try {
    await unpack(archive.chunks, {
      root: files.root,
      directory: path.replace(/\/\.?$/, "") || "/",
      owner: options.copyUIDGID && config.User !== "" ? lookUpOwner(files.root, config.User) : null,
      idMaps: files.idMaps,
      keepsKinds: options.noOverwriteDirNonDir,
      signal: archive.signal,
    });
  } catch (error) {
    if (error instanceof LayerError || error instanceof UserLookupError) throw invalid(error.message, { cause: error });
    if (error instanceof SyscallError && REFUSALS.has(error.code)) throw invalid(error.message, { cause: error });
    throw error;
  }
}

/** What the archive asks for cannot be done in that place: nothing is wrong with this machine. */
const REFUSALS: ReadonlySet<string> = new Set(["EROFS", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EEXIST", "EBUSY"]);

/** COMPAT: Docker's words; what is refused here is refused before a byte of the archive is asked for. */
function checkTarget({ root }: FileTree, path: string, place: Place, isRootReadOnly: boolean): void {
  let target;
  try {
    target = lookAtTarget(root, path);
  } catch (error) {
    throw toPathError(error, place);
  }
  if (!target.isDirectory) throw invalid("extraction point is not a directory");
  if (target.isMounted && target.isReadOnly) throw invalid("mounted volume is marked read-only");
  if (!target.isMounted && (target.isReadOnly || isRootReadOnly)) throw invalid("container rootfs is marked read-only");
}

interface Bounded {
  chunks: AsyncIterable<Uint8Array>;
  signal: AbortSignal;
}

/** The same chunks until a signal says otherwise, or none has come for a while. */
function until(
  archive: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  idle?: { clock: ContainersDeps["clock"]; ms: number },
): Bounded {
  const stalled = new AbortController();
  const either = AbortSignal.any([signal, stalled.signal]);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const iterator = archive[Symbol.asyncIterator]();
    let isWaiting = false;
    try {
      for (;;) {
        const cancel = idle?.clock.after(idle.ms, () => stalled.abort(invalid("the archive did not come any further")));
        isWaiting = true;
        const next = await unless(either, iterator.next()).finally(() => cancel?.());
        isWaiting = false;
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      // One that still waits for the client would not return before that has said something.
      if (!isWaiting) await iterator.return?.();
    }
  }
  return { chunks: chunks(), signal: either };
}

async function unless<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
