// The daemon's configuration, complete and checked: what flags, daemon.json and defaults come to. Made by config.ts.

interface IDMapping {
  containerID: number;
  hostID: number;
  size: number;
}

/** What IDs inside remapped containers are outside. */
export interface IDMaps {
  uidMappings: IDMapping[];
  gidMappings: IDMapping[];
}

export interface Config {
  /** `unix:///run/berth.sock`, `tcp://127.0.0.1:2376`, `fd://`. */
  hosts: string[];
  dataRoot: string;
  execRoot: string;
  pidfile: string;
  group: string;
  /** Name of the default bridge (`docker0`), or `none`. */
  bridge: string;
  /** `172.17.0.1/16`, or "" for the first free default pool. */
  bip: string;
  mtu: number;
  cgroupParent: string;
  /** Set by the user: it is then taken as it is, also under a systemd unit with delegation. */
  isCgroupParentExplicit: boolean;
  logLevel: "debug" | "info" | "warn" | "error" | "fatal";
  logFormat: "text" | "json";
  isDebug: boolean;
  storageDriver: string;
  insecureRegistries: string[];
  registryMirrors: string[];
  /** Directories with one directory for each registry host: certificates and hosts.toml. The first that has it decides. */
  certsDirs: string[];
  dns: string[];
  dnsOptions: string[];
  dnsSearch: string[];
  managesFirewall: boolean;
  enablesIPForward: boolean;
  isLiveRestore: boolean;
  /** Negative: no limit. */
  shutdownTimeoutSec: number;
  labels: string[];
  isExperimental: boolean;
  defaultLogDriver: string;
  defaultLogOptions: Record<string, string>;
  defaultUlimits: Record<string, { soft: number; hard: number }>;
  defaultShmSizeBytes: number;
  maxConcurrentDownloads: number;
  maxConcurrentUploads: number;
  maxDownloadAttempts: number;
  initPath: string;
  isInitDefault: boolean;
  noNewPrivileges: boolean;
  /** Seconds; negative: wait for ever. */
  defaultStopTimeoutSec: number;
  /** One of src/runtimes.ts. */
  defaultRuntime: string;
  /** Of the containers' common parent cgroup, in microseconds; 0: as it is. */
  realtimePeriodUs: number;
  realtimeRuntimeUs: number;
  /** Of the daemon's own process. */
  oomScoreAdjust: number;
  /** The later ones win; empty: no CDI. */
  cdiSpecDirs: string[];
  /** `builtin`, `unconfined`, or the path of a profile. */
  seccompProfile: string;
  /** As it was asked for: `default`, `user`, `user:group`, by name or number; "": containers are not remapped. */
  usernsRemap: string;
  /** What it comes to (src/userns_remap.ts). */
  idMaps: IDMaps | null;
  defaultIpcMode: "private" | "shareable";
  /** "": by the version of cgroups. */
  defaultCgroupnsMode: "" | "private" | "host";
  /** What dockerd's flags say of the default bridge alone; "" where nothing was said. */
  defaultBridge: {
    allowsTraffic: boolean;
    masquerades: boolean;
    /** Where its published ports are bound that name no address. */
    bindingIP: string;
    enablesIPv6: boolean;
    bip6: string;
    fixedCIDR: string;
    fixedCIDR6: string;
    gateway: string;
    gateway6: string;
  };
  /** What `host-gateway` stands for; []: the default bridge's own addresses. */
  hostGatewayIPs: string[];
  /** Options of new networks that do not give them, by driver. */
  defaultNetworkOptions: Record<string, Record<string, string>>;
  /** Rules for IPv6 too. */
  managesFirewallIPv6: boolean;
  /** Published ports answer at the containers' own addresses too, to whoever routes there. */
  allowsDirectRouting: boolean;
  /** Packets with this firewall mark may reach every container; null: none. */
  acceptMark: { mark: number; mask: number } | null;
  /** The file that containers' resolv.conf is made of; "": /etc/resolv.conf. */
  resolvConf: string;
  defaultAddressPools: { base: string; size: number }[];
  tls: {
    isOn: boolean;
    verifies: boolean;
    /** The user wrote `--tls=false` or `--tlsverify=false`: tcp:// without client certificates is wanted. */
    isRefused: boolean;
    caFile: string;
    certFile: string;
    keyFile: string;
  };
  /** From daemon.json, flags or the environment, for registries and for /info. */
  proxies: { http: string; https: string; no: string };
}
