// Routes of images: pull, read, save and load, tag, remove.
import { type Context, Hono } from "hono";
import { FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import type { Engine, ImageRecord } from "../engine/mod.ts";
import { invalid, notFound } from "../errors.ts";
import { jsonStream } from "../http/json_stream.ts";
import { streamOf } from "../http/streaming.ts";
import { ContainerConfig } from "../schema/container.ts";
import { Platform } from "../schema/image.ts";
import { type AppEnv, isAtLeast } from "./app_env.ts";
import { check, readDocument } from "./body.ts";
import { attestationView, historyView, inspectView, manifestView, summaryView } from "./image_view.ts";
import { booleanParam } from "./params.ts";
import { credentialsOf } from "./registry_credentials.ts";
import { empty, json } from "./reply.ts";
import { since } from "./since.ts";

export function imagesApi(engine: Engine): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  reading(app, engine);
  moving(app, engine);
  committing(app, engine);
  changing(app, engine);
  return app;
}

function reading(app: Hono<AppEnv>, { config, images }: Engine): void {
  app.get("/images/json", async (c) => {
    const found = await images.list({
      all: booleanParam(c, "all"),
      filters: parseFilters(c.req.query("filters"), FILTER_NAMES.images),
      sharedSize: booleanParam(c, "shared-size"),
    });
    const version = c.get("apiVersion");
    if (!isAtLeast(version, 47) || !booleanParam(c, "manifests"))
      return json(found.map((each) => summaryView(each, version)));
    return json(
      await Promise.all(
        found.map(async (each) => ({
          ...summaryView(each, version),
          Manifests: (await images.manifests(each.image)).map(manifestView),
        })),
      ),
    );
  });

  app.get("/images/:name{.+}/json", async (c) => {
    const version = c.get("apiVersion");
    const wantsManifests = isAtLeast(version, 48) && booleanParam(c, "manifests");
    if (wantsManifests && isAtLeast(version, 49) && platforms(c).length > 0)
      throw invalid("conflicting options: manifests and platform options cannot both be set");
    const image = imageFor(c, images.get(c.req.param("name")), 49);
    const view = inspectView(image, version, config);
    return json(wantsManifests ? { ...view, Manifests: (await images.manifests(image)).map(manifestView) } : view);
  });

  app.get("/images/:name{.+}/history", (c) => json(historyView(imageFor(c, images.get(c.req.param("name")), 48))));

  app.get("/images/:name{.+}/attestations", since(55), async (c) => {
    const [platform = "", ...more] = platforms(c);
    if (more.length > 0) throw invalid("multiple platforms are not supported");
    const statements = await images.attestations(c.req.param("name"), {
      platform,
      types: (c.req.queries("type") ?? []).filter((type) => type !== ""),
      withStatement: booleanParam(c, "statement"),
    });
    return json(statements.map(attestationView));
  });
}

/** The image, if it is one for the platform that the query names (which this route knows since version 1.`minor`). */
function imageFor(c: Context<AppEnv>, image: ImageRecord, minor: number): ImageRecord {
  const [wanted] = isAtLeast(c.get("apiVersion"), minor) ? platforms(c) : [];
  if (wanted === undefined) return image;
  const parts = [image.os, image.architecture, image.variant].filter((part) => part !== "");
  // A platform without a variant stands for any.
  if (`${parts.join("/")}/`.startsWith(`${wanted}/`)) return image;
  const name = c.req.param("name") ?? image.id;
  throw notFound(
    `image with reference ${name} was found but its platform (${parts.join("/")}) does not match the specified platform (${wanted})`,
  );
}

/** `platform` of save, load, push, inspect and history: JSON objects, as `os/arch[/variant]`. */
function platforms(c: Context<AppEnv>, name = "platform"): string[] {
  return (c.req.queries(name) ?? [])
    .filter((text) => text !== "")
    .map((text) => {
      const { os, architecture, variant } = check(Platform, parsePlatform(text));
      if (os === "" || architecture === "")
        throw invalid(`failed to parse platform: ${text}: os and architecture are needed`);
      return [os, architecture, variant].filter((part) => part !== "").join("/");
    });
}

function parsePlatform(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalid(`failed to parse platform: ${text}`, { cause: error });
  }
}

