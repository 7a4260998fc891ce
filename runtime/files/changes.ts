// What a container has changed of its image: `docker diff`. Read from the writable directory alone, as overlayfs keeps it
// (Documentation/filesystems/overlayfs.rst), and from the image's layers beside it: nothing is mounted, and what was not
// touched is not looked at.
//
//   a name in upper                     not below: added        below: modified, or only copied up
//   char device 0:0, or the xattr       below: deleted
//   directory with the opaque xattr     hides what is below: each name that is there and not in it is deleted
//
// The container may be running: names are opened below upper by descriptors, never following a link.
import { setImmediate } from "node:timers/promises";
import type { Rootfs } from "../bundle.ts";
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import { Fd } from "../sys/fd.ts";
import { O, openInRootNoSymlinks, openPath, reopen, S_IFCHR, S_IFLNK, S_IFMT, S_IFREG } from "../sys/file.ts";
import { eachName, type EntryStatus, openEntry, readAttribute, statEntry } from "../sys/tree.ts";
import { absoluteLower } from "../launch/view.ts";
import { isDirectory } from "../layer/merged.ts";
import { type Level, Levels, MAX_DEPTH } from "./levels.ts";
import { fromRawName, toRawName } from "./names.ts";

export interface Change {
  /** Absolute in the container. */
  path: string;
  kind: "modified" | "added" | "deleted";
}

/** Looks at a file, in upper or in a layer, before other work has its turn: some two milliseconds. */
const SLICE_LOOKS = 128;
/** Names of a directory that are put in order; of a larger one they come as the file system has them. */
const MAX_SORTED = 50_000;
/** Names read before other work has its turn. */
const SLICE_NAMES = 1024;

interface NameToLookAt {
  name: string;
  isHere: boolean;
}

/** A directory on the way, from the root to where the walk is. */
interface WalkedLevel extends Level<NameToLookAt> {
  path: string;
  /** Layers that have this directory, by their number, the topmost first. */
  lowers: readonly number[];
  /** The directory holds all there is: what only the layers have is gone. */
  isWhole: boolean;
  /** It stands in the list already, or does not belong there. */
  isListed: boolean;
}

interface Old {
  status: EntryStatus;
  fd: Fd;
  /** For a directory: the layers that make it up. */
  lowers: number[];
}

/** In the order of a walk: a directory, then what is in it by name. `own` are paths that the engine makes, not the container. */
export async function* changes(rootfs: Rootfs, own: ReadonlySet<string>): AsyncGenerator<Change> {
  using opened = new DisposableStack();
  const layers = absoluteLower(rootfs).map((path) => opened.use(openPath(path, O.PATH | O.DIRECTORY)));
  using walk = new Walk(layers, own);
  const root = openPath(rootfs.upper, O.RDONLY | O.DIRECTORY);
  // The copy snapshotter's directories hold everything.
  const isWhole = rootfs.kind === "directory";
  await walk.enter(root, "", { lowers: layers.keys().toArray(), isWhole, isListed: true });
  yield* walk.rest();
}

class Walk implements Disposable {
  readonly #levels = new Levels<NameToLookAt, WalkedLevel>();
  #looks = 0;

  constructor(
    private readonly layers: readonly Fd[],
    private readonly own: ReadonlySet<string>,
  ) {}

  async *rest(): AsyncGenerator<Change> {
    for (let next = this.#levels.next(); next !== null; next = this.#levels.next()) {
      if (this.#looks >= SLICE_LOOKS) {
        this.#looks = 0;
        await setImmediate();
      }
      const { level, name: found } = next;
      const { name, isHere } = found;
      const path = `${level.path}/${name}`;
      const change = isHere ? await this.#inUpper(level, name, path) : this.#onlyBelow(level, path);
      if (change !== null) {
        yield* this.#parents(level);
        yield { path, kind: change };
      }
    }
  }

  /** Takes over the descriptor. */
  async enter(directory: Fd, path: string, rest: Pick<WalkedLevel, "lowers" | "isWhole" | "isListed">): Promise<void> {
    const level: WalkedLevel = { directory, path, names: [].values(), ...rest };
    this.#levels.enter(level);
    if (this.#levels.open.length > MAX_DEPTH) throw new Error(`cannot walk more than ${MAX_DEPTH} directories deep`);
    const here = await namesIn(directory);
    const below = rest.isWhole ? await this.#namesBelow(path, rest.lowers) : new Set<string>();
    const names = [
      ...Array.from(here, (name) => ({ name, isHere: true })),
      ...Array.from(below.difference(here), (name) => ({ name, isHere: false })),
    ];
    if (names.length <= MAX_SORTED) names.sort((a, b) => (a.name < b.name ? -1 : 1));
    level.names = names.values();
  }

  /** COMPAT: each directory above a change is listed as modified, once and before it. */
  *#parents(inner: WalkedLevel): Generator<Change> {
    if (inner.isListed) return;
    for (const level of this.#levels.open) {
      if (level.isListed) continue;
      level.isListed = true;
      yield { path: level.path, kind: "modified" };
      if (level === inner) return;
    }
  }

