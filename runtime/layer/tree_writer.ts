// Entries of a tar to files below a root: what a layer or a copied archive does to a directory. Called synchronously by
// TarReader; each small file is five system calls (openat, pwrite, [fchown, fchmod], utimensat, close) by bare FFI,
// since promises would cost more than the files. Needs umask 0.
//
// INVARIANT: nothing is ever made outside the root. Parents are opened by RootDirectory; the last component is made by
// name with O_EXCL and O_NOFOLLOW, and names are never "..".
import { rmSync } from "node:fs";
import { SyscallError } from "../errors.ts";
import { hostArch, type SysName, sysNumber } from "../sys/arch.ts";
import { E } from "../sys/errno.ts";
import { Fd } from "../sys/fd.ts";
import { addressOf, alloc, bareSyscall, syscall } from "../sys/ffi.ts";
import { O } from "../sys/file.ts";
import { LayerError } from "./layer_error.ts";
import { MAX_LAYER_BYTES, MAX_LAYER_ENTRIES } from "./limits.ts";
import { cleanPath, encodePath } from "./path_text.ts";
import { PathBuffer, RootDirectory } from "./root_dir.ts";
import type { TarEntry, TarTime, TarVisitor } from "./tar_read.ts";

const FILE_FLAGS = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW | O.CLOEXEC;
const DIRECTORY_FLAGS = O.DIRECTORY | O.NOFOLLOW | O.CLOEXEC;
const S_IFIFO = 0o010000,
  S_IFCHR = 0o020000,
  S_IFBLK = 0o060000;
const S_ISGID = 0o2000,
  SET_ID_BITS = 0o6000;
const AT_REMOVEDIR = 0x200,
  AT_SYMLINK_NOFOLLOW = 0x100;
const WHITEOUT = ".wh.",
  OPAQUE = ".wh..wh..opq",
  AUFS_INTERNAL = ".wh..wh.";
/** Names that overlayfs gives a meaning to: an image must not set them. */
const OVERLAY_XATTR = /^(?:trusted|user)\.overlay\./;

export interface TreeWriterOptions {
  /** `overlay`: AUFS whiteouts (.wh.x) become overlayfs ones. `none`: such names are ordinary. */
  whiteouts: "overlay" | "none";
}

interface DirectoryTimes {
  mtime: TarTime;
  atime: TarTime;
}

export class TreeWriter implements TarVisitor, Disposable {
  /** Sum of file sizes, and how many entries there were. */
  sizeBytes = 0;
  entries = 0;

  readonly #root: RootDirectory;
  readonly #call = bareSyscall();
  readonly #nr = numbers();
  readonly #name = new PathBuffer();
  readonly #target = new PathBuffer();
  readonly #times = alloc(32);
  readonly #timesView = new DataView(this.#times.buffer);
  readonly #timesAddress = addressOf(this.#times);
  /** Written last, since every file made in a directory changes its time. */
  readonly #directoryTimes = new Map<string, DirectoryTimes>();
  /** What this very layer has whited out: a directory that follows under the same name hides the lower one. */
  readonly #whiteouts = new Set<string>();
  /** A directory hands its group or ACL to new files: owner and mode must be set in so many words. */
  #isInheriting = false;
  #file = -1;
  #fileEntry: TarEntry | null = null;
  #fileEnd = 0;

  /** The root directory's descriptor stays the caller's. */
  constructor(
    private readonly rootFd: Fd,
    private readonly options: TreeWriterOptions,
  ) {
    this.#root = new RootDirectory(rootFd);
  }

