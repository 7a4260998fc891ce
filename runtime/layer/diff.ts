// A container's changes as a layer: the tar that makes of the layers below what the container sees (image-spec, layer.md).
// Runs in a Worker (job.ts). The same changes give the same bytes. The tar is left uncompressed, since a container may
// stand still for as long as this takes; compress.ts does the rest once it runs again.
import { createHash, type Hash } from "node:crypto";
import { closeSync, openSync, writeSync } from "node:fs";
import type { Rootfs } from "../bundle.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openPath, readOnce, reopen } from "../sys/file.ts";
import { readAttributes, readLink } from "../sys/tree.ts";
import { ownHeader, tarTypeOf } from "./entry_header.ts";
import { LayerError } from "./layer_error.ts";
import { MergedDirectory } from "./merged.ts";
import { MAX_LAYER_ENTRIES, READ_BYTES } from "./limits.ts";
import { decodePath } from "./path_text.ts";
import { tarEnd, tarHeader, type TarHeader, tarPadding } from "./tar_write.ts";
import { type Change, walkCopy, walkUpper } from "./upper.ts";

export interface DiffRequest {
  /** How the container's root is made: see Rootfs. */
  kind: Rootfs["kind"];
  /** The container's own directory, and the layers below it, the topmost first. */
  upper: string;
  layersDir: string;
  lower: readonly string[];
  /** See walkUpper. */
  mountPoints: readonly string[];
  /** Where the tar is written: a file that is not there yet. */
  target: string;
}

export interface DiffResult {
  /** Digest of the tar. */
  diffID: string;
  entries: number;
}

const WHITEOUT = ".wh.",
  OPAQUE = ".wh..wh..opq";
/** What a layer carries of a file's extended attributes. Labels of security modules are this machine's own. */
const KEPT_XATTR = /^(?:user\.(?!overlay\.)|security\.capability$|system\.posix_acl_(?:access|default)$)/;

export function diffLayer(request: DiffRequest, checkAborted: () => void): DiffResult {
  using root = openPath(request.upper, O.RDONLY | O.DIRECTORY);
  using below = MergedDirectory.of(request.layersDir, request.lower);
  using out = new TarFile(request.target);
  const walk = request.kind === "directory" && request.lower.length > 0 ? walkCopy : walkUpper;
  const changes = walk(root, below, new Set(request.mountPoints));
  const linked = new Map<string, string>();
  let entries = 0;
  for (const change of changes) {
    checkAborted();
    if (++entries > MAX_LAYER_ENTRIES) throw new LayerError(`more than ${MAX_LAYER_ENTRIES} changes`);
    writeChange(change, out, linked, checkAborted);
  }
  out.add(tarEnd());
  return { diffID: out.finish(), entries };
}

function writeChange(change: Change, out: TarFile, linked: Map<string, string>, checkAborted: () => void): void {
  const { path } = change;
  if (change.kind === "whiteout") {
    const slash = path.lastIndexOf("/") + 1;
    return out.add(
      tarHeader({ type: "file", path: `${path.slice(0, slash)}${WHITEOUT}${path.slice(slash)}`, mode: 0 }),
    );
  }
  if (change.kind === "opaque") return out.add(tarHeader({ type: "file", path: `${path}/${OPAQUE}`, mode: 0 }));
  const { file, status } = change;
  const type = tarTypeOf(status);
  if (type === undefined) return;
  const header: TarHeader = { type, path: path === "" ? "./" : path, ...ownHeader(status) };
  if (type === "directory") return out.add(tarHeader({ ...header, xattrs: xattrsOf(file) }));
  const first = status.links > 1 ? linked.get(status.identity) : undefined;
  if (first !== undefined) return out.add(tarHeader({ ...header, type: "link", linkPath: first }));
  if (type === "file") writeFile(file, header, status.sizeBytes, out, checkAborted);
  else if (type === "symlink") out.add(tarHeader({ ...header, linkPath: decodePath(readLink(file)) }));
  else if (type === "fifo") out.add(tarHeader(header));
  else out.add(tarHeader({ ...header, major: status.deviceMajor, minor: status.deviceMinor }));
  if (status.links > 1) linked.set(status.identity, path);
}

function xattrsOf(file: Fd): Map<string, Uint8Array> | null {
  const kept = readAttributes(file)
    .map(({ name, value }) => [decodePath(name, 0, name.length - 1), value] as const)
    .filter(([name]) => KEPT_XATTR.test(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return kept.length === 0 ? null : new Map(kept);
}

/** As many bytes as the header has promised: a file that shrinks meanwhile ends in zeroes. */
function writeFile(place: Fd, header: TarHeader, size: number, out: TarFile, checkAborted: () => void): void {
  using file = reopen(place, O.RDONLY | O.NONBLOCK);
  out.add(tarHeader({ ...header, size, xattrs: xattrsOf(file) }));
  for (let left = size; left > 0;) {
    checkAborted();
    const buffer = out.space(left);
    const count = readOnce(file, buffer) ?? 0;
    if (count === 0) buffer.fill(0);
    out.filled(count === 0 ? buffer.length : count);
    left -= count === 0 ? buffer.length : count;
  }
  out.add(new Uint8Array(tarPadding(size)));
}

/** Bytes into a new file, hashed, in large writes. */
class TarFile implements Disposable {
  readonly #fd: number;
  readonly #hash: Hash = createHash("sha256");
  readonly #buffer = new Uint8Array(new ArrayBuffer(READ_BYTES));
  #used = 0;

  constructor(path: string) {
    this.#fd = openSync(path, "wx", 0o600);
  }

  add(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const space = this.space(bytes.length - done);
      space.set(bytes.subarray(done, done + space.length));
      done += space.length;
      this.filled(space.length);
    }
  }

  /** Room for at most so many bytes, to be filled next. */
  space(wanted: number): Uint8Array<ArrayBuffer> {
    if (this.#used === this.#buffer.length) this.#flush();
    return this.#buffer.subarray(this.#used, Math.min(this.#used + wanted, this.#buffer.length));
  }

  filled(count: number): void {
    this.#used += count;
  }

  finish(): string {
    this.#flush();
    return `sha256:${this.#hash.digest("hex")}`;
  }

  #flush(): void {
    const bytes = this.#buffer.subarray(0, this.#used);
    this.#hash.update(bytes);
    for (let done = 0; done < bytes.length;) done += writeSync(this.#fd, bytes, done, bytes.length - done);
    this.#used = 0;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
