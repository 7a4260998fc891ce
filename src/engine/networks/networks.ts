// The networks service: create, look up, list, remove, prune, connect, disconnect; and, beside it, what containers use to
// join (sandbox.ts). One bridge, its pools and its rules for each network.
//
//   networks.ts   the service           boot.ts       bridges and settings at start        sandbox.ts  join and leave
//   new_network   request to record     attachments   what is on what now, and the rules    connect.ts  while running
import type { DNSPlane, HostNetwork } from "../../../runtime/mod.ts";
import type { Config } from "../../config.ts";
import type { NetworkStore } from "../../db/networks.ts";
import { forbidden, notFound } from "../../errors.ts";
import type { Log } from "../../log.ts";
import type { ContainerRecord, EndpointRecord } from "../containers/container.ts";
import type { NetworkCreate } from "../../schema/network.ts";
import { matchesLabels, untilFilter } from "../filters.ts";
import { type RandomBytes, shortID } from "../ids.ts";
import type { Events, Filters, NetworkRecord, Networks } from "../mod.ts";
import { type Attachment, firewallState, type LiveNetwork } from "./attachments.ts";
import {
  type BootDeps,
  bringUp,
  enableForwarding,
  loadRecords,
  pools,
  routedElsewhere,
  seedOf,
  takeDown,
} from "./boot.ts";
import { connect, type ConnectDeps, disconnect, type NetworkContainers } from "./connect.ts";
import { type HostFiles, resolvConfOf, writeContainerFiles } from "./container_files.ts";
import type { HostsEntry } from "./files.ts";
import { NO_SETTINGS } from "./endpoint.ts";
import type { ContainerNetworking } from "./networking.ts";
import { filterNetworks, findNetworkRecord } from "./lookup.ts";
import { newNetwork } from "./new_network.ts";
import { createPorts } from "./ports.ts";
import { isPredefined } from "./predefined.ts";
import { createHostResolvConf } from "./resolv_conf.ts";
import { createResolvers } from "./resolvers.ts";
import { createRules, repairing, tableName, userTableName } from "./rules.ts";
import { attachAgain, createSandboxes } from "./sandbox.ts";

export interface NetworksDeps {
  store: NetworkStore;
  host: HostNetwork;
  dns: DNSPlane;
  events: Events;
  config(): Config;
  /** Built later than the networks, and asked only once requests come in. */
  containers(): NetworkContainers;
  /** `<dataRoot>/containers/<id>`. */
  filesDir(containerID: string): string;
  hostFiles: HostFiles;
  /** What a container's links add to its hosts file. */
  linkHosts(record: ContainerRecord): HostsEntry[];
  hasIPv6: boolean;
  random: RandomBytes;
  now(): Date;
  log: Log;
}

export interface NetworksService {
  networks: Networks;
  networking: ContainerNetworking;
  /**
   * Brings up every bridge, takes again what the running containers hold, and only then puts the rules in place, in one
   * transaction: published ports answer all the while.
   */
  start(running: readonly ContainerRecord[]): Promise<void>;
  /** Lets go of the ports' sockets. `removeAll`: takes rules, bridges and settings of ours away too. */
  stop(removeAll: boolean): Promise<void>;
  /** What runs on a network now, for `docker network inspect`. */
  endpointsOf(networkID: string): NetworkEndpoint[];
}

/** A running container on a network. */
interface NetworkEndpoint {
  containerID: string;
  containerName: string;
  endpoint: EndpointRecord;
}

