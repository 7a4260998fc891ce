// What unpacked layers show together, read without a mount: of each name the topmost layer's, whiteouts and opaque
// directories heeded. Only names are opened, one below the other, and no link is followed.
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath, reopen, S_IFCHR, S_IFDIR, S_IFMT } from "../sys/file.ts";
import { type EntryStatus, openEntry, type RawName, readAttribute, readDirectory, statEntry } from "../sys/tree.ts";

const OPAQUE = "trusted.overlay.opaque";

/** A whiteout of overlayfs: a character device 0:0. */
export function isWhiteout({ mode, deviceMajor, deviceMinor }: EntryStatus): boolean {
  return (mode & S_IFMT) === S_IFCHR && deviceMajor === 0 && deviceMinor === 0;
}

export function isDirectory({ mode }: EntryStatus): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

/** The directory must be open for reading. "x" is another thing than "y": whiteouts inside are attributes. */
export function isOpaque(directory: Fd): boolean {
  const value = readAttribute(directory, OPAQUE);
  return value?.length === 1 && value[0] === 0x79;
}

/** Opens one name; null: it is not there (any more). */
export function openIfThere(directory: Fd, name: RawName): Fd | null {
  try {
    return openEntry(directory, name, O.PATH);
  } catch (error) {
    if (error instanceof SyscallError && error.errno === E.ENOENT) return null;
    throw error;
  }
}

/** One directory as all layers show it. */
export class MergedDirectory implements Disposable {
  /** Takes the descriptors over; the topmost layer's comes first. */
  constructor(private readonly parts: readonly Fd[]) {}

  static of(layersDir: string, lower: readonly string[]): MergedDirectory {
    using opened = new DisposableStack();
    const parts = lower.map((name) => opened.use(openPath(`${layersDir}/${name}`, O.RDONLY | O.DIRECTORY)));
    opened.move();
    return new MergedDirectory(parts);
  }

  /** Of the directory itself; null: there is no layer. */
  status(): EntryStatus | null {
    const [top] = this.parts;
    return top === undefined ? null : statEntry(top, null);
  }

  names(): Map<string, RawName> {
    const seen = new Map<string, RawName | null>();
    for (const part of this.parts) {
      using listing = reopen(part, O.RDONLY | O.DIRECTORY);
      for (const name of readDirectory(listing)) {
        const key = Buffer.from(name).toString("latin1");
        if (!seen.has(key)) seen.set(key, isWhiteout(statEntry(part, name)) ? null : name);
      }
    }
    return new Map([...seen].flatMap(([key, name]) => (name === null ? [] : [[key, name] as const])));
  }

  /** What is shown under a name, O_PATH; null: nothing. */
  open(name: RawName): { file: Fd; status: EntryStatus } | null {
    for (const part of this.parts) {
      const file = openIfThere(part, name);
      if (file === null) continue;
      const status = statEntry(file, null);
      if (!isWhiteout(status)) return { file, status };
      file.close();
      return null;
    }
    return null;
  }

  /** The directory of a name; null: there is none, or it is something else. */
  enter(name: RawName): MergedDirectory | null {
    using opened = new DisposableStack();
    const parts: Fd[] = [];
    for (const part of this.parts) {
      using file = openIfThere(part, name);
      if (file === null) continue;
      if (!isDirectory(statEntry(file, null))) break;
      const directory = opened.use(reopen(file, O.RDONLY | O.DIRECTORY));
      parts.push(directory);
      if (isOpaque(directory)) break;
    }
    opened.move();
    return parts.length === 0 ? null : new MergedDirectory(parts);
  }

  [Symbol.dispose](): void {
    for (const part of this.parts) part.close();
  }
}