  entry(entry: TarEntry): void {
    if (++this.entries > MAX_LAYER_ENTRIES) throw new LayerError(`more than ${MAX_LAYER_ENTRIES} entries`);
    const path = cleanPath(entry.path);
    if (path === null) throw new LayerError(`entry ${JSON.stringify(entry.path)} climbs out of the root`);
    if (path === "") return this.#rootEntry(entry);
    const slash = path.lastIndexOf("/");
    const directory = slash < 0 ? "" : path.slice(0, slash);
    const name = path.slice(slash + 1);
    if (this.options.whiteouts === "overlay" && name.startsWith(WHITEOUT)) this.#whiteout(directory, name);
    else if (entry.type === "file") this.#startFile(entry, directory, name);
    else if (entry.type === "directory") this.#directory(entry, path, directory, name);
    else if (entry.type === "symlink") this.#symlink(entry, directory, name);
    else if (entry.type === "link") this.#link(entry, path, directory, name);
    else this.#node(entry, directory, name);
  }

  data(bytes: Uint8Array, position: number): void {
    if (this.#file < 0) return;
    // SAFETY: `bytes` is referenced by the caller until this returns.
    const address = addressOf(bytes);
    for (let done = 0; done < bytes.length;) {
      const count = this.#call(
        this.#nr.pwrite64,
        this.#file,
        address + done,
        bytes.length - done,
        position + done,
        0,
        0,
      );
      if (count < 0) throw this.#failed("pwrite64", count);
      done += count;
    }
    this.#fileEnd = position + bytes.length;
  }

  end(): void {
    const entry = this.#fileEntry;
    if (entry === null) return;
    const fd = this.#file;
    if (this.#fileEnd !== entry.size)
      this.#check("ftruncate", this.#call(this.#nr.ftruncate, fd, entry.size, 0, 0, 0, 0));
    if (this.#hasOwner(entry)) this.#check("fchown", this.#call(this.#nr.fchown, fd, entry.uid, entry.gid, 0, 0, 0));
    // chown and writes take set-ID bits and file capabilities away, so both come after them.
    if (this.#needsMode(entry)) this.#check("fchmod", this.#call(this.#nr.fchmod, fd, entry.mode, 0, 0, 0, 0));
    if (entry.xattrs !== null) this.#setXattrs(entry.xattrs, fd);
    this.#setTimes(entry.mtime, entry.atime);
    this.#check("utimensat", this.#call(this.#nr.utimensat, fd, 0, this.#timesAddress, 0, 0, 0));
    this.#closeFile();
  }

  /** Sets the directories' own times. Call once all entries are written. */
  finish(): void {
    for (const [path, times] of this.#directoryTimes) {
      const fd = this.#root.tryOpen(path);
      if (fd < 0) continue; // Replaced by a later entry.
      this.#setTimes(times.mtime, times.atime);
      const result = this.#call(this.#nr.utimensat, fd, 0, this.#timesAddress, 0, 0, 0);
      this.#call(this.#nr.close, fd, 0, 0, 0, 0, 0);
      this.#check("utimensat", result);
    }
    this.#directoryTimes.clear();
  }

  [Symbol.dispose](): void {
    this.#closeFile();
    this.#root[Symbol.dispose]();
  }

  #closeFile(): void {
    if (this.#file >= 0) this.#call(this.#nr.close, this.#file, 0, 0, 0, 0, 0);
    this.#file = -1;
    this.#fileEntry = null;
  }

  #rootEntry(entry: TarEntry): void {
    if (entry.type !== "directory")
      throw new LayerError(`entry ${JSON.stringify(entry.path)} would replace the root by a ${entry.type}`);
    const fd = this.rootFd.number;
    this.#check("fchown", this.#call(this.#nr.fchown, fd, entry.uid, entry.gid, 0, 0, 0));
    this.#check("fchmod", this.#call(this.#nr.fchmod, fd, entry.mode, 0, 0, 0, 0));
    this.#directoryExtras(entry, "", fd);
  }

  #startFile(entry: TarEntry, directory: string, name: string): void {
    this.sizeBytes += entry.size;
    if (this.sizeBytes > MAX_LAYER_BYTES) throw new LayerError(`more than ${MAX_LAYER_BYTES} bytes of files`);
    this.#file = this.#make("openat", directory, name, (parent) =>
      this.#call(this.#nr.openat, parent, this.#name.set(name), FILE_FLAGS, entry.mode, 0, 0),
    );
    this.#fileEntry = entry;
    this.#fileEnd = 0;
  }

