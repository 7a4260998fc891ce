// Search: images by a word in their names, at Docker Hub's index or at the registry that the term begins with. Indexes
// answer /v1/search; of registries that have none, the catalogue is looked through. Called by GET /images/search.
import * as v from "valibot";
import type { RegistryCredentials } from "../engine/mod.ts";
import { internal, invalid } from "../errors.ts";
import { MAX_MANIFEST_BYTES } from "../limits.ts";
import { parseJSON } from "./manifest.ts";
import { type Registry, type Repository, TransientError } from "./registry.ts";
import { readBounded } from "./registry_auth.ts";

export interface SearchResult {
  name: string;
  description: string;
  stars: number;
  isOfficial: boolean;
}

const INDEX = "index.docker.io";

/** Real ones have these; what else a server sends is not shown. */
const IndexReply = v.object({
  results: v.nullish(
    v.array(
      v.object({
        name: v.string(),
        description: v.nullish(v.string(), ""),
        star_count: v.nullish(v.number(), 0),
        is_official: v.nullish(v.boolean(), false),
      }),
    ),
    [],
  ),
});
const CatalogReply = v.object({ repositories: v.nullish(v.array(v.string()), []) });
/** Names that one page of a catalogue is asked for; registries give 1,000 at most. */
const PAGE = 1000;
/** Pages looked through for one search. */
const MAX_PAGES = 100;

export async function searchImages(
  registry: Pick<Registry, "lookUp">,
  term: string,
  limit: number,
  credentials: RegistryCredentials | null,
  signal: AbortSignal,
): Promise<SearchResult[]> {
  const { domain, word } = splitTerm(term);
  const repository = { domain, path: "", credentials };
  try {
    const query = new URLSearchParams({ q: word, n: String(limit) });
    const reply = await registry.lookUp(repository, `../v1/search?${query}`, signal);
    if (reply.ok) return await indexResults(reply, limit);
    await reply.body?.cancel();
    if (domain === INDEX) throw internal(`Unexpected status code ${reply.status}`);
    return await searchCatalog(registry, repository, word, limit, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof TransientError)) throw error;
    if (domain === INDEX) throw internal(error.message, { cause: error });
    throw invalid(`invalid registry endpoint ${JSON.stringify(domain)}: ${error.message}`, { cause: error });
  }
}

/** COMPAT: what stands before the first slash is a registry when it looks like one; `library/` is Docker Hub's own. */
function splitTerm(term: string): { domain: string; word: string } {
  if (term.includes("://")) throw invalid(`invalid repository name (ex: "registry.domain.tld/myrepos")`);
  const slash = term.indexOf("/");
  const first = slash < 0 ? "" : term.slice(0, slash);
  const isDomain = /[.:]/.test(first) || first === "localhost";
  if (!isDomain) return { domain: INDEX, word: term.replace(/^library\//, "") };
  const domain = first === "docker.io" ? INDEX : first;
  const word = term.slice(slash + 1);
  return { domain, word: domain === INDEX ? word.replace(/^library\//, "") : word };
}

async function indexResults(reply: Response, limit: number): Promise<SearchResult[]> {
  const document = parseJSON(Buffer.from(await readBounded(reply, MAX_MANIFEST_BYTES)), "answer of the index");
  const parsed = v.safeParse(IndexReply, document);
  if (!parsed.success) throw internal("the index answers with something else than search results");
  return parsed.output.results.slice(0, limit).map(({ name, description, star_count, is_official }) => ({
    name,
    description,
    stars: star_count,
    isOfficial: is_official,
  }));
}

/** Names with their registry, so that they can be pulled as they are shown. */
async function searchCatalog(
  registry: Pick<Registry, "lookUp">,
  repository: Repository,
  word: string,
  limit: number,
  signal: AbortSignal,
): Promise<SearchResult[]> {
  const found: SearchResult[] = [];
  let path = `_catalog?n=${PAGE}`;
  for (let page = 0; page < MAX_PAGES && found.length < limit; page++) {
    const reply = await registry.lookUp(repository, path, signal);
    const text = await readBounded(reply, MAX_MANIFEST_BYTES);
    if (!reply.ok) throw internal(`Unexpected status code ${reply.status}`);
    const parsed = v.safeParse(CatalogReply, parseJSON(Buffer.from(text), "catalogue"));
    if (!parsed.success) throw internal(`the catalogue of ${repository.domain} cannot be read`);
    for (const name of parsed.output.repositories) {
      if (name.includes(word.toLowerCase()))
        found.push({ name: `${repository.domain}/${name}`, description: "", stars: 0, isOfficial: false });
    }
    // RFC 8288: </v2/_catalog?last=x&n=1000>; rel="next"
    const next = /<(?:[^>]*?\/v2\/)?([^>]+)>\s*;\s*rel="?next"?/.exec(reply.headers.get("link") ?? "")?.[1];
    if (next === undefined) break;
    path = next;
  }
  return found.slice(0, limit);
}
