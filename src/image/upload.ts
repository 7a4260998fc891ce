// One blob from the content store to a registry (distribution specification, "Pushing a blob"): not at all when it is
// there, by mounting it from another repository of the same registry, or byte by byte. Whatever happens on the way, what
// the registry has got already is not sent again. Called by push.ts; bounded over all pushes.
//
//   HEAD blob ─▶ there                        POST uploads/?mount=…&from=… ─▶ 201 mounted
//                                                                         └─▶ 202: an upload, at Location
//   small:  PUT Location?digest=… with the bytes
//   large:  PATCH Location with the bytes ─▶ PUT Location?digest=…
//           on a broken connection: GET Location ─▶ Range: 0-N ─▶ PATCH with the rest
import { internal, notFound, unauthorized } from "../errors.ts";
import { MAX_TOKEN_BYTES, MONOLITHIC_UPLOAD_BYTES, REGISTRY_COMMIT_TIMEOUT_MS, RETRY_DELAY_MAX_MS } from "../limits.ts";
import type { Content } from "./content.ts";
import type { Descriptor } from "./manifest.ts";
import { type Registry, type Repository, type RequestBody, retryAfterMs, TransientError } from "./registry.ts";
import { errorText, readBounded } from "./registry_auth.ts";

export interface UploadDeps {
  registry: Pick<Registry, "send">;
  content: Pick<Content, "read" | "has">;
  maxAttempts: number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface UploadWatcher {
  /** Bytes that are on their way or there. */
  onOffset(offset: number): void;
  /** `Retrying in 3 seconds`. */
  onStatus(status: string): void;
}

type Uploaded = { how: "there" } | { how: "sent" } | { how: "mounted"; from: string };

/** Attempts are counted anew whenever the registry has got further: only standing still uses them up. */
export async function upload(
  deps: UploadDeps,
  repository: Repository,
  blob: Descriptor,
  mountFrom: readonly string[],
  watcher: UploadWatcher,
  signal: AbortSignal,
): Promise<Uploaded> {
  if (!deps.content.has(blob.digest)) throw internal(`blob ${blob.digest} is not in the store`);
  const session = new UploadSession(deps, repository, blob, mountFrom, watcher, signal);
  for (let attempt = 1; ; attempt++) {
    const before = session.offset;
    try {
      return await session.advance();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof TransientError)) throw error;
      if (await session.hasMoved(before)) attempt = 1;
      if (attempt >= deps.maxAttempts) throw internal(error.message, { cause: error });
      await countDown(
        deps,
        error.retryAfterMs ?? Math.min(1000 * 2 ** (attempt - 1), RETRY_DELAY_MAX_MS),
        watcher,
        signal,
      );
    }
  }
}

class UploadSession {
  /** What the registry has, as far as we know. */
  offset = 0;
  /** null: none is open. */
  #location: URL | null = null;
  #isChecked = false;

  constructor(
    private readonly deps: UploadDeps,
    private readonly repository: Repository,
    private readonly blob: Descriptor,
    private readonly mountFrom: readonly string[],
    private readonly watcher: UploadWatcher,
    private readonly signal: AbortSignal,
  ) {}

  async advance(): Promise<Uploaded> {
    if (!this.#isChecked) {
      if (await this.#isThere()) return { how: "there" };
      const from = await this.#mount();
      if (from !== null) return { how: "mounted", from };
      this.#isChecked = true;
    }
    const location = this.#location ?? (await this.#begin());
    if (this.blob.size <= MONOLITHIC_UPLOAD_BYTES && this.offset === 0) await this.#finish(location, true);
    else await this.#finish(this.offset < this.blob.size ? await this.#patch(location) : location, false);
    return { how: "sent" };
  }

  /** After a failure: asks how far the registry got. Whether that is further than before. */
  async hasMoved(before: number): Promise<boolean> {
    const location = this.#location;
    if (location === null) return false;
    this.#location = null;
    this.offset = 0;
    try {
      const { reply, url } = await this.#send({ method: "GET", target: location });
      await reply.body?.cancel();
      if (reply.status !== 204 && reply.status !== 202) return false;
      const last = /^(?:bytes=)?0-(\d+)$/.exec(reply.headers.get("range") ?? "");
      // COMPAT: `0-0` is what registries say of an upload without a byte.
      const offset = last === null || last[1] === "0" ? 0 : Number(last[1]) + 1;
      if (offset > this.blob.size) return false;
      this.#location = this.#nextLocation(reply, url) ?? location;
      this.offset = offset;
      return offset > before;
    } catch (error) {
      this.signal.throwIfAborted();
      if (error instanceof TransientError) return false;
      throw error;
    }
  }

  async #isThere(): Promise<boolean> {
    const { reply } = await this.#send({ method: "HEAD", target: `${this.repository.path}/blobs/${this.blob.digest}` });
    await reply.body?.cancel();
    if (reply.status === 200) return true;
    // Whether this is allowed at all is told, with its words, by what comes next.
    if (isBusy(reply)) throw await pushRefusal(reply);
    return false;
  }

