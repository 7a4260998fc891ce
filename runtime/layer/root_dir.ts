// Directories below a root that nothing can leave. Used where a layer or a copied archive is written: every parent
// directory is opened by openat2(2) with RESOLVE_IN_ROOT, so that symbolic links lead where they would lead inside a
// container, and the entry itself is then made by name relative to that descriptor, following nothing.
import { SyscallError } from "../errors.ts";
import { hostArch, sysNumber } from "../sys/arch.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { addressOf, alloc, bareSyscall } from "../sys/ffi.ts";
import { O } from "../sys/file.ts";
import { LayerError } from "./layer_error.ts";
import { MAX_OPEN_DIRECTORIES } from "./limits.ts";
import { encodePathInto } from "./path_text.ts";

const RESOLVE_NO_MAGICLINKS = 0x02,
  RESOLVE_IN_ROOT = 0x10;
const OPEN_HOW_BYTES = 24;
const SCRATCH_BYTES = 4096;
/** openat2 answers EAGAIN where a rename or mount anywhere in the system crossed a "..": a quiet moment comes soon. */
const OPEN_TRIES = 64;

/** A buffer for one NUL-terminated path, whose address a bare call takes. */
export class PathBuffer {
  readonly #bytes = alloc(SCRATCH_BYTES);
  // SAFETY: the bytes live as long as this object, and so does the address.
  readonly #address = addressOf(this.#bytes);

  /** Holds `path` until the next call, and gives its address. */
  set(path: string): number {
    if (encodePathInto(path, this.#bytes) < 0)
      throw new LayerError(`${JSON.stringify(path.slice(0, 200))}… is longer than a path may be`);
    return this.#address;
  }
}

export class RootDirectory implements Disposable {
  readonly #open = new Map<string, number>();
  readonly #call = bareSyscall();
  readonly #name = new PathBuffer();
  readonly #how = alloc(OPEN_HOW_BYTES);
  readonly #howAddress = addressOf(this.#how);
  readonly #openat2 = sysNumber("openat2", hostArch());
  #lastPath = "";
  #last = -1;

  /** The root stays the caller's, to close after this. */
  constructor(private readonly root: Fd) {
    const how = new DataView(this.#how.buffer);
    how.setBigUint64(0, BigInt(O.DIRECTORY | O.CLOEXEC), true);
    how.setBigUint64(16, BigInt(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), true);
  }

  /**
   * A descriptor of the directory at a clean path ("" is the root), made with mode 0755 where it is missing. Valid until the
   * next call but some.
   */
  directory(path: string): number {
    if (path === "") return this.root.number;
    if (path === this.#lastPath && this.#last >= 0) return this.#last;
    const known = this.#open.get(path);
    const fd = known ?? this.#openOrMake(path);
    if (known === undefined) this.#keep(path, fd);
    this.#lastPath = path;
    this.#last = fd;
    return fd;
  }

  /** Opens what is there, or returns -errno. The caller closes it. */
  tryOpen(path: string): number {
    if (path === "") path = ".";
    let result = -E.EAGAIN;
    for (let tries = 0; tries < OPEN_TRIES && (result === -E.EAGAIN || result === -E.EINTR); tries++) {
      result = this.#call(
        this.#openat2,
        this.root.number,
        this.#name.set(path),
        this.#howAddress,
        OPEN_HOW_BYTES,
        0,
        0,
      );
    }
    return result;
  }

  #openOrMake(path: string): number {
    const fd = this.tryOpen(path);
    if (fd >= 0) return fd;
    if (fd !== -E.ENOENT) throw parentError(path, -fd);
    const slash = path.lastIndexOf("/");
    const parent = this.directory(slash < 0 ? "" : path.slice(0, slash));
    const name = path.slice(slash + 1);
    const made = this.#call(sysNumber("mkdirat", hostArch()), parent, this.#name.set(name), 0o755, 0, 0, 0);
    if (made === -E.EEXIST)
      throw new LayerError(`${JSON.stringify(path)} is a symbolic link to nothing, where a directory is needed`);
    if (made < 0) throw new SyscallError("mkdirat", -made, { path });
    const opened = this.tryOpen(path);
    if (opened < 0) throw parentError(path, -opened);
    return opened;
  }

  #keep(path: string, fd: number): void {
    this.#open.set(path, fd);
    if (this.#open.size <= MAX_OPEN_DIRECTORIES) return;
    const oldest = this.#open.entries().next().value;
    if (oldest === undefined) return;
    this.#open.delete(oldest[0]);
    this.#call(sysNumber("close", hostArch()), oldest[1], 0, 0, 0, 0, 0);
  }

  /** Must follow the removal of anything: a path may lead elsewhere from now on. Closes all descriptors given out. */
  forget(): void {
    const close = sysNumber("close", hostArch());
    for (const fd of this.#open.values()) this.#call(close, fd, 0, 0, 0, 0, 0);
    this.#open.clear();
    this.#last = -1;
  }

  [Symbol.dispose](): void {
    this.forget();
  }
}

/** What the content of an archive can cause is its fault; the rest (EMFILE, EIO) is this machine's. */
function parentError(path: string, errno: number): Error {
  const error = new SyscallError("openat2", errno, { path });
  if (errno === E.ENOTDIR || errno === E.ELOOP || errno === E.ENAMETOOLONG) {
    return new LayerError(`${JSON.stringify(path)} cannot be a directory: ${error.message}`, { cause: error });
  }
  return error;
}
