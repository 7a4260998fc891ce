// The resolver at 127.0.0.11 of each container on a user-defined network: started with its sandbox, and again by the next
// daemon for those that still run. What it knows is in names.ts; how it is served, in runtime/dns.
import type { DNSPlane, Fd, NameSource } from "../../../runtime/mod.ts";
import type { Config } from "../../config.ts";
import type { Log } from "../../log.ts";
import type { ContainerRecord } from "../containers/container.ts";
import type { Attachment } from "./attachments.ts";
import { dnsSettings } from "./container_files.ts";
import { addressesOfName, nameOfAddress, upstreamsOf } from "./names.ts";
import type { HostResolvConf } from "./resolv_conf.ts";

export interface Resolvers {
  /** Serves a container in its sandbox, until the attachment's `resolver` is disposed. Does nothing where that is served. */
  serve(attachment: Attachment, record: ContainerRecord, sandbox: Fd): void;
}

export interface ResolversDeps {
  plane: DNSPlane;
  attachments: ReadonlyMap<string, Attachment>;
  config(): Config;
  hostResolvConf(): HostResolvConf;
  /** 0: the host has no interface of that name. */
  interfaceIndex(name: string): number;
  log: Log;
}

export function createResolvers(deps: ResolversDeps): Resolvers {
  let hasWarned = false;
  const warnOnce = (): void => {
    if (hasWarned) return;
    hasWarned = true;
    const { path } = deps.hostResolvConf();
    deps.log.warn("containers cannot resolve names outside: no nameserver is known; --dns names one", { file: path });
  };
  return {
    serve(attachment, record, sandbox) {
      attachment.resolver ??= deps.plane.serve(sandbox, namesOf(deps, attachment, record, warnOnce));
    },
  };
}

function namesOf(
  deps: ResolversDeps,
  attachment: Attachment,
  record: ContainerRecord,
  warnOfNone: () => void,
): NameSource {
  const { hostConfig } = record;
  const settings = () => dnsSettings(deps.config(), { hostConfig });
  return {
    addressesOf: (name) => addressesOfName(deps.attachments.values(), attachment, name),
    nameOf: (address) => nameOfAddress(deps.attachments.values(), attachment, address),
    upstreams() {
      const servers = upstreamsOf(attachment, () => ({
        dns: settings().dns,
        host: deps.hostResolvConf().conf,
        interfaceIndex: (name) => deps.interfaceIndex(name),
      }));
      if (servers?.length === 0) warnOfNone();
      return servers;
    },
    // COMPAT: only where somebody has asked for dots, not where the host's own file has it.
    get keepsSingleLabels() {
      return settings().dnsOptions.some((option) => /^ndots:[1-9]/.test(option));
    },
  };
}
