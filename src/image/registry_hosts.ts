// Where a registry is and how it is trusted: mirrors, insecure registries, and the directories of certificates and
// hosts.toml files, one for each host (dockerd: /etc/docker/certs.d). Called by registry_transport.ts for each request;
// what is on disk is read again every few seconds, so that a change needs no restart.
//
//   <certsDir>/registry.lan:5000/ca.crt                     trusted besides the system's authorities
//   <certsDir>/registry.lan:5000/client.cert, client.key    shown to that host
//   <certsDir>/registry.lan:5000/hosts.toml                 other hosts to ask first: hosts_toml.ts
//   <certsDir>/_default/hosts.toml                          the same for each registry without a directory
import { readdir, readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { rootCertificates } from "node:tls";
import { internal } from "../errors.ts";
import { CERTS_KEPT_MS, HOSTS_KEPT } from "../limits.ts";
import type { Log } from "../log.ts";
import { type Capability, type HostEntry, type HostsFile, parseHostsFile } from "./hosts_toml.ts";

/** The registry that a reference without a domain means, and where it really answers. */
export const DOCKER_HUB = "docker.io";
const DOCKER_HUB_HOST = "registry-1.docker.io";

/** How a host proves itself, and we to it. Certificates and keys as PEM. */
export interface Trust {
  verifies: boolean;
  /** Besides the system's. */
  authorities: readonly string[];
  clients: readonly { cert: string; key: string }[];
}

/** One address of a registry: the scheme and host that requests go to. */
export interface Endpoint {
  /** Up to and with `/v2`. */
  base: string;
  trust: Trust;
  /** Asked before the registry itself; its failure is not the user's. */
  isMirror: boolean;
  capabilities: ReadonlySet<Capability>;
  /** Brought with each request to this host: a mirror's own credentials, for example. */
  headers: Readonly<Record<string, string>>;
  /** The registry that a mirror stands for is named to it. */
  namespace: string | null;
}

export interface RegistrySettings {
  insecureRegistries: readonly string[];
  /** Of Docker Hub. */
  registryMirrors: readonly string[];
  /** The first that has a directory for a host decides. */
  certsDirs: readonly string[];
}

export interface Hosts {
  /** In the order in which they are to be asked. Throws `invalid` or `internal` for files that cannot be used. */
  endpoints(domain: string): Promise<Endpoint[]>;
  /** For a host that a registry has sent us to, such as its token server: what that registry trusts is trusted there too. */
  trustOf(host: string, endpoint: Endpoint | null): Promise<Trust>;
}

export interface HostsDeps {
  settings: () => RegistrySettings;
  now: () => number;
  log: Log;
}

const EVERYTHING: ReadonlySet<Capability> = new Set<Capability>(["pull", "resolve", "push"]);
const FROM_MIRROR: ReadonlySet<Capability> = new Set<Capability>(["pull", "resolve"]);

/** What a directory holds for one host. */
interface HostDirectory {
  authorities: string[];
  clients: { cert: string; key: string }[];
  hosts: { path: string; file: HostsFile } | null;
}

const NOTHING: HostDirectory = { authorities: [], clients: [], hosts: null };

export function createHosts({ settings, now, log }: HostsDeps): Hosts {
  const read = new Map<string, { atMs: number; directory: HostDirectory }>();

  /** Of `host`, as the directories are named; remembered for a moment. */
  async function directoryOf(host: string): Promise<HostDirectory> {
    const known = read.get(host);
    if (known !== undefined && now() - known.atMs < CERTS_KEPT_MS) return known.directory;
    const directory = await readHostDirectory(settings().certsDirs, host);
    for (const key of directory.hosts?.file.unknown ?? [])
      log.debug("a key of hosts.toml is passed over", { file: directory.hosts?.path, key });
    if (read.size >= HOSTS_KEPT) read.clear();
    read.set(host, { atMs: now(), directory });
    return directory;
  }

  function isInsecure(host: string): boolean {
    return isLoopback(host) || settings().insecureRegistries.some((entry) => matchesEntry(entry, host));
  }

  async function trust(host: string): Promise<Trust> {
    const { authorities, clients } = await directoryOf(host);
    return { verifies: !isInsecure(host), authorities, clients };
  }

  async function plainEndpoints(host: string, isMirror: boolean): Promise<Endpoint[]> {
    const rest = { isMirror, capabilities: isMirror ? FROM_MIRROR : EVERYTHING, headers: {}, namespace: null };
    const found = await trust(host);
    const secure = { ...rest, base: `https://${host}/v2`, trust: found };
    return found.verifies ? [secure] : [secure, { ...rest, base: `http://${host}/v2`, trust: found }];
  }

  async function mirrorOf(text: string): Promise<Endpoint> {
    const url = new URL(text);
    return {
      base: `${url.origin}/v2`,
      trust: await trust(url.host),
      isMirror: true,
      capabilities: FROM_MIRROR,
      headers: {},
      namespace: null,
    };
  }

  async function fromEntry(entry: HostEntry, path: string, domain: string, isMirror: boolean): Promise<Endpoint> {
    const directory = path.slice(0, path.lastIndexOf("/"));
    const own = await trust(entry.url.host);
    const load = (name: string): Promise<string> => readPEM(name.startsWith("/") ? name : `${directory}/${name}`);
    const clients = [];
    for (const { cert, key } of entry.client) clients.push({ cert: await load(cert), key: await load(key) });
    const prefix = entry.url.pathname.replace(/\/+$/, "");
    return {
      base: entry.url.origin + (entry.overridePath || prefix.endsWith("/v2") ? prefix : `${prefix}/v2`),
      trust: {
        verifies: own.verifies && !entry.skipVerify,
        authorities: [...own.authorities, ...(await Promise.all(entry.ca.map(load)))],
        clients: clients.length > 0 ? clients : own.clients,
      },
      isMirror,
      capabilities: entry.capabilities,
      headers: entry.headers,
      namespace: isMirror ? domain : null,
    };
  }

  return {
    async endpoints(domain) {
      const { hosts } = await directoryOf(domain);
      const endpoints: Endpoint[] = [];
      for (const entry of hosts?.file.hosts ?? [])
        endpoints.push(await fromEntry(entry, hosts?.path ?? "", domain, true));
      if (domain === DOCKER_HUB) {
        for (const mirror of settings().registryMirrors) endpoints.push(await mirrorOf(mirror));
      }
      const server = hosts?.file.server ?? null;
      if (hosts !== null && server !== null) return [...endpoints, await fromEntry(server, hosts.path, domain, false)];
      return [...endpoints, ...(await plainEndpoints(domain === DOCKER_HUB ? DOCKER_HUB_HOST : domain, false))];
    },
    async trustOf(host, endpoint) {
      if (endpoint === null) return await trust(host);
      if (new URL(endpoint.base).host === host) return endpoint.trust;
      const { verifies, authorities, clients } = await trust(host);
      return { verifies, authorities: [...new Set([...authorities, ...endpoint.trust.authorities])], clients };
    },
  };
}

/** The system's authorities and a host's own, for one connection; null where the system's are all there are. */
export function authoritiesFor(trust: Trust): string[] | null {
  return trust.authorities.length === 0 ? null : [...rootCertificates, ...trust.authorities];
}

async function readHostDirectory(certsDirs: readonly string[], host: string): Promise<HostDirectory> {
  const colon = host.lastIndexOf(":");
  // containerd's spelling, for file systems that take no colon.
  const other = colon < 0 || host.endsWith("]") ? null : `${host.slice(0, colon)}_${host.slice(colon + 1)}_`;
  for (const name of [host, ...(other === null ? [] : [other]), "_default"]) {
    for (const certsDir of certsDirs) {
      const directory = `${certsDir}/${name}`;
      const names = await readdir(directory).catch((error: unknown) => ifMissing(error, directory));
      if (names !== null) return await readCertificates(directory, names.toSorted());
    }
  }
  return NOTHING;
}

/** COMPAT: the endings and the complaints are dockerd's. */
async function readCertificates(directory: string, names: readonly string[]): Promise<HostDirectory> {
  const authorities: string[] = [];
  const clients: { cert: string; key: string }[] = [];
  for (const name of names) {
    const stem = name.replace(/\.[^.]*$/, "");
    if (name.endsWith(".crt")) authorities.push(await readPEM(`${directory}/${name}`));
    if (name.endsWith(".cert")) {
      if (!names.includes(`${stem}.key`)) {
        throw internal(
          `missing key ${stem}.key for client certificate ${name}. CA certificates must use the extension .crt`,
        );
      }
      clients.push({ cert: await readPEM(`${directory}/${name}`), key: await readPEM(`${directory}/${stem}.key`) });
    }
    if (name.endsWith(".key") && !names.includes(`${stem}.cert`))
      throw internal(`missing client certificate ${stem}.cert for key ${name}`);
  }
  if (!names.includes("hosts.toml")) return { authorities, clients, hosts: null };
  const path = `${directory}/hosts.toml`;
  return { authorities, clients, hosts: { path, file: parseHostsFile(await readFile(path, "utf8"), path) } };
}

async function readPEM(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw internal(`cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function ifMissing(error: unknown, directory: string): null {
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (code === "ENOENT" || code === "ENOTDIR") return null;
  throw internal(`cannot read ${directory}: ${String(code)}`, { cause: error });
}

function isLoopback(host: string): boolean {
  const name = hostname(host);
  return name === "localhost" || name === "::1" || (isIP(name) === 4 && name.startsWith("127."));
}

/** An entry of insecure-registries: `host`, `host:port`, or an IPv4 CIDR. */
function matchesEntry(entry: string, host: string): boolean {
  const cidr = /^(\d+\.\d+\.\d+\.\d+)\/(\d+)$/.exec(entry);
  if (!cidr) return entry === host || entry === hostname(host);
  const address = toNumber(hostname(host));
  const network = toNumber(cidr[1] ?? "");
  const bits = Number(cidr[2]);
  if (address === null || network === null || bits > 32) return false;
  const shift = 2 ** (32 - bits);
  return Math.floor(address / shift) === Math.floor(network / shift);
}

function hostname(host: string): string {
  return host.startsWith("[") ? host.slice(1, host.indexOf("]")) : host.replace(/:\d+$/, "");
}

function toNumber(address: string): number | null {
  const parts = address.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) return null;
  return parts.reduce((sum, part) => sum * 256 + part, 0);
}
