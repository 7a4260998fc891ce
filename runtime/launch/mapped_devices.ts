// Devices of a container in a user namespace: nobody can make a node there, so the host's own is bound at its path.
import { statSync } from "node:fs";
import type { OciDevice } from "../bundle.ts";
import { deviceNumber } from "../sys/tree.ts";

/** Throws where the host has another device at that path, or none: a bound node would be the wrong one. */
export function checkHostNodes(devices: readonly OciDevice[]): void {
  for (const { path, type, major, minor } of devices) {
    const found = statSync(path, { throwIfNoEntry: false });
    const isThere =
      found !== undefined &&
      (type === "p" ? found.isFIFO() : BigInt(found.rdev) === deviceNumber(major, minor)) &&
      (type !== "c" || found.isCharacterDevice()) &&
      (type !== "b" || found.isBlockDevice());
    if (isThere) continue;
    throw new RangeError(
      `the device ${path} is not at that path on the host: in a user namespace a device cannot be given another path`,
    );
  }
}
