// Every option of dockerd 28, by the name of its flag and of its key in daemon.json, and what berth does with it:
//
//   set          it acts: how the value changes the Config
//   later        not yet: accepted with one warning, unless the value asks for what berth does anyway (`quiet`)
//   foreign      means nothing here (containerd, swarm …): accepted with one warning, unless quiet
//
// The one table for parsing, --help and reload. An option that is not in it is refused.
import { ConfigError } from "./error.ts";
import {
  addressPools,
  anything,
  bool,
  checkedList,
  int,
  type Kind,
  list,
  map,
  networkOptions,
  size,
  string,
  text,
  texts,
  ulimits,
} from "./kinds.ts";
import type { Config } from "./types.ts";
import { RUNTIMES } from "../runtimes.ts";
import {
  checkLabels,
  parseCIDR,
  parseHost,
  parseInsecureRegistry,
  parseIPAddress,
  parseLogLevel,
  parseMark,
  parseMirror,
  parseProxy,
  parseSearchDomain,
  parseStorageDriver,
} from "./values.ts";

export type Apply = (config: Config) => void;

export interface Option {
  /** Without the dashes; null: only in the file. */
  flag: string | null;
  short: string | null;
  /** null: only as a flag. */
  key: string | null;
  help: string;
  placeholder: string;
  isSwitch: boolean;
  repeats: boolean;
  /** Acts now, or what to say when it is used in a way that berth does not follow. */
  standing: "acts" | "later" | "foreign";
  /** Checks the values and answers what they do, or null where they ask for nothing that berth does not do anyway. */
  fromFlags(texts: readonly string[]): Apply | null;
  fromJSON(json: unknown): Apply | null;
}

type Names = string | { flag: string | null; key: string | null; short?: string };

function names(given: Names): Pick<Option, "flag" | "key" | "short"> {
  return typeof given === "string" ? { flag: given, key: given, short: null } : { short: null, ...given };
}

function acts<Value>(
  given: Names,
  kind: Kind<Value>,
  help: string,
  set: (config: Config, value: Value) => void,
): Option {
  const apply =
    (value: Value): Apply =>
    (config) =>
      set(config, value);
  return {
    ...names(given),
    help,
    placeholder: kind.placeholder,
    isSwitch: kind.placeholder === "",
    repeats: kind.repeats,
    standing: "acts",
    fromFlags: (values) => apply(kind.fromFlags(values)),
    fromJSON: (json) => apply(kind.fromJSON(json)),
  };
}

/** `quiet` lists the values that ask for what berth does anyway. */
function passedOver<Value>(
  standing: "later" | "foreign",
  given: Names,
  kind: Kind<Value>,
  help: string,
  quiet: readonly Value[] = [],
): Option {
  const judge = (value: Value): Apply | null =>
    quiet.some((one) => JSON.stringify(one) === JSON.stringify(value)) ? null : () => {};
  return {
    ...names(given),
    help,
    placeholder: kind.placeholder,
    isSwitch: kind.placeholder === "",
    repeats: kind.repeats,
    standing,
    fromFlags: (values) => judge(kind.fromFlags(values)),
    fromJSON: (json) => judge(kind.fromJSON(json)),
  };
}

const later = <Value>(given: Names, kind: Kind<Value>, help: string, quiet?: readonly Value[]) =>
  passedOver("later", given, kind, help, quiet);
const foreign = <Value>(given: Names, kind: Kind<Value>, help: string, quiet?: readonly Value[]) =>
  passedOver("foreign", given, kind, help, quiet);

const both = (flag: string, key: string, short?: string): Names => ({
  flag,
  key,
  ...(short === undefined ? {} : { short }),
});
const fileOnly = (key: string): Names => ({ flag: null, key });
const atLeast =
  (least: number, what: string) =>
  (value: number): number => {
    if (value < least) throw new ConfigError(`invalid ${what}: ${value}`);
    return value;
  };
const within =
  (least: number, most: number, what: string) =>
  (value: number): number => {
    if (value < least || value > most)
      throw new ConfigError(`invalid ${what}: ${value}: ${least} to ${most} is needed`);
    return value;
  };
