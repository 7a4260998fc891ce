// Creating a container: everything is checked before anything is made; what was made is undone when a later step fails.
import type { ContainerConfig } from "../../schema/container.ts";
import type { HostConfig } from "../../schema/host_config.ts";
import { EngineError, invalid, isKind, notFound } from "../../errors.ts";
import { fitness, hostPlatform, normalise, parsePlatform } from "../../image/platform.ts";
import { newContainerID } from "../ids.ts";
import type { CreateRequest, ImageRecord } from "../mod.ts";
import { generateName, parseContainerName } from "../names.ts";
import type { ContainerRecord } from "./container.ts";
import { commandOf, type EngineDefaults, fillHostConfig, hostnameOf, mergeImageConfig } from "./defaults.ts";
import type { ContainersDeps } from "./deps.ts";
import { linkByID } from "./links.ts";
import { validateLogConfig } from "./logs.ts";
import { containerDir } from "./paths.ts";
import { newLive } from "./registry.ts";
import { parseSeccompProfile } from "./seccomp.ts";
import { parseSecurity } from "./security.ts";
import { containerOf } from "./sharing.ts";
import { storageLimit } from "./storage_size.ts";
import { checkUserNamespace } from "./user_namespace.ts";
import { validateHealth, validateRequest } from "./validate.ts";
import { validateLimits } from "./validate_limits.ts";

export async function create(
  deps: ContainersDeps,
  request: CreateRequest,
): Promise<{ id: string; warnings: string[] }> {
  const { HostConfig: givenHost, NetworkingConfig: networking, ...givenConfig } = request.body;
  const asked = request.name ? parseContainerName(request.name) : null;
  validateRequest(givenConfig, givenHost, deps.machinery.capabilities);
  const storageBytes = storageLimit(givenHost.StorageOpt, deps.snapshots.canLimit);
  checkUserNamespace(deps.config(), givenHost);
  const { limits, warnings } = validateLimits(givenHost, deps.runtime.facts);
  const { image, release } = deps.images.claim(givenConfig.Image);
  using _image = { [Symbol.dispose]: release };
  checkPlatform(deps, image, givenConfig.Image, request.platform);
  if (request.platform === "") warnings.push(...platformWarnings(deps, image));

  const id = newContainerID(deps.random);
  const hostConfig = withIDs(deps, fillHostConfig(limits, engineDefaults(deps)));
  const merged = mergeImageConfig(givenConfig, image.config);
  const config: ContainerConfig = { ...merged, Hostname: hostnameOf(merged, hostConfig, id, deps.machinery.hostName) };
  const { path, args } = commandOf(config);
  if (config.Healthcheck) validateHealth(config.Healthcheck);
  checkConfinement(deps, hostConfig.SecurityOpt);
  validateLogConfig(hostConfig.LogConfig.Type, hostConfig.LogConfig.Config);
  const endpoints = deps.networking.plan(hostConfig, config, networking);
  if (hostConfig.NetworkMode === "host" && Object.keys(hostConfig.PortBindings).length > 0) {
    warnings.push("Published ports are discarded when using host network mode");
  }

  using reserved = deps.registry.reserveName(asked ?? generateName(id, deps.registry.isNameTaken, deps.random), id);
  await using undo = new AsyncDisposableStack();
  const layers = await deps.images.rootfsLayers(image.id);
  const rootfs = await deps.snapshots.prepare(id, layers, storageBytes);
  undo.defer(() => {
    if (storageBytes !== null) deps.snapshots.release(id);
    return deps.discard(containerDir(deps.config(), id));
  });
  const mounts = await resolveMounts(deps, config, hostConfig);
  using _claims = { [Symbol.dispose]: () => deps.mounts.release(mounts) };
  undo.defer(() => deps.mounts.removeAnonymous({ id, mounts }));
  await deps.mounts.copyUp(mounts, () => deps.runtime.openView(rootfs));

  const record: ContainerRecord = {
    id,
    name: reserved.name,
    createdAt: deps.clock.nowText(),
    image: givenConfig.Image,
    imageID: image.id,
    platform: image.os,
    path,
    args,
    config,
    hostConfig,
    state: { status: "created" },
    mounts,
    endpoints,
    publishedPorts: [],
    restartCount: 0,
    hasBeenManuallyStopped: false,
    hasBeenStartedBefore: false,
  };
  const live = newLive(record);
  await deps.machine.insert(live);
  undo.move();
  reserved.keep();
  deps.machine.announce(live, { action: "create" });
  return { id, warnings };
}

