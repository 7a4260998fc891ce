// What create refuses, with Docker's words. Pure: the request, and what this machine has. Limits are in validate_limits.ts.
import { invalid } from "../../errors.ts";
import type { ContainerConfig, HealthConfig } from "../../schema/container.ts";
import type { HostConfig, RestartPolicy } from "../../schema/host_config.ts";
import { effectiveCapabilities } from "./capabilities.ts";
import { parseDeviceRule } from "./device_rules.ts";
import { parseSecurity } from "./security.ts";
import { RUNTIMES } from "../../runtimes.ts";
import { parseSignal } from "./signals.ts";
import { checkSysctls } from "./sysctls.ts";
import { checkUlimits } from "./ulimits.ts";

/** The kernel's bound on a host name (sethostname(2)). */
const MAX_HOSTNAME_BYTES = 64;
const MIN_HEALTH_DURATION_NS = 1_000_000;

/** Checks the request as it came: before the image is merged in and before defaults are filled. */
export function validateRequest(config: ContainerConfig, hostConfig: HostConfig, available: ReadonlySet<string>): void {
  validateConfig(config);
  validateModes(config, hostConfig);
  validateNetworkMode(config, hostConfig);
  validatePolicy(hostConfig);
  checkCapabilities(hostConfig, available);
  parseSecurity(hostConfig.SecurityOpt, { noNewPrivileges: false });
  for (const rule of hostConfig.DeviceCgroupRules) parseDeviceRule(rule);
  checkUlimits(hostConfig.Ulimits);
  checkSysctls(hostConfig);
  if (Object.hasOwn(hostConfig.Annotations, "")) {
    throw invalid("invalid Annotations: the empty string is not permitted as an annotation key");
  }
  for (const port of [...Object.keys(config.ExposedPorts), ...Object.keys(hostConfig.PortBindings)]) {
    checkPort(port);
  }
  for (const bindings of Object.values(hostConfig.PortBindings)) {
    for (const binding of bindings) checkHostPort(binding.HostPort);
  }
}

function validateConfig(config: ContainerConfig): void {
  if (config.WorkingDir !== "" && !config.WorkingDir.startsWith("/")) {
    throw invalid(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  }
  if (new TextEncoder().encode(config.Hostname).length > MAX_HOSTNAME_BYTES) {
    throw invalid(`hostname ${JSON.stringify(config.Hostname)} is too long (maximum ${MAX_HOSTNAME_BYTES} bytes)`);
  }
  if (new TextEncoder().encode(config.Domainname).length > MAX_HOSTNAME_BYTES) {
    throw invalid(`domainname ${JSON.stringify(config.Domainname)} is too long (maximum ${MAX_HOSTNAME_BYTES} bytes)`);
  }
  for (const entry of config.Env) {
    if (entry === "" || entry.startsWith("=")) throw invalid(`invalid environment variable: ${entry}`);
    if (entry.includes("\0")) throw invalid("invalid environment variable: it contains a NUL byte");
  }
  for (const word of [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])]) {
    if (word.includes("\0")) throw invalid("invalid command: it contains a NUL byte");
  }
  if (config.StopSignal !== "") parseSignal(config.StopSignal);
  if (config.Healthcheck) validateHealth(config.Healthcheck);
}

export function validateHealth(health: HealthConfig): void {
  for (const field of ["Interval", "Timeout", "StartPeriod", "StartInterval"] as const) {
    if (health[field] !== 0 && health[field] < MIN_HEALTH_DURATION_NS) {
      throw invalid(`${field} in Healthcheck cannot be less than 1ms`);
    }
  }
  if (health.Retries < 0) throw invalid("Retries in Healthcheck cannot be negative");
}

