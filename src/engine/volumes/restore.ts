// Volumes after a restart: rows held against directories. What plugins have is asked of them when somebody wants it.
import { access, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { StoredVolume } from "../../db/volumes.ts";
import type { VolumeRecord } from "../mod.ts";
import { isVolumeName, LOCAL } from "./local.ts";
import { ANONYMOUS_LABEL, type VolumesDeps } from "./service.ts";

export async function restoreVolumes(
  deps: Pick<VolumesDeps, "root" | "rows" | "log">,
): Promise<Map<string, VolumeRecord>> {
  const volumes = new Map<string, VolumeRecord>();
  const { volumes: rows, damaged } = await deps.rows.all();
  for (const name of damaged) {
    deps.log.error("a volume's row cannot be read: its labels and options are lost", { volume: name });
    await deps.rows.remove(name);
  }
  for (const stored of rows) {
    const volume = { ...stored, mountpoint: stored.driver === LOCAL ? join(deps.root, stored.name, "_data") : "" };
    if (stored.driver !== LOCAL || (await isThere(volume.mountpoint))) volumes.set(stored.name, volume);
    else {
      deps.log.warn("a volume has no directory any more and is forgotten", { volume: stored.name });
      await deps.rows.remove(stored.name);
    }
  }
  for (const entry of await readdir(deps.root, { withFileTypes: true })) {
    if (!entry.isDirectory() || volumes.has(entry.name)) continue;
    const adopted = await adopt(deps.root, entry.name);
    if (adopted === null) continue;
    deps.log.warn("a directory without a row is taken in as a volume", { volume: entry.name });
    await deps.rows.insert(adopted);
    volumes.set(entry.name, { ...adopted, mountpoint: join(deps.root, entry.name, "_data") });
  }
  return volumes;
}

/** A volume's directory that no row knows: from another engine, or from before the database was lost. */
async function adopt(root: string, name: string): Promise<StoredVolume | null> {
  const data = join(root, name, "_data");
  if (!isVolumeName(name) || !(await isThere(data))) return null;
  const isAnonymous = /^[0-9a-f]{64}$/.test(name);
  return {
    name,
    driver: LOCAL,
    scope: "local",
    createdAt: (await stat(data)).mtime.toISOString().replace(/\.\d+Z$/, "Z"),
    labels: isAnonymous ? { [ANONYMOUS_LABEL]: "" } : {},
    options: {},
    isAnonymous,
  };
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
