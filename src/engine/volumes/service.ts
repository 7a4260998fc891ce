// Volumes: their rows, who uses them, and the driver that has the files: the local one, or a plugin's.
//
//   made      row first, then the driver's part; so a crash in between leaves a row without a directory: dropped at start
//   removed   the driver's part first (a directory is renamed into the trash), then the row
//   used      mounted by the driver when a container starts, given back when it has ended
//
// A directory without a row holds somebody's data: it is taken in as a volume again, never deleted.
import type { StoredVolume, VolumeStore } from "../../db/volumes.ts";
import { conflict, EngineError, isKind, notFound } from "../../errors.ts";
import type { Log } from "../../log.ts";
import type { VolumeCreate } from "../../schema/volume.ts";
import { diskUsage } from "../disk_usage.ts";
import { booleanFilter, matchesExactly, matchesLabels, matchesPattern } from "../filters.ts";
import { createLocks, oneAtATime } from "../locks.ts";
import type { Events, Filters, VolumeDetails, VolumeRecord, Volumes } from "../mod.ts";
import type { Plugin, Plugins } from "../plugins.ts";
import type { VolumeDriver } from "./driver.ts";
import { LOCAL, type LocalDriver } from "./local.ts";
import { createPluginDriver, VOLUME_CAPABILITY } from "./plugin_driver.ts";
import { restoreVolumes } from "./restore.ts";

export interface VolumesDeps {
  /** `<dataRoot>/volumes`. Exists. */
  root: string;
  local: LocalDriver;
  plugins: Plugins;
  rows: VolumeStore;
  events: Pick<Events, "publish">;
  log: Log;
  now(): Date;
  /** 64 random hex digits. */
  newID(): string;
  /** IDs of the containers, running or not, that have this volume mounted. */
  usersOf(volume: string): string[];
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
  /** Whether its files are reachable only while somebody has it mounted. */
  needsMount(name: string): boolean;
  /** Makes its files reachable for this user, once for each user; returns where they lie. */
  mount(name: string, user: string): Promise<string>;
  unmount(name: string, user: string): Promise<void>;
  /** After a restart of the daemon: this user has it mounted still. */
  regain(name: string, user: string): void;
  /** Every user is regained: takes down what a killed daemon has left mounted for nobody. */
  settle(): void;
}

/** The label that tells an anonymous volume to every client; its value is empty. */
export const ANONYMOUS_LABEL = "com.docker.volume.anonymous";

