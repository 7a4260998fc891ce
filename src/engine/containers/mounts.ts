// The mounts of a container: from what its configuration says to mount points (made once, at create, and stored), to
// copy-up, to OCI mounts at each start.
import { mkdir, opendir, stat } from "node:fs/promises";
import type { Fd, OciMount, Rootfs } from "../../../runtime/mod.ts";
import type { CopyUpOutcome } from "../../../runtime/snapshot/copy_up.ts";
import { EngineError, internal, invalid, isKind } from "../../errors.ts";
import type { ContainerConfig } from "../../schema/container.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import type { ImageService } from "../images.ts";
import { createLocks } from "../locks.ts";
import type { VolumeRecord } from "../mod.ts";
import type { VolumeService } from "../volumes/service.ts";
import type { ContainerRecord, MountPoint } from "./container.ts";
import {
  invalidMount,
  MOUNT_OPTION,
  type MountPlan,
  parseBind,
  parseMount,
  parseTmpfs,
  parseVolumePath,
  parseVolumesFrom,
} from "./mount_specs.ts";

export interface ContainerMounts {
  /**
   * At create: Binds, Mounts, Tmpfs, Volumes of config and image, VolumesFrom to mount points; makes volumes, and bind
   * directories as Docker does. Throws Docker's words. Until release() nobody removes the volumes.
   */
  resolve(
    config: ContainerConfig,
    hostConfig: HostConfig,
    donors: (nameOrID: string) => ContainerRecord,
  ): Promise<MountPoint[]>;
  /** At create: fills empty volumes from the image. The view is opened only when there is something to look for. */
  copyUp(mounts: readonly MountPoint[], openView: () => Fd): Promise<void>;
  /** The create is over: its container has a row, or has failed. Takes the array that resolve() gave. */
  release(mounts: readonly MountPoint[]): void;
  /**
   * At start, and for looking at a container that does not run: volumes that are reachable only while somebody has them
   * mounted are. Gives the mount points as they are now.
   */
  enter(record: Pick<ContainerRecord, "id" | "mounts">, user: string): Promise<EnteredMounts>;
  /** After the exit: what enter() has mounted is given back. Throws when a driver refuses; all others are done. */
  leave(record: Pick<ContainerRecord, "id" | "mounts">, user: string): Promise<void>;
  /** After a restart of the daemon, for a container that runs. */
  regain(record: Pick<ContainerRecord, "id" | "mounts">): void;
  /** When every running container is regained: takes down what is mounted for nobody. */
  settle(): void;
  /** Mount points to OCI mounts, sorted by depth. `rootfs`: the container's own; `isMapped`: it runs in a user namespace. */
  toOci(mounts: readonly MountPoint[], rootfs: Rootfs, isMapped?: boolean): Promise<OciMount[]>;
  /** On removal with `v`, on AutoRemove, and when a create has failed: its anonymous volumes that nobody else uses. */
  removeAnonymous(record: Pick<ContainerRecord, "id" | "mounts">): Promise<void>;
}

interface EnteredMounts extends AsyncDisposable {
  mounts: readonly MountPoint[];
  /** The start has succeeded: disposing undoes nothing. */
  keep(): void;
}

export interface ContainerMountsDeps {
  volumes: VolumeService;
  images: Pick<ImageService, "claim" | "rootfsLayers">;
  /** runtime/snapshot/copy_up.ts. */
  copyUp(view: Fd, path: string, destination: string): Promise<CopyUpOutcome>;
}