function moving(app: Hono<AppEnv>, { images }: Engine): void {
  app.post("/images/create", async (c) => {
    const image = c.req.query("fromImage") ?? "";
    const platform = c.req.query("platform") ?? "";
    if (image === "") return await importImage(c, images, platform);
    const request = { image, tag: c.req.query("tag") ?? "", platform, credentials: credentialsOf(c) };
    return await jsonStream((write) => images.pull(request, write, c.req.raw.signal));
  });

  app.post("/images/:name{.+}/push", async (c) => {
    const [platform = ""] = isAtLeast(c.get("apiVersion"), 46) ? platforms(c) : [];
    const request = {
      image: c.req.param("name"),
      tag: c.req.query("tag") ?? "",
      platform,
      credentials: credentialsOf(c),
    };
    return await jsonStream((write) => images.push(request, write, c.req.raw.signal));
  });

  const save = async (c: Context<AppEnv>, names: string[]): Promise<Response> => {
    if (names.length === 0) throw invalid("names of images to save are needed");
    const options = { platforms: isAtLeast(c.get("apiVersion"), 48) ? platforms(c) : [] };
    const archive = await images.save(names, options, c.req.raw.signal);
    return streamOf(archive, { "Content-Type": "application/x-tar" });
  };
  app.get("/images/get", (c) =>
    save(
      c,
      (c.req.queries("names") ?? []).filter((name) => name !== ""),
    ),
  );
  app.get("/images/:name{.+}/get", (c) => save(c, [c.req.param("name")]));

  app.post("/images/load", async (c) => {
    const { body, signal } = c.req.raw;
    const options = {
      quiet: booleanParam(c, "quiet"),
      platforms: isAtLeast(c.get("apiVersion"), 48) ? platforms(c) : [],
    };
    return await jsonStream((write) => images.load(body ?? nothing(), options, write, signal));
  });
}

/** COMPAT: everything is in the query; the body may bring a configuration to start from. */
function committing(app: Hono<AppEnv>, { containers }: Engine): void {
  app.post("/commit", async (c) => {
    const document = await readDocument(c);
    const request = {
      repository: c.req.query("repo") ?? "",
      tag: c.req.query("tag") ?? "",
      author: c.req.query("author") ?? "",
      comment: c.req.query("comment") ?? "",
      changes: c.req.queries("changes") ?? [],
      // COMPAT: an empty value means the default, too.
      pause: (c.req.query("pause") ?? "") === "" || booleanParam(c, "pause"),
      config: document === undefined || document === null ? null : check(ContainerConfig, document),
    };
    return json({ Id: await containers.commit(c.req.query("container") ?? "", request, c.req.raw.signal) }, 201);
  });
}

async function importImage(c: Context<AppEnv>, images: Engine["images"], platform: string): Promise<Response> {
  const source = c.req.query("fromSrc") ?? "";
  if (source === "") throw invalid("one of fromImage and fromSrc is needed");
  const { body, signal } = c.req.raw;
  const request = {
    source,
    body: source === "-" ? (body ?? nothing()) : null,
    repository: c.req.query("repo") ?? "",
    tag: c.req.query("tag") ?? "",
    message: c.req.query("message") ?? "",
    changes: c.req.queries("changes") ?? [],
    platform,
  };
  return await jsonStream((write) => images.import(request, write, signal));
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function changing(app: Hono<AppEnv>, { images }: Engine): void {
  app.post("/images/prune", since(25), async (c) => {
    const { deleted, spaceReclaimed } = await images.prune(
      parseFilters(c.req.query("filters"), FILTER_NAMES.imagesPrune),
    );
    return json({ ImagesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: spaceReclaimed });
  });

  app.post("/images/:name{.+}/tag", async (c) => {
    await images.tag(c.req.param("name"), c.req.query("repo") ?? "", c.req.query("tag") ?? "");
    return empty(201);
  });

  app.delete("/images/:name{.+}", async (c) => {
    const wanted = isAtLeast(c.get("apiVersion"), 50) ? platforms(c, "platforms") : [];
    const options = { force: booleanParam(c, "force"), prune: !booleanParam(c, "noprune"), platforms: wanted };
    return json(await images.remove(c.req.param("name"), options));
  });
}
