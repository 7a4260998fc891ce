// A walk of a tree without recursion: the directories on the way, each with the names in it that are still to come. It can
// stand still between any two names, and lets go of its descriptors however it ends.
import type { Fd } from "../sys/fd.ts";

/** A level holds a descriptor open. */
export const MAX_DEPTH = 512;

export interface Level<Name> {
  directory: Fd;
  names: Iterator<Name, void>;
}

export class Levels<Name, L extends Level<Name>> implements Disposable {
  readonly #open: L[] = [];

  /** From the root to where the walk is. */
  get open(): readonly L[] {
    return this.#open;
  }

  /** Takes over the descriptor. */
  enter(level: L): void {
    this.#open.push(level);
  }

  /** The next name of the innermost directory that has one; directories that are done are closed. null: the end. */
  next(): { level: L; name: Name } | null {
    for (let level = this.#open.at(-1); level !== undefined; level = this.#open.at(-1)) {
      const next = level.names.next();
      if (next.done !== true) return { level, name: next.value };
      level.directory.close();
      this.#open.pop();
    }
    return null;
  }

  [Symbol.dispose](): void {
    for (const { directory } of this.#open.splice(0)) directory.close();
  }
}