export function createContainerMounts(deps: ContainerMountsDeps): ContainerMounts {
  /** Two creates at once may share a new volume: the first one fills it. */
  const locks = createLocks();
  const claims = new WeakMap<readonly MountPoint[], (() => void)[]>();
  const { volumes } = deps;
  /** Names of those volumes that a driver has to mount; one name may stand at several places. */
  const toMount = (mounts: readonly MountPoint[]): Set<string> =>
    new Set(mounts.flatMap(({ type, name }) => (type === "volume" && volumes.needsMount(name) ? [name] : [])));
  /** For a short while at create. */
  const mountedFor = async ({ name, source }: MountPoint): Promise<AsyncDisposable & { path: string }> => {
    if (!volumes.needsMount(name)) return { path: source, [Symbol.asyncDispose]: () => Promise.resolve() };
    const user = `copy-up-${crypto.randomUUID()}`;
    const path = await volumes.mount(name, user);
    return { path, [Symbol.asyncDispose]: () => volumes.unmount(name, user) };
  };
  const unmountAll = async (names: Iterable<string>, user: string): Promise<void> => {
    const failures: unknown[] = [];
    for (const name of names) {
      await volumes.unmount(name, user).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw new AggregateError(failures, `cannot unmount all volumes of ${user}`);
  };
  return {
    async resolve(config, hostConfig, donors) {
      const mounts: MountPoint[] = [];
      const held: (() => void)[] = [];
      claims.set(mounts, held);
      const made: MountPoint[] = [];
      try {
        for (const item of plan(config, hostConfig, donors)) {
          if (!("kind" in item)) mounts.push(item);
          else {
            const { mount, release } = await carryOut(deps, item);
            if (release) held.push(release);
            if (mount.isAnonymous) made.push(mount);
            mounts.push(mount);
          }
          const mount = mounts.at(-1);
          if (mount?.type === "volume") held.push(claim(deps.volumes, mount.name));
        }
        return mounts;
      } catch (error) {
        for (const release of held) release();
        for (const mount of made) await deps.volumes.removeUnused(mount.name, "").catch(() => false);
        throw error;
      }
    },
    async copyUp(mounts, openView) {
      const wanted: MountPoint[] = [];
      for (const mount of mounts) {
        if (mount.type !== "volume" || mount.options.includes(MOUNT_OPTION.noCopy)) continue;
        // COMPAT: what goes to a part of a volume is the user's own.
        if (mount.subpath !== "") continue;
        await using mounted = await mountedFor(mount);
        if (await isEmpty(mounted.path)) wanted.push(mount);
      }
      if (wanted.length === 0) return;
      using view = openView();
      for (const mount of wanted) {
        using _held = await locks.hold(mount.name);
        await using mounted = await mountedFor(mount);
        const outcome = await deps.copyUp(view, mount.destination, mounted.path);
        if (outcome === "notDirectory") {
          throw internal(`cannot mount volume over existing file, file exists ${mount.destination}`);
        }
      }
    },
    release(mounts) {
      for (const release of claims.get(mounts) ?? []) release();
      claims.delete(mounts);
    },
    async enter({ mounts }, user) {
      const names = toMount(mounts);
      if (names.size === 0) return { mounts, keep: () => undefined, [Symbol.asyncDispose]: () => Promise.resolve() };
      const paths = new Map<string, string>();
      let isKept = false;
      const undo = (): Promise<void> => unmountAll(paths.keys(), user);
      try {
        for (const name of names) paths.set(name, await volumes.mount(name, user));
      } catch (error) {
        await undo().catch(() => undefined);
        throw error;
      }
      return {
        mounts: mounts.map((mount) => {
          const source = mount.type === "volume" ? paths.get(mount.name) : undefined;
          return source === undefined ? mount : { ...mount, source };
        }),
        keep: () => {
          isKept = true;
        },
        [Symbol.asyncDispose]: () => (isKept ? Promise.resolve() : undo()),
      };
    },
    leave: ({ mounts }, user) => unmountAll(toMount(mounts), user),
    regain({ id, mounts }) {
      for (const name of toMount(mounts)) volumes.regain(name, id);
    },
    settle: () => volumes.settle(),
    toOci: (mounts, rootfs, isMapped = false) =>
      toOci(
        deps.images,
        mounts,
        rootfs,
        ({ type, name }) => isMapped && type === "volume" && !volumes.needsMount(name),
      ),
    async removeAnonymous(record) {
      const failures: unknown[] = [];
      for (const mount of record.mounts) {
        if (mount.type !== "volume" || !mount.isAnonymous) continue;
        await deps.volumes.removeUnused(mount.name, record.id).catch((error: unknown) => failures.push(error));
      }
      if (failures.length > 0)
        throw new AggregateError(failures, `cannot remove all anonymous volumes of ${record.id}`);
    },
  };
}

// ---- planning

/**
 * All mounts in the order of their precedence, checked as a whole before anything is made. Mounts of other containers
 * come first and give way to anything at the same place; two of the container's own at one place are refused.
 */
function plan(
  config: ContainerConfig,
  hostConfig: HostConfig,
  donors: (nameOrID: string) => ContainerRecord,
): (MountPlan | MountPoint)[] {
  const inherited = new Map<string, MountPoint>();
  for (const spec of hostConfig.VolumesFrom) {
    for (const mount of donated(spec, donors)) inherited.set(mount.destination, mount);
  }
  const own = new Map<string, MountPlan>();
  const add = (item: MountPlan): void => {
    const { destination } = item.mount;
    if (own.has(destination)) throw invalid(`Duplicate mount point: ${destination}`);
    own.set(destination, item);
    inherited.delete(destination);
  };
  for (const bind of hostConfig.Binds) add(parseBind(bind, hostConfig.VolumeDriver));
  for (const mount of hostConfig.Mounts) add(parseMount(mount));
  for (const [destination, options] of Object.entries(hostConfig.Tmpfs)) add(parseTmpfs(destination, options));
  for (const path of Object.keys(config.Volumes)) {
    const item = parseVolumePath(path);
    if (!own.has(item.mount.destination) && !inherited.has(item.mount.destination)) add(item);
  }
  return [...inherited.values(), ...own.values()];
}

function donated(spec: string, donors: (nameOrID: string) => ContainerRecord): MountPoint[] {
  const { container, isWritable } = parseVolumesFrom(spec);
  return shownMounts(donorOf(container, donors)).map((mount) => ({
    ...mount,
    mode: "",
    isWritable: mount.isWritable && isWritable,
    options: mount.type === "volume" ? [MOUNT_OPTION.noCopy] : mount.options,
  }));
}

/** COMPAT: a 404 from create means "no such image" to every client and makes it pull; so a missing donor is a 400. */
function donorOf(container: string, donors: (nameOrID: string) => ContainerRecord): ContainerRecord {
  try {
    return donors(container);
  } catch (error) {
    if (error instanceof EngineError && error.kind === "notFound") throw invalid(error.message, { cause: error });
    throw error;
  }
}

/** What inspect and list show: all but those of `--tmpfs`, which stand in HostConfig.Tmpfs alone. */
export function shownMounts(record: Pick<ContainerRecord, "mounts" | "hostConfig">): MountPoint[] {
  const hidden = new Set(
    Object.entries(record.hostConfig.Tmpfs).map(([path, options]) => parseTmpfs(path, options).mount.destination),
  );
  // By destination: the docker CLI sends its -v flags in any order, and nobody wants to see them change places.
  return record.mounts
    .filter((mount) => mount.type !== "tmpfs" || !hidden.has(mount.destination))
    .toSorted((a, b) => (a.destination < b.destination ? -1 : 1));
}

/** The images a container needs: its own, and those it has mounted. */
export function imagesOf({ imageID, mounts }: Pick<ContainerRecord, "imageID" | "mounts">): Set<string> {
  return new Set([imageID, ...mounts.filter(({ type }) => type === "image").map(({ source }) => source)]);
}

// ---- carrying out

/** `release`: what keeps the source from being removed until the container has its row. */
async function carryOut(
  { volumes, images }: ContainerMountsDeps,
  item: MountPlan,
): Promise<{ mount: MountPoint; release?: () => void }> {
  switch (item.kind) {
    case "tmpfs":
      return { mount: item.mount };
    case "bind":
      await findSource(item.path, item.isMade);
      return { mount: { ...item.mount, source: item.path } };
    case "volume": {
      const volume = await makeVolume(volumes, item.volume);
      return { mount: { ...item.mount, name: volume.name, source: volume.mountpoint, driver: volume.driver } };
    }
    case "image": {
      const { image, release } = claimImage(images, item.image);
      return { mount: { ...item.mount, source: image.id }, release };
    }
  }
}

/** COMPAT: a 404 from create makes clients pull the container's image; this one is another, and a 400. */
function claimImage(images: ContainerMountsDeps["images"], name: string): ReturnType<ImageService["claim"]> {
  try {
    return images.claim(name);
  } catch (error) {
    if (error instanceof EngineError && error.kind === "notFound") {
      throw invalidMount("image", error.message);
    }
    throw error;
  }
}

/** COMPAT: `-v` makes a missing directory, owned by root; `--mount` refuses it. */
async function findSource(path: string, isMade: boolean): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT")
      throw invalidMount("bind", `stat ${path}: ${REASONS[code ?? ""] ?? code ?? "unknown error"}`);
    if (!isMade) throw invalidMount("bind", `bind source path does not exist: ${path}`);
    try {
      await mkdir(path, { recursive: true, mode: 0o755 });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw internal(`error while creating mount source path '${path}': ${reason}`, { cause });
    }
  }
}

