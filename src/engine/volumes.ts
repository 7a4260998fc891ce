// Volumes of the local driver: a directory and a row each.
//
//   <root>/<name>/_data      what containers see; belongs to them once it exists
//   a row in `volumes`       its labels, options and age
//
// Made row first, then directory; removed directory first (renamed into the trash), then row. So a crash in between leaves
// a row without a directory, which createVolumes() drops. A directory without a row holds somebody's data: it is taken
// in as a volume again, never deleted.
import { constants } from "node:fs";
import { access, chmod, mkdir, open, readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import type { StoredVolume, VolumeStore } from "../db/volumes.ts";
import { conflict, invalid, isKind, notFound } from "../errors.ts";
import { MAX_NAME_BYTES } from "../limits.ts";
import type { Log } from "../log.ts";
import type { VolumeCreate } from "../schema/volume.ts";
import { diskUsage } from "./disk_usage.ts";
import { booleanFilter, matchesExactly, matchesLabels, matchesPattern } from "./filters.ts";
import { createLocks, oneAtATime } from "./locks.ts";
import type { Events, Filters, VolumeRecord, Volumes } from "./mod.ts";

export interface VolumesDeps {
  /** `<dataRoot>/volumes`. Exists. */
  root: string;
  rows: VolumeStore;
  events: Pick<Events, "publish">;
  log: Log;
  now(): Date;
  /** 64 random hex digits. */
  newID(): string;
  /** IDs of the containers, running or not, that have this volume mounted. */
  usersOf(volume: string): string[];
  /** Renames a directory into the trash of the same file system, to be deleted in the background. */
  discard(path: string): Promise<void>;
}

/** What the engine itself needs of volumes, beyond what the API does. */
export interface VolumeService extends Volumes {
  /**
   * Keeps a volume from being removed until the returned function is called: it is about to be used by a container that
   * has no row yet. Throws notFound.
   */
  claim(name: string): () => void;
  /** Removes an anonymous volume on behalf of a container that goes; false when somebody else uses it or it is gone. */
  removeUnused(name: string, containerID: string): Promise<boolean>;
}

/** The label that tells an anonymous volume to every client; its value is empty. */
export const ANONYMOUS_LABEL = "com.docker.volume.anonymous";
const LOCAL = "local";

/** Reads the rows, holds them against the directories, and serves from memory from then on. */
export async function createVolumes(deps: VolumesDeps): Promise<VolumeService> {
  const volumes = await restore(deps);
  const locks = createLocks();
  const claims = new Map<string, number>();
  const measuring = new Map<string, Promise<number>>();

  const get = (name: string): VolumeRecord => {
    const volume = volumes.get(name);
    if (volume === undefined) throw notFound(`get ${name}: no such volume`);
    return volume;
  };

  const create = async (request: VolumeCreate): Promise<VolumeRecord> => {
    const isAnonymous = request.Name === "";
    const name = isAnonymous ? deps.newID() : request.Name;
    using _held = await locks.hold(name);
    const existing = volumes.get(name);
    if (existing !== undefined) {
      if (request.Driver !== "" && request.Driver !== existing.driver) {
        throw conflict(`create ${name}: volume name must be unique`);
      }
      return existing;
    }
    checkRequest(name, request);
    const stored: StoredVolume = {
      name,
      driver: LOCAL,
      createdAt: deps
        .now()
        .toISOString()
        .replace(/\.\d+Z$/, "Z"),
      labels: isAnonymous ? { ...request.Labels, [ANONYMOUS_LABEL]: "" } : request.Labels,
      options: request.DriverOpts,
      // COMPAT: a client may make an anonymous volume under a name of its own by giving the label itself.
      isAnonymous: isAnonymous || Object.hasOwn(request.Labels, ANONYMOUS_LABEL),
    };
    const volume = atRoot(deps.root, stored);
    await deps.rows.insert(stored);
    try {
      await makeDirectory(deps.root, name);
    } catch (error) {
      await deps.rows.remove(name);
      throw error;
    }
    volumes.set(name, volume);
    deps.events.publish("volume", "create", name, { driver: LOCAL });
    return volume;
  };

  /** The caller has checked that nobody uses it, in this same turn. */
  const drop = async (volume: VolumeRecord): Promise<void> => {
    // Out of the map first: from here on nobody finds it, and nobody can begin to use it.
    volumes.delete(volume.name);
    try {
      await discardDirectory(deps, volume.name);
      await deps.rows.remove(volume.name);
    } catch (error) {
      volumes.set(volume.name, volume);
      throw error;
    }
    deps.events.publish("volume", "destroy", volume.name, { driver: volume.driver });
  };

  const remove = async (name: string, force: boolean): Promise<void> => {
    using _held = await locks.hold(name);
    if (!volumes.has(name) && force) return;
    const volume = get(name);
    const users = deps.usersOf(name);
    if (users.length > 0) throw conflict(`remove ${name}: volume is in use - [${users.join(", ")}]`);
    if (claims.has(name)) throw conflict(`remove ${name}: volume is in use - [a container that is being created]`);
    await drop(volume);
  };

  /** Two callers at once share one walk over the directory. */
  const sizeOf = (volume: VolumeRecord): Promise<number> => {
    const running = measuring.get(volume.name);
    if (running !== undefined) return running;
    const walk = diskUsage(volume.mountpoint).finally(() => measuring.delete(volume.name));
    measuring.set(volume.name, walk);
    return walk;
  };

  const isUnused = (name: string): boolean => !claims.has(name) && deps.usersOf(name).length === 0;

  const prune = async (filters: Filters): Promise<{ deleted: string[]; spaceReclaimed: number }> => {
    const all = booleanFilter(filters, "all", false);
    const deleted: string[] = [];
    let spaceReclaimed = 0;
    for (const volume of volumes.values()) {
      if (!(all || volume.isAnonymous) || !matchesLabels(filters, volume.labels) || !isUnused(volume.name)) continue;
      const size = await sizeOf(volume);
      try {
        await remove(volume.name, false);
      } catch (error) {
        // Somebody began to use it, or removed it, since we looked.
        if (isKind(error, "conflict") || isKind(error, "notFound")) continue;
        throw error;
      }
      deleted.push(volume.name);
      spaceReclaimed += Math.max(size, 0);
    }
    deps.events.publish("volume", "prune", "", { reclaimed: String(spaceReclaimed) });
    return { deleted, spaceReclaimed };
  };

  return {
    create,
    get,
    remove,
    async list(filters) {
      const dangling = booleanFilter(filters, "dangling", null);
      const found = [...volumes.values()].filter(
        (volume) =>
          matchesPattern(filters, "name", volume.name) &&
          matchesExactly(filters, "driver", volume.driver) &&
          matchesLabels(filters, volume.labels) &&
          (dangling === null || dangling === (deps.usersOf(volume.name).length === 0)),
      );
      return { volumes: found.sort((a, b) => (a.name < b.name ? -1 : 1)), warnings: [] };
    },
    prune: oneAtATime("a prune operation", prune),
    async usage(name) {
      const volume = get(name);
      return { sizeBytes: await sizeOf(volume), refCount: deps.usersOf(name).length };
    },
    claim(name) {
      get(name);
      claims.set(name, (claims.get(name) ?? 0) + 1);
      let isHeld = true;
      return () => {
        if (!isHeld) return;
        isHeld = false;
        const left = (claims.get(name) ?? 1) - 1;
        if (left > 0) claims.set(name, left);
        else claims.delete(name);
      };
    },
    async removeUnused(name, containerID) {
      using _held = await locks.hold(name);
      const volume = volumes.get(name);
      if (volume === undefined || claims.has(name)) return false;
      if (deps.usersOf(name).some((user) => user !== containerID)) return false;
      await drop(volume);
      return true;
    },
  };
}

function atRoot(root: string, stored: StoredVolume): VolumeRecord {
  return { ...stored, mountpoint: join(root, stored.name, "_data") };
}

// ---- what is accepted

const NAME_PATTERN = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** COMPAT: the wording of Docker's local driver, which compose users search for. */
export function checkVolumeName(name: string): void {
  if (name.length === 1) {
    throw invalid(`create ${name}: volume name is too short, names should be at least two alphanumeric characters`);
  }
  if (!NAME.test(name)) {
    throw invalid(
      `create ${name}: ${JSON.stringify(name)} includes invalid characters for a local volume name, only "${NAME_PATTERN}" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  if (name.length > MAX_NAME_BYTES) {
    throw invalid(`create ${name}: volume name is too long: ${name.length} bytes, at most ${MAX_NAME_BYTES}`);
  }
}

/** What must come along with an option of the local driver. */
const REQUIRED_WITH: ReadonlyMap<string, readonly string[]> = new Map([
  ["device", ["type"]],
  ["type", ["device"]],
  ["o", ["device", "type"]],
  ["size", []],
]);

function checkRequest(name: string, request: VolumeCreate): void {
  if (request.Driver !== "" && request.Driver !== LOCAL) {
    const driver = request.Driver;
    throw notFound(
      `create ${name}: error looking up volume plugin ${driver}: plugin ${JSON.stringify(driver)} not found`,
    );
  }
  checkVolumeName(name);
  for (const option of Object.keys(request.DriverOpts)) {
    const needed = REQUIRED_WITH.get(option);
    if (needed === undefined) throw invalid(`create ${name}: invalid option: ${JSON.stringify(option)}`);
    for (const other of needed) {
      if (!request.DriverOpts[other])
        throw invalid(`create ${name}: missing required option: ${JSON.stringify(other)}`);
    }
  }
  if (Object.hasOwn(request.DriverOpts, "size") && request.DriverOpts["type"] === undefined) {
    throw invalid(`create ${name}: quota size requested but no quota support`);
  }
}

// ---- directories

async function makeDirectory(root: string, name: string): Promise<void> {
  const data = join(root, name, "_data");
  await mkdir(join(root, name), { mode: 0o701 });
  await mkdir(data);
  // A daemon's umask is no business of a volume's.
  await chmod(data, 0o755);
  const directory = await open(root, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    // After a power loss the row must not stand without its directory.
    await directory.sync();
  } finally {
    await directory.close();
  }
}

async function discardDirectory(deps: VolumesDeps, name: string): Promise<void> {
  try {
    await deps.discard(join(deps.root, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

async function restore(deps: VolumesDeps): Promise<Map<string, VolumeRecord>> {
  const volumes = new Map<string, VolumeRecord>();
  const { volumes: rows, damaged } = await deps.rows.all();
  for (const name of damaged) {
    deps.log.error("a volume's row cannot be read: its labels and options are lost", { volume: name });
    await deps.rows.remove(name);
  }
  for (const stored of rows) {
    const volume = atRoot(deps.root, stored);
    if (await isThere(volume.mountpoint)) volumes.set(stored.name, volume);
    else {
      deps.log.warn("a volume has no directory any more and is forgotten", { volume: stored.name });
      await deps.rows.remove(stored.name);
    }
  }
  for (const entry of await readdir(deps.root, { withFileTypes: true })) {
    if (!entry.isDirectory() || volumes.has(entry.name)) continue;
    const adopted = await adopt(deps.root, entry.name);
    if (adopted === null) continue;
    deps.log.warn("a directory without a row is taken in as a volume", { volume: entry.name });
    await deps.rows.insert(adopted);
    volumes.set(entry.name, atRoot(deps.root, adopted));
  }
  return volumes;
}

/** A volume's directory that no row knows: from another engine, or from before the database was lost. */
async function adopt(root: string, name: string): Promise<StoredVolume | null> {
  const data = join(root, name, "_data");
  if (!NAME.test(name) || !(await isThere(data))) return null;
  const isAnonymous = /^[0-9a-f]{64}$/.test(name);
  return {
    name: basename(name),
    driver: LOCAL,
    createdAt: (await stat(data)).mtime.toISOString().replace(/\.\d+Z$/, "Z"),
    labels: isAnonymous ? { [ANONYMOUS_LABEL]: "" } : {},
    options: {},
    isAnonymous,
  };
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
