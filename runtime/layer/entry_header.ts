// What a tar header says of a file of this machine: its kind, and the fields that every kind has.
import { S_IFCHR, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../sys/file.ts";
import type { EntryStatus } from "../sys/tree.ts";
import type { TarType } from "./tar_read.ts";
import type { TarHeader } from "./tar_write.ts";

/** inode(7). */
const S_IFIFO = 0o010000,
  S_IFBLK = 0o060000;

const TYPES: Readonly<Record<number, TarType>> = {
  [S_IFREG]: "file",
  [S_IFDIR]: "directory",
  [S_IFLNK]: "symlink",
  [S_IFCHR]: "char",
  [S_IFBLK]: "block",
  [S_IFIFO]: "fifo",
};

/** undefined: a socket. Tar has no such thing, and nobody would listen on it. */
export function tarTypeOf({ mode }: EntryStatus): TarType | undefined {
  return TYPES[mode & S_IFMT];
}

export function ownHeader({ mode, uid, gid, modified }: EntryStatus): Partial<TarHeader> {
  return { mode: mode & 0o7777, uid, gid, mtime: { sec: Number(modified[0]), nsec: modified[1] } };
}
