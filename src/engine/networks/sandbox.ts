// Joining containers to networks: one sandbox for each that has a network of its own. Acquire in order; what fails undoes
// in reverse. See networking.ts for the contract.
import { type Address, type Fd, formatAddress, type HostNetwork, parseAddress } from "../../../runtime/mod.ts";
import type { Config } from "../../config.ts";
import { conflict, EngineError, internal, notFound } from "../../errors.ts";
import type { Log } from "../../log.ts";
import type { ContainerRecord, EndpointRecord } from "../containers/container.ts";
import type { RandomBytes } from "../ids.ts";
import type { Events, NetworkRecord } from "../mod.ts";
import {
  type Attachment,
  gatewayEndpoint,
  type LiveNetwork,
  portTarget,
  publishedPorts,
  releaseAddresses,
} from "./attachments.ts";
import { networkMode, planEndpoints } from "./endpoint.ts";
import { type SandboxFiles, siblingPaths } from "./files.ts";
import { needsResolver } from "./names.ts";
import type { ContainerNetworking, Joined } from "./networking.ts";
import { plugEndpoint, serveByProxy, takeEndpoint, takePorts } from "./plugging.ts";
import type { Ports } from "./ports.ts";
import type { Resolvers } from "./resolvers.ts";
import type { Rules } from "./rules.ts";

export interface SandboxDeps {
  host: HostNetwork;
  ports: Ports;
  rules: Rules;
  resolvers: Resolvers;
  events: Events;
  config(): Config;
  random: RandomBytes;
  log: Log;
  attachments: Map<string, Attachment>;
  /** By ID, then by name; null: there is none (any more). */
  findNetwork(nameOrID: string): LiveNetwork | null;
  /** Writes hosts, hostname and resolv.conf of a container and answers where they lie. */
  writeFiles(
    record: ContainerRecord,
    endpoints: readonly EndpointRecord[],
    filesDir: string,
    hasResolver: boolean,
  ): SandboxFiles;
}

export function createSandboxes(deps: SandboxDeps): ContainerNetworking {
  return {
    plan: (hostConfig, config, networking) =>
      deps.config().bridge === "none" && isDefaultBridge(hostConfig.NetworkMode)
        ? []
        : planEndpoints(hostConfig, config, networking, (name) => deps.findNetwork(name)?.record ?? null),
    async join(record, donor, filesDir, owner = null) {
      try {
        return await join(deps, record, donor, filesDir, owner);
      } catch (error) {
        throw setupFailure(error);
      }
    },
    leave: (record) => leave(deps, record.id),
    async regain(record) {
      if (attachAgain(deps, record)) await deps.rules.sync();
    },
    renamed(record) {
      const attachment = deps.attachments.get(record.id);
      if (attachment === undefined) return;
      attachment.containerName = record.name;
      for (const { record: held } of attachment.endpoints) {
        held.dnsNames =
          record.endpoints.find(({ networkID }) => networkID === held.networkID)?.dnsNames ?? held.dnsNames;
      }
    },
  };
}

function isDefaultBridge(mode: string): boolean {
  const parsed = networkMode(mode);
  return parsed.kind === "network" && parsed.name === "bridge";
}

/** COMPAT: how every failure of the network at start begins; the kind stays. */
function setupFailure(error: unknown): EngineError {
  const text = error instanceof Error ? error.message : String(error);
  const message = `failed to set up container networking: ${text}`;
  return error instanceof EngineError
    ? new EngineError(error.kind, message, { cause: error })
    : internal(message, { cause: error });
}

