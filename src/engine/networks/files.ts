// /etc/hosts, /etc/hostname and /etc/resolv.conf of a container: how they are written, and the text of the first. The three
// are bind-mounted, so a change while the container runs is written into the same file, never renamed over it.
import { createHash } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseAddress } from "../../../runtime/mod.ts";
import { invalid } from "../../errors.ts";

export interface SandboxFiles {
  hostname: string;
  hosts: string;
  resolvConf: string;
}

/** Where the files of a container lie on the host. */
export function filePaths(directory: string): SandboxFiles {
  return {
    hostname: join(directory, "hostname"),
    hosts: join(directory, "hosts"),
    resolvConf: join(directory, "resolv.conf"),
  };
}

/** Where those of another container lie, beside this one's. */
export function siblingPaths(directory: string, id: string): SandboxFiles {
  return filePaths(join(dirname(directory), id));
}

const FILE_MODE = 0o644;

/** The same file again, changed while the container runs; one that it has edited is left as it is. */
export function rewriteResolvConf(directory: string, text: string): void {
  writeResolvConf(filePaths(directory).resolvConf, text);
}

/**
 * Writes all three. A resolv.conf that somebody in the container has edited is left as it is.
 * WHY synchronous: a file of a few lines is written in less time than another thread takes to be asked.
 */
export function writeFiles(directory: string, text: SandboxFiles): SandboxFiles {
  const paths = filePaths(directory);
  writeFileSync(paths.hostname, text.hostname, { mode: FILE_MODE });
  writeFileSync(paths.hosts, text.hosts, { mode: FILE_MODE });
  writeResolvConf(paths.resolvConf, text.resolvConf);
  return paths;
}

function writeResolvConf(path: string, text: string): void {
  const current = readText(path);
  if (current !== null && isEdited(current)) return;
  writeFileSync(path, `${seal(text)}\n${text}`, { mode: FILE_MODE });
}

/** The first line: a comment that holds the hash of the rest, by which a later start knows an edited file. */
function seal(text: string): string {
  const hash = createHash("sha256").update(text).digest("hex").slice(0, 16);
  return `# Made by berth (${hash}); once edited, it is left as it is.`;
}

function isEdited(content: string): boolean {
  const end = content.indexOf("\n");
  return content.slice(0, end) !== seal(content.slice(end + 1));
}

/** What a container may have made of its files, read at once. The longest lists of hosts that people keep are some 5 MB. */
const MAX_TEXT_BYTES = 16 << 20;

/** null when there is no such file, or one that is none to be read. */
export function readText(path: string): string | null {
  try {
    return statSync(path).size > MAX_TEXT_BYTES ? null : readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

/** `name:ip` or `name=ip`, the IP possibly in brackets, or `host-gateway`. Throws Docker's 400. */
export function parseExtraHost(text: string): { name: string; address: string } {
  const at = text.search(/[:=]/);
  const name = at < 0 ? "" : text.slice(0, at);
  const address = at < 0 ? "" : text.slice(at + 1).replace(/^\[(.*)\]$/, "$1");
  if (name === "" || /\s/.test(name)) throw invalid(`bad format for add-host: "${text}"`);
  if (address !== HOST_GATEWAY && parseAddress(address) === null) {
    throw invalid(`invalid IP address in add-host: "${address}"`);
  }
  return { name, address };
}

export const HOST_GATEWAY = "host-gateway";

/** COMPAT: Docker's own lines, in its order; programs in images rely on `localhost` for both families. */
const STANDARD_HOSTS = [
  "127.0.0.1\tlocalhost",
  "::1\tlocalhost ip6-localhost ip6-loopback",
  "fe00::\tip6-localnet",
  "ff00::\tip6-mcastprefix",
  "ff02::1\tip6-allnodes",
  "ff02::2\tip6-allrouters",
];

export interface HostsEntry {
  address: string;
  names: string;
}

export function hostsText(extra: readonly HostsEntry[], own: readonly HostsEntry[]): string {
  return `${[...STANDARD_HOSTS, ...[...extra, ...own].map(hostsLine)].join("\n")}\n`;
}

function hostsLine({ address, names }: HostsEntry): string {
  return `${address}\t${names}`;
}

/** The host's file, for a container in the host's network, with the extra hosts after it. */
export function hostsWith(hostText: string, extra: readonly HostsEntry[]): string {
  const base = hostText === "" || hostText.endsWith("\n") ? hostText : `${hostText}\n`;
  return extra.length === 0 ? base : `${base}${extra.map(hostsLine).join("\n")}\n`;
}

/** Adds and takes away whole lines by their address, leaving what the container wrote itself. */
export function changeHosts(
  text: string,
  change: { add: readonly HostsEntry[]; removeAddresses: readonly string[] },
): string {
  const kept = text.split("\n").filter((line) => !change.removeAddresses.includes(line.split(/\s/, 1)[0] ?? ""));
  while (kept.at(-1) === "") kept.pop();
  return `${[...kept, ...change.add.map(hostsLine)].join("\n")}\n`;
}

/** hosts(5): an address and its first name; a comment has neither. */
const HOSTS_LINE = /^([^#\s]\S*)\s+(\S+)/;

/** Gives the lines of a name other addresses, each that of its family; the name is the first one of its line. */
export function moveHosts(text: string, name: string, addresses: readonly string[]): string {
  return text
    .split("\n")
    .map((each) => {
      const [, old = "", first] = HOSTS_LINE.exec(each) ?? [];
      const now = first === name ? addresses.find((address) => address.includes(":") === old.includes(":")) : undefined;
      return now === undefined ? each : now + each.slice(old.length);
    })
    .join("\n");
}

/** Takes away the lines whose first name this is. */
export function forgetHosts(text: string, name: string): string {
  return text
    .split("\n")
    .filter((line) => HOSTS_LINE.exec(line)?.[2] !== name)
    .join("\n");
}

/** `h1`, or with a domain `h1.d1 h1`. */
export function hostNames(hostname: string, domain: string): string {
  return domain === "" ? hostname : `${hostname}.${domain} ${hostname}`;
}