  #directory(entry: TarEntry, path: string, directory: string, name: string): void {
    const mkdir = (parent: number): number =>
      this.#call(this.#nr.mkdirat, parent, this.#name.set(name), entry.mode, 0, 0, 0);
    const hidesLower = this.#whiteouts.delete(path);
    const made = mkdir(this.#root.directory(directory));
    const exists = made === -E.EEXIST && this.#isDirectory(path, directory, name);
    if (made === -E.EEXIST && !exists) this.#make("mkdirat", directory, name, mkdir);
    else if (made < 0 && !exists) throw this.#failed("mkdirat", made, path);
    const parent = this.#root.directory(directory);
    if (this.#hasOwner(entry) || exists) this.#chownAt(entry, parent, name);
    if (this.#needsMode(entry) || exists) this.#chmodAt(entry, parent, name);
    if (entry.xattrs !== null || hidesLower) {
      const self = procPath(parent, name);
      if (hidesLower) this.#setXattr(self, "trusted.overlay.opaque", OPAQUE_VALUE);
      this.#directoryExtras(entry, path, self);
    } else this.#directoryExtras(entry, path, null);
  }

  /** Whether a name is a directory already: not a symbolic link to one. */
  #isDirectory(path: string, directory: string, name: string): boolean {
    const fd = this.#call(
      this.#nr.openat,
      this.#root.directory(directory),
      this.#name.set(name),
      DIRECTORY_FLAGS,
      0,
      0,
      0,
    );
    if (fd === -E.ENOTDIR || fd === -E.ELOOP) return false;
    if (fd < 0) throw this.#failed("openat", fd, path);
    this.#call(this.#nr.close, fd, 0, 0, 0, 0, 0);
    return true;
  }

