// Looking at one path of a container's files. INVARIANT: the container may be running, and swap any name for another at
// any moment: a path is opened once, below the root, and what is said of it is said of that descriptor.
import { SyscallError } from "../errors.ts";
import { decodePath } from "../layer/path_text.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import {
  isOnReadOnlyMount,
  O,
  openInRoot,
  openInRootNoSymlinks,
  readAll,
  reopen,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  statusOf,
} from "../sys/file.ts";
import { type EntryStatus, readLink, statEntry } from "../sys/tree.ts";
import { resolveUser } from "../launch/user.ts";
import type { CopyPath } from "./names.ts";

/** A path that was found. */
export interface Found extends Disposable {
  /** O_PATH: of the link itself, where it is one. */
  readonly fd: Fd;
  readonly status: EntryStatus;
  readonly base: string;
  /** Where a symbolic link leads in the end, as far as that exists; "" for everything else. */
  readonly linkTarget: string;
}

/** Throws SyscallError: ENOENT, ENOTDIR, ELOOP. The last component is followed only where the path ends in a slash or dot. */
export function look(root: Fd, { path, base }: CopyPath): Found {
  const fd = openInRoot(root, path, O.PATH | O.NOFOLLOW);
  try {
    const status = statEntry(fd, null);
    const isLink = (status.mode & S_IFMT) === S_IFLNK;
    const linkTarget = isLink ? followLinks(root, path) : "";
    return { fd, status, base, linkTarget, [Symbol.dispose]: () => fd.close() };
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** What a copy into a directory needs to know of it. Links are followed. */
export function lookAtTarget(
  root: Fd,
  path: string,
): { isDirectory: boolean; isMounted: boolean; isReadOnly: boolean } {
  using target = openInRoot(root, path, O.PATH);
  const { mode, mountID } = statusOf(target);
  return {
    isDirectory: (mode & S_IFMT) === S_IFDIR,
    isMounted: mountID !== statusOf(root).mountID,
    isReadOnly: isOnReadOnlyMount(target),
  };
}

/** As many as the kernel follows in one path. */
const MAX_LINKS = 40;

/**
 * A path without symbolic links. It is for the client to read: nothing is opened by it. What does not exist, or never ends,
 * stays as it is written.
 */
function followLinks(root: Fd, path: string): string {
  const done: string[] = [];
  let left = path.split("/");
  for (let links = 0; left.length > 0;) {
    const [name = "", ...rest] = left;
    left = rest;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      done.pop();
      continue;
    }
    const target = links < MAX_LINKS ? linkAt(root, `/${[...done, name].join("/")}`) : null;
    if (target === null) done.push(name);
    else {
      links++;
      if (target.startsWith("/")) done.length = 0;
      left = [...target.split("/"), ...left];
    }
  }
  return `/${done.join("/")}`;
}

/** The text of a symbolic link; null for what is none, or is not there. */
function linkAt(root: Fd, path: string): string | null {
  try {
    using fd = openInRootNoSymlinks(root, path, O.PATH | O.NOFOLLOW);
    return (statusOf(fd).mode & S_IFMT) === S_IFLNK ? decodePath(readLink(fd)) : null;
  } catch (error) {
    if (error instanceof SyscallError) return null;
    throw error;
  }
}

/** passwd and group files; real ones are some KB. */
const MAX_ACCOUNT_FILE_BYTES = 1 << 20;

/** A container's user and its group as numbers, by the account files in it. Throws UserLookupError. */
export function lookUpOwner(root: Fd, user: string): { uid: number; gid: number } {
  const { uid, gid } = resolveUser(user, [], {
    passwd: readSmallFile(root, "/etc/passwd"),
    group: readSmallFile(root, "/etc/group"),
  });
  return { uid, gid };
}

/** "" where there is no regular file. INVARIANT: a device that lies there instead is not opened. */
function readSmallFile(root: Fd, path: string): string {
  try {
    using place = openInRoot(root, path, O.PATH);
    if ((statusOf(place).mode & S_IFMT) !== S_IFREG) return "";
    using file = reopen(place, O.RDONLY | O.NONBLOCK);
    return new TextDecoder().decode(readAll(file, MAX_ACCOUNT_FILE_BYTES));
  } catch (error) {
    if (error instanceof SyscallError && MISSING.has(error.errno)) return "";
    throw error;
  }
}

const MISSING: ReadonlySet<number> = new Set([E.ENOENT, E.ENOTDIR, E.ELOOP]);
