// What containers need of networks: an endpoint plan at create, a sandbox at start, and its end. Implemented in sandbox.ts.
import type { Fd } from "../../../runtime/mod.ts";
import type { ContainerConfig } from "../../schema/container.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import type { NetworkingConfig } from "../../schema/network.ts";
import type { ContainerRecord, EndpointRecord, PublishedPort } from "../containers/container.ts";
import type { SandboxFiles } from "./files.ts";

export interface ContainerNetworking {
  /**
   * Pure and at create: the endpoint records, without addresses, that the mode and the networking config ask for. `host`,
   * `none` and `container:x` give none. Throws `invalid` with Docker's words, for ports, DNS servers and extra hosts too.
   */
  plan(hostConfig: HostConfig, config: ContainerConfig, networking: NetworkingConfig): EndpointRecord[];
  /**
   * At start: makes the sandbox, takes addresses and ports, plugs it into its bridges, writes hosts, hostname and
   * resolv.conf into `filesDir`, puts the rules in place. A sandbox that is made belongs to the user namespace `owner`. Disposing undoes all of it, for a start that fails later.
   */
  join(
    record: ContainerRecord,
    donor: { record: ContainerRecord; pid: number } | null,
    filesDir: string,
    owner?: Fd | null,
  ): Promise<Joined>;
  /** After the exit: addresses, ports and rules are free again. The sandbox dies with its last process. Never throws. */
  leave(record: ContainerRecord): Promise<void>;
  /** For a container that still runs after a restart of the daemon: takes its addresses and ports again. */
  regain(record: ContainerRecord, pid: number): Promise<void>;
  /** A running container answers to its new name from now on. */
  renamed(record: ContainerRecord): void;
}

export interface Joined extends AsyncDisposable {
  /** The namespace to enter; null for the host's own. */
  netns: Fd | null;
  /** With addresses. */
  endpoints: EndpointRecord[];
  publishedPorts: PublishedPort[];
  /** Paths on the host, to bind over the files of the same names in /etc. */
  files: SandboxFiles;
  /** The start has succeeded: disposing now only closes our descriptor of the namespace. */
  keep(): void;
}
