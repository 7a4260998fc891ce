// Import: a tar of a whole file system, from the client or a URL, as an image of one layer.
import { applyChanges } from "../image/changes.ts";
import { registerDraft, storeArchive } from "../image/new_image.ts";
import { parsePlatform, type Platform } from "../image/platform.ts";
import { meter } from "../image/progress.ts";
import type { RemoteFile } from "../image/remote_file.ts";
import { invalid } from "../errors.ts";
import { commitName } from "./commit_name.ts";
import { parseSignal } from "./containers/signals.ts";
import type { ImportRequest, Progress } from "./mod.ts";
import type { ImagesDeps } from "./images.ts";
import type { Reference } from "../image/reference.ts";
import type { ImageRecord } from "./mod.ts";

export type OpenRemoteFile = (address: string, signal: AbortSignal) => Promise<RemoteFile>;

/** The image and the names it got. Everything that can be refused is refused before a byte is read. */
export async function importImage(
  deps: Pick<ImagesDeps, "store" | "layerPool" | "host" | "now" | "openRemoteFile">,
  request: ImportRequest,
  progress: Progress,
  signal: AbortSignal,
): Promise<{ image: ImageRecord; references: Reference[] }> {
  const name = commitName(request.repository, request.tag);
  const references = name === null ? [] : [name];
  const platform = platformOf(request.platform, deps.host);
  const config = applyChanges({}, request.changes, { checkSignal: (text) => void parseSignal(text) });
  const archive = request.body ?? (await download(deps, request.source, progress, signal));
  const image = await deps.store.ingestOrUndo(async () => {
    const layer = await storeArchive({ store: deps.store, pool: deps.layerPool }, archive, signal);
    const draft = {
      parent: null,
      layer,
      platform,
      config,
      author: "",
      comment: request.message === "" ? `Imported from ${request.source}` : request.message,
      createdBy: "",
      createdAt: deps.now().toISOString(),
      references,
    };
    return await registerDraft(deps.store, draft, signal);
  });
  return { image, references };
}

function platformOf(text: string, host: Platform): Platform {
  if (text === "") return host;
  const platform = parsePlatform(text, host);
  if (platform.os !== host.os) throw invalid(`operating system ${JSON.stringify(platform.os)} is not supported`);
  return platform;
}

/** COMPAT: what the CLI draws while it waits. */
async function download(
  deps: Pick<ImagesDeps, "now" | "openRemoteFile">,
  address: string,
  progress: Progress,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const { url, sizeBytes, chunks } = await deps.openRemoteFile(address, signal);
  progress({ status: `Downloading from ${url}` });
  if (sizeBytes === null) return chunks;
  const draw = meter(progress, () => deps.now().getTime(), "", "Importing", sizeBytes);
  return metered(chunks, draw);
}

async function* metered(
  chunks: AsyncIterable<Uint8Array>,
  draw: (totalBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const chunk of chunks) {
    total += chunk.length;
    draw(total);
    yield chunk;
  }
}
