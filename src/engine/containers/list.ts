// `docker ps`: the records that match, newest first. From memory, without a lock.
import { isKind } from "../../errors.ts";
import {
  booleanFilter,
  invalidValue,
  matchesExactly,
  matchesLabels,
  matchesPattern,
  matchesPrefix,
} from "../filters.ts";
import { invalid } from "../../errors.ts";
import type { Filters, Images, ListOptions } from "../mod.ts";
import type { ContainerRecord } from "./container.ts";
import type { HealthReport } from "./health.ts";
import type { Live, Registry } from "./registry.ts";
import { exitOf, isUp, type Status } from "./state.ts";

const STATUSES: readonly Status[] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
const HEALTHS = ["starting", "healthy", "unhealthy", "none"];

export interface ListDeps {
  registry: Registry;
  images: Pick<Images, "get">;
}

export function list(deps: ListDeps, options: ListOptions): Live[] {
  const { filters } = options;
  const matches = matcher(deps, filters);
  const showsAll =
    options.all || options.limit > 0 || ["status", "exited", "before", "since"].some((name) => filters.has(name));
  const found = [...deps.registry.all()]
    .filter((live) => (showsAll || isUp(live.record.state)) && matches(live))
    .sort((a, b) => newestFirst(a.record, b.record));
  return options.limit > 0 ? found.slice(0, options.limit) : found;
}

function newestFirst(a: ContainerRecord, b: ContainerRecord): number {
  if (a.createdAt === b.createdAt) return 0;
  return a.createdAt < b.createdAt ? 1 : -1;
}

/** Values of one filter are alternatives, different filters must all hold. Throws Docker's 400s for bad values. */
function matcher(deps: ListDeps, filters: Filters): (live: Live) => boolean {
  const checks: ((record: ContainerRecord, health: HealthReport | null) => boolean)[] = [];
  for (const [name, values] of filters) {
    switch (name) {
      case "id":
        checks.push((record) => matchesPrefix(filters, name, record.id) || matchesPattern(filters, name, record.id));
        break;
      case "name":
        checks.push(
          (record) => matchesPattern(filters, name, `/${record.name}`) || matchesPattern(filters, name, record.name),
        );
        break;
      case "label":
        checks.push((record) => matchesLabels(filters, record.config.Labels));
        break;
      case "status":
        checkWords(name, values, STATUSES);
        checks.push((record) => matchesExactly(filters, name, record.state.status));
        break;
      case "health":
        checkWords(name, values, HEALTHS);
        checks.push((_record, health) => matchesExactly(filters, name, health?.status ?? "none"));
        break;
      case "exited":
        checks.push(exitedWith(filters, values));
        break;
      case "before":
      case "since":
        checks.push(createdNextTo(deps.registry, name, values));
        break;
      case "ancestor":
        checks.push(fromImage(deps.images, values));
        break;
      case "volume":
        checks.push((record) =>
          record.mounts.some((mount) => values.includes(mount.name) || values.includes(mount.destination)),
        );
        break;
      case "network":
        checks.push((record) => values.some((value) => isOnNetwork(record, value)));
        break;
      case "publish":
        checks.push((record) => values.some((value) => publishes(record, value)));
        break;
      case "expose":
        checks.push((record) => values.some((value) => exposes(record, value)));
        break;
      case "isolation":
        checks.push((record) => values.includes(record.hostConfig.Isolation || "default"));
        break;
      case "is-task": {
        // Nothing here is a task of a swarm.
        const wanted = booleanFilter(filters, name, false);
        checks.push(() => !wanted);
        break;
      }
    }
  }
  return (live) => checks.every((check) => check(live.record, live.health));
}

function checkWords(name: string, values: readonly string[], known: readonly string[]): void {
  for (const value of values) {
    if (known.includes(value)) continue;
    throw invalid(`invalid filter '${name}=${value}': must be one of: ${known.join(", ")}`);
  }
}

function exitedWith(filters: Filters, values: readonly string[]): (record: ContainerRecord) => boolean {
  const codes = values.map((value) => {
    if (!/^-?\d+$/.test(value)) throw invalidValue(filters, "exited");
    return Number(value);
  });
  return ({ state }) => {
    const exit = exitOf(state);
    return exit !== null && !isUp(state) && codes.includes(exit.exitCode);
  };
}

function createdNextTo(
  registry: Registry,
  name: "before" | "since",
  values: readonly string[],
): (record: ContainerRecord) => boolean {
  const pivots = values.map((value) => registry.get(value).record);
  return (record) =>
    pivots.some((pivot) => {
      const order = newestFirst(record, pivot);
      return record.id !== pivot.id && (name === "before" ? order > 0 : order < 0);
    });
}

/** By the name given at create, or by anything that means its image. */
function fromImage(images: Pick<Images, "get">, values: readonly string[]): (record: ContainerRecord) => boolean {
  const ids = new Set<string>();
  for (const value of values) {
    try {
      ids.add(images.get(value).id);
    } catch (error) {
      // An image that is gone may still have containers, named after it.
      if (!isKind(error, "notFound")) throw error;
    }
  }
  return (record) => ids.has(record.imageID) || values.includes(record.image);
}

function isOnNetwork(record: ContainerRecord, value: string): boolean {
  if (value === "") return false;
  return (
    record.hostConfig.NetworkMode === value ||
    record.endpoints.some((endpoint) => endpoint.networkName === value || endpoint.networkID.startsWith(value))
  );
}

/** `8080`, `8080/udp`, `8000-8010`. Ports of any protocol match a value without one. */
function publishes(record: ContainerRecord, value: string): boolean {
  const range = parsePorts(value);
  const bound = Object.entries(record.hostConfig.PortBindings).flatMap(([port, bindings]) =>
    bindings.map((binding) => ({ port: Number(binding.HostPort), protocol: port.split("/")[1] ?? "tcp" })),
  );
  const live = record.publishedPorts.map(({ hostPort, protocol }) => ({ port: hostPort, protocol }));
  return [...bound, ...live].some(range);
}

function exposes(record: ContainerRecord, value: string): boolean {
  const range = parsePorts(value);
  return Object.keys({ ...record.config.ExposedPorts, ...record.hostConfig.PortBindings }).some((key) => {
    const [port = "", protocol = "tcp"] = key.split("/");
    return range({ port: Number(port), protocol });
  });
}

function parsePorts(value: string): (candidate: { port: number; protocol: string }) => boolean {
  const parts = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/.exec(value);
  if (!parts) throw invalid(`invalid containerPort: ${value}`);
  const first = Number(parts[1]);
  const last = Number(parts[2] ?? parts[1]);
  const protocol = parts[3] ?? "tcp";
  return (candidate) => candidate.port >= first && candidate.port <= last && candidate.protocol === protocol;
}