function validateModes(config: ContainerConfig, hostConfig: HostConfig): void {
  if (
    !["", "none", "private", "shareable", "host"].includes(hostConfig.IpcMode) &&
    !isContainerMode(hostConfig.IpcMode)
  ) {
    throw invalid(`invalid IPC mode: ${hostConfig.IpcMode}`);
  }
  if (!["", "host", "private"].includes(hostConfig.PidMode) && !isContainerMode(hostConfig.PidMode)) {
    throw invalid(`invalid PID mode: ${hostConfig.PidMode}`);
  }
  if (!["", "host"].includes(hostConfig.UTSMode)) throw invalid(`invalid UTS mode: ${hostConfig.UTSMode}`);
  if (!["", "host", "private"].includes(hostConfig.CgroupnsMode)) {
    throw invalid(`invalid cgroup namespace mode: ${hostConfig.CgroupnsMode}`);
  }
  if (!["", "host"].includes(hostConfig.UsernsMode))
    throw invalid(`invalid user namespace mode: ${hostConfig.UsernsMode}`);
  if (!["", "default"].includes(hostConfig.Isolation)) {
    throw invalid(`invalid isolation: unsupported isolation ${JSON.stringify(hostConfig.Isolation)} on linux`);
  }
  if (hostConfig.Runtime !== "" && !RUNTIMES.includes(hostConfig.Runtime)) {
    throw invalid(`unknown or invalid runtime name: ${hostConfig.Runtime}`);
  }
  checkCgroupParent(hostConfig.CgroupParent);
  if (hostConfig.Cgroup !== "") {
    // Docker keeps it and does nothing: nobody who asks for it gets it.
    throw invalid(`invalid cgroup ${JSON.stringify(hostConfig.Cgroup)}: another container's cgroup cannot be joined`);
  }
  if (hostConfig.ShmSize < 0) throw invalid("SHM size can not be less than 0");
  if (hostConfig.OomScoreAdj < -1000 || hostConfig.OomScoreAdj > 1000) {
    throw invalid(`Invalid value ${hostConfig.OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  }
  if (hostConfig.UTSMode === "host" && config.Hostname !== "") {
    throw invalid("conflicting options: hostname and the UTS mode");
  }
  if (hostConfig.UTSMode === "host" && config.Domainname !== "") {
    throw invalid("conflicting options: domainname and the UTS mode");
  }
}

/** berth makes cgroups itself; systemd's own tree is for systemd to change. */
function checkCgroupParent(parent: string): void {
  if (parent.endsWith(".slice")) {
    throw invalid(
      `cgroup-parent ${JSON.stringify(parent)} is a slice of systemd: the cgroup driver is cgroupfs, and needs a path such as /a/b`,
    );
  }
  if (parent.split("/").some((part) => part === "." || part === "..") || /[\0\n]/.test(parent)) {
    throw invalid(`invalid cgroup-parent ${JSON.stringify(parent)}`);
  }
}

function isContainerMode(mode: string): boolean {
  return /^container:./.test(mode);
}

/** What has no meaning for a container that lives in another one's network, or in the host's. */
function validateNetworkMode(config: ContainerConfig, hostConfig: HostConfig): void {
  const mode = hostConfig.NetworkMode;
  const refuse = (what: string) => invalid(`conflicting options: ${what}`);
  if (mode === "host" && hostConfig.Links.length > 0) {
    throw refuse("host type networking can't be used with links. This would result in undefined behavior");
  }
  if (mode !== "container" && !mode.startsWith("container:")) return;
  if (!isContainerMode(mode)) throw invalid("invalid network mode: invalid container format container:<name|id>");
  if (config.Hostname !== "") throw refuse("hostname and the network mode");
  if (hostConfig.Links.length > 0) {
    throw refuse("container type network can't be used with links. This would result in undefined behavior");
  }
  if (hostConfig.Dns.length > 0) throw refuse("dns and the network mode");
  if (hostConfig.ExtraHosts.length > 0) throw refuse("custom host-to-IP mapping and the network mode");
  if (Object.keys(hostConfig.PortBindings).length > 0 || hostConfig.PublishAllPorts) {
    throw refuse("port publishing and the container type network mode");
  }
  if (Object.keys(config.ExposedPorts).length > 0) throw refuse("port exposing and the container type network mode");
}

function validatePolicy(hostConfig: HostConfig): void {
  validateRestartPolicy(hostConfig.RestartPolicy);
  if (hostConfig.AutoRemove && !["", "no"].includes(hostConfig.RestartPolicy.Name)) {
    throw invalid("can't create 'AutoRemove' container with restart policy");
  }
}

export function validateRestartPolicy(policy: RestartPolicy): void {
  switch (policy.Name) {
    case "":
      return;
    case "no":
    case "always":
    case "unless-stopped":
      if (policy.MaximumRetryCount === 0) return;
      throw invalid(
        "invalid restart policy: maximum retry count can only be used with 'on-failure'" +
          (policy.MaximumRetryCount < 0 ? " and cannot be negative" : ""),
      );
    case "on-failure":
      if (policy.MaximumRetryCount < 0) throw invalid("invalid restart policy: maximum retry count cannot be negative");
      return;
    default:
      throw invalid(
        `invalid restart policy: unknown policy '${policy.Name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
      );
  }
}

/** Throws for a name that is unknown, or that this daemon does not have to give. */
function checkCapabilities(hostConfig: HostConfig, available: ReadonlySet<string>): void {
  effectiveCapabilities({ add: hostConfig.CapAdd, drop: hostConfig.CapDrop, isPrivileged: false }, available);
}

/** `80`, `80/tcp`, `53/udp`, and for exposed ones `8000-8010/tcp`. */
function checkPort(port: string): void {
  const parts = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(port);
  const [first, last] = [Number(parts?.[1]), Number(parts?.[2] ?? parts?.[1])];
  if (!parts || first > 65535 || last > 65535 || last < first) {
    throw invalid(`invalid port specification: ${JSON.stringify(port)}`);
  }
}

function checkHostPort(port: string): void {
  if (port === "") return;
  const parts = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(port);
  const [first, last] = [Number(parts?.[1]), Number(parts?.[2] ?? parts?.[1])];
  if (!parts || first > 65535 || last > 65535 || last < first) {
    throw invalid(`invalid port specification: ${JSON.stringify(port)}`);
  }
}
