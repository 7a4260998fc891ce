// Finding networks: by what a user types, and by filters. Pure.
import { invalid, notFound } from "../../errors.ts";
import { booleanFilter, invalidValue, matchesExactly, matchesLabels, matchesPattern } from "../filters.ts";
import type { Filters, NetworkRecord } from "../mod.ts";
import { isPredefined } from "./predefined.ts";

/** A full ID, then an exact name, then an ID's prefix. Throws Docker's 404, and its 400 for more than one. */
export function findNetworkRecord(networks: readonly NetworkRecord[], nameOrID: string): NetworkRecord {
  const exact = networks.find(({ id }) => id === nameOrID);
  if (exact !== undefined) return exact;
  const named = networks.filter(({ name }) => name === nameOrID);
  if (named.length > 1) throw invalid(`network ${nameOrID} is ambiguous (${named.length} matches found on name)`);
  if (named[0] !== undefined) return named[0];
  const prefixed = nameOrID === "" ? [] : networks.filter(({ id }) => id.startsWith(nameOrID));
  if (prefixed.length > 1) {
    throw invalid(`network ${nameOrID} is ambiguous (${prefixed.length} matches found based on ID prefix)`);
  }
  if (prefixed[0] !== undefined) return prefixed[0];
  throw notFound(`network ${nameOrID} not found`);
}

/** The filters of `docker network ls`. `isUsed`: whether any container is on it. */
export function filterNetworks(
  networks: readonly NetworkRecord[],
  filters: Filters,
  isUsed: (network: NetworkRecord) => boolean,
): NetworkRecord[] {
  const dangling = booleanFilter<null>(filters, "dangling", null);
  const types = filters.get("type");
  for (const type of types ?? []) {
    if (type !== "custom" && type !== "builtin") throw invalidValue(filters, "type");
  }
  return networks.filter(
    (network) =>
      matchesPattern(filters, "name", network.name) &&
      matchesPattern(filters, "id", network.id) &&
      matchesExactly(filters, "driver", network.driver) &&
      matchesExactly(filters, "scope", network.scope) &&
      matchesLabels(filters, network.labels) &&
      (types === undefined || types.includes(isPredefined(network.name) ? "builtin" : "custom")) &&
      // COMPAT: a predefined network is never dangling, since it cannot be removed.
      (dangling === null || dangling === (!isPredefined(network.name) && !isUsed(network))),
  );
}
