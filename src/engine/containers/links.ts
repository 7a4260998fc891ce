// Legacy links (`--link`) on the default bridge: environment variables and lines of /etc/hosts that tell one container of
// another. On other networks a link is an endpoint's own matter.
import { conflict, invalid, isKind } from "../../errors.ts";
import type { ContainerRecord } from "./container.ts";
import { envKey } from "./defaults.ts";
import type { Registry } from "./registry.ts";
import { hasTask } from "./state.ts";

type Deps = { registry: Registry };

interface Link {
  container: string;
  alias: string;
}

/** `name:alias`, `name`, or as inspect shows it, `/name:/parent/alias`. Throws Docker's 400. */
export function parseLink(text: string): Link {
  if (text === "") throw invalid("empty string specified for links");
  const [container = "", alias = container, ...more] = text.split(":");
  if (more.length > 0 || container === "") throw invalid(`bad format for links: ${text}`);
  const last = alias.slice(alias.lastIndexOf("/") + 1);
  return { container: container.replace(/^\//, ""), alias: last };
}

/** Legacy links are for the default bridge: elsewhere the field asks for nothing. */
export function isLegacy(networkMode: string): boolean {
  return ["", "default", "bridge"].includes(networkMode);
}

/** What is kept at create: the other container by its ID, so that it may be renamed. */
export function linkByID(deps: Deps, text: string, networkMode: string): string {
  const { container, alias } = parseLink(text);
  if (!isLegacy(networkMode)) return text;
  let child: ContainerRecord;
  try {
    child = deps.registry.get(container).record;
  } catch (cause) {
    if (isKind(cause, "notFound")) throw invalid(`could not get container for ${container}`, { cause });
    throw cause;
  }
  if (child.hostConfig.NetworkMode === "host") {
    throw invalid(
      "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
    );
  }
  return `${child.id}:${alias}`;
}

interface Linked {
  child: ContainerRecord;
  alias: string;
  ipAddress: string;
  ip6Address: string;
}

/** The running containers behind the links. Throws Docker's words for one that is down. */
function linked(deps: Deps, { hostConfig, name }: ContainerRecord): Linked[] {
  if (!isLegacy(hostConfig.NetworkMode)) return [];
  return hostConfig.Links.map((text) => {
    const { container, alias } = parseLink(text);
    const child = deps.registry.get(container).record;
    if (!hasTask(child.state)) {
      throw conflict(`Cannot link to a non running container: /${child.name} AS /${name}/${alias}`);
    }
    const endpoint = child.endpoints.find(({ networkName }) => networkName === "bridge");
    return { child, alias, ipAddress: endpoint?.ipAddress ?? "", ip6Address: endpoint?.ip6Address ?? "" };
  });
}

/** Lines for /etc/hosts: the alias, then the other container's host name and name. */
export function linkHosts(deps: Deps, record: ContainerRecord): { address: string; names: string }[] {
  return linked(deps, record).flatMap(({ child, alias, ipAddress, ip6Address }) => {
    const names = [alias, child.config.Hostname, ...(alias === child.name ? [] : [child.name])].join(" ");
    return [ipAddress, ip6Address].filter((address) => address !== "").map((address) => ({ address, names }));
  });
}

/** COMPAT: `DB_PORT=tcp://172.17.0.2:5432` and all the others that programs of that time read. */
export function linkEnv(deps: Deps, record: ContainerRecord): string[] {
  return linked(deps, record).flatMap(({ child, alias, ipAddress }) =>
    linkVariables({
      name: `/${record.name}/${alias}`,
      alias,
      address: ipAddress,
      ports: Object.keys(child.config.ExposedPorts),
      env: child.config.Env,
    }),
  );
}

export interface LinkFacts {
  name: string;
  alias: string;
  address: string;
  /** `80/tcp`. */
  ports: readonly string[];
  /** The other container's own. */
  env: readonly string[];
}

export function linkVariables({ name, alias, address, ports, env }: LinkFacts): string[] {
  const prefix = alias.toUpperCase().replaceAll("-", "_");
  const sorted = ports.map(parsePort).sort((a, b) => a.port - b.port || (a.protocol === "tcp" ? -1 : 1));
  const variables: string[] = [];
  const [first] = sorted;
  if (first) variables.push(`${prefix}_PORT=${first.protocol}://${address}:${first.port}`);
  for (let at = 0; at < sorted.length;) {
    const end = lastOfRun(sorted, at);
    const { port, protocol } = sorted[at] ?? { port: 0, protocol: "tcp" };
    const key = `${prefix}_PORT_${port}_${protocol.toUpperCase()}`;
    const isRun = end > at + 1;
    if (isRun) {
      const last = sorted[end]?.port ?? port;
      variables.push(
        `${key}_START=${protocol}://${address}:${port}`,
        `${key}_ADDR=${address}`,
        `${key}_PROTO=${protocol}`,
        `${key}_PORT_START=${port}`,
        `${key}_END=${protocol}://${address}:${last}`,
        `${key}_PORT_END=${last}`,
      );
    } else {
      variables.push(
        `${key}=${protocol}://${address}:${port}`,
        `${key}_ADDR=${address}`,
        `${key}_PORT=${port}`,
        `${key}_PROTO=${protocol}`,
      );
    }
    at = isRun ? end + 1 : at + 1;
  }
  variables.push(`${prefix}_NAME=${name}`);
  for (const entry of env) {
    const key = envKey(entry);
    if (!entry.includes("=") || key === "HOME" || key === "PATH") continue;
    variables.push(`${prefix}_ENV_${entry}`);
  }
  return variables;
}

function parsePort(text: string): { port: number; protocol: string } {
  const [port = "0", protocol = "tcp"] = text.split("/");
  return { port: Number.parseInt(port, 10), protocol };
}

/** Where the run of consecutive numbers that begins here ends. */
function lastOfRun(sorted: readonly { port: number }[], start: number): number {
  let end = start;
  while (end + 1 < sorted.length && (sorted[end + 1]?.port ?? 0) <= (sorted[end]?.port ?? 0) + 1) end++;
  return end;
}
