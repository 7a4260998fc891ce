// HostConfig.StorageOpt: how much a container may write into its own layer.
import { invalid } from "../../errors.ts";
import { parseSize } from "../size_text.ts";

/** Bytes; null for no limit. Throws invalid, in Docker's words. `canLimit`: the data root lies on project quotas. */
export function storageLimit(options: Readonly<Record<string, string>>, canLimit: boolean): number | null {
  let limitBytes: number | null = null;
  for (const [name, text] of Object.entries(options)) {
    if (name.toLowerCase() !== "size") throw invalid(`Unknown option ${name}`);
    // COMPAT: Docker says so of ext4 too, where its words are no help.
    if (!canLimit) throw invalid("--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
    const bytes = parseSize(text);
    if (bytes === null || bytes < 0) throw invalid(`invalid size: '${text}'`);
    limitBytes = bytes === 0 ? null : bytes;
  }
  return limitBytes;
}