  /** The repository it was mounted from; null: an upload may be open then. */
  async #mount(): Promise<string | null> {
    for (const from of this.mountFrom) {
      const query = new URLSearchParams({ mount: this.blob.digest, from });
      const target = `${this.repository.path}/blobs/uploads/?${query}`;
      const { reply, url } = await this.#send({ method: "POST", target, headers: EMPTY, readsFrom: [from] });
      await reply.body?.cancel();
      if (reply.status === 201) return from;
      if (reply.status === 202) {
        this.#location = this.#nextLocation(reply, url);
        return null;
      }
    }
    return null;
  }

  async #begin(): Promise<URL> {
    const target = `${this.repository.path}/blobs/uploads/`;
    const { reply, url } = await this.#send({ method: "POST", target, headers: EMPTY });
    if (reply.status !== 202) throw await pushRefusal(reply);
    await reply.body?.cancel();
    return this.#moved(reply, url);
  }

  async #patch(location: URL): Promise<URL> {
    const { size } = this.blob;
    const start = this.offset;
    const { reply, url } = await this.#send({
      method: "PATCH",
      target: location,
      headers: {
        "content-type": "application/octet-stream",
        "content-length": String(size - start),
        ...(start === 0 ? {} : { "content-range": `${start}-${size - 1}` }),
      },
      body: this.#bytesFrom(start),
    });
    if (reply.status !== 202 && reply.status !== 201) throw await this.#failed(reply);
    await reply.body?.cancel();
    this.offset = size;
    return this.#moved(reply, url);
  }

  async #finish(location: URL, withBytes: boolean): Promise<void> {
    const target = new URL(location);
    target.searchParams.set("digest", this.blob.digest);
    const { reply } = await this.#send({
      method: "PUT",
      target,
      headers: {
        "content-type": "application/octet-stream",
        "content-length": withBytes ? String(this.blob.size) : "0",
      },
      ...(withBytes ? { body: this.#bytesFrom(0) } : {}),
      answerMs: REGISTRY_COMMIT_TIMEOUT_MS,
    });
    if (reply.status !== 201 && reply.status !== 204) throw await this.#failed(reply);
    await reply.body?.cancel();
  }

  #bytesFrom(start: number): RequestBody {
    return {
      open: (onChunk) => {
        const chunks = this.deps.content.read(this.blob.digest, this.signal, start)[Symbol.asyncIterator]();
        let offset = start;
        return new ReadableStream<Uint8Array<ArrayBuffer>>(
          {
            pull: async (controller) => {
              const { value, done } = await chunks.next();
              onChunk();
              if (done === true) return controller.close();
              offset += value.length;
              this.watcher.onOffset(offset);
              controller.enqueue(value as Uint8Array<ArrayBuffer>);
            },
            cancel: async () => void (await chunks.return?.()),
          },
          { highWaterMark: 0 },
        );
      },
    };
  }

  /** An upload that the registry no longer knows begins anew; so does one whose token has run out. */
  async #failed(reply: Response): Promise<Error> {
    const error = await pushRefusal(reply);
    if (reply.status === 401) return new TransientError(error.message, null);
    if (reply.status !== 404 && reply.status !== 416) return error;
    return new TransientError(error.message, null);
  }

  #moved(reply: Response, url: URL): URL {
    const location = this.#nextLocation(reply, url);
    if (location === null) throw internal(`${url.host} does not say where an upload goes on`);
    this.#location = location;
    return location;
  }

  #nextLocation(reply: Response, url: URL): URL | null {
    const location = reply.headers.get("location");
    if (location === null || !URL.canParse(location, url)) return null;
    const next = new URL(location, url);
    if (url.protocol === "https:" && next.protocol !== "https:")
      throw internal(`${url.host} leads an upload from HTTPS to ${next.protocol}`);
    return next;
  }

  #send(request: Parameters<Registry["send"]>[1]): ReturnType<Registry["send"]> {
    return this.deps.registry.send(this.repository, request, this.signal);
  }
}

const EMPTY = { "content-length": "0" };

function isBusy({ status }: Response): boolean {
  return status === 429 || status >= 500;
}

/** COMPAT: a registry's words as Docker tells them: `denied: requested access to the resource is denied`. */
export async function pushRefusal(reply: Response): Promise<Error> {
  const words = errorText(await readBounded(reply, MAX_TOKEN_BYTES).catch(() => ""));
  if (isBusy(reply)) {
    const told = `received unexpected HTTP status: ${reply.status} ${reply.statusText} ${words}`.trim();
    return new TransientError(told, retryAfterMs(reply));
  }
  if (reply.status === 401) return unauthorized(words || "unauthorized: authentication required");
  if (reply.status === 403) return unauthorized(words || "denied: requested access to the resource is denied");
  if (reply.status === 404) return notFound(words || "name unknown: repository name not known to registry");
  return internal(words || `received unexpected HTTP status: ${reply.status} ${reply.statusText}`.trim());
}

/** COMPAT: the CLI shows the seconds in the layer's line. */
export async function countDown(
  deps: Pick<UploadDeps, "sleep">,
  delayMs: number,
  watcher: Pick<UploadWatcher, "onStatus">,
  signal: AbortSignal,
): Promise<void> {
  for (let left = Math.ceil(delayMs / 1000); left > 0; left--) {
    watcher.onStatus(`Retrying in ${left} second${left === 1 ? "" : "s"}`);
    await deps.sleep(Math.min(1000, delayMs), signal);
  }
}
