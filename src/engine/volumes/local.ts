// The driver `local`: a directory for each volume, `<root>/<name>/_data`, which belongs to the containers once it exists.
// With driver options that name a file system (`type`, `device`, `o`: NFS, CIFS, tmpfs, a disk, a bind) that is mounted
// there for as long as a container runs with it.
import { constants } from "node:fs";
import { chmod, mkdir, open, readdir, stat } from "node:fs/promises";
import { isIP } from "node:net";
import { join } from "node:path";
import type { HostMount, Quotas } from "../../../runtime/mod.ts";
import { SyscallError } from "../../../runtime/mod.ts";
import { internal, invalid, notFound } from "../../errors.ts";
import { MAX_NAME_BYTES } from "../../limits.ts";
import { createLocks } from "../locks.ts";
import { parseSize } from "../size_text.ts";
import type { VolumeDriver } from "./driver.ts";

export const LOCAL = "local";

export interface LocalDriverDeps {
  /** `<dataRoot>/volumes`. Exists. */
  root: string;
  /** Renames a directory into the trash of the same file system, to be deleted in the background. */
  discard(path: string): Promise<void>;
  /** null: the file system has none. */
  quotas: Quotas | null;
  mount(request: HostMount): void;
  unmount(target: string): void;
  /** Mount points below a directory. */
  mountsBelow(directory: string): string[];
  /** An address of a host name: the kernel's network file systems take no names. */
  resolveHost(name: string): Promise<string>;
}

export interface LocalDriver extends VolumeDriver {
  /** After a restart of the daemon: this user has it mounted still. */
  regain(name: string, user: string): void;
  /** Takes down what a daemon that was killed has left mounted for nobody. */
  unmountUnused(): void;
}

export function createLocalDriver(deps: LocalDriverDeps): LocalDriver {
  const locks = createLocks();
  const users = new Map<string, Set<string>>();
  const pathOf = (name: string): string => join(deps.root, name, "_data");
  const usersOf = (name: string): Set<string> => {
    const found = users.get(name) ?? new Set();
    users.set(name, found);
    return found;
  };
  return {
    name: LOCAL,
    scope: "local",
    check: (name, options) => checkRequest(name, options, deps.quotas !== null),
    async create(name, options) {
      await makeDirectory(deps.root, name);
      const bytes = sizeOf(name, options);
      if (bytes === null) return;
      try {
        deps.quotas?.limit([pathOf(name)], bytes);
      } catch (error) {
        await deps.discard(join(deps.root, name));
        throw error;
      }
    },
    async remove(name) {
      // What is mounted there is not ours to delete.
      if (deps.mountsBelow(join(deps.root, name)).length > 0) deps.unmount(pathOf(name));
      deps.quotas?.release(pathOf(name));
      try {
        await deps.discard(join(deps.root, name));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    },
    async get(name) {
      const mountpoint = pathOf(name);
      try {
        await stat(mountpoint);
      } catch {
        throw notFound(`get ${name}: no such volume`);
      }
      return { mountpoint, createdAt: "", status: {} };
    },
    list: () => readdir(deps.root),
    async mount(name, options, user) {
      const target = pathOf(name);
      if (!isMounted(options)) return target;
      using _held = await locks.hold(name);
      const mine = usersOf(name);
      if (mine.size === 0 && !deps.mountsBelow(join(deps.root, name)).includes(target)) {
        await mountOptions(deps, target, options);
      }
      mine.add(user);
      return target;
    },
    async unmount(name, user) {
      const mine = users.get(name);
      if (mine === undefined) return;
      using _held = await locks.hold(name);
      if (!mine.delete(user) || mine.size > 0) return;
      users.delete(name);
      deps.unmount(pathOf(name));
    },
    regain: (name, user) => void usersOf(name).add(user),
    unmountUnused() {
      for (const target of deps.mountsBelow(deps.root)) {
        const [name = "", rest] = target.slice(deps.root.length + 1).split("/");
        if (rest === "_data" && !users.has(name)) deps.unmount(target);
      }
    },
  };
}

// ---- what is accepted

const NAME_PATTERN = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

export function isVolumeName(name: string): boolean {
  return NAME.test(name);
}

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

function checkRequest(name: string, options: Readonly<Record<string, string>>, hasQuotas: boolean): void {
  checkVolumeName(name);
  for (const option of Object.keys(options)) {
    const needed = REQUIRED_WITH.get(option);
    if (needed === undefined) throw invalid(`create ${name}: invalid option: ${JSON.stringify(option)}`);
    for (const other of needed) {
      if (!options[other]) throw invalid(`create ${name}: missing required option: ${JSON.stringify(other)}`);
    }
  }
  if (sizeOf(name, options) === null) return;
  if (!hasQuotas) throw invalid(`create ${name}: quota size requested but no quota support`);
  if (isMounted(options)) {
    throw invalid(`create ${name}: size is for a volume on this machine's own disk: for a device, give it in o`);
  }
}

/** How much the volume may hold; null: as much as there is room for. Throws invalid. */
function sizeOf(name: string, options: Readonly<Record<string, string>>): number | null {
  const text = options["size"];
  if (text === undefined) return null;
  const bytes = parseSize(text);
  if (bytes === null || bytes < 0) throw invalid(`create ${name}: invalid size: '${text}'`);
  return bytes === 0 ? null : bytes;
}

// ---- mounting

function isMounted(options: Readonly<Record<string, string>>): boolean {
  return options["device"] !== undefined && options["device"] !== "";
}

async function mountOptions(
  deps: LocalDriverDeps,
  target: string,
  options: Readonly<Record<string, string>>,
): Promise<void> {
  const { type = "", device = "", o = "" } = options;
  const words = await withAddress(deps, type, device, o === "" ? [] : o.split(","));
  try {
    deps.mount({ type, device, target, options: words });
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    const data = words.length > 0 ? `, data: ${masked(words).join(",")}` : "";
    throw internal(
      `error while mounting volume '${target}': failed to mount local volume: mount ${device}:${target}${data}: ${error.reason.toLowerCase()}`,
      { cause: error },
    );
  }
}

/** COMPAT: as Docker, a name in `addr=` is looked up, and CIFS without one is told the server's. */
async function withAddress(deps: LocalDriverDeps, type: string, device: string, words: string[]): Promise<string[]> {
  if (!/^(nfs4?|cifs|smb3)$/.test(type)) return words;
  const given = words.find((word) => word.startsWith("addr="))?.slice("addr=".length);
  const isShare = !type.startsWith("nfs");
  const host = given ?? (isShare ? (/^\/\/([^/]+)\//.exec(device)?.[1] ?? "") : "");
  if (host === "" || (given !== undefined && isIP(given) !== 0)) return words;
  const address = isIP(host) === 0 ? await lookUp(deps, host) : host;
  const rest = words.filter((word) => !word.startsWith("addr="));
  return [...rest, isShare && given === undefined ? `ip=${address}` : `addr=${address}`];
}

async function lookUp(deps: LocalDriverDeps, host: string): Promise<string> {
  try {
    return await deps.resolveHost(host);
  } catch (error) {
    throw internal(`error resolving passed in network volume address: lookup ${host}: no such host`, { cause: error });
  }
}

/** A password is nobody's business who reads an error. */
function masked(words: readonly string[]): string[] {
  return words.map((word) => word.replace(/^(password|pass)=.*/, "$1=********"));
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
