// The option list of an OCI mount (runtime-spec 1.2, config.md "Mounts"; the words of mount(8)) as what the kernel takes:
// attributes of the mount, its propagation, and options of the file system itself. Pure.
import { type FsOption, MOUNT_ATTR, MS } from "../sys/mount.ts";

export interface AttributeChange {
  set: number;
  clear: number;
}

export interface MountOptions {
  /** Attributes of the mount itself. */
  attributes: AttributeChange;
  /** Attributes of the mount and all below it: `rro` and its like. */
  recursiveAttributes: AttributeChange;
  /** MS.PRIVATE and its like, or 0. */
  propagation: number;
  isPropagationRecursive: boolean;
  /** `bind` or `rbind` is among them. */
  isBind: boolean;
  isBindRecursive: boolean;
  /** `idmap`: in a user namespace, owners are seen through it. */
  isMapped: boolean;
  /** All other words, for the file system: `mode=1777`, `size=64m`, `newinstance`. */
  fsOptions: FsOption[];
}

const FLAGS: Readonly<Record<string, { set: number; clear: number }>> = {
  ro: { set: MOUNT_ATTR.RDONLY, clear: 0 },
  rw: { set: 0, clear: MOUNT_ATTR.RDONLY },
  nosuid: { set: MOUNT_ATTR.NOSUID, clear: 0 },
  suid: { set: 0, clear: MOUNT_ATTR.NOSUID },
  nodev: { set: MOUNT_ATTR.NODEV, clear: 0 },
  dev: { set: 0, clear: MOUNT_ATTR.NODEV },
  noexec: { set: MOUNT_ATTR.NOEXEC, clear: 0 },
  exec: { set: 0, clear: MOUNT_ATTR.NOEXEC },
  nosymfollow: { set: MOUNT_ATTR.NOSYMFOLLOW, clear: 0 },
  symfollow: { set: 0, clear: MOUNT_ATTR.NOSYMFOLLOW },
  nodiratime: { set: MOUNT_ATTR.NODIRATIME, clear: 0 },
  diratime: { set: 0, clear: MOUNT_ATTR.NODIRATIME },
  // The kernel wants the whole access-time field cleared by whoever sets it.
  relatime: { set: MOUNT_ATTR.RELATIME, clear: MOUNT_ATTR.ATIME_MASK },
  norelatime: { set: MOUNT_ATTR.STRICTATIME, clear: MOUNT_ATTR.ATIME_MASK },
  noatime: { set: MOUNT_ATTR.NOATIME, clear: MOUNT_ATTR.ATIME_MASK },
  atime: { set: MOUNT_ATTR.RELATIME, clear: MOUNT_ATTR.ATIME_MASK },
  strictatime: { set: MOUNT_ATTR.STRICTATIME, clear: MOUNT_ATTR.ATIME_MASK },
  nostrictatime: { set: MOUNT_ATTR.RELATIME, clear: MOUNT_ATTR.ATIME_MASK },
};

const PROPAGATION: Readonly<Record<string, { flag: number; recursive: boolean }>> = {
  private: { flag: MS.PRIVATE, recursive: false },
  rprivate: { flag: MS.PRIVATE, recursive: true },
  slave: { flag: MS.SLAVE, recursive: false },
  rslave: { flag: MS.SLAVE, recursive: true },
  shared: { flag: MS.SHARED, recursive: false },
  rshared: { flag: MS.SHARED, recursive: true },
  unbindable: { flag: MS.UNBINDABLE, recursive: false },
  runbindable: { flag: MS.UNBINDABLE, recursive: true },
};

/** Words that mean nothing to the kernel, or only its default. */
const IGNORED = new Set(["defaults", "async", "nouser", "auto", "noauto", "loud", "nomand", "nolazytime"]);

export function parseMountOptions(words: readonly string[]): MountOptions {
  const options: MountOptions = {
    attributes: { set: 0, clear: 0 },
    recursiveAttributes: { set: 0, clear: 0 },
    propagation: 0,
    isPropagationRecursive: false,
    isBind: false,
    isBindRecursive: false,
    isMapped: false,
    fsOptions: [],
  };
  for (const word of words) {
    if (word === "" || IGNORED.has(word)) continue;
    const propagation = lookUp(PROPAGATION, word);
    const flag = lookUp(FLAGS, word);
    const recursiveFlag = word.startsWith("r") ? lookUp(FLAGS, word.slice(1)) : undefined;
    if (word === "bind" || word === "rbind") {
      options.isBind = true;
      options.isBindRecursive = word === "rbind";
    } else if (word === "idmap") options.isMapped = true;
    else if (propagation) {
      options.propagation = propagation.flag;
      options.isPropagationRecursive = propagation.recursive;
    } else if (flag) change(options.attributes, flag);
    else if (recursiveFlag) change(options.recursiveAttributes, recursiveFlag);
    else {
      const equals = word.indexOf("=");
      options.fsOptions.push(equals < 0 ? [word, null] : [word.slice(0, equals), word.slice(equals + 1)]);
    }
  }
  return options;
}

/** `shared`, `rslave` … as mount(2) flags; null for any other word. */
export function parsePropagation(word: string): number | null {
  const found = lookUp(PROPAGATION, word);
  return found ? found.flag | (found.recursive ? MS.REC : 0) : null;
}

/** A later word wins over an earlier one. */
function change(attributes: AttributeChange, { set, clear }: AttributeChange): void {
  attributes.set = (attributes.set & ~clear) | set;
  attributes.clear = (attributes.clear & ~set) | clear;
  // Setting a bit of the access-time field needs the field cleared first, in one call.
  if ((attributes.set & MOUNT_ATTR.ATIME_MASK) !== 0) attributes.clear |= MOUNT_ATTR.ATIME_MASK;
}

function lookUp<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** The flags of mount(2) for attributes: the same bits for the first four, others where they differ. */
export function legacyFlags({ set }: AttributeChange): number {
  let flags = set & (MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID | MOUNT_ATTR.NODEV | MOUNT_ATTR.NOEXEC);
  if (set & MOUNT_ATTR.NODIRATIME) flags |= MS.NODIRATIME;
  if (set & MOUNT_ATTR.NOSYMFOLLOW) flags |= MS.NOSYMFOLLOW;
  const atime = set & MOUNT_ATTR.ATIME_MASK;
  if (atime === MOUNT_ATTR.NOATIME) flags |= MS.NOATIME;
  if (atime === MOUNT_ATTR.STRICTATIME) flags |= MS.STRICTATIME;
  return flags;
}
