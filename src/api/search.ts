// GET /images/search: what a registry has under a word.
import { Hono } from "hono";
import { booleanFilter, FILTER_NAMES, parseFilters } from "../engine/filters.ts";
import type { Filters, RegistryCredentials } from "../engine/mod.ts";
import { invalid } from "../errors.ts";
import type { AppEnv } from "./app_env.ts";
import { credentialsOf } from "./registry_credentials.ts";
import { json } from "./reply.ts";

interface FoundImage {
  name: string;
  description: string;
  stars: number;
  isOfficial: boolean;
}

/** Asks the registry. */
export type SearchImages = (
  term: string,
  limit: number,
  credentials: RegistryCredentials | null,
  signal: AbortSignal,
) => Promise<FoundImage[]>;

const DEFAULT_LIMIT = 25;
const MAX_LIMIT = 100;

export function searchApi(search: SearchImages): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  app.get("/images/search", async (c) => {
    const limit = limitOf(c.req.query("limit") ?? "");
    const matches = matcher(parseFilters(c.req.query("filters"), FILTER_NAMES.search));
    const found = await search(c.req.query("term") ?? "", limit, credentialsOf(c), c.req.raw.signal);
    return json(
      found.filter(matches).map(({ name, description, stars, isOfficial }) => ({
        star_count: stars,
        is_official: isOfficial,
        name,
        is_automated: false,
        description,
      })),
    );
  });
  return app;
}

/** COMPAT: Docker's words, those of its language's library among them. */
function limitOf(text: string): number {
  if (text === "") return DEFAULT_LIMIT;
  if (!/^[+-]?\d{1,9}$/.test(text))
    throw invalid(`invalid limit specified: strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  const limit = Number(text);
  if (limit === 0) return DEFAULT_LIMIT;
  if (limit < 1 || limit > MAX_LIMIT) throw invalid(`limit ${limit} is outside the range of [1, ${MAX_LIMIT}]`);
  return limit;
}

function matcher(filters: Filters): (image: FoundImage) => boolean {
  // COMPAT: nothing is built by Docker Hub any more, so who asks for that finds nothing.
  const isAutomated = booleanFilter(filters, "is-automated", null);
  const isOfficial = booleanFilter(filters, "is-official", null);
  const stars = (filters.get("stars") ?? []).map((text) => {
    if (/^[+-]?\d{1,9}$/.test(text)) return Number(text);
    throw invalid(`invalid filter 'stars=${text}': strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  });
  return (image) =>
    isAutomated !== true &&
    (isOfficial === null || image.isOfficial === isOfficial) &&
    stars.every((least) => image.stars >= least);
}