/** What stat(2) says of a path that leads nowhere, in the words of strerror(3). */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  ELOOP: "too many levels of symbolic links",
  ENAMETOOLONG: "file name too long",
  ENOTDIR: "not a directory",
};

async function makeVolume(
  volumes: VolumeService,
  request: Parameters<VolumeService["create"]>[0],
): Promise<VolumeRecord> {
  try {
    return await volumes.create(request);
  } catch (error) {
    // COMPAT: as above, no 404 but for the image.
    if (error instanceof EngineError && error.kind === "notFound") throw invalid(error.message, { cause: error });
    throw error;
  }
}

/** A donor's volume may have been removed by force from under it; the launch will tell. */
function claim(volumes: VolumeService, name: string): () => void {
  try {
    return volumes.claim(name);
  } catch (error) {
    if (isKind(error, "notFound")) return () => undefined;
    throw error;
  }
}

async function isEmpty(path: string): Promise<boolean> {
  for await (const _entry of await opendir(path)) return false;
  return true;
}

// ---- to OCI

/**
 * A mount goes after those above it, so `/a` before `/a/b`; otherwise in the order given. `isMapped`: root inside is root
 * there. INVARIANT: of a directory that is a volume's own alone. What is bound, or mounted for a volume, belongs to the host's
 * users, and a container could leave files of the host's root in it.
 */