  #directoryExtras(entry: TarEntry, path: string, self: number | Uint8Array | null): void {
    if (entry.xattrs !== null && self !== null) {
      this.#setXattrs(entry.xattrs, self);
      if (entry.xattrs.has("system.posix_acl_default")) this.#isInheriting = true;
    }
    if (entry.mode & S_ISGID) this.#isInheriting = true;
    this.#directoryTimes.delete(path);
    this.#directoryTimes.set(path, { mtime: entry.mtime, atime: entry.atime ?? entry.mtime });
  }

  #symlink(entry: TarEntry, directory: string, name: string): void {
    this.#make("symlinkat", directory, name, (parent) =>
      this.#call(this.#nr.symlinkat, this.#target.set(entry.linkPath), parent, this.#name.set(name), 0, 0, 0),
    );
    this.#finishNode(entry, directory, name);
  }

  #link(entry: TarEntry, path: string, directory: string, name: string): void {
    const target = cleanPath(entry.linkPath);
    if (target === null)
      throw new LayerError(
        `hard link ${JSON.stringify(path)} to ${JSON.stringify(entry.linkPath)} climbs out of the root`,
      );
    if (target === path || target === "")
      throw new LayerError(`hard link ${JSON.stringify(path)} to itself or to the root`);
    const slash = target.lastIndexOf("/");
    const targetDirectory = slash < 0 ? "" : target.slice(0, slash);
    const targetName = target.slice(slash + 1);
    try {
      this.#make("linkat", directory, name, (parent) => {
        const from = this.#root.directory(targetDirectory);
        return this.#call(this.#nr.linkat, from, this.#target.set(targetName), parent, this.#name.set(name), 0, 0);
      });
    } catch (error) {
      if (!(error instanceof SyscallError) || (error.errno !== E.ENOENT && error.errno !== E.EPERM)) throw error;
      const why = error.errno === E.ENOENT ? "there is no such entry in this archive" : "it is a directory";
      throw new LayerError(`hard link ${JSON.stringify(path)} to ${JSON.stringify(entry.linkPath)}: ${why}`, {
        cause: error,
      });
    }
  }

  #node(entry: TarEntry, directory: string, name: string): void {
    const { major, minor } = entry;
    if (major > 0xfff || minor > 0xfffff || major < 0 || minor < 0) {
      throw new LayerError(`device ${JSON.stringify(entry.path)} has the number ${major}:${minor}`);
    }
    const type = entry.type === "char" ? S_IFCHR : entry.type === "block" ? S_IFBLK : S_IFIFO;
    const device = entry.type === "fifo" ? 0 : deviceNumber(major, minor);
    this.#make("mknodat", directory, name, (parent) =>
      this.#call(this.#nr.mknodat, parent, this.#name.set(name), type | (entry.mode & 0o777), device, 0, 0),
    );
    if (this.#needsMode(entry)) this.#chmodAt(entry, this.#root.directory(directory), name);
    this.#finishNode(entry, directory, name);
  }

  /** Owner, xattrs and times of what has no descriptor of its own: symbolic links and device nodes. */
  #finishNode(entry: TarEntry, directory: string, name: string): void {
    const parent = this.#root.directory(directory);
    if (this.#hasOwner(entry)) this.#chownAt(entry, parent, name);
    if (entry.type !== "symlink" && entry.mode & SET_ID_BITS) this.#chmodAt(entry, parent, name);
    if (entry.xattrs !== null) this.#setXattrs(entry.xattrs, procPath(parent, name));
    this.#setTimes(entry.mtime, entry.atime);
    const result = this.#call(
      this.#nr.utimensat,
      parent,
      this.#name.set(name),
      this.#timesAddress,
      AT_SYMLINK_NOFOLLOW,
      0,
      0,
    );
    this.#check("utimensat", result, entry.path);
  }

  #whiteout(directory: string, name: string): void {
    if (name === OPAQUE) return this.#opaque(directory);
    if (name.startsWith(AUFS_INTERNAL)) return; // .wh..wh.plnk and the like: AUFS kept its own state there.
    const hidden = name.slice(WHITEOUT.length);
    const path = directory === "" ? hidden : `${directory}/${hidden}`;
    if (hidden === "" || hidden === "." || hidden === "..")
      throw new LayerError(`a whiteout without a name: ${JSON.stringify(path)}`);
    const parent = this.#root.directory(directory);
    const made = this.#call(this.#nr.mknodat, parent, this.#name.set(hidden), S_IFCHR, 0, 0, 0);
    // A whiteout hides what lies in lower layers, never what this one brings.
    if (made === -E.EEXIST) {
      if (this.#isDirectory(path, directory, hidden)) this.#opaque(path);
    } else if (made < 0) throw this.#failed("mknodat", made, path);
    else this.#whiteouts.add(path);
  }

  #opaque(directory: string): void {
    this.#setXattr(this.#root.directory(directory), "trusted.overlay.opaque", OPAQUE_VALUE);
  }

  /** Makes a thing, replacing what stood there: the later entry of a name wins. Returns the call's result. */
  #make(call: SysName, directory: string, name: string, make: (parent: number) => number): number {
    let result = make(this.#root.directory(directory));
    if (result === -E.EEXIST) {
      this.#remove(directory, name);
      result = make(this.#root.directory(directory));
    }
    if (result < 0) throw this.#failed(call, result, directory === "" ? name : `${directory}/${name}`);
    return result;
  }

  #remove(directory: string, name: string): void {
    const parent = this.#root.directory(directory);
    const result = this.#call(this.#nr.unlinkat, parent, this.#name.set(name), 0, 0, 0, 0);
    if (result === -E.EISDIR) {
      const isEmpty = this.#call(this.#nr.unlinkat, parent, this.#name.set(name), AT_REMOVEDIR, 0, 0, 0) === 0;
      // Nobody else writes here, and rm follows no links below its argument.
      if (!isEmpty) rmSync(Buffer.from(procPath(parent, name)), { recursive: true });
    } else if (result < 0) throw this.#failed("unlinkat", result, name);
    this.#root.forget();
  }

  #hasOwner(entry: TarEntry): boolean {
    return entry.uid !== 0 || entry.gid !== 0 || this.#isInheriting;
  }

  #needsMode(entry: TarEntry): boolean {
    return (entry.mode & SET_ID_BITS) !== 0 || this.#isInheriting;
  }

  #chownAt(entry: TarEntry, parent: number, name: string): void {
    const result = this.#call(
      this.#nr.fchownat,
      parent,
      this.#name.set(name),
      entry.uid,
      entry.gid,
      AT_SYMLINK_NOFOLLOW,
      0,
    );
    this.#check("fchownat", result, entry.path);
  }

  /** Only for what was just made here and is no symbolic link: fchmodat follows those. */
  #chmodAt(entry: TarEntry, parent: number, name: string): void {
    const result = this.#call(this.#nr.fchmodat, parent, this.#name.set(name), entry.mode, 0, 0, 0);
    this.#check("fchmodat", result, entry.path);
  }

  #setXattrs(xattrs: ReadonlyMap<string, Uint8Array>, on: number | Uint8Array): void {
    for (const [name, value] of xattrs) if (!OVERLAY_XATTR.test(name)) this.#setXattr(on, name, value);
  }

  /** On an open file, or on a path whose last component is not followed. */
  #setXattr(on: number | Uint8Array, name: string, value: Uint8Array): void {
    const call = typeof on === "number" ? "fsetxattr" : "lsetxattr";
    const result = syscall(
      call,
      typeof on === "number" ? on : terminated(on),
      terminated(encodePath(name)),
      value,
      value.length,
      0,
    );
    // COMPAT: Docker drops attributes that this file system or kind of file cannot have.
    const isOptional = !name.startsWith("trusted.overlay.") && (result === -E.EOPNOTSUPP || result === -E.EPERM);
    if (result < 0 && !isOptional) throw this.#failed(call, result, name);
  }

  #setTimes(mtime: TarTime, atime: TarTime | null): void {
    const access = atime ?? mtime;
    this.#setTime(0, access);
    this.#setTime(16, mtime);
  }

  #setTime(at: number, { sec, nsec }: TarTime): void {
    this.#timesView.setUint32(at, sec >>> 0, true);
    this.#timesView.setInt32(at + 4, Math.floor(sec / 0x1_0000_0000), true);
    this.#timesView.setUint32(at + 8, nsec, true);
  }

  #check(call: SysName, result: number, path = this.#fileEntry?.path): void {
    if (result < 0) throw this.#failed(call, result, path);
  }

  #failed(call: SysName, result: number, path = this.#fileEntry?.path): SyscallError {
    return new SyscallError(call, -result, path === undefined ? {} : { path });
  }
}