  /** What has become of a name in upper; a directory is entered after it. null: nothing. */
  async #inUpper(level: WalkedLevel, name: string, path: string): Promise<Change["kind"] | null> {
    this.#looks++;
    const entry = openOrNull(() => openEntry(level.directory, toRawName(name), O.PATH));
    if (entry === null) return null;
    using file = entry;
    const status = statEntry(file, null);
    using found = new DisposableStack();
    const old = this.#old(level.lowers, path);
    if (old !== null) found.use(old.fd);
    if (isWhiteout(file, status)) return old === null ? null : "deleted";
    const change = this.#compare(file, status, old, path);
    if (!isDirectory(status)) return change;
    const directory = openOrNull(() => reopen(file, O.RDONLY | O.DIRECTORY));
    if (directory === null) return change;
    const isWhole = level.isWhole || isOpaque(directory);
    // Its own line comes before anything in it does: it is entered as one that is listed.
    await this.enter(directory, path, { lowers: old?.lowers ?? [], isWhole, isListed: change !== null });
    return change;
  }

  #onlyBelow(level: WalkedLevel, path: string): Change["kind"] | null {
    const old = this.#old(level.lowers, path);
    old?.fd.close();
    return old === null ? null : "deleted";
  }

  #compare(file: Fd, status: EntryStatus, old: Old | null, path: string): Change["kind"] | null {
    if (old === null) return this.own.has(path) ? null : "added";
    if (differs(old.status, status)) return "modified";
    const isRegular = (status.mode & S_IFMT) === S_IFREG;
    return isRegular && !isSameCapability(old.fd, file) ? "modified" : null;
  }

  /** What the layers show at a path; null where none has it, or one hides it. */
  #old(lowers: readonly number[], path: string): Old | null {
    let old: Old | null = null;
    for (const number of lowers) {
      this.#looks++;
      const layer = this.layers[number];
      const fd = layer === undefined ? null : openOrNull(() => openInRootNoSymlinks(layer, path, O.PATH | O.NOFOLLOW));
      if (fd === null) continue;
      const status = statEntry(fd, null);
      const isHidden = isWhiteout(fd, status);
      const isFirst = old === null && !isHidden;
      if (isFirst) old = { status, fd, lowers: [] };
      const isPart = !isHidden && isDirectory(status) && old !== null && isDirectory(old.status);
      if (isPart) old?.lowers.push(number);
      const isLast = !isPart || hasOpaque(fd);
      if (!isFirst) fd.close();
      if (isLast) break;
    }
    return old;
  }

  async #namesBelow(path: string, lowers: readonly number[]): Promise<Set<string>> {
    const names = new Set<string>();
    for (const number of lowers) {
      const layer = this.layers[number];
      const opened =
        layer === undefined ? null : openOrNull(() => openInRootNoSymlinks(layer, path || ".", O.RDONLY | O.DIRECTORY));
      if (opened === null) continue;
      using directory = opened;
      for (const name of await namesIn(directory)) names.add(name);
    }
    return names;
  }

  [Symbol.dispose](): void {
    this.#levels[Symbol.dispose]();
  }
}

async function namesIn(directory: Fd): Promise<Set<string>> {
  const names = new Set<string>();
  for (const name of eachName(directory)) {
    names.add(fromRawName(name));
    if (names.size % SLICE_NAMES === 0) await setImmediate();
  }
  return names;
}

function isWhiteout(file: Fd, { mode, deviceMajor, deviceMinor, sizeBytes }: EntryStatus): boolean {
  const type = mode & S_IFMT;
  if (type === S_IFCHR) return deviceMajor === 0 && deviceMinor === 0;
  // Since Linux 6.7, and only where char devices cannot be made: an empty file that says so.
  if (type !== S_IFREG || sizeBytes > 0) return false;
  return attributeOf(file, "trusted.overlay.whiteout") !== null;
}

const OPAQUE = "y".charCodeAt(0);

function isOpaque(directory: Fd): boolean {
  return readAttribute(directory, "trusted.overlay.opaque")?.[0] === OPAQUE;
}

function hasOpaque(place: Fd): boolean {
  return attributeOf(place, "trusted.overlay.opaque")?.[0] === OPAQUE;
}

/** Of a file that was opened by O_PATH, which reads no attributes. */
function attributeOf(place: Fd, name: string): Uint8Array | null {
  const opened = openOrNull(() => reopen(place, O.RDONLY | O.NONBLOCK));
  if (opened === null) return null;
  using file = opened;
  return readAttribute(file, name);
}

/** COMPAT: size and time tell nothing of a directory: whoever makes and removes a file in it has changed nothing. */
function differs(old: EntryStatus, now: EntryStatus): boolean {
  if (old.mode !== now.mode || old.uid !== now.uid || old.gid !== now.gid) return true;
  if (isDirectory(now)) return false;
  const isDevice = (now.mode & S_IFMT) !== S_IFREG && (now.mode & S_IFMT) !== S_IFLNK;
  if (isDevice && (old.deviceMajor !== now.deviceMajor || old.deviceMinor !== now.deviceMinor)) return true;
  if (old.sizeBytes !== now.sizeBytes) return true;
  return old.modified[0] !== now.modified[0] || old.modified[1] !== now.modified[1];
}

function isSameCapability(one: Fd, other: Fd): boolean {
  const [a, b] = [attributeOf(one, "security.capability"), attributeOf(other, "security.capability")];
  return a === null || b === null ? a === b : Buffer.compare(a, b) === 0;
}

/** null for what has gone meanwhile, or never was there. */
function openOrNull(open: () => Fd): Fd | null {
  try {
    return open();
  } catch (error) {
    if (error instanceof SyscallError && MISSING.has(error.errno)) return null;
    throw error;
  }
}

const MISSING: ReadonlySet<number> = new Set([E.ENOENT, E.ENOTDIR, E.ELOOP, E.ENAMETOOLONG]);
