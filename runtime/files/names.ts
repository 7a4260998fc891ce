// Names between text (layer/path_text.ts, without loss) and the kernel's form of them, and paths as `docker cp` has them.
import { posix } from "node:path";
import { decodePath, encodePath } from "../layer/path_text.ts";
import { alloc } from "../sys/ffi.ts";
import type { RawName } from "../sys/tree.ts";

/** The bytes of a name with their NUL, at a stable address. */
export function toRawName(text: string): RawName {
  const bytes = encodePath(text);
  const name = alloc(bytes.length + 1).subarray(0, bytes.length + 1);
  name.set(bytes);
  return name;
}

export function fromRawName(name: RawName): string {
  return decodePath(name, 0, name.length - 1);
}

export interface CopyPath {
  /** Absolute, without `..`. Ends in `/` or `/.` where the user's did: then the last component is a directory, or leads to one. */
  path: string;
  /** The last component: what the copy is called. `.` for `/a/.`, `a` for `/a/`, `/` for the root. */
  base: string;
}

/** COMPAT: Docker takes `..` away before any link is followed, and keeps a final slash or dot. */
export function parseCopyPath(text: string): CopyPath {
  const clean = posix.normalize(`/${text}`).replace(/(?<=.)\/$/, "");
  const endsInSlash = text.endsWith("/");
  const endsInDot = /(?:^|\/)\.\/*$/.test(text);
  const separator = clean === "/" ? "" : "/";
  let path = clean;
  if (endsInDot) path += `${separator}.`;
  else if (endsInSlash) path += separator;
  return { path, base: endsInDot ? "." : clean === "/" ? "/" : posix.basename(clean) };
}
