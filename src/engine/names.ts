// Names of containers: which are allowed, how a container is found by what a user types, and the names given to those
// that came without one.
import { conflict, invalid, notFound } from "../errors.ts";
import type { RandomBytes } from "./ids.ts";
import { shortID } from "./ids.ts";

/** Without the leading slash that clients may send. Throws Docker's 400. */
export function parseContainerName(text: string): string {
  const name = text.startsWith("/") ? text.slice(1) : text;
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) {
    throw invalid(`Invalid container name (${text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  }
  return name;
}

/** COMPAT: cri-dockerd takes the ID out of this text with a regular expression. */
export function nameTaken(name: string, ownerID: string): Error {
  return conflict(
    `Conflict. The container name "/${name}" is already in use by container "${ownerID}". ` +
      "You have to remove (or rename) that container to be able to reuse that name.",
  );
}

export interface Directory<T> {
  byID(id: string): T | undefined;
  byName(name: string): T | undefined;
  /** All IDs. Walked for a prefix only. */
  ids(): Iterable<string>;
}

/**
 * What the user means: a full ID, then an exact name, then an ID's prefix; so a name that looks like the start of some
 * ID means the container of that name.
 */
export function resolveContainer<T>(directory: Directory<T>, nameOrID: string): T {
  if (nameOrID === "") throw invalid("prefix can't be empty");
  const exact = directory.byID(nameOrID) ?? directory.byName(nameOrID.startsWith("/") ? nameOrID.slice(1) : nameOrID);
  if (exact !== undefined) return exact;
  let found: string | undefined;
  if (/^[0-9a-f]{1,64}$/.test(nameOrID)) {
    for (const id of directory.ids()) {
      if (!id.startsWith(nameOrID)) continue;
      if (found !== undefined) throw invalid(`multiple IDs found with provided prefix: ${nameOrID}`);
      found = id;
    }
  }
  const match = found === undefined ? undefined : directory.byID(found);
  if (match === undefined) throw notFound(`No such container: ${nameOrID}`);
  return match;
}

const TRIES = 6;

/** `adjective_noun`, with a digit in later tries, and the short ID when all of those are taken. */
export function generateName(id: string, isTaken: (name: string) => boolean, random: RandomBytes): string {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const [a = 0, b = 0, c = 0] = random(3);
    const name = `${ADJECTIVES[a % ADJECTIVES.length]}_${NOUNS[b % NOUNS.length]}${attempt > 0 ? c % 10 : ""}`;
    if (!isTaken(name)) return name;
  }
  return shortID(id);
}

const ADJECTIVES = [
  "able",
  "agile",
  "amber",
  "ample",
  "azure",
  "balmy",
  "bold",
  "brave",
  "breezy",
  "bright",
  "brisk",
  "calm",
  "candid",
  "clear",
  "clever",
  "coastal",
  "cool",
  "cosy",
  "crisp",
  "daring",
  "deft",
  "distant",
  "eager",
  "early",
  "earnest",
  "easy",
  "fair",
  "famous",
  "fleet",
  "fond",
  "frank",
  "fresh",
  "gentle",
  "glad",
  "golden",
  "grand",
  "hardy",
  "hearty",
  "honest",
  "jolly",
  "keen",
  "kind",
  "lively",
  "loyal",
  "lucid",
  "lucky",
  "mellow",
  "merry",
  "mild",
  "neat",
  "nimble",
  "noble",
  "northern",
  "patient",
  "placid",
  "plucky",
  "proud",
  "quick",
  "quiet",
  "ready",
  "robust",
  "salty",
  "serene",
  "sharp",
  "silver",
  "sleek",
  "smart",
  "snug",
  "solid",
  "southern",
  "spry",
  "staunch",
  "steady",
  "stout",
  "sturdy",
  "sunny",
  "swift",
  "tidal",
  "tidy",
  "tranquil",
  "trim",
  "trusty",
  "upbeat",
  "vivid",
  "warm",
  "wary",
  "western",
  "windward",
  "wise",
  "witty",
  "zesty",
] as const;

const NOUNS = [
  "albatross",
  "anchor",
  "atoll",
  "barge",
  "bay",
  "beacon",
  "bosun",
  "bow",
  "breaker",
  "breeze",
  "brig",
  "buoy",
  "capstan",
  "captain",
  "chart",
  "clipper",
  "coast",
  "compass",
  "coral",
  "cove",
  "crane",
  "crew",
  "current",
  "cutter",
  "deck",
  "delta",
  "dinghy",
  "dock",
  "dolphin",
  "dory",
  "eddy",
  "estuary",
  "ferry",
  "fjord",
  "fleet",
  "galley",
  "gull",
  "halyard",
  "harbour",
  "hawser",
  "helm",
  "heron",
  "hull",
  "inlet",
  "island",
  "jetty",
  "keel",
  "kelp",
  "ketch",
  "knot",
  "lagoon",
  "lantern",
  "launch",
  "ledger",
  "lighthouse",
  "lock",
  "lugger",
  "mariner",
  "mast",
  "mooring",
  "narwhal",
  "oar",
  "osprey",
  "otter",
  "pelican",
  "pier",
  "pilot",
  "plover",
  "port",
  "puffin",
  "quay",
  "reef",
  "rigging",
  "rudder",
  "sail",
  "schooner",
  "seal",
  "sextant",
  "shoal",
  "skiff",
  "skipper",
  "sloop",
  "sound",
  "spar",
  "starboard",
  "stern",
  "strait",
  "surf",
  "tern",
  "tide",
  "tiller",
  "trawler",
  "tugboat",
  "voyage",
  "wharf",
  "whaler",
  "winch",
  "yawl",
] as const;