async function join(
  deps: SandboxDeps,
  record: ContainerRecord,
  donor: { record: ContainerRecord; pid: number } | null,
  filesDir: string,
  owner: Fd | null,
): Promise<Joined> {
  const mode = networkMode(record.hostConfig.NetworkMode);
  if (mode.kind === "container") {
    if (donor === null) throw notFound(`joining network namespace of container: No such container: ${mode.of}`);
    const files = siblingPaths(filesDir, donor.record.id);
    return joined(deps, record, { netns: donorSandbox(deps, donor), endpoints: [], files, attachment: null });
  }
  if (mode.kind !== "network" || record.config.NetworkDisabled) {
    const files = deps.writeFiles(record, [], filesDir, false);
    const netns = mode.kind === "host" ? null : deps.host.createSandbox(owner);
    return joined(deps, record, { netns, endpoints: [], files, attachment: attachShared(deps, record) });
  }
  await using undo = new AsyncDisposableStack();
  undo.defer(() => leave(deps, record.id));
  const attachment = takeEndpoints(deps, record);
  const endpoints = attachment.endpoints.map((endpoint) => endpoint.record);
  takePorts(deps, attachment, record);
  const hasResolver = needsResolver(attachment);
  const files = deps.writeFiles(record, endpoints, filesDir, hasResolver);
  const netns = undo.use(deps.host.createSandbox(owner));
  for (const endpoint of attachment.endpoints) plugEndpoint(deps, attachment, endpoint, netns);
  if (hasResolver) deps.resolvers.serve(attachment, record, netns);
  if (attachment.ports.length > 0) await deps.rules.sync();
  for (const { network } of attachment.endpoints) announce(deps, attachment, network.record);
  undo.move();
  return joined(deps, record, { netns, endpoints, files, attachment });
}

function joined(
  deps: SandboxDeps,
  record: ContainerRecord,
  made: { netns: Fd | null; endpoints: EndpointRecord[]; files: SandboxFiles; attachment: Attachment | null },
): Joined {
  let isKept = false;
  return {
    netns: made.netns,
    endpoints: made.endpoints,
    publishedPorts: made.attachment === null ? [] : publishedPorts(made.attachment),
    files: made.files,
    keep() {
      isKept = true;
    },
    async [Symbol.asyncDispose]() {
      made.netns?.close();
      if (!isKept) await leave(deps, record.id);
    },
  };
}

function donorSandbox(deps: SandboxDeps, donor: { record: ContainerRecord; pid: number }): Fd {
  try {
    return deps.host.sandboxOf(donor.pid);
  } catch (error) {
    throw conflict(
      `cannot join network namespace of a non running container: container ${donor.record.name} is exited`,
      { cause: error },
    );
  }
}

/** For `host` and `none`: nothing is taken, but listeners hear of it as of any other network. */
function attachShared(deps: SandboxDeps, record: ContainerRecord): Attachment {
  const attachment = newAttachment(record);
  deps.attachments.set(record.id, attachment);
  const network = sharedNetwork(deps, record);
  if (network !== null) announce(deps, attachment, network);
  return attachment;
}

function sharedNetwork(deps: SandboxDeps, record: ContainerRecord): NetworkRecord | null {
  const mode = networkMode(record.hostConfig.NetworkMode);
  if (mode.kind !== "host" && mode.kind !== "none") return null;
  return deps.findNetwork(mode.kind)?.record ?? null;
}

function newAttachment(record: ContainerRecord): Attachment {
  return {
    containerID: record.id,
    containerName: record.name,
    endpoints: [],
    ports: [],
    portsNetworkID: "",
    announced: [],
    resolver: null,
  };
}

function announce(deps: SandboxDeps, attachment: Attachment, network: NetworkRecord): void {
  attachment.announced.push(network);
  deps.events.publish("network", "connect", network.id, networkAttributes(network, attachment.containerID));
}

export function networkAttributes(network: NetworkRecord, containerID: string): Record<string, string> {
  return { container: containerID, name: network.name, type: network.driver };
}

/** Registers the container with an address on each of its networks. */
function takeEndpoints(deps: SandboxDeps, record: ContainerRecord): Attachment {
  const attachment = newAttachment(record);
  deps.attachments.set(record.id, attachment);
  for (const planned of record.endpoints) {
    const network =
      deps.findNetwork(planned.networkID === "" ? planned.networkName : planned.networkID) ??
      deps.findNetwork(planned.networkName);
    // COMPAT: Docker's 404, with the name the user gave.
    if (network === null) throw notFound(`network ${planned.networkName} not found`);
    takeEndpoint(deps, attachment, record, network, planned);
  }
  return attachment;
}

