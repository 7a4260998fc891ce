// A file that a URL names: `docker import` with an address. Bounded in time, not in size: what it may unpack to is bounded
// where it is unpacked. Credentials of registries never go there.
import { internal, invalid } from "../errors.ts";
import { MAX_TOKEN_BYTES, REGISTRY_HEAD_TIMEOUT_MS, REGISTRY_IDLE_TIMEOUT_MS } from "../limits.ts";
import { readWithIdleTimeout } from "./registry.ts";
import { readBounded } from "./registry_auth.ts";

export interface RemoteFile {
  url: string;
  /** null: the server does not say. */
  sizeBytes: number | null;
  chunks: AsyncIterable<Uint8Array>;
}

/** COMPAT: without a scheme it is http. Throws invalid for what is no URL, internal for what the server says. */
export async function openRemoteFile(
  fetch: typeof globalThis.fetch,
  address: string,
  signal: AbortSignal,
): Promise<RemoteFile> {
  const text = address.includes("://") ? address : `http://${address}`;
  if (!URL.canParse(text)) throw invalid(`parse ${JSON.stringify(text)}: invalid URL`);
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw internal(
      `Get ${JSON.stringify(text)}: unsupported protocol scheme ${JSON.stringify(url.protocol.slice(0, -1))}`,
    );
  const reply = await ask(fetch, url, signal);
  if (!reply.ok) {
    const words = await readBounded(reply, MAX_TOKEN_BYTES).catch(() => "");
    throw internal(
      `failed to GET ${url.href} with status ${reply.status} ${reply.statusText}: ${words.slice(0, 1000)}`,
    );
  }
  const length = Number(reply.headers.get("content-length") ?? Number.NaN);
  return {
    url: url.href,
    sizeBytes: Number.isSafeInteger(length) ? length : null,
    chunks: readWithIdleTimeout(reply, REGISTRY_IDLE_TIMEOUT_MS, signal),
  };
}

async function ask(fetch: typeof globalThis.fetch, url: URL, signal: AbortSignal): Promise<Response> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), REGISTRY_HEAD_TIMEOUT_MS);
  // WHY: what arrives is the file; an encoding on the way would be undone behind our back.
  const options: RequestInit & { decompress?: boolean } = {
    signal: AbortSignal.any([signal, late.signal]),
    headers: { "accept-encoding": "identity" },
    decompress: false,
  };
  try {
    return await fetch(url, options);
  } catch (error) {
    signal.throwIfAborted();
    const why = late.signal.aborted ? `no answer in ${REGISTRY_HEAD_TIMEOUT_MS / 1000} s` : reasonOf(error);
    throw internal(`Get ${JSON.stringify(url.href)}: ${why}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (code === "ConnectionRefused" || code === "ECONNREFUSED") return "connect: connection refused";
  return error instanceof Error ? error.message : String(error);
}
