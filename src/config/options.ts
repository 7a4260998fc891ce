// Every option of dockerd 28, by the name of its flag and of its key in daemon.json, and what berth does with it:
//
//   set          it acts: how the value changes the Config
//   later        not yet: accepted with one warning, unless the value asks for what berth does anyway (`quiet`)
//   foreign      means nothing here (containerd, swarm …): accepted with one warning, unless quiet
//
import { anything, bool, checkedList, int, list, map, size, string, text, texts, ulimits } from "./kinds.ts";
import { RUNTIMES } from "../runtimes.ts";
import {
  checkLabels,
  parseInsecureRegistry,
  parseLogLevel,
  parseMirror,
  parseProxy,
  parseStorageDriver,
} from "./values.ts";
import { NETWORK_OPTIONS } from "./network_options.ts";
import {
  type Option,
  acts,
  later,
  foreign,
  both,
  fileOnly,
  atLeast,
  within,
  checked,
  oneOf,
  refusedSwitch,
  orEmpty,
  checkHost,
  checkSpecDir,
} from "./option.ts";

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

  ...NETWORK_OPTIONS,
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
