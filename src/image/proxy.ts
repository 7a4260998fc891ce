// Which proxy a request to a registry goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or their keys in daemon.json.
// Pure. The rules are those that Go's clients follow (golang.org/x/net/http/httpproxy), since that is how existing
// settings were written.
import { BlockList, isIP } from "node:net";
import { invalid } from "../errors.ts";

/** As configured; "" where there is none. */
export interface Proxies {
  http: string;
  https: string;
  no: string;
}

/** The proxy's URL, with its user and password; null: straight. Throws `invalid` for one that cannot be used. */
export function proxyFor(url: URL, proxies: Proxies): string | null {
  const configured = url.protocol === "https:" ? proxies.https : proxies.http;
  if (configured === "" || isBypassed(url, proxies.no)) return null;
  const text = configured.includes("://") ? configured : `http://${configured}`;
  if (!URL.canParse(text)) throw invalid("invalid proxy address: it is not a URL");
  const proxy = new URL(text);
  if (proxy.protocol !== "http:" && proxy.protocol !== "https:") {
    throw invalid(`proxy ${proxy.protocol}//${proxy.host}: only http and https proxies are supported`);
  }
  return proxy.href;
}

function isBypassed(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
  const family = isIP(host);
  // This machine is never reached through another one.
  if (host === "localhost" || host === "::1" || (family === 4 && host.startsWith("127."))) return true;
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return list
    .split(/[,\s]+/)
    .filter((entry) => entry !== "")
    .some((entry) => matches(entry.toLowerCase(), { host, port, family }));
}

/** `*`, an address, a CIDR, `example.com` (and what lies below it), `.example.com` or `*.example.com` (only below it). */
function matches(entry: string, { host, port, family }: { host: string; port: string; family: number }): boolean {
  if (entry === "*") return true;
  if (entry.includes("/")) return family !== 0 && isInNetwork(entry, host, family);
  const [name, wantedPort] = splitPort(entry);
  if (wantedPort !== null && wantedPort !== port) return false;
  if (isIP(name) !== 0) return family !== 0 && isInNetwork(`${name}/${isIP(name) === 4 ? 32 : 128}`, host, family);
  if (name.startsWith("*.")) return host.endsWith(name.slice(1));
  if (name.startsWith(".")) return host.endsWith(name);
  return host === name || host.endsWith(`.${name}`);
}

function splitPort(entry: string): [name: string, port: string | null] {
  const bracketed = /^\[([^\]]*)\](?::(\d+))?$/.exec(entry);
  if (bracketed) return [bracketed[1] ?? "", bracketed[2] ?? null];
  if (isIP(entry) !== 0) return [entry, null];
  const [, name = entry, port = null] = /^(.*):(\d+)$/.exec(entry) ?? [];
  return [name, port];
}

function isInNetwork(cidr: string, host: string, family: number): boolean {
  const [network = "", bits = ""] = cidr.split("/");
  const kind = isIP(network);
  const length = /^\d+$/.test(bits) ? Number(bits) : -1;
  if (kind !== family || length < 0 || length > (kind === 4 ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(network, length, kind === 4 ? "ipv4" : "ipv6");
  return list.check(host, kind === 4 ? "ipv4" : "ipv6");
}