export function createNetworks(deps: NetworksDeps): NetworksService {
  const { host, log } = deps;
  const { bridge: bridgeName } = deps.config();
  const live = new Map<string, LiveNetwork>();
  const attachments = new Map<string, Attachment>();
  let isFiltering = deps.config().managesFirewall;
  let undoForwarding: (() => void) | null = null;
  let watch: Disposable | null = null;
  const state = () => {
    const { managesFirewallIPv6, allowsDirectRouting, acceptMark } = deps.config();
    return firewallState(live.values(), attachments.values(), {
      leavesIPv6: !managesFirewallIPv6,
      allowsDirectRouting,
      acceptMark,
    });
  };
  const rules = createRules(host, tableName(bridgeName), () => isFiltering, state);
  const ports = createPorts({
    reserve: (protocol, hostIP, port) => host.reservePort(protocol, hostIP, port),
    ephemeralPorts: () => host.ephemeralPorts(),
    hasIPv6: deps.hasIPv6,
  });
  const byName = (name: string): LiveNetwork | null => {
    for (const network of live.values()) if (network.record.name === name) return network;
    return null;
  };
  const { resolvConf } = deps.config();
  const hostFiles = resolvConf === "" ? deps.hostFiles : { ...deps.hostFiles, resolvConf };
  const hostResolvConf = createHostResolvConf(hostFiles);
  const files = {
    config: () => deps.config(),
    hostFiles,
    hostResolvConf,
    linkHosts: (record: ContainerRecord) => deps.linkHosts(record),
    hostGateways: () => {
      const { hostGatewayIPs } = deps.config();
      const own = byName("bridge")?.record.ipam.config.map(({ gateway }) => gateway) ?? [];
      return hostGatewayIPs.length > 0 ? hostGatewayIPs : own;
    },
  };
  const sandboxes: ConnectDeps = {
    ...deps,
    // Without a packet filter every port is carried by its proxy.
    config: () => ({ ...deps.config(), managesFirewall: isFiltering }),
    ports,
    rules,
    resolvers: createResolvers({
      plane: deps.dns,
      attachments,
      config: () => deps.config(),
      hostResolvConf,
      interfaceIndex: (name) => host.interfaceIndex(name),
      log,
    }),
    attachments,
    findNetwork: (nameOrID) => live.get(nameOrID) ?? byName(nameOrID),
    writeFiles: (record, endpoints, filesDir, hasResolver) =>
      writeContainerFiles(files, record, endpoints, filesDir, hasResolver),
    resolverConf: (record, endpoints) => resolvConfOf(files, record, endpoints, true),
  };

  return {
    networks: createService({ ...sandboxes, store: deps.store, hasIPv6: deps.hasIPv6, now: () => deps.now(), live }),
    networking: createSandboxes(sandboxes),
    endpointsOf: (networkID) => endpointsOn(attachments.values(), networkID),
    async start(running) {
      for (const record of await loadRecords(deps)) {
        live.set(record.id, { record, pools: [], bridge: null, parent: null });
        try {
          live.set(record.id, bringUp(deps, record));
        } catch (error) {
          // The engine is of use without this network; whoever starts a container on it is told.
          if (record.name === "bridge") throw error;
          log.error("a network's bridge could not be brought up", { network: record.name, error });
        }
      }
      undoForwarding = enableForwarding(deps);
      for (const record of running) attachAgain(sandboxes, record);
      if (!isFiltering) return;
      try {
        host.ensureUserTable(userTableName(bridgeName));
        await rules.sync();
        watch = watchRules();
      } catch (error) {
        isFiltering = false;
        log.error("no packet filter: containers reach nothing outside, and published ports go by proxy", { error });
      }
    },
    stop(removeAll) {
      watch?.[Symbol.dispose]();
      watch = null;
      for (const attachment of attachments.values()) {
        ports.release(attachment.ports);
        attachment.resolver?.[Symbol.dispose]();
      }
      attachments.clear();
      if (removeAll) removeEverything();
      return Promise.resolve();
    },
  };

  /** Whoever flushes the host's rules does not mean ours: a firewall service that starts again, for example. */
  function watchRules(): Disposable | null {
    const repair = async (): Promise<void> => {
      if (watch === null) return;
      log.warn("another program has deleted firewall rules of ours: they are put back", {
        table: tableName(bridgeName),
      });
      host.ensureUserTable(userTableName(bridgeName));
      await rules.sync();
    };
    const onLost = repairing(repair, (error) => log.error("the firewall rules cannot be put back", { error }));
    try {
      return host.watchFirewall(tableName(bridgeName), userTableName(bridgeName), onLost);
    } catch (error) {
      log.warn("rules that another program deletes will not be put back", { error });
      return null;
    }
  }

  /** Each part by itself: one that fails must not leave the others behind. */
  function removeEverything(): void {
    const steps: (() => void)[] = [() => undoForwarding?.()];
    if (isFiltering) {
      steps.push(() => host.removeFirewall(tableName(bridgeName)));
      steps.push(() => host.removeEmptyUserTable(userTableName(bridgeName)));
    }
    for (const { record } of live.values()) steps.push(() => takeDown(host, record));
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        log.error("part of the network could not be taken away", { error });
      }
    }
  }
}

function endpointsOn(attachments: Iterable<Attachment>, networkID: string): NetworkEndpoint[] {
  return [...attachments].flatMap(({ containerID, containerName, endpoints }) =>
    endpoints
      .filter(({ record }) => record.networkID === networkID)
      .map(({ record }) => ({ containerID, containerName, endpoint: record })),
  );
}

