// IDs of containers, exec sessions and networks: 32 random bytes in hex, as Docker makes them.
import type { ContainerID } from "./containers/container.ts";

export type RandomBytes = (count: number) => Uint8Array;

/** A fresh ID. Its short form is never all digits: other tools would take that for a number. */
export function newID(random: RandomBytes): string {
  for (;;) {
    const id = random(32).toHex();
    if (!/^[0-9]{12}/.test(id)) return id;
  }
}

export function newContainerID(random: RandomBytes): ContainerID {
  return newID(random) as ContainerID;
}

/** What `docker ps` shows. */
export function shortID(id: string): string {
  return id.slice(0, 12);
}
