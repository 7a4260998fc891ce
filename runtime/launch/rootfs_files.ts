// Small files of a root file system that is mounted nowhere: read straight from its layers, the topmost first, as
// overlayfs would find them. A path that leads through a symbolic link is left to a real mount (view.ts).
import { lstatSync } from "node:fs";
import type { Rootfs } from "../bundle.ts";
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { alloc, syscall } from "../sys/ffi.ts";
import {
  O,
  openInRoot,
  openInRootNoSymlinks,
  openPath,
  readAll,
  S_IFCHR,
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  statusOf,
} from "../sys/file.ts";
import { CACHED_FILES, MAX_ACCOUNT_FILE_BYTES, MAX_CACHED_FILE_BYTES } from "../limits.ts";

const decoder = new TextDecoder();

type Found = { text: string } | "symlink";

/** Files of layers that were read lately: images are started more than once. */
export class LayerFileCache {
  readonly #found = new Map<string, Found>();

  take(key: string, read: () => Found): Found {
    const known = this.#found.get(key);
    if (known) return known;
    const found = read();
    if (found !== "symlink" && found.text.length > MAX_CACHED_FILE_BYTES) return found;
    for (const oldest of this.#found.size >= CACHED_FILES ? this.#found.keys() : []) {
      this.#found.delete(oldest);
      break;
    }
    this.#found.set(key, found);
    return found;
  }
}

/**
 * The text of `/<directory>/<name>`; "" when there is no such file. `openView` is asked once a symbolic link is in the
 * way.
 */
export function readFromRootfs(
  rootfs: Rootfs,
  directory: string,
  name: string,
  cache: LayerFileCache,
  openView: () => Fd,
): string {
  if (rootfs.kind === "overlay" && rootfs.lower.length > 0) {
    const lower = rootfs.lower.map((one) => absolute(rootfs, one));
    // Most containers never write there, and layers never change.
    const isUntouched = lstatSync(`${rootfs.upper}/${directory}`, { throwIfNoEntry: false }) === undefined;
    const found = isUntouched
      ? cache.take(`${lower.join(":")}:${directory}/${name}`, () => readFromLayers(lower, directory, name))
      : readFromLayers([rootfs.upper, ...lower], directory, name);
    if (found !== "symlink") return found.text;
  }
  using view = openView();
  return readInRoot(view, `${directory}/${name}`);
}

function absolute(rootfs: Rootfs, lower: string): string {
  return lower.startsWith("/") ? lower : `${rootfs.layersDir}/${lower}`;
}

function readFromLayers(layers: readonly string[], directory: string, name: string): Found {
  const absent = { text: "" };
  for (const layer of layers) {
    using root = openPath(layer, O.PATH | O.DIRECTORY);
    const parent = openOrNull(root, directory);
    if (parent === "symlink") return "symlink";
    if (parent === null) continue;
    using holder = parent;
    const { mode } = statusOf(holder);
    // A whiteout, or a file in the place of the directory, hides all layers below.
    if ((mode & S_IFMT) !== S_IFDIR) return (mode & S_IFMT) === S_IFREG || isWhiteout(holder) ? absent : "symlink";
    const file = openOrNull(holder, name);
    if (file === "symlink") return "symlink";
    if (file !== null) {
      using entry = file;
      if (isWhiteout(entry)) return absent;
      if ((statusOf(entry).mode & S_IFMT) !== S_IFREG) return "symlink";
      return { text: readInRoot(holder, name) };
    }
    if (isOpaque(`/proc/self/fd/${holder.number}`)) return absent;
  }
  return absent;
}

/** O_PATH of a name below `root`, itself not followed; null when there is none. */
function openOrNull(root: Fd, path: string): Fd | null | "symlink" {
  try {
    const fd = openInRootNoSymlinks(root, path, O.PATH | O.NOFOLLOW);
    if ((statusOf(fd).mode & S_IFMT) !== S_IFLNK) return fd;
    fd.close();
    return "symlink";
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    if (error.errno === E.ENOENT) return null;
    if (error.errno === E.ELOOP) return "symlink";
    throw error;
  }
}

const S_IFLNK = 0o120000;

function isWhiteout(fd: Fd): boolean {
  const { mode, deviceMajor, deviceMinor } = statusOf(fd);
  return (mode & S_IFMT) === S_IFCHR && deviceMajor === 0 && deviceMinor === 0;
}

/** Overlay's mark on a directory that hides those of the same name below it. */
function isOpaque(path: string): boolean {
  return ["trusted.overlay.opaque", "user.overlay.opaque"].some((attribute) => {
    const value = alloc(8);
    return syscall("getxattr", path, attribute, value, 1) === 1 && value[0] === 0x79; // "y"
  });
}

/** A small regular file below a root; "" when it is missing or is no regular file. */
export function readInRoot(root: Fd, path: string): string {
  let file: Fd;
  try {
    // Not blocking: an image may have put a FIFO there.
    file = openInRoot(root, path, O.RDONLY | O.NONBLOCK);
  } catch (error) {
    if (error instanceof SyscallError && [E.ENOENT, E.ENOTDIR, E.ELOOP, E.ENXIO].includes(error.errno as 2)) return "";
    throw error;
  }
  using opened = file;
  if ((statusOf(opened).mode & S_IFMT) !== S_IFREG) return "";
  return decoder.decode(readAll(opened, MAX_ACCOUNT_FILE_BYTES));
}
