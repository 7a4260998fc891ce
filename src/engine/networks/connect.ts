// Connecting a container to a network and taking it off again: while it runs, inside its sandbox; else as a change of its
// plan. See behaviours of `docker network connect` in docs/API.md.
import { writeFile } from "node:fs/promises";
import { type Fd, parseAddress } from "../../../runtime/mod.ts";
import { conflict, forbidden, internal, invalid, isKind, notFound } from "../../errors.ts";
import type { EndpointSettings } from "../../schema/network.ts";
import type { ContainerRecord, EndpointRecord, PublishedPort } from "../containers/container.ts";
import type { NetworkRecord } from "../mod.ts";
import { type Attachment, gatewayEndpoint, type LiveNetwork, publishedPorts, releaseAddresses } from "./attachments.ts";
import { ownEntries } from "./container_files.ts";
import { connectFaults, emptyEndpoint, networkMode } from "./endpoint.ts";
import { changeHosts, filePaths, readText, rewriteResolvConf } from "./files.ts";
import { needsResolver } from "./names.ts";
import { plugEndpoint, takeEndpoint, takePorts } from "./plugging.ts";
import { invalidLines } from "./predefined.ts";
import { networkAttributes, type SandboxDeps } from "./sandbox.ts";

/** What of a container's record a change of its networks changes. */
interface NetworkPatch {
  endpoints: EndpointRecord[];
  publishedPorts: PublishedPort[];
}

/** The containers, as far as networks may reach into them. */
export interface NetworkContainers {
  /** Throws Docker's 404. */
  get(nameOrID: string): ContainerRecord;
  all(): Iterable<ContainerRecord>;
  /** Under the container's lock: `work` sees the record as it is then, and what it returns is stored. */
  change(nameOrID: string, work: (record: ContainerRecord) => Promise<NetworkPatch>): Promise<void>;
}

export interface ConnectDeps extends SandboxDeps {
  containers(): NetworkContainers;
  /** Where a container's hosts file lies. */
  filesDir(containerID: string): string;
  /** The text of its resolv.conf once it has a resolver of its own. */
  resolverConf(record: ContainerRecord, endpoints: readonly EndpointRecord[]): string;
}

export async function connect(
  deps: ConnectDeps,
  network: LiveNetwork,
  nameOrID: string,
  settings: EndpointSettings,
): Promise<void> {
  await deps.containers().change(nameOrID, async (record) => {
    // It may have been removed while the container's lock was waited for.
    if (deps.findNetwork(network.record.id) !== network) throw notFound(`network ${network.record.name} not found`);
    checkConnect(record, network, settings);
    const planned = emptyEndpoint(network.record.id, network.record.name, settings);
    const attachment = deps.attachments.get(record.id);
    if (attachment === undefined) {
      return { endpoints: [...record.endpoints, planned], publishedPorts: record.publishedPorts };
    }
    await connectRunning(deps, record, attachment, network, planned);
    return patchOf(attachment);
  });
}

