// What a create request means in its own API version: fields that the version does not have, or no longer, are not read, and
// defaults are those of its time. Pure.
import { invalid } from "../errors.ts";
import type { ContainerCreate } from "../schema/container.ts";
import type { HostConfig, Mount } from "../schema/host_config.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";
import { macFromVersion } from "./older_mac.ts";
import { kernelMemory } from "./older_update.ts";

/** The same request in the words of the newest version, and what there is to warn of. Throws Docker's 400s. */
export function fromVersion(
  body: ContainerCreate,
  version: ApiVersion,
  cgroupVersion: 1 | 2,
): { body: ContainerCreate; warnings: string[] } {
  const { HostConfig: host } = body;
  const isBefore = (minor: number): boolean => !isAtLeast(version, minor);
  const changed: HostConfig = {
    ...host,
    ...kernelMemory(host, version),
    // COMPAT: the client removed the container itself.
    AutoRemove: host.AutoRemove && !isBefore(25),
    ConsoleSize: isBefore(42) ? [] : host.ConsoleSize,
    // COMPAT: what containers had before these namespaces could be private.
    IpcMode: host.IpcMode === "" && isBefore(40) ? "shareable" : host.IpcMode,
    CgroupnsMode: host.CgroupnsMode === "" && isBefore(41) && cgroupVersion === 1 ? "host" : host.CgroupnsMode,
    Annotations: isBefore(43) ? {} : host.Annotations,
    Mounts: host.Mounts.map((mount) => mountFrom(mount, isBefore)),
  };
  const networks = Object.keys(body.NetworkingConfig.EndpointsConfig);
  if (networks.length > 1 && isBefore(44)) {
    throw invalid(`Container cannot be created with multiple network endpoints: ${networks.join(", ")}`);
  }
  // COMPAT: the pace of the start period came with 1.44.
  const Healthcheck = body.Healthcheck && isBefore(44) ? { ...body.Healthcheck, StartInterval: 0 } : body.Healthcheck;
  return macFromVersion({ ...body, Healthcheck, HostConfig: changed }, version);
}

function mountFrom(mount: Mount, isBefore: (minor: number) => boolean): Mount {
  const { VolumeOptions: volume, TmpfsOptions: tmpfs } = mount;
  if (volume?.Subpath && isBefore(45)) throw invalid("VolumeOptions.Subpath needs API v1.45 or newer");
  if (mount.Type === "image" && isBefore(48)) throw invalid('Mount type "Image" needs API v1.48 or newer');
  return {
    ...mount,
    BindOptions: bindFrom(mount, isBefore),
    TmpfsOptions: tmpfs && isBefore(46) ? { ...tmpfs, Options: [] } : tmpfs,
  };
}

function bindFrom({ Type, ReadOnly, BindOptions: given }: Mount, isBefore: (minor: number) => boolean) {
  if (given?.ReadOnlyForceRecursive && isBefore(44)) {
    throw invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer");
  }
  // COMPAT: read-only was not recursive then.
  const isTopOnly = Type === "bind" && ReadOnly && isBefore(44);
  if (given === null && !isTopOnly) return null;
  return {
    Propagation: given?.Propagation ?? "",
    NonRecursive: !isBefore(40) && (given?.NonRecursive ?? false),
    CreateMountpoint: !isBefore(42) && (given?.CreateMountpoint ?? false),
    ReadOnlyNonRecursive: isTopOnly || (!isBefore(44) && (given?.ReadOnlyNonRecursive ?? false)),
    ReadOnlyForceRecursive: given?.ReadOnlyForceRecursive ?? false,
  };
}
