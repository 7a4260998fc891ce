// The record of a container: what is stored, listed and inspected. Wire shapes (Config, HostConfig) are kept as the client
// sent them, merged with the image and with defaults filled in.
import type { ContainerConfig } from "../../schema/container.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import type { EndpointSettings } from "../../schema/network.ts";
import type { State } from "./state.ts";

/** 64 lower-case hex digits. */
export type ContainerID = string & { readonly brand: "ContainerID" };

/** One mount as inspect shows it, and as to_bundle turns it into an OCI mount. */
export interface MountPoint {
  type: "bind" | "volume" | "tmpfs" | "image";
  /** Name of the volume; "" otherwise. */
  name: string;
  /** Path on the host; "" for tmpfs. */
  source: string;
  destination: string;
  driver: string;
  /** The mode as the user gave it (`ro,z`). */
  mode: string;
  isWritable: boolean;
  propagation: string;
  /** An anonymous volume that goes with the container on `rm -v`. */
  isAnonymous: boolean;
  /** tmpfs: mount options; bind: non-recursive and so on. */
  options: string[];
  subpath: string;
}

/** A published port as it is bound now. */
export interface PublishedPort {
  /** Inside the container. */
  port: number;
  protocol: "tcp" | "udp" | "sctp";
  hostIP: string;
  hostPort: number;
}

/** One attachment of a container to a network. Addresses are empty while it does not run. */
export interface EndpointRecord {
  networkID: string;
  networkName: string;
  endpointID: string;
  settings: EndpointSettings;
  /** `eth0` inside the container. */
  interfaceName: string;
  macAddress: string;
  ipAddress: string;
  ipPrefixLength: number;
  gateway: string;
  ip6Address: string;
  ip6PrefixLength: number;
  gateway6: string;
  dnsNames: string[];
}

export interface ContainerRecord {
  id: ContainerID;
  /** Without the leading slash. */
  name: string;
  /** ISO 8601 with nanoseconds, as Docker shows it. */
  createdAt: string;
  /** The image as given at create (`busybox`), and the digest of its config. */
  image: string;
  imageID: string;
  platform: string;
  /** argv[0] and the rest, after merging Entrypoint and Cmd. */
  path: string;
  args: string[];
  config: ContainerConfig;
  hostConfig: HostConfig;
  state: State;
  mounts: MountPoint[];
  endpoints: EndpointRecord[];
  publishedPorts: PublishedPort[];
  /** Restarts by policy since the last manual start. */
  restartCount: number;
  /** Set by a manual stop: no restart by policy until it is started again. */
  hasBeenManuallyStopped: boolean;
  /** Has run at least once: decides what a restart of the engine brings back. */
  hasBeenStartedBefore: boolean;
}