const checked = (kind: Kind<number>, check: (value: number) => number): Kind<number> => ({
  ...kind,
  fromFlags: (values) => check(kind.fromFlags(values)),
  fromJSON: (json) => check(kind.fromJSON(json)),
});
const oneOf = (what: string, allowed: readonly string[]) =>
  text((value) => {
    if (!allowed.includes(value))
      throw new ConfigError(`invalid ${what}: ${value}: one of ${allowed.join(", ")} is needed`);
    return value;
  });
/** A switch that can only be off. */
const refusedSwitch = (why: string): Kind<boolean> => {
  const check = (value: boolean): boolean => {
    if (value) throw new ConfigError(why);
    return value;
  };
  return {
    ...bool,
    fromFlags: (values) => check(bool.fromFlags(values)),
    fromJSON: (json) => check(bool.fromJSON(json)),
  };
};
/** "" switches a value off, as under dockerd. */
const orEmpty =
  (parse: (value: string) => string) =>
  (value: string): string =>
    value === "" ? "" : parse(value);

/** Checks an address; config.ts brings it into its full form, which depends on --tls. */
function checkHost(value: string): string {
  parseHost(value, { socket: "/", isTLS: false });
  return value;
}

function checkSpecDir(value: string): string {
  if (value !== "" && !value.startsWith("/"))
    throw new ConfigError(`invalid cdi-spec-dir: ${JSON.stringify(value)}: an absolute path is needed`);
  return value;
}

