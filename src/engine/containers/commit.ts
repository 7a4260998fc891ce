// Commit: a container's changes as a new image on top of the one it was made of. The container stands still while its
// changes are read, and no longer: they are compressed and unpacked once it runs again.
//
//   pause ─▶ upper directory to tar ─▶ unpause ─▶ tar to blob and layer ─▶ config, image, name
import { rm } from "node:fs/promises";
import { LayerError } from "../../../runtime/mod.ts";
import { conflict, isKind } from "../../errors.ts";
import { applyChanges } from "../../image/changes.ts";
import { EMPTY_DIFF_ID } from "../../image/new_image.ts";
import { familiar } from "../../image/reference.ts";
import { commitName } from "../commit_name.ts";
import type { CommitRequest } from "../mod.ts";
import { completeConfig, toImageConfig } from "./commit_config.ts";
import type { ContainersDeps } from "./deps.ts";
import { OWN_PATHS } from "./own_paths.ts";
import { pause, unpause } from "./pause.ts";
import type { Live } from "./registry.ts";
import { parseSignal } from "./signals.ts";

/** As the layer's paths are: without a slash at their start. */
const MOUNT_POINTS = OWN_PATHS.map((path) => path.slice(1));

export async function commit(
  deps: ContainersDeps,
  nameOrID: string,
  request: CommitRequest,
  signal: AbortSignal,
): Promise<string> {
  const name = commitName(request.repository, request.tag);
  const live = deps.registry.get(nameOrID);
  checkState(live);
  const { record } = live;
  const own = toImageConfig(record.config);
  const given = request.config === null ? own : toImageConfig(request.config);
  const changed = applyChanges(given, request.changes, { checkSignal: (text) => void parseSignal(text) });
  const config = completeConfig(changed, own);
  const image = await deps.images.make(
    record.imageID,
    async (target) => {
      const diffID = await readChanges(deps, live, target, request.pause, signal);
      return diffID === EMPTY_DIFF_ID ? null : { path: target, diffID };
    },
    {
      config,
      author: request.author,
      comment: request.comment,
      createdBy: (record.config.Cmd ?? []).join(" "),
      references: name === null ? [] : [name],
    },
    signal,
  );
  const imageRef = name === null ? "" : familiar(name);
  deps.machine.announce(live, {
    action: "commit",
    attributes: { comment: request.comment, imageID: image.id, imageRef },
  });
  return image.id;
}

/** COMPAT: Docker's words. */
function checkState({ id, record: { state } }: Live): void {
  if (state.status === "dead") throw conflict(`You cannot commit container ${id} which is Dead`);
  if (state.status === "removing") throw conflict(`You cannot commit container ${id} which is being removed`);
}

/** The changes as a tar at `target`; its digest. */
async function readChanges(
  deps: ContainersDeps,
  live: Live,
  target: string,
  pauses: boolean,
  signal: AbortSignal,
): Promise<string> {
  const layers = await deps.images.rootfsLayers(live.record.imageID);
  const { kind, layersDir, lower, upper } = deps.snapshots.rootfs(live.id, layers);
  const isPaused = pauses && (await tryPause(deps, live.id));
  let failure: unknown;
  let diffID = "";
  try {
    const request = { kind, layersDir, lower, upper, mountPoints: MOUNT_POINTS, target };
    ({ diffID } = await deps.layerPool.run("diff", request, { signal }));
  } catch (error) {
    failure = error instanceof LayerError ? conflict(`cannot commit container ${live.id}: ${error.message}`) : error;
    await rm(target, { force: true });
  } finally {
    if (isPaused) await tryUnpause(deps, live.id);
  }
  // WHY no lock: the container may be stopped meanwhile, but what is read of one that is being removed is not all of it.
  if (deps.registry.byID(live.id) !== live) throw conflict(`container ${live.id} was removed while it was committed`);
  checkState(live);
  if (failure !== undefined) throw failure;
  return diffID;
}

/** False where there is nothing to pause: it does not run, or is paused already. */
async function tryPause(deps: ContainersDeps, id: string): Promise<boolean> {
  try {
    await pause(deps, id);
    return true;
  } catch (error) {
    if (isKind(error, "conflict")) return false;
    throw error;
  }
}

/** Somebody else may have unpaused, stopped or removed it meanwhile. */
async function tryUnpause(deps: ContainersDeps, id: string): Promise<void> {
  try {
    await unpause(deps, id);
  } catch (error) {
    if (!isKind(error, "conflict") && !isKind(error, "notFound")) throw error;
  }
}
