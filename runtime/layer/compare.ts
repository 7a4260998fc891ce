// Whether two unpacked layers are the same: names, kinds, modes, owners, times, links, extended attributes and every byte.
// Runs in a Worker (job.ts), for `berth verify`: one of the two has just been unpacked from its blob. Reads only.
//
// Times of directories are left out: one that the tar does not name has the time of its unpacking.
import type { Fd } from "../sys/fd.ts";
import { O, openPath, readOnce, reopen, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from "../sys/file.ts";
import { type EntryStatus, type RawName, readAttributes, readDirectory, readLink, statEntry } from "../sys/tree.ts";
import { isWhiteout, openIfThere } from "./merged.ts";
import { READ_BYTES } from "./limits.ts";

export interface CompareRequest {
  expected: string;
  actual: string;
}

export interface CompareResult {
  /** `etc/passwd: other contents`; the first few. */
  differences: string[];
}

/** More say no more. */
const MAX_DIFFERENCES = 5;
/** Directories in directories: a layer's paths end at 4 KiB. */
const MAX_DEPTH = 2048;

export function compareLayers({ expected, actual }: CompareRequest, checkAborted: () => void): CompareResult {
  using left = openPath(expected, O.RDONLY | O.DIRECTORY);
  using right = openPath(actual, O.RDONLY | O.DIRECTORY);
  const comparison = new Comparison(checkAborted);
  comparison.attributes(left, right, "");
  comparison.directories(left, right, "", 0);
  return { differences: comparison.differences };
}

class Comparison {
  readonly differences: string[] = [];
  /** Files with several names: which file there goes with which here. */
  readonly #linked = new Map<string, string>();

  constructor(private readonly checkAborted: () => void) {}

  get #isFull(): boolean {
    return this.differences.length >= MAX_DIFFERENCES;
  }

  #note(path: string, what: string): void {
    if (!this.#isFull) this.differences.push(`${path === "" ? "/" : path}: ${what}`);
  }

  directories(left: Fd, right: Fd, path: string, depth: number): void {
    const names = namesOf(left);
    const others = namesOf(right);
    for (const [key, name] of names) {
      if (this.#isFull) return;
      this.checkAborted();
      const here = path === "" ? decode(name) : `${path}/${decode(name)}`;
      if (others.delete(key)) this.#entries(left, right, name, here, depth);
      else this.#note(here, "is missing");
    }
    for (const name of others.values()) this.#note(`${path}/${decode(name)}`, "does not belong there");
  }

  #entries(left: Fd, right: Fd, name: RawName, path: string, depth: number): void {
    using a = openIfThere(left, name);
    using b = openIfThere(right, name);
    if (a === null || b === null) return this.#note(path, "has vanished");
    const [want, have] = [statEntry(a, null), statEntry(b, null)];
    const what = differenceOf(want, have);
    if (what !== null) return this.#note(path, what);
    if (isWhiteout(want)) return;
    const kind = want.mode & S_IFMT;
    if (kind === S_IFLNK && !Buffer.from(readLink(a)).equals(readLink(b))) return this.#note(path, "points elsewhere");
    if (kind === S_IFREG) this.#files(a, b, want, have, path);
    if (kind !== S_IFDIR) return;
    if (depth >= MAX_DEPTH) return this.#note(path, "is too deep to be compared");
    using inside = reopen(a, O.RDONLY | O.DIRECTORY);
    using other = reopen(b, O.RDONLY | O.DIRECTORY);
    this.attributes(inside, other, path);
    this.directories(inside, other, path, depth + 1);
  }

  #files(a: Fd, b: Fd, want: EntryStatus, have: EntryStatus, path: string): void {
    if (want.links > 1) {
      const known = this.#linked.get(want.identity);
      if (known !== undefined && known !== have.identity) this.#note(path, "is a file of its own, not a hard link");
      if (known !== undefined) return;
      this.#linked.set(want.identity, have.identity);
    }
    using file = reopen(a, O.RDONLY);
    using other = reopen(b, O.RDONLY);
    this.attributes(file, other, path);
    if (!this.#isSameBytes(file, other)) this.#note(path, "other contents");
  }

  #isSameBytes(a: Fd, b: Fd): boolean {
    const [left, right] = [new Uint8Array(new ArrayBuffer(READ_BYTES)), new Uint8Array(new ArrayBuffer(READ_BYTES))];
    for (;;) {
      this.checkAborted();
      const count = readOnce(a, left) ?? 0;
      for (let done = 0; done < count;) {
        const more = readOnce(b, right.subarray(done, count)) ?? 0;
        if (more === 0) return false;
        done += more;
      }
      if (count === 0) return true;
      if (!Buffer.from(left.buffer, 0, count).equals(right.subarray(0, count))) return false;
    }
  }

  attributes(a: Fd, b: Fd, path: string): void {
    const show = (file: Fd): string =>
      readAttributes(file)
        .map(({ name, value }) => `${Buffer.from(name).toString("latin1")}=${Buffer.from(value).toString("hex")}`)
        .toSorted()
        .join("\n");
    if (show(a) !== show(b)) this.#note(path, "other extended attributes");
  }
}

function differenceOf(want: EntryStatus, have: EntryStatus): string | null {
  if ((want.mode & S_IFMT) !== (have.mode & S_IFMT)) return "is of another kind";
  if (isWhiteout(want) !== isWhiteout(have)) return "is of another kind";
  if (isWhiteout(want)) return null;
  if (want.mode !== have.mode)
    return `has mode ${(have.mode & 0o7777).toString(8)}, not ${(want.mode & 0o7777).toString(8)}`;
  if (want.uid !== have.uid || want.gid !== have.gid)
    return `belongs to ${have.uid}:${have.gid}, not ${want.uid}:${want.gid}`;
  if (want.deviceMajor !== have.deviceMajor || want.deviceMinor !== have.deviceMinor) return "is another device";
  if ((want.mode & S_IFMT) === S_IFDIR) return null;
  if (want.links !== have.links) return `has ${have.links} names, not ${want.links}`;
  if (want.sizeBytes !== have.sizeBytes) return `has ${have.sizeBytes} bytes, not ${want.sizeBytes}`;
  if (want.modified[0] !== have.modified[0] || want.modified[1] !== have.modified[1]) return "has another time";
  return null;
}

function namesOf(directory: Fd): Map<string, RawName> {
  using listing = reopen(directory, O.RDONLY | O.DIRECTORY);
  return new Map(readDirectory(listing).map((name) => [Buffer.from(name).toString("latin1"), name]));
}

function decode(name: RawName): string {
  return Buffer.from(name.subarray(0, -1)).toString("utf8");
}