interface ServiceDeps extends ConnectDeps, BootDeps {
  hasIPv6: boolean;
  live: Map<string, LiveNetwork>;
}

function createService(deps: ServiceDeps): Networks {
  const { live, host, store, events } = deps;
  const records = (): NetworkRecord[] => [...live.values()].map(({ record }) => record);
  const lookUp = (nameOrID: string): LiveNetwork => {
    const found = live.get(findNetworkRecord(records(), nameOrID).id);
    if (found === undefined) throw notFound(`network ${nameOrID} not found`);
    return found;
  };
  const isUsed = (network: NetworkRecord): boolean => {
    for (const { endpoints } of deps.containers().all()) {
      if (endpoints.some((endpoint) => endpoint.networkID === network.id)) return true;
    }
    return endpointsOn(deps.attachments.values(), network.id).length > 0;
  };
  const publish = (action: string, { id, name, driver }: NetworkRecord): void =>
    events.publish("network", action, id, { name, type: driver });

  // One creation or removal after the other: two networks of one name, or on one subnet, cannot slip past the checks.
  let tail: Promise<void> = Promise.resolve();
  const exclusively = <T>(work: () => Promise<T>): Promise<T> => {
    const result = tail.then(work);
    tail = result.then(
      () => {},
      () => {},
    );
    return result;
  };

  async function create(request: NetworkCreate): Promise<{ id: string; warning: string }> {
    const record = newNetwork(request, {
      existing: records(),
      routed: routedElsewhere(host),
      pools: pools(deps.config()),
      defaultOptions: deps.config().defaultNetworkOptions,
      seed: seedOf(records()),
      hasIPv6: deps.hasIPv6,
      random: deps.random,
      now: deps.now(),
    });
    await store.insert(record);
    try {
      live.set(record.id, bringUp(deps, record));
      await deps.rules.sync();
    } catch (error) {
      await undoCreate(record);
      throw error;
    }
    publish("create", record);
    return { id: record.id, warning: "" };
  }

  async function undoCreate(record: NetworkRecord): Promise<void> {
    live.delete(record.id);
    takeDown(host, record);
    await store.remove(record.id);
  }

  async function remove(network: LiveNetwork): Promise<void> {
    const { record } = network;
    if (records().some(({ configFrom }) => configFrom !== undefined && configFrom === record.name)) {
      throw forbidden(`configuration network "${record.name}" is in use`);
    }
    if (isPredefined(record.name)) throw forbidden(`${record.name} is a pre-defined network and cannot be removed`);
    const active = endpointsOn(deps.attachments.values(), record.id);
    if (active.length > 0) {
      const list = active.map(
        ({ containerName, endpoint }) => `name:"${containerName}" id:"${shortID(endpoint.endpointID)}"`,
      );
      throw forbidden(`error while removing network: network ${record.name} has active endpoints (${list.join(", ")})`);
    }
    // Out of sight first: a container that starts meanwhile must not find a network whose bridge goes from under it.
    live.delete(record.id);
    try {
      await store.remove(record.id);
    } catch (error) {
      live.set(record.id, network);
      throw error;
    }
    await deps.rules.sync();
    takeDown(host, record);
    publish("destroy", record);
  }

  async function prune(filters: Filters): Promise<string[]> {
    const until = untilFilter(filters, deps.now().getTime());
    const removed: string[] = [];
    for (const network of live.values()) {
      const { record } = network;
      if (
        isPredefined(record.name) ||
        record.isConfigOnly === true ||
        isUsed(record) ||
        !matchesLabels(filters, record.labels)
      )
        continue;
      if (until !== null && Date.parse(record.createdAt) > until) continue;
      await remove(network);
      removed.push(record.name);
    }
    events.publish("network", "prune", "", { reclaimed: "0" });
    return removed;
  }

  return {
    create: (request) => exclusively(() => create(request)),
    get: (nameOrID) => lookUp(nameOrID).record,
    list: (filters) => filterNetworks(records(), filters, isUsed),
    remove: (nameOrID) => exclusively(() => remove(lookUp(nameOrID))),
    prune: (filters) => exclusively(() => prune(filters)),
    connect: async (nameOrID, container, settings) =>
      await connect(deps, lookUp(nameOrID), container, settings ?? NO_SETTINGS),
    disconnect: async (nameOrID, container, force) => await disconnect(deps, lookUp(nameOrID), container, force),
  };
}