/** Reads the rows, holds them against the directories, and serves from memory from then on. */
export async function createVolumes(deps: VolumesDeps): Promise<VolumeService> {
  const volumes = await restoreVolumes(deps);
  const locks = createLocks();
  const claims = new Map<string, number>();
  const measuring = new Map<string, Promise<number>>();

  const get = (name: string): VolumeRecord => {
    const volume = volumes.get(name);
    if (volume === undefined) throw notFound(`get ${name}: no such volume`);
    return volume;
  };

  const drivers = new WeakMap<Plugin, VolumeDriver>();
  const pluginDriver = async (plugin: Plugin): Promise<VolumeDriver> => {
    const before = drivers.get(plugin);
    if (before !== undefined) return before;
    const driver = await createPluginDriver(plugin);
    drivers.set(plugin, driver);
    return driver;
  };
  const driverOf = async (name: string, volume: string): Promise<VolumeDriver> => {
    if (name === LOCAL || name === "") return deps.local;
    try {
      return await pluginDriver(await deps.plugins.find(name, VOLUME_CAPABILITY));
    } catch (error) {
      if (!(error instanceof EngineError && error.kind === "notFound")) throw error;
      throw notFound(`${volume}: error looking up volume plugin ${name}: ${error.message}`, { cause: error });
    }
  };

  /** COMPAT: a volume that a plugin has by itself needs no create: it is known by its name. */
  const adopt = async (name: string, driver: VolumeDriver): Promise<VolumeRecord | null> => {
    let found;
    try {
      found = await driver.get(name);
    } catch (error) {
      deps.log.debug("a volume plugin does not know a volume", { plugin: driver.name, volume: name, error });
      return null;
    }
    using _held = await locks.hold(name);
    const known = volumes.get(name);
    if (known !== undefined) return known;
    const stored = {
      name,
      driver: driver.name,
      scope: driver.scope,
      createdAt: found.createdAt,
      labels: {},
      options: {},
      isAnonymous: false,
    };
    await deps.rows.insert(stored);
    const volume = { ...stored, mountpoint: found.mountpoint };
    volumes.set(name, volume);
    return volume;
  };

  const fromPlugins = async (name: string): Promise<VolumeRecord | null> => {
    for (const plugin of await deps.plugins.all(VOLUME_CAPABILITY)) {
      const adopted = await adopt(name, await pluginDriver(plugin));
      if (adopted !== null) return adopted;
    }
    return null;
  };

  const sameDriver = (existing: VolumeRecord, { Name, Driver }: VolumeCreate): VolumeRecord => {
    if (Driver === "" || Driver === existing.driver) return existing;
    throw conflict(`create ${Name}: volume name must be unique`);
  };

  const create = async (request: VolumeCreate): Promise<VolumeRecord> => {
    const isAnonymous = request.Name === "";
    const name = isAnonymous ? deps.newID() : request.Name;
    const before = volumes.get(name) ?? (request.Driver === "" && !isAnonymous ? await fromPlugins(name) : null);
    if (before !== null) return sameDriver(before, request);
    const driver = await driverOf(request.Driver, `create ${name}`);
    driver.check(name, request.DriverOpts);
    using _held = await locks.hold(name);
    const meanwhile = volumes.get(name);
    if (meanwhile !== undefined) return sameDriver(meanwhile, request);
    const stored: StoredVolume = {
      name,
      driver: driver.name,
      scope: driver.scope,
      createdAt: deps
        .now()
        .toISOString()
        .replace(/\.\d+Z$/, "Z"),
      labels: isAnonymous ? { ...request.Labels, [ANONYMOUS_LABEL]: "" } : request.Labels,
      options: request.DriverOpts,
      // COMPAT: a client may make an anonymous volume under a name of its own by giving the label itself.
      isAnonymous: isAnonymous || Object.hasOwn(request.Labels, ANONYMOUS_LABEL),
    };
    await deps.rows.insert(stored);
    let mountpoint;
    try {
      await driver.create(name, request.DriverOpts);
      ({ mountpoint } = await driver.get(name));
    } catch (error) {
      await deps.rows.remove(name);
      throw error;
    }
    const volume = { ...stored, mountpoint };
    volumes.set(name, volume);
    deps.events.publish("volume", "create", name, { driver: driver.name });
    return volume;
  };

  /** COMPAT: by force a volume goes whose plugin is no longer there; what that has of it stays. */
  const removeFiles = async ({ name, driver }: VolumeRecord, isForced: boolean): Promise<void> => {
    let found: VolumeDriver;
    try {
      found = await driverOf(driver, `remove ${name}`);
    } catch (error) {
      if (!isForced) throw error;
      deps.log.warn("a volume is forgotten whose plugin is not there", { volume: name, plugin: driver, error });
      return;
    }
    await found.remove(name);
  };

  /** The caller has checked that nobody uses it, in this same turn. */
  const drop = async (volume: VolumeRecord, isForced = false): Promise<void> => {
    // Out of the map first: from here on nobody finds it, and nobody can begin to use it.
    volumes.delete(volume.name);
    try {
      await removeFiles(volume, isForced);
      await deps.rows.remove(volume.name);
    } catch (error) {
      volumes.set(volume.name, volume);
      throw error;
    }
    deps.events.publish("volume", "destroy", volume.name, { driver: volume.driver });
  };

  const remove = async (name: string, force: boolean): Promise<void> => {
    if (!volumes.has(name)) await fromPlugins(name);
    using _held = await locks.hold(name);
    if (!volumes.has(name) && force) return;
    const volume = get(name);
    const users = deps.usersOf(name);
    if (users.length > 0) throw conflict(`remove ${name}: volume is in use - [${users.join(", ")}]`);
    if (claims.has(name)) throw conflict(`remove ${name}: volume is in use - [a container that is being created]`);
    await drop(volume, force);
  };

  /** Two callers at once share one walk over the directory. COMPAT: what another program keeps is not measured: -1. */
  const sizeOf = (volume: VolumeRecord): Promise<number> => {
    if (volume.driver !== LOCAL) return Promise.resolve(-1);
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

  /** Takes in what plugins have by themselves. A plugin that does not answer is a warning, as under Docker. */
  const askPlugins = async (): Promise<string[]> => {
    const warnings: string[] = [];
    for (const plugin of await deps.plugins.all(VOLUME_CAPABILITY)) {
      try {
        const driver = await pluginDriver(plugin);
        for (const name of await driver.list()) if (!volumes.has(name)) await adopt(name, driver);
      } catch (error) {
        warnings.push(`list ${plugin.name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
    return warnings;
  };

  return {
    create,
    get,
    remove,
    async inspect(name): Promise<VolumeDetails> {
      const volume = volumes.get(name) ?? (await fromPlugins(name)) ?? get(name);
      if (volume.driver === LOCAL) return { ...volume, status: {} };
      const { mountpoint, createdAt, status } = await (await driverOf(volume.driver, `get ${name}`)).get(name);
      return { ...volume, mountpoint, createdAt: createdAt || volume.createdAt, status };
    },
    async list(filters) {
      const warnings = await askPlugins();
      const dangling = booleanFilter(filters, "dangling", null);
      const found = [...volumes.values()].filter(
        (volume) =>
          matchesPattern(filters, "name", volume.name) &&
          matchesExactly(filters, "driver", volume.driver) &&
          matchesLabels(filters, volume.labels) &&
          (dangling === null || dangling === (deps.usersOf(volume.name).length === 0)),
      );
      return { volumes: found.sort((a, b) => (a.name < b.name ? -1 : 1)), warnings };
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
    needsMount(name) {
      const volume = volumes.get(name);
      return volume !== undefined && (volume.driver !== LOCAL || Object.hasOwn(volume.options, "device"));
    },
    async mount(name, user) {
      const { driver, options } = get(name);
      return await (await driverOf(driver, `mount ${name}`)).mount(name, options, user);
    },
    async unmount(name, user) {
      const driver = volumes.get(name)?.driver ?? LOCAL;
      await (await driverOf(driver, `unmount ${name}`)).unmount(name, user);
    },
    regain(name, user) {
      if (volumes.get(name)?.driver === LOCAL) deps.local.regain(name, user);
    },
    settle: () => deps.local.unmountUnused(),
  };
}
