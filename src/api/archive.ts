// Routes of a container's files: what `docker cp`, `docker diff` and `docker export` ask. A path's nature is told in one header, its content is a tar.
import type { Context, Hono } from "hono";
import type { Change } from "../../runtime/mod.ts";
import type { Engine, PathStat } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import { streamOf } from "../http/streaming.ts";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { booleanParam } from "./params.ts";
import { empty } from "./reply.ts";

const STAT_HEADER = "X-Docker-Container-Path-Stat";

export function containerArchive(app: Hono<AppEnv>, { containers }: Engine): void {
  // HEAD comes here too.
  app.get("/containers/:id{.+}/archive", async (c) => {
    const id = c.req.param("id");
    const path = pathParam(c);
    if (c.req.method === "HEAD") {
      const stat = await containers.statPath(id, path);
      return new Response(null, { headers: { [STAT_HEADER]: statHeader(stat) } });
    }
    const { stat, chunks } = await containers.copyOut(id, path);
    return streamOf(chunks, { "Content-Type": "application/x-tar", [STAT_HEADER]: statHeader(stat) });
  });

  app.get("/containers/:id{.+}/changes", async (c) => {
    const found = await containers.changes(c.req.param("id"));
    return streamOf(changesText(found), { "Content-Type": "application/json" });
  });

  app.get("/containers/:id{.+}/export", async (c) => {
    const chunks = await containers.exportFiles(c.req.param("id"));
    return streamOf(chunks, { "Content-Type": "application/octet-stream" });
  });

  app.put("/containers/:id{.+}/archive", async (c) => {
    const { body, signal } = c.req.raw;
    const options = {
      noOverwriteDirNonDir: booleanParam(c, "noOverwriteDirNonDir"),
      copyUIDGID: isAtLeast(c.get("apiVersion"), 29) && booleanParam(c, "copyUIDGID"),
    };
    await containers.copyIn(c.req.param("id"), pathParam(c), body ?? nothing(), options, signal);
    return empty(200);
  });
}

const KIND_NUMBERS = { modified: 0, added: 1, deleted: 2 } as const;
/** Of text that is sent at once. */
const CHUNK_CHARACTERS = 32 << 10;

/** One JSON array, made as it is sent: a container may have changed a million files. COMPAT: `null` for none. */
async function* changesText(changes: AsyncIterable<Change>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  let text = "";
  let isEmpty = true;
  for await (const { path, kind } of changes) {
    text += `${isEmpty ? "[" : ","}${JSON.stringify({ Path: path.toWellFormed(), Kind: KIND_NUMBERS[kind] })}`;
    isEmpty = false;
    if (text.length < CHUNK_CHARACTERS) continue;
    yield encoder.encode(text);
    text = "";
  }
  yield encoder.encode(`${text}${isEmpty ? "null" : "]"}\n`);
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function pathParam(c: Context<AppEnv>): string {
  const path = c.req.query("path") ?? "";
  if (path === "") throw invalid("missing parameter in path");
  if (path.includes("\0")) throw invalid("invalid path: it contains a NUL byte");
  return path;
}

/** The kinds of st_mode as the bits of Go's FileMode. A character device has two. */
const KINDS: Readonly<Record<number, number>> = {
  0o040000: 2 ** 31,
  0o120000: 2 ** 27,
  0o060000: 2 ** 26,
  0o020000: 2 ** 26 + 2 ** 21,
  0o010000: 2 ** 25,
  0o140000: 2 ** 24,
};

/** COMPAT: what Go's os.FileMode says of a file: the CLI tells files and directories apart by it. */
export function goFileMode(mode: number): number {
  const kind = KINDS[mode & 0o170000] ?? 0;
  const special = (mode & 0o4000 ? 2 ** 23 : 0) + (mode & 0o2000 ? 2 ** 22 : 0) + (mode & 0o1000 ? 2 ** 20 : 0);
  return kind + special + (mode & 0o777);
}

/** Standard base64 of JSON. */
export function statHeader({ name, sizeBytes, mode, modified, linkTarget }: PathStat): string {
  const [seconds, nanoseconds] = modified;
  const fraction = nanoseconds === 0 ? "" : `.${String(nanoseconds).padStart(9, "0").replace(/0+$/, "")}`;
  const mtime = `${timeText(seconds)}${fraction}Z`;
  const document = {
    name: name.toWellFormed(),
    size: sizeBytes,
    mode: goFileMode(mode),
    mtime,
    linkTarget: linkTarget.toWellFormed(),
  };
  return Buffer.from(JSON.stringify(document)).toString("base64");
}

/** Date shows years from 0 to 9999 in four digits; a file may claim any. */
const LAST_SECOND = 253_402_300_799n,
  FIRST_SECOND = -62_167_219_200n;

function timeText(seconds: bigint): string {
  const shown = seconds > LAST_SECOND ? LAST_SECOND : seconds < FIRST_SECOND ? FIRST_SECOND : seconds;
  return new Date(Number(shown) * 1000).toISOString().slice(0, "2026-01-02T03:04:05".length);
}
