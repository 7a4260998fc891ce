// What the networks do when the daemon starts and stops: the predefined networks and the default bridge, the bridges of
// all others, the kernel settings they need; and how all of it is taken away again.
import { contains, type HostNetwork, localMAC, parseAddress, subnetOf, SyscallError } from "../../../runtime/mod.ts";
import type { Config } from "../../config.ts";
import type { NetworkStore } from "../../db/networks.ts";
import { invalid } from "../../errors.ts";
import type { Log } from "../../log.ts";
import type { RandomBytes } from "../ids.ts";
import type { NetworkRecord } from "../mod.ts";
import type { LiveNetwork } from "./attachments.ts";
import { bridgeOptions, networkSubnets } from "./bridge_options.ts";
import { directOptions, isDirect } from "./direct_options.ts";
import { settleDefaultBridge } from "./default_bridge.ts";
import { createPool, DOCKER_POOLS } from "./ipam.ts";
import { PREDEFINED, predefinedRecord } from "./predefined.ts";

export interface BootDeps {
  host: HostNetwork;
  store: NetworkStore;
  config(): Config;
  random: RandomBytes;
  now(): Date;
  log: Log;
}

/** Every network there is, with the predefined ones made on the first start and the default bridge brought up to date. */
export async function loadRecords(deps: BootDeps): Promise<NetworkRecord[]> {
  const { networks, damaged } = await deps.store.all();
  for (const id of damaged) deps.log.error("a network's row cannot be read; it is kept, not served", { network: id });
  const records = new Map(networks.map((network) => [network.name, network]));
  for (const name of PREDEFINED) {
    if (records.has(name)) continue;
    const record = predefinedRecord(name, deps.random, deps.now());
    await deps.store.insert(record);
    records.set(name, record);
  }
  const bridge = records.get("bridge");
  if (deps.config().bridge === "none") records.delete("bridge");
  else if (bridge !== undefined) {
    const settled = settleDefaultBridge(
      { host: deps.host, config: deps.config(), pools: pools(deps.config()), seed: seedOf([...records.values()]) },
      bridge,
      networks,
    );
    if (JSON.stringify(settled) !== JSON.stringify(bridge)) await deps.store.update(settled);
    records.set("bridge", settled);
  }
  return [...records.values()];
}

export function pools(config: Config): readonly { base: string; size: number }[] {
  return config.defaultAddressPools.length > 0 ? config.defaultAddressPools : DOCKER_POOLS;
}

/** The IDs of the predefined networks are random, made once on this host, and told to nobody who could not see them. */
export function seedOf(records: readonly NetworkRecord[]): Uint8Array {
  const host = records.find(({ name }) => name === "host");
  return Uint8Array.fromHex((host?.id ?? "").slice(0, 10).padEnd(10, "0"));
}

/** Makes sure of a network's bridge. Throws what the kernel says. */
export function bringUp(deps: BootDeps, record: NetworkRecord): LiveNetwork {
  const subnets = networkSubnets(record);
  const live: LiveNetwork = { record, pools: subnets.map(createPool), bridge: null, parent: null };
  if (record.isConfigOnly === true) return live;
  if (isDirect(record)) live.parent = bringUpParent(deps, record);
  if (record.driver !== "bridge") return live;
  const options = bridgeOptions(record);
  const addresses = options.hasNoGateway
    ? []
    : subnets.map(({ subnet, gateway }) => ({
        address: gateway,
        prefixLength: subnet.prefixLength,
      }));
  const { index, isOurs } = deps.host.ensureBridge({
    name: options.interfaceName,
    mac: localMAC(deps.random(6)),
    mtu: options.mtu,
    addresses,
  });
  live.bridge = { index, options };
  const conf = (family: "ipv4" | "ipv6", key: string) => `net/${family}/conf/${options.interfaceName}/${key}`;
  // Lets the host reach published ports by 127.0.0.1; the rules keep everybody else from using it.
  if (!record.isInternal && deps.config().managesFirewall) trySysctl(deps, conf("ipv4", "route_localnet"), "1");
  trySysctl(deps, conf("ipv6", "accept_ra"), "0");
  if (isOurs && !record.enableIPv6) trySysctl(deps, conf("ipv6", "disable_ipv6"), "1");
  if (record.enableIPv6) enableIPv6Forwarding(deps);
  return live;
}

function bringUpParent({ host }: BootDeps, record: NetworkRecord): LiveNetwork["parent"] {
  const options = directOptions(record);
  try {
    return { index: host.ensureParent(options.parent).index, options };
  } catch (error) {
    if (!(error instanceof SyscallError && error.code === "ENODEV")) throw error;
    // COMPAT: what Docker says when there is neither the link nor one to make it on.
    throw invalid(`invalid subinterface vlan name ${options.parent}, example formatting is eth0.10`, { cause: error });
  }
}

/** Takes away what was made on the host for a network; what was there before stays. */
export function takeDown(host: HostNetwork, record: NetworkRecord): void {
  if (record.isConfigOnly === true) return;
  if (isDirect(record)) host.removeParent(directOptions(record).parent);
  else if (record.driver === "bridge") host.removeBridge(bridgeOptions(record).interfaceName);
}

function enableIPv6Forwarding(deps: BootDeps): void {
  const name = "net/ipv6/conf/all/forwarding";
  if (deps.config().enablesIPForward && deps.host.readSysctl(name) === "0") trySysctl(deps, name, "1");
}

/** A kernel without IPv6 has no such file; a read-only /proc/sys is the administrator's word. */
function trySysctl(deps: BootDeps, name: string, value: string): void {
  if (deps.host.readSysctl(name) === null) return;
  try {
    deps.host.writeSysctl(name, value);
  } catch (error) {
    deps.log.warn("a kernel setting could not be made", { setting: name, value, error });
  }
}

const FORWARDING = "net/ipv4/ip_forward";

/** Turns forwarding on where it is off. Answers what to do to undo that, or null. */
export function enableForwarding(deps: BootDeps): (() => void) | null {
  if (!deps.config().enablesIPForward || deps.host.readSysctl(FORWARDING) !== "0") return null;
  trySysctl(deps, FORWARDING, "1");
  return () => trySysctl(deps, FORWARDING, "0");
}

/** The host's routes that a new network must keep clear of. */
export function routedElsewhere(host: HostNetwork): ReturnType<HostNetwork["routedSubnets"]> {
  const linkLocal = parseAddress("fe80::");
  return host.routedSubnets().filter(({ subnet }) => linkLocal === null || !contains(subnetOf(linkLocal, 10), subnet));
}
