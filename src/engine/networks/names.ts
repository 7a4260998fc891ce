// Which names a container may ask for on its networks, and which servers it is to ask for all others. Read from what is
// attached at the moment of each query, so that connect, disconnect, rename, start and stop show at once and nothing can
// disagree. Called by the resolver (runtime/dns) for each query; a thousand containers are walked in some microseconds.
import { type Address, parseAddress, type UpstreamServer } from "../../../runtime/mod.ts";
import type { Attachment } from "./attachments.ts";
import { type ResolvConf, scopeOf } from "./resolv_conf.ts";

/**
 * Every address of a name on the networks that the container `of` is on; null when none of them knows it. The first network
 * that does decides. Lower case, as it was asked for: `web`, `web.mynet`.
 */
export function addressesOfName(attachments: Iterable<Attachment>, of: Attachment, name: string): Address[] | null {
  const all = [...attachments];
  for (const { host, network } of splits(name)) {
    const own = of.endpoints.filter(({ network: on }) => network === "" || on.record.name.toLowerCase() === network);
    // COMPAT: the container's own links first; a link hides the network's name of the same spelling.
    for (const { record, network: on } of own) {
      const target = linkTarget(record.settings.Links, host);
      const found = target === null ? null : onNetwork(all, on.record.id, target);
      if (found !== null) return found;
    }
    for (const { record, network: on } of own) {
      if (linkTarget(record.settings.Links, host) !== null) continue;
      const found = onNetwork(all, on.record.id, host);
      if (found !== null) return found;
    }
  }
  return null;
}

/** COMPAT: names and networks may have dots: `a.b.c` is that name, then `a.b` on network `c`, then `a` on `b.c`. */
function* splits(name: string): Generator<{ host: string; network: string }> {
  yield { host: name, network: "" };
  for (let at = name.lastIndexOf("."); at > 0; at = name.lastIndexOf(".", at - 1)) {
    yield { host: name.slice(0, at), network: name.slice(at + 1) };
  }
}

/** `web:alias` or `web`: the container that an alias stands for; null: none. */
function linkTarget(links: readonly string[], alias: string): string | null {
  for (const link of links) {
    const [target = "", name = target] = link.replace(/^\//, "").split(":");
    if (name.toLowerCase() === alias) return target.toLowerCase();
  }
  return null;
}

function onNetwork(attachments: readonly Attachment[], networkID: string, name: string): Address[] | null {
  let found: Address[] | null = null;
  for (const { endpoints } of attachments) {
    for (const { record } of endpoints) {
      if (record.networkID !== networkID || !record.dnsNames.some((known) => known.toLowerCase() === name)) continue;
      found ??= [];
      for (const text of [record.ipAddress, record.ip6Address]) {
        const address = parseAddress(text);
        if (address !== null) found.push(address);
      }
    }
  }
  return found;
}

/** `web.mynet`: who has an address on one of the networks that `of` is on. Nobody has a name on the default bridge. */
export function nameOfAddress(attachments: Iterable<Attachment>, of: Attachment, address: Address): string | null {
  const networks = new Set(of.endpoints.map(({ record }) => record.networkID));
  for (const { endpoints } of attachments) {
    for (const { record } of endpoints) {
      if (!networks.has(record.networkID)) continue;
      const holds = [record.ipAddress, record.ip6Address].some((text) => {
        const own = parseAddress(text);
        return own !== null && own.family === address.family && own.value === address.value;
      });
      if (holds && record.dnsNames[0] !== undefined) return `${record.dnsNames[0]}.${record.networkName}`;
    }
  }
  return null;
}

/** The names on an attachment's networks that only its resolver knows: the default bridge alone has none. */
export function needsResolver(attachment: Attachment): boolean {
  return attachment.endpoints.some(({ network }) => network.record.name !== "bridge");
}

export interface UpstreamRules {
  /** From the container or the daemon; []: the host's. */
  dns: readonly string[];
  /** The host's file as it is now. */
  host: ResolvConf;
  /** An interface's index on the host; 0: there is none of that name. */
  interfaceIndex(name: string): number;
}

/**
 * null: the container has no network that leads outside. []: there is no server. COMPAT: given servers are asked from where
 * the container is.
 */
export function upstreamsOf(attachment: Attachment, rules: () => UpstreamRules): UpstreamServer[] | null {
  if (!attachment.endpoints.some(({ network }) => !network.record.isInternal)) return null;
  const given = rules();
  const { dns, host } = given;
  const from = dns.length > 0 ? "container" : "host";
  return (dns.length > 0 ? dns : host.servers).flatMap((text) => {
    const { address, scope } = scopeOf(text);
    return address === null ? [] : [{ address, scopeID: scope === "" ? 0 : given.interfaceIndex(scope), from }];
  });
}
