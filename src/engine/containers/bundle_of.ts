// Gathers what a container's bundle depends on beside its record: the host's devices, other containers' namespaces, the
// profile, our init. The record's part is to_bundle.ts.
import { statSync } from "node:fs";
import type { Bundle, OciMount, OciSeccomp, Rootfs } from "../../../runtime/mod.ts";
import { inject } from "../cdi/inject.ts";
import { editsFor } from "../cdi/requests.ts";
import { conflict, internal } from "../../errors.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import type { ContainerRecord } from "./container.ts";
import type { ContainersDeps } from "./deps.ts";
import { gatherDevices } from "./devices.ts";
import { linkEnv } from "./links.ts";
import { parseSeccompProfile, resolveSeccomp } from "./seccomp.ts";
import { parseSecurity } from "./security.ts";
import { containerOf, sharedContainer } from "./sharing.ts";
import { hasTask } from "./state.ts";
import { type Donor, toBundle } from "./to_bundle.ts";
import { idMapsOf } from "./user_namespace.ts";

export interface Surroundings {
  rootfs: Rootfs;
  /** What the user has mounted. */
  mounts: OciMount[];
  files: { hostname: string; hosts: string; resolvConf: string };
  /** Of the container whose network is shared; otherwise the container's own. */
  hostname: string | undefined;
}

export function bundleOf(deps: ContainersDeps, record: ContainerRecord, around: Surroundings): Bundle {
  const { hostConfig } = record;
  const config = deps.config();
  const edits = editsFor(hostConfig.DeviceRequests, deps.cdi, config.cdiSpecDirs);
  const bundle = toBundle({
    record,
    rootfs: around.rootfs,
    files: around.files,
    mounts: around.mounts,
    devices: gatherDevices(hostConfig),
    hostname: around.hostname ?? record.config.Hostname,
    linkEnv: linkEnv(deps, record),
    pidDonor: donorOf(deps, hostConfig.PidMode, "PID"),
    ipcDonor: ipcDonor(deps, hostConfig.IpcMode),
    initPath: configuredInit(deps, hostConfig),
    seccomp: seccompOf(deps, record),
    apparmorProfile: deps.apparmor.profile(hostConfig),
    idMaps: idMapsOf(config, hostConfig),
    engine: {
      cgroupParent: config.cgroupParent,
      defaultUlimits: config.defaultUlimits,
      noNewPrivileges: config.noNewPrivileges,
      capabilities: deps.machinery.capabilities,
    },
  });
  return inject(bundle, edits, numericUser(record.config.User));
}

/** The user that nodes of devices belong to, where its number is known before the image is looked into; or root. */
function numericUser(user: string): { uid: number; gid: number } {
  const [, uid, gid] = /^(\d+)(?::(\d+))?$/.exec(user) ?? [];
  return { uid: Number(uid ?? 0), gid: Number(gid ?? 0) };
}

/** For exec sessions after a restart of the daemon: a device that has gone meanwhile is no reason to refuse them. */
export function bundleOfRunning(deps: ContainersDeps, record: ContainerRecord, around: Surroundings): Bundle {
  try {
    return bundleOf(deps, record, around);
  } catch (error) {
    deps.log.warn("a running container's configuration no longer fits this machine", { container: record.id, error });
    const hostConfig = { ...record.hostConfig, Devices: [], PidMode: "", IpcMode: "private", DeviceRequests: [] };
    return bundleOf(deps, { ...record, hostConfig }, around);
  }
}

function donorOf(deps: ContainersDeps, mode: string, namespace: string): Donor | null {
  const name = containerOf(mode);
  if (name === null) return null;
  const donor = sharedContainer(deps, name, namespace);
  return hasTask(donor.state) ? { pid: donor.state.task.pid } : null;
}

function ipcDonor(deps: ContainersDeps, mode: string): Donor | null {
  const name = containerOf(mode);
  if (name === null) return null;
  const donor = sharedContainer(deps, name, "IPC");
  if (donor.hostConfig.IpcMode !== "shareable" && donor.hostConfig.IpcMode !== "host") {
    throw conflict(
      `cannot join IPC of container ${donor.name}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
    );
  }
  return hasTask(donor.state) ? { pid: donor.state.task.pid } : null;
}

/** Process 1 reaps: only where the container has a PID namespace of its own. */
export function usesInit({ Init, PidMode }: HostConfig): boolean {
  return Init === true && (PidMode === "" || PidMode === "private");
}

/** `--init-path` of the administrator; null: launch makes one (LaunchRequest.hasInit). */
function configuredInit(deps: ContainersDeps, hostConfig: HostConfig): string | null {
  const { initPath } = deps.config();
  if (initPath === "" || !usesInit(hostConfig)) return null;
  if (statSync(initPath, { throwIfNoEntry: false })?.isFile()) return initPath;
  throw internal(`the init binary ${JSON.stringify(initPath)} of the daemon's configuration is not there`);
}

function seccompOf(
  deps: ContainersDeps,
  record: ContainerRecord,
): ((capabilities: readonly string[]) => OciSeccomp) | null {
  if (record.hostConfig.Privileged) return null;
  const { seccomp, hasSeccomp } = parseSecurity(record.hostConfig.SecurityOpt, { noNewPrivileges: false });
  if (!hasSeccomp) return deps.machinery.defaultSeccomp;
  if (seccomp === "unconfined") return null;
  if (seccomp === "builtin") return deps.machinery.builtinSeccomp;
  const profile = parseSeccompProfile(seccomp);
  return (capabilities) => resolveSeccomp(profile, { ...deps.runtime.facts, capabilities });
}