/** COMPAT: a container that is shared with is kept by its ID: it may get another name. One that is missing is told at start. */
function withIDs(deps: ContainersDeps, hostConfig: HostConfig): HostConfig {
  const withID = (mode: string): string => {
    const name = containerOf(mode);
    const found = name === null ? null : findOrNull(deps, name);
    return found === null ? mode : `container:${found.id}`;
  };
  return {
    ...hostConfig,
    NetworkMode: withID(hostConfig.NetworkMode),
    PidMode: withID(hostConfig.PidMode),
    IpcMode: withID(hostConfig.IpcMode),
    Links: hostConfig.Links.map((link) => linkByID(deps, link, hostConfig.NetworkMode)),
  };
}

function findOrNull(deps: ContainersDeps, name: string): ContainerRecord | null {
  try {
    return deps.registry.get(name).record;
  } catch (error) {
    if (isKind(error, "notFound")) return null;
    throw error;
  }
}

/** COMPAT: 404 here makes the CLI pull and create again, so nothing but the image may answer 404: see resolveMounts. */
function checkPlatform(deps: ContainersDeps, image: ImageRecord, reference: string, platform: string): void {
  if (platform === "") return;
  const wanted = parsePlatform(platform, hostPlatform(deps.runtime.facts.arch));
  if (fitness(wanted, normalise(image)) > 0) return;
  throw notFound(
    `image with reference ${reference} was found but does not provide the specified platform (${platform})`,
  );
}

function platformWarnings(deps: ContainersDeps, image: ImageRecord): string[] {
  const own = deps.runtime.facts.arch === "x64" ? "amd64" : "arm64";
  if (image.architecture === own || image.architecture === "") return [];
  const variant = image.variant === "" ? "" : `/${image.variant}`;
  return [
    `The requested image's platform (${image.os}/${image.architecture}${variant}) does not match the detected host platform ` +
      `(linux/${own}) and no specific platform was requested`,
  ];
}

function engineDefaults(deps: ContainersDeps): EngineDefaults {
  const config = deps.config();
  return {
    cgroupVersion: deps.runtime.facts.cgroupVersion,
    shmSizeBytes: config.defaultShmSizeBytes,
    logDriver: config.defaultLogDriver,
    logOptions: config.defaultLogOptions,
    usesInit: config.isInitDefault,
    runtime: config.defaultRuntime,
    maskedPaths: deps.machinery.maskedPaths,
    ipcMode: config.defaultIpcMode,
    cgroupnsMode: config.defaultCgroupnsMode,
  };
}

/** What cannot be applied is refused now, not at the first start. */
function checkConfinement(deps: ContainersDeps, options: readonly string[]): void {
  const { seccomp, apparmor } = parseSecurity(options, { noNewPrivileges: false });
  if (seccomp !== "builtin" && seccomp !== "unconfined") parseSeccompProfile(seccomp);
  if (apparmor !== "" && apparmor !== "unconfined" && !deps.runtime.facts.hasAppArmor) {
    throw invalid("apparmor: config provided but apparmor not supported");
  }
}

async function resolveMounts(deps: ContainersDeps, config: ContainerConfig, hostConfig: ContainerRecord["hostConfig"]) {
  try {
    return await deps.mounts.resolve(config, hostConfig, (nameOrID) => deps.registry.get(nameOrID).record);
  } catch (error) {
    // COMPAT: a donor of --volumes-from that is missing must not look like a missing image.
    if (isKind(error, "notFound") && error instanceof EngineError) throw invalid(error.message, { cause: error });
    throw error;
  }
}