async function toOci(
  images: ContainerMountsDeps["images"],
  mounts: readonly MountPoint[],
  rootfs: Rootfs,
  isMapped: (mount: MountPoint) => boolean,
): Promise<OciMount[]> {
  const depth = (mount: MountPoint): number => mount.destination.split("/").length;
  const sorted = [...mounts].sort((a, b) => depth(a) - depth(b));
  return await Promise.all(
    sorted.map(async (mount) =>
      mount.type === "image" ? await toOverlay(images, mount, rootfs) : toOciMount(mount, isMapped(mount)),
    ),
  );
}

/** The layers alone. overlayfs wants at least two of them, so an empty one lies below. */
async function toOverlay(images: ContainerMountsDeps["images"], mount: MountPoint, rootfs: Rootfs): Promise<OciMount> {
  const { layersDir, lower } = await images.rootfsLayers(mount.source);
  const directories = [...lower.map((name) => (name.startsWith("/") ? name : `${layersDir}/${name}`)), rootfs.target];
  return {
    destination: mount.destination,
    type: "overlay",
    source: mount.source,
    options: ["ro", ...directories.map((path) => `lowerdir+=${path}`)],
    ...subpathOf(mount),
  };
}

function subpathOf({ subpath }: MountPoint): { subpath?: string } {
  return subpath === "" ? {} : { subpath };
}

function toOciMount(mount: MountPoint, isMapped: boolean): OciMount {
  const { destination, source, options } = mount;
  if (mount.type === "tmpfs") return { destination, type: "tmpfs", source: "tmpfs", options: [...options] };
  const bind = options.includes(MOUNT_OPTION.nonRecursive) ? "bind" : "rbind";
  const owners = isMapped ? ["idmap"] : [];
  const words = [bind, ...accessOf(mount), mount.propagation || "rprivate", ...owners];
  return { destination, type: "bind", source, options: words, ...subpathOf(mount) };
}

/**
 * `rro` is read-only all the way down (mount_setattr with AT_RECURSIVE), `ro` at the top alone. INVARIANT: what is mounted
 * read-only on the host stays so: nothing says `rw`.
 */
function accessOf(mount: MountPoint): ("ro" | "rro")[] {
  if (mount.isWritable) return [];
  const isTopOnly =
    mount.options.includes(MOUNT_OPTION.readOnlyTopOnly) || mount.options.includes(MOUNT_OPTION.nonRecursive);
  return isTopOnly ? ["ro"] : ["rro"];
}