const OPAQUE_VALUE = Uint8Array.of(0x79); // "y"

function numbers() {
  const arch = hostArch();
  const of = (name: SysName): number => sysNumber(name, arch);
  return {
    openat: of("openat"),
    pwrite64: of("pwrite64"),
    ftruncate: of("ftruncate"),
    fchown: of("fchown"),
    fchmod: of("fchmod"),
    utimensat: of("utimensat"),
    close: of("close"),
    mkdirat: of("mkdirat"),
    symlinkat: of("symlinkat"),
    linkat: of("linkat"),
    mknodat: of("mknodat"),
    unlinkat: of("unlinkat"),
    fchownat: of("fchownat"),
    fchmodat: of("fchmodat"),
  };
}

/** A device number as the kernel takes it: 12 bits of major between the two parts of minor. */
function deviceNumber(major: number, minor: number): number {
  return ((major << 8) | (minor & 0xff) | ((minor & 0xfff00) << 12)) >>> 0;
}

/** A name in an open directory, for calls that take no descriptor of a directory. */
function procPath(parent: number, name: string): Uint8Array {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${parent}/`), encodePath(name)]);
}

function terminated(bytes: Uint8Array): Uint8Array {
  const copy = alloc(bytes.length + 1);
  copy.set(bytes);
  return copy;
}
