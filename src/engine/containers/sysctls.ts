// --sysctl: only what belongs to a namespace of the container's own may be set; anything else would change the host.
import { invalid } from "../../errors.ts";
import type { HostConfig } from "../../schema/host_config.ts";

const IPC = new Set([
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);

/** Set in every network namespace of ours: workloads may bind low ports and send pings without privileges. */
const PING = "net.ipv4.ping_group_range";
const NETWORK_DEFAULTS = {
  "net.ipv4.ip_unprivileged_port_start": "0",
  [PING]: "0 2147483647",
};

export function checkSysctls(hostConfig: HostConfig): void {
  for (const name of Object.keys(hostConfig.Sysctls)) {
    const dotted = name.replaceAll("/", ".");
    if (!/^[a-z0-9_-]+(\.[A-Za-z0-9_-]+)+$/.test(dotted))
      throw invalid(`sysctl ${JSON.stringify(name)} is not a valid name`);
    if (IPC.has(dotted) || dotted.startsWith("fs.mqueue.")) {
      if (hostConfig.IpcMode === "host") {
        throw invalid(`sysctl ${JSON.stringify(name)} is not allowed in the hosts ipc namespace`);
      }
    } else if (dotted.startsWith("net.")) {
      if (hostConfig.NetworkMode === "host") {
        throw invalid(`sysctl ${JSON.stringify(name)} not allowed in host network namespace`);
      }
    } else if (dotted === "kernel.domainname") {
      if (hostConfig.UTSMode === "host") {
        throw invalid(`sysctl ${JSON.stringify(name)} is not allowed in the hosts uts namespace`);
      }
    } else {
      throw invalid(`sysctl ${JSON.stringify(name)} is not in a separate kernel namespace`);
    }
  }
}

/** `hasOwnNetwork`: a namespace that is the container's alone, not the host's nor another container's; `isMapped`: in a user namespace. */
export function toSysctls(
  hostConfig: HostConfig,
  { hasOwnNetwork, isMapped }: { hasOwnNetwork: boolean; isMapped: boolean },
): Record<string, string> {
  const { [PING]: groups, ...rest } = NETWORK_DEFAULTS;
  // COMPAT: a user namespace has not all of these groups, and the kernel wants to know both ends.
  const defaults = isMapped ? rest : { [PING]: groups, ...rest };
  return { ...(hasOwnNetwork ? defaults : {}), ...hostConfig.Sysctls };
}