export const OPTIONS: readonly Option[] = [
  // ---- the daemon
  acts(
    both("host", "hosts", "H"),
    list(checkHost),
    "Socket(s) to listen on: unix://, tcp://, fd://",
    (config, value) => {
      config.hosts = value;
    },
  ),
  acts({ flag: "group", key: "group", short: "G" }, string, "Group of the unix socket", (config, value) => {
    config.group = value;
  }),
  acts("data-root", string, "Directory of images, containers and volumes", (config, value) => {
    config.dataRoot = value;
  }),
  acts("exec-root", string, "Directory of what lives until the next boot", (config, value) => {
    config.execRoot = value;
  }),
  acts({ flag: "pidfile", key: "pidfile", short: "p" }, string, "File for the daemon's process ID", (config, value) => {
    config.pidfile = value;
  }),
  acts({ flag: "debug", key: "debug", short: "D" }, bool, "Log at level debug", (config, value) => {
    config.isDebug = value;
  }),
  acts(
    { flag: "log-level", key: "log-level", short: "l" },
    text(parseLogLevel),
    "debug, info, warn, error or fatal",
    (config, value) => {
      config.logLevel = value;
    },
  ),
  acts("live-restore", bool, "Containers run on while the daemon is down", (config, value) => {
    config.isLiveRestore = value;
  }),
  acts("shutdown-timeout", int, "Seconds that containers get to stop in", (config, value) => {
    config.shutdownTimeoutSec = value;
  }),
  acts(both("label", "labels"), checkedList(checkLabels), "Label(s) of the daemon: key=value", (config, value) => {
    config.labels = value;
  }),
  acts("experimental", bool, "Say that experimental features are on", (config, value) => {
    config.isExperimental = value;
  }),
  acts(
    { flag: "cgroup-parent", key: "cgroup-parent" },
    string,
    "Parent of all containers' cgroups",
    (config, value) => {
      config.cgroupParent = value;
      config.isCgroupParentExplicit = true;
    },
  ),
  acts("log-format", oneOf("log format", ["text", "json"]), "Format of the daemon's own log", (config, value) => {
    config.logFormat = value === "json" ? "json" : "text";
  }),
  foreign("raw-logs", bool, "Logs are never coloured", [true, false]),
  later("metrics-addr", string, "Address for metrics", [""]),
  acts(
    "oom-score-adjust",
    checked(int, within(-1000, 1000, "oom-score-adjust")),
    "OOM score of the daemon",
    (config, value) => {
      config.oomScoreAdjust = value;
    },
  ),
  later(both("authorization-plugin", "authorization-plugins"), texts, "Authorization plugins", [[]]),
  later("min-api-version", string, "Oldest API version to answer; berth answers 1.24 and upward"),

  // ---- TLS
  acts({ flag: "tls", key: "tls" }, bool, "Use TLS on tcp:// hosts", (config, value) => {
    config.tls.isOn = value;
    config.tls.isRefused ||= !value;
  }),
  acts("tlsverify", bool, "Use TLS and ask for client certificates", (config, value) => {
    config.tls.verifies = value;
    config.tls.isRefused ||= !value;
  }),
  acts("tlscacert", string, "CA of the client certificates", (config, value) => {
    config.tls.caFile = value;
  }),
  acts("tlscert", string, "Certificate of the daemon", (config, value) => {
    config.tls.certFile = value;
  }),
  acts("tlskey", string, "Key of the daemon's certificate", (config, value) => {
    config.tls.keyFile = value;
  }),

  // ---- images and registries
  acts(
    { flag: "storage-driver", key: "storage-driver", short: "s" },
    text(parseStorageDriver),
    "overlay2 or copy",
    (config, value) => {
      config.storageDriver = value;
    },
  ),
  later(both("storage-opt", "storage-opts"), texts, "Storage driver options", [[]]),
  acts(
    both("insecure-registry", "insecure-registries"),
    list(parseInsecureRegistry),
    "Registries to talk to without TLS",
    (config, value) => {
      config.insecureRegistries = value;
    },
  ),
  acts(
    both("registry-mirror", "registry-mirrors"),
    list(parseMirror),
    "Mirror(s) of the default registry",
    (config, value) => {
      config.registryMirrors = value;
    },
  ),
  acts(
    "max-concurrent-downloads",
    checked(int, atLeast(1, "max concurrent downloads")),
    "Downloads at once for a pull",
    (config, value) => {
      config.maxConcurrentDownloads = value;
    },
  ),
  acts(
    "max-concurrent-uploads",
    checked(int, atLeast(1, "max concurrent uploads")),
    "Uploads at once for a push",
    (config, value) => {
      config.maxConcurrentUploads = value;
    },
  ),
  acts(
    "max-download-attempts",
    checked(int, atLeast(1, "max download attempts")),
    "Tries for each download",
    (config, value) => {
      config.maxDownloadAttempts = value;
    },
  ),
  foreign(
    both("allow-nondistributable-artifacts", "allow-nondistributable-artifacts"),
    texts,
    "Foreign layers to push",
    [[]],
  ),
  acts("http-proxy", text(orEmpty(parseProxy)), "Proxy for registries without TLS", (config, value) => {
    if (value !== "") config.proxies.http = value;
  }),
  acts("https-proxy", text(orEmpty(parseProxy)), "Proxy for registries with TLS", (config, value) => {
    if (value !== "") config.proxies.https = value;
  }),
  acts("no-proxy", string, "Hosts, domains and CIDRs that need no proxy", (config, value) => {
    if (value !== "") config.proxies.no = value;
  }),

  // ---- defaults of containers
  acts(both("default-ulimit", "default-ulimits"), ulimits, "Default ulimits of containers", (config, value) => {
    config.defaultUlimits = value;
  }),
  acts("default-shm-size", size, "Default size of /dev/shm", (config, value) => {
    config.defaultShmSizeBytes = value;
  }),
  acts("log-driver", string, "Default log driver of containers", (config, value) => {
    config.defaultLogDriver = value;
    // The default options are for the two drivers that write files here.
    if (value !== "json-file" && value !== "local") config.defaultLogOptions = {};
  }),
  acts(both("log-opt", "log-opts"), map, "Default log options of containers", (config, value) => {
    config.defaultLogOptions = { ...config.defaultLogOptions, ...value };
  }),
  acts("init", bool, "Run an init process in containers", (config, value) => {
    config.isInitDefault = value;
  }),
  acts("init-path", string, "Path of the init program", (config, value) => {
    config.initPath = value;
  }),
  acts("no-new-privileges", bool, "Default no-new-privileges of containers", (config, value) => {
    config.noNewPrivileges = value;
  }),
  acts("seccomp-profile", string, "Default seccomp profile: a file, builtin or unconfined", (config, value) => {
    config.seccompProfile = value === "" ? "builtin" : value;
  }),
  acts("selinux-enabled", refusedSwitch("SELinux labels are not supported"), "SELinux labels (refused)", () => {}),
  acts(
    "userns-remap",
    string,
    "User and group that root of containers is outside: default, or a name",
    (config, value) => {
      config.usernsRemap = value;
    },
  ),
  acts(
    "default-ipc-mode",
    oneOf("default IPC mode", ["private", "shareable"]),
    "Default IPC mode of containers",
    (config, value) => {
      config.defaultIpcMode = value === "shareable" ? value : "private";
    },
  ),
  acts(
    "default-cgroupns-mode",
    oneOf("default cgroup namespace mode", ["private", "host"]),
    "Default cgroup namespace of containers",
    (config, value) => {
      config.defaultCgroupnsMode = value === "host" ? value : "private";
    },
  ),
  acts("default-stop-timeout", int, "Seconds that a container gets to stop in by default", (config, value) => {
    config.defaultStopTimeoutSec = value;
  }),
  acts(
    "default-runtime",
    oneOf("default runtime", ["", ...RUNTIMES]),
    "Default runtime's name; all are berth itself",
    (config, value) => {
      config.defaultRuntime = value || "runc";
    },
  ),
  foreign(both("add-runtime", "runtimes"), anything, "berth runs containers itself", [[], {}]),
  acts(
    "cpu-rt-period",
    checked(int, atLeast(0, "cpu-rt-period")),
    "Real-time period of the parent cgroup in microseconds",
    (config, value) => {
      config.realtimePeriodUs = value;
    },
  ),
  acts(
    "cpu-rt-runtime",
    checked(int, atLeast(0, "cpu-rt-runtime")),
    "Real-time runtime of the parent cgroup in microseconds",
    (config, value) => {
      config.realtimeRuntimeUs = value;
    },
  ),
  foreign(both("exec-opt", "exec-opts"), texts, "Runtime options", [[], ["native.cgroupdriver=cgroupfs"]]),
  acts(
    both("cdi-spec-dir", "cdi-spec-dirs"),
    list(checkSpecDir),
    "Directories of CDI specifications; one empty name: none",
    (config, value) => {
      config.cdiSpecDirs = value.filter((directory) => directory !== "");
    },
  ),
  foreign("rootless", bool, "Run without root", [false]),

  // ---- networks
  acts(
    { flag: "bridge", key: "bridge", short: "b" },
    string,
    "Bridge of the default network, or none",
    (config, value) => {
      config.bridge = value === "" ? "docker0" : value;
    },
  ),
  acts("bip", text(orEmpty(parseCIDR)), "Address of the default bridge", (config, value) => {
    config.bip = value;
  }),
  acts("mtu", checked(int, atLeast(0, "default MTU")), "MTU of the default bridge", (config, value) => {
    config.mtu = value === 0 ? 1500 : value;
  }),
  acts(
    both("default-address-pool", "default-address-pools"),
    addressPools,
    "Pools for new networks",
    (config, value) => {
      config.defaultAddressPools = value;
    },
  ),
  acts("dns", list(parseIPAddress), "DNS server(s) of containers", (config, value) => {
    config.dns = value;
  }),
  acts(both("dns-opt", "dns-opts"), texts, "DNS options of containers", (config, value) => {
    config.dnsOptions = value;
  }),
  acts("dns-search", list(parseSearchDomain), "DNS search domains of containers", (config, value) => {
    config.dnsSearch = value;
  }),
  acts("iptables", bool, "Write firewall rules (by nf_tables)", (config, value) => {
    config.managesFirewall = value;
  }),
  acts("ip-forward", bool, "Enable net.ipv4.ip_forward", (config, value) => {
    config.enablesIPForward = value;
  }),
  // What is forwarded is decided bridge by bridge; what passes by them all is never dropped.
  foreign("ip-forward-no-drop", bool, "The forward policy is left alone", [true, false]),
  acts("ip6tables", bool, "Write IPv6 firewall rules", (config, value) => {
    config.managesFirewallIPv6 = value;
  }),
  acts("ip-masq", bool, "Masquerade the default bridge's addresses", (config, value) => {
    config.defaultBridge.masquerades = value;
  }),
  acts("icc", bool, "Containers of the default bridge may talk to each other", (config, value) => {
    config.defaultBridge.allowsTraffic = value;
  }),
  acts("ip", text(parseIPAddress), "Default host address of ports published on the default bridge", (config, value) => {
    config.defaultBridge.bindingIP = value;
  }),
  acts("ipv6", bool, "IPv6 on the default bridge", (config, value) => {
    config.defaultBridge.enablesIPv6 = value;
  }),
  acts("bip6", text(orEmpty(parseCIDR)), "IPv6 address of the default bridge", (config, value) => {
    config.defaultBridge.bip6 = value;
  }),
  acts("fixed-cidr", text(orEmpty(parseCIDR)), "Range for addresses of the default bridge", (config, value) => {
    config.defaultBridge.fixedCIDR = value;
  }),
  acts("fixed-cidr-v6", text(orEmpty(parseCIDR)), "IPv6 range of the default bridge", (config, value) => {
    config.defaultBridge.fixedCIDR6 = value;
  }),
  acts("default-gateway", text(orEmpty(parseIPAddress)), "Gateway of the default bridge", (config, value) => {
    config.defaultBridge.gateway = value;
  }),
  acts("default-gateway-v6", text(orEmpty(parseIPAddress)), "IPv6 gateway of the default bridge", (config, value) => {
    config.defaultBridge.gateway6 = value;
  }),
  acts(
    both("host-gateway-ip", "host-gateway-ips"),
    list(parseIPAddress),
    "Address(es) of host-gateway",
    (config, value) => {
      config.hostGatewayIPs = value;
    },
  ),
  acts(fileOnly("host-gateway-ip"), text(orEmpty(parseIPAddress)), "Address of host-gateway", (config, value) => {
    config.hostGatewayIPs = value === "" ? [] : [value];
  }),
  acts(
    both("default-network-opt", "default-network-opts"),
    networkOptions,
    "Default options of networks: driver=option=value",
    (config, value) => {
      config.defaultNetworkOptions = value;
    },
  ),
  acts("allow-direct-routing", bool, "Published ports answer at containers' own addresses too", (config, value) => {
    config.allowsDirectRouting = value;
  }),
  acts("bridge-accept-fwmark", text(parseMark), "Mark of packets that may reach any container", (config, value) => {
    config.acceptMark = value;
  }),
  foreign("firewall-backend", oneOf("firewall backend", ["", "nftables", "iptables"]), "berth writes nf_tables", [
    "",
    "nftables",
  ]),
  foreign("userland-proxy", bool, "berth needs no process for a published port", [true, false]),
  foreign("userland-proxy-path", string, "Path of docker-proxy", [""]),
  acts(fileOnly("resolv-conf"), string, "The resolv.conf to start from", (config, value) => {
    config.resolvConf = value;
  }),

  // ---- what belongs to dockerd's own surroundings
  foreign("containerd", string, "Socket of containerd"),
  foreign("containerd-namespace", string, "Namespace in containerd"),
  foreign(
    { flag: "containerd-plugins-namespace", key: "containerd-plugin-namespace" },
    string,
    "Namespace of plugins in containerd",
  ),
  foreign("cri-containerd", bool, "Start containerd with CRI", [false]),
  foreign(both("feature", "features"), anything, "Feature switches of dockerd", [[], {}]),
  foreign(fileOnly("builder"), anything, "Settings of BuildKit", [{}]),
  foreign(fileOnly("nri-opts"), anything, "Node Resource Interface", [{}]),
  foreign("api-cors-header", string, "CORS headers", [""]),
  foreign("deprecated-key-path", string, "Key of the old manifest format", [""]),
  foreign("swarm-default-advertise-addr", string, "Swarm address", [""]),
  foreign(fileOnly("swarm-raft-heartbeat-tick"), int, "Swarm heartbeat", [0]),
  foreign(fileOnly("swarm-raft-election-tick"), int, "Swarm election", [0]),
  foreign("network-control-plane-mtu", int, "MTU of swarm's control plane", [0, 1500]),
  foreign("network-diagnostic-port", int, "Port of dockerd's network diagnostics", [0]),
  foreign(both("node-generic-resource", "node-generic-resources"), anything, "Swarm resources", [[]]),
];
