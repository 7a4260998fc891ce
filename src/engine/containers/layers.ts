// A container's own layer: what it has changed of its image (`docker diff`), and its root file system as a whole (`docker
// export`). Neither shows what is mounted in it; neither mounts anything on the host.
import { type Change, changes, type FileTree, packRoot } from "../../../runtime/mod.ts";
import { conflict } from "../../errors.ts";
import type { ContainersDeps } from "./deps.ts";
import { holding } from "./files.ts";
import { OWN_PATHS } from "./own_paths.ts";
import type { Live } from "./registry.ts";
import { hasTask } from "./state.ts";
import { idMapsIn } from "./user_namespace.ts";

const MADE_BY_START: ReadonlySet<string> = new Set(OWN_PATHS);

export async function changesOf(deps: ContainersDeps, nameOrID: string): Promise<AsyncIterable<Change>> {
  const { record } = deps.registry.get(nameOrID);
  const layers = await deps.images.rootfsLayers(record.imageID);
  return changes(deps.snapshots.rootfs(record.id, layers), MADE_BY_START);
}

export async function exportFiles(deps: ContainersDeps, nameOrID: string): Promise<AsyncIterable<Uint8Array>> {
  const live = deps.registry.get(nameOrID);
  await using opened = new AsyncDisposableStack();
  const files = opened.use(runningRoot(live) ?? (await stoppedRoot(deps, live)));
  const onSkipped = (path: string, error: Error): void =>
    deps.log.warn("a file was left out of an export", { container: live.id, path, error });
  return holding(announced(deps, live, packRoot(files.root, { onSkipped, idMaps: files.idMaps })), opened.move());
}

/** COMPAT: the event follows the last byte, and a client that has gone before it hears of none. */
async function* announced(
  deps: ContainersDeps,
  live: Live,
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield* chunks;
  deps.machine.announce(live, { action: "export" });
}

function runningRoot(live: Live): FileTree | null {
  return hasTask(live.record.state) ? (live.run?.task.openRoot(idMapsIn(live)) ?? null) : null;
}

/** Opened under the lock, read without it. */
async function stoppedRoot(deps: ContainersDeps, live: Live): Promise<FileTree> {
  const { record } = live;
  const { status } = record.state;
  if (status === "dead") throw conflict(`You cannot export container ${record.id} which is Dead`);
  if (status === "removing") throw conflict(`You cannot export container ${record.id} which is being removed`);
  using _lock = await deps.registry.lock(live);
  const running = runningRoot(live);
  if (running !== null) return running;
  const layers = await deps.images.rootfsLayers(record.imageID);
  return await deps.runtime.openFiles(deps.snapshots.rootfs(record.id, layers), { isWritable: false, mounts: [] });
}
