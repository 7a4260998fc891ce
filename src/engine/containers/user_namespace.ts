// Containers of a daemon with --userns-remap: each has a user namespace of its own, but those that share another's network,
// IPC or processes share its user namespace too, since that owns them.
import type { Fd, IDMaps } from "../../../runtime/mod.ts";
import type { Config } from "../../config.ts";
import { conflict, invalid } from "../../errors.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainersDeps } from "./deps.ts";
import type { Live } from "./registry.ts";
import { containerOf, sharedContainer } from "./sharing.ts";
import { hasTask } from "./state.ts";

/** null: in the host's user namespace. */
export function idMapsOf({ idMaps }: Pick<Config, "idMaps">, { UsernsMode }: HostConfig): IDMaps | null {
  return UsernsMode === "host" ? null : idMaps;
}

/** The maps that a running container was started with. */
export function idMapsIn({ run }: Live): IDMaps | null {
  const linux = run?.bundle.spec.linux;
  return linux === undefined || linux.uidMappings.length === 0 ? null : linux;
}

/** COMPAT: what Docker refuses at create, in its words. */
export function checkUserNamespace(config: Pick<Config, "idMaps">, hostConfig: HostConfig): void {
  if (idMapsOf(config, hostConfig) === null) return;
  if (hostConfig.Privileged) {
    throw invalid(
      "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace " +
        "when running privileged mode",
    );
  }
  if (hostConfig.NetworkMode === "host") {
    throw invalid("cannot share the host's network namespace when user namespaces are enabled");
  }
  if (hostConfig.PidMode === "host") {
    throw invalid("cannot share the host PID namespace when user namespaces are enabled");
  }
}

/** The one to start it in; null: the host's. */
export function openUserNamespace(deps: ContainersDeps, { hostConfig }: ContainerRecord): Fd | null {
  const maps = idMapsOf(deps.config(), hostConfig);
  if (maps === null) return null;
  const shared = [
    { mode: hostConfig.PidMode, namespace: "PID" },
    { mode: hostConfig.IpcMode, namespace: "IPC" },
    { mode: hostConfig.NetworkMode, namespace: "network" },
  ];
  for (const { mode, namespace } of shared) {
    const name = containerOf(mode);
    if (name === null) continue;
    const donor = sharedContainer(deps, name, namespace);
    if (donor.hostConfig.UsernsMode === "host") {
      throw conflict(
        `cannot join ${namespace} namespace of container ${donor.name}: it is in the host's user namespace, this one is not`,
      );
    }
    if (hasTask(donor.state)) return deps.runtime.userNamespaceOf(donor.state.task.pid);
  }
  return deps.runtime.createUserNamespace(maps);
}