/** Takes again what a running container had. Answers whether the rules change by it. */
export function attachAgain(deps: SandboxDeps, record: ContainerRecord): boolean {
  if (deps.attachments.has(record.id)) return false;
  const attachment = newAttachment(record);
  deps.attachments.set(record.id, attachment);
  const shared = sharedNetwork(deps, record);
  if (shared !== null) attachment.announced.push(shared);
  for (const endpoint of record.endpoints) {
    const network = deps.findNetwork(endpoint.networkID);
    if (network === null) {
      deps.log.warn("a running container is on a network that is gone", {
        container: record.id,
        network: endpoint.networkName,
      });
      continue;
    }
    attachment.endpoints.push({ record: { ...endpoint }, network });
    attachment.announced.push(network.record);
    for (const text of [endpoint.ipAddress, endpoint.ip6Address]) {
      const address = parseAddress(text);
      const pool = address === null ? undefined : network.pools.find(({ subnet }) => subnet.family === address.family);
      if (address === null || pool === undefined) continue;
      try {
        pool.take(address);
      } catch (error) {
        deps.log.warn("two containers claim one address", { container: record.id, address: text, error });
      }
    }
  }
  const gateway = gatewayEndpoint(attachment, 4) ?? gatewayEndpoint(attachment, 6);
  attachment.portsNetworkID = gateway?.record.networkID ?? "";
  for (const port of record.publishedPorts) {
    try {
      const held = deps.ports.holdAgain(port);
      if (held !== null) attachment.ports.push(held);
    } catch (error) {
      deps.log.error("a published port cannot be taken again", { container: record.id, port: port.hostPort, error });
    }
  }
  serveByProxy(deps, attachment);
  resolveAgain(deps, attachment, record);
  return attachment.ports.length > 0;
}

/** The daemon before this one took its sockets along; the rules in the sandbox still name them, and are replaced. */
function resolveAgain(deps: SandboxDeps, attachment: Attachment, record: ContainerRecord): void {
  const { state } = record;
  if (!needsResolver(attachment) || (state.status !== "running" && state.status !== "paused")) return;
  try {
    using sandbox = deps.host.sandboxOf(state.task.pid);
    deps.resolvers.serve(attachment, record, sandbox);
  } catch (error) {
    deps.log.warn("a running container cannot resolve names", { container: record.id, error });
  }
}

/** INVARIANT: never throws, and a second call does nothing: exits and failed starts both end here. */
async function leave(deps: SandboxDeps, containerID: string): Promise<void> {
  const attachment = deps.attachments.get(containerID);
  if (attachment === undefined) return;
  deps.attachments.delete(containerID);
  attachment.resolver?.[Symbol.dispose]();
  const hadPorts = attachment.ports.length > 0;
  deps.ports.release(attachment.ports);
  for (const { record, network } of attachment.endpoints) releaseAddresses(network, record);
  for (const network of attachment.announced) {
    deps.events.publish("network", "disconnect", network.id, networkAttributes(network, containerID));
  }
  if (!hadPorts) return;
  const targets = datagramTargets(attachment);
  try {
    await deps.rules.sync();
    // Only once no rule makes new ones.
    for (const target of targets) deps.host.forgetDatagrams(target);
  } catch (error) {
    deps.log.error("the rules of a stopped container could not be taken away", { container: containerID, error });
  }
}

/** Where datagrams to its published ports went. */
function datagramTargets(attachment: Attachment): Address[] {
  const targets = attachment.ports
    .filter(({ protocol, hostPort }) => protocol === "udp" && hostPort !== 0)
    .map(({ hostIP }) => portTarget(attachment, hostIP.family));
  return [...new Map(targets.flatMap((target) => (target === null ? [] : [[formatAddress(target), target]]))).values()];
}