function checkConnect(record: ContainerRecord, network: LiveNetwork, settings: EndpointSettings): void {
  const { name, driver } = network.record;
  const mode = networkMode(record.hostConfig.NetworkMode);
  if (mode.kind === "none" || driver === "null") {
    throw invalid("container cannot be connected to multiple networks with one of the networks in private (none) mode");
  }
  if (mode.kind !== "network") {
    throw invalid(
      "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  }
  if (driver === "host") {
    throw invalid("container cannot be disconnected from host network or connected to host network");
  }
  if (record.state.status === "removing" || record.state.status === "dead") {
    throw conflict(
      `container ${record.id} is marked for removal and cannot be connected or disconnected to the network`,
    );
  }
  if (record.endpoints.some((endpoint) => isOn(endpoint, network.record))) {
    throw forbidden(`endpoint with name ${record.name} already exists in network ${name}`);
  }
  const subnets = network.pools.map(({ subnet }) => subnet);
  const faults = connectFaults(settings, network.record, subnets);
  if (faults.length > 0) throw invalidLines(["invalid endpoint settings:", ...faults]);
}

/** A plan made before its network existed knows only the name. */
function isOn(endpoint: EndpointRecord, network: NetworkRecord): boolean {
  return endpoint.networkID === "" ? endpoint.networkName === network.name : endpoint.networkID === network.id;
}

function patchOf(attachment: Attachment): NetworkPatch {
  return { endpoints: attachment.endpoints.map(({ record }) => record), publishedPorts: publishedPorts(attachment) };
}

async function connectRunning(
  deps: ConnectDeps,
  record: ContainerRecord,
  attachment: Attachment,
  network: LiveNetwork,
  planned: EndpointRecord,
): Promise<void> {
  using netns = sandboxOf(deps, record);
  const before = attachment.endpoints.length;
  let isPlugged = false;
  try {
    takeEndpoint(deps, attachment, record, network, planned);
    const endpoint = attachment.endpoints[before];
    if (endpoint === undefined) throw internal("the new endpoint is gone");
    plugEndpoint(deps, attachment, endpoint, netns);
    isPlugged = true;
    startResolver(deps, record, attachment, netns);
    if (attachment.ports.length === 0) takePorts(deps, attachment, record);
    if (attachment.ports.length > 0) await deps.rules.sync();
    await changeHostsFile(deps, record, { add: [endpoint.record], remove: [] });
  } catch (error) {
    await undoConnect(deps, attachment, before, isPlugged ? netns : null);
    throw error;
  }
  attachment.announced.push(network.record);
  deps.events.publish("network", "connect", network.record.id, networkAttributes(network.record, record.id));
}

/** With its first user-defined network a container gets names to ask for. It keeps the resolver when it leaves them all. */
function startResolver(deps: ConnectDeps, record: ContainerRecord, attachment: Attachment, netns: Fd): void {
  if (attachment.resolver !== null || !needsResolver(attachment)) return;
  deps.resolvers.serve(attachment, record, netns);
  const endpoints = attachment.endpoints.map((endpoint) => endpoint.record);
  rewriteResolvConf(deps.filesDir(record.id), deps.resolverConf(record, endpoints));
}

/** `plugged`: the sandbox, when the interface in it is ours: another of that name may be the container's own. */
async function undoConnect(deps: ConnectDeps, attachment: Attachment, at: number, plugged: Fd | null): Promise<void> {
  const [half] = attachment.endpoints.splice(at, 1);
  if (half === undefined) return;
  const hadPorts = attachment.portsNetworkID === half.record.networkID;
  if (hadPorts) releasePorts(deps, attachment);
  releaseAddresses(half.network, half.record);
  try {
    if (plugged !== null) {
      deps.host.unplug(plugged, half.record.interfaceName);
      setDefaultRoutes(deps, attachment, plugged);
    }
    if (hadPorts) await deps.rules.sync();
  } catch (error) {
    deps.log.error("part of a connection that failed is left", { container: attachment.containerID, error });
  }
}

export async function disconnect(
  deps: ConnectDeps,
  network: LiveNetwork,
  nameOrID: string,
  force: boolean,
): Promise<void> {
  try {
    await deps.containers().change(nameOrID, async (record) => {
      const mode = networkMode(record.hostConfig.NetworkMode);
      if (network.record.driver === "host" && mode.kind === "host") {
        throw invalid("container cannot be disconnected from host network or connected to host network");
      }
      if (!record.endpoints.some((endpoint) => isOn(endpoint, network.record))) {
        throw internal(`container ${record.id} is not connected to the network ${network.record.name}`);
      }
      const attachment = deps.attachments.get(record.id);
      if (attachment === undefined) {
        const endpoints = record.endpoints.filter((endpoint) => !isOn(endpoint, network.record));
        return { endpoints, publishedPorts: record.publishedPorts };
      }
      await disconnectRunning(deps, record, attachment, network);
      return patchOf(attachment);
    });
  } catch (error) {
    // COMPAT: with force, an endpoint whose container is gone counts as gone; here it always is.
    if (!(force && isKind(error, "notFound"))) throw error;
  }
}

async function disconnectRunning(
  deps: ConnectDeps,
  record: ContainerRecord,
  attachment: Attachment,
  network: LiveNetwork,
): Promise<void> {
  using netns = sandboxOf(deps, record);
  const at = attachment.endpoints.findIndex((endpoint) => endpoint.network === network);
  const [gone] = at < 0 ? [] : attachment.endpoints.splice(at, 1);
  if (gone === undefined) return;
  releaseAddresses(network, gone.record);
  deps.host.unplug(netns, gone.record.interfaceName);
  setDefaultRoutes(deps, attachment, netns);
  if (attachment.portsNetworkID === network.record.id) {
    releasePorts(deps, attachment);
    takePorts(deps, attachment, record);
    await deps.rules.sync();
  }
  await changeHostsFile(deps, record, { add: [], remove: [gone.record] });
  attachment.announced = attachment.announced.filter(({ id }) => id !== network.record.id);
  deps.events.publish("network", "disconnect", network.record.id, networkAttributes(network.record, record.id));
}

function releasePorts(deps: ConnectDeps, attachment: Attachment): void {
  deps.ports.release(attachment.ports);
  attachment.ports = [];
  attachment.portsNetworkID = "";
}

function sandboxOf(deps: ConnectDeps, record: ContainerRecord): Fd {
  if (record.state.status !== "running" && record.state.status !== "paused") {
    throw conflict(`container ${record.id} is not running`);
  }
  return deps.host.sandboxOf(record.state.task.pid);
}

/** After an interface has gone, its default route has too: the next endpoint in order takes over. */
function setDefaultRoutes(deps: ConnectDeps, attachment: Attachment, netns: Fd): void {
  for (const family of [4, 6] as const) {
    const endpoint = gatewayEndpoint(attachment, family);
    const gateway =
      endpoint === null ? null : parseAddress(family === 4 ? endpoint.record.gateway : endpoint.record.gateway6);
    if (endpoint === null || gateway === null) continue;
    deps.host.setDefaultRoute(netns, endpoint.record.interfaceName, family, gateway);
  }
}

/** In place: the container has the file itself mounted. */
async function changeHostsFile(
  deps: ConnectDeps,
  record: ContainerRecord,
  change: { add: readonly EndpointRecord[]; remove: readonly EndpointRecord[] },
): Promise<void> {
  const path = filePaths(deps.filesDir(record.id)).hosts;
  const text = readText(path) ?? "";
  const removeAddresses = change.remove.flatMap(({ ipAddress, ip6Address }) => [ipAddress, ip6Address]).filter(Boolean);
  await writeFile(path, changeHosts(text, { add: ownEntries(record, change.add), removeAddresses }));
}
