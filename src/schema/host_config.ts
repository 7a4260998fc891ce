// HostConfig: everything about a container that belongs to the host it runs on. Source: HostConfig and Resources in v1.55.yaml.
import * as v from "valibot";
import { flag, integer, list, orNull, PortMap, text, textMap } from "./common.ts";

const ThrottleDevice = v.object({ Path: text(), Rate: integer() });

/** The limits that `update` may change too. Sizes in bytes, CPU times in microseconds. */
export const Resources = v.object({
  CpuShares: integer(),
  Memory: integer(),
  CgroupParent: text(),
  BlkioWeight: integer(),
  BlkioWeightDevice: list(v.object({ Path: text(), Weight: integer() })),
  BlkioDeviceReadBps: list(ThrottleDevice),
  BlkioDeviceWriteBps: list(ThrottleDevice),
  BlkioDeviceReadIOps: list(ThrottleDevice),
  BlkioDeviceWriteIOps: list(ThrottleDevice),
  CpuPeriod: integer(),
  CpuQuota: integer(),
  CpuRealtimePeriod: integer(),
  CpuRealtimeRuntime: integer(),
  CpusetCpus: text(),
  CpusetMems: text(),
  Devices: list(v.object({ PathOnHost: text(), PathInContainer: text(), CgroupPermissions: text() })),
  DeviceCgroupRules: list(v.string()),
  DeviceRequests: list(
    v.object({
      Driver: text(),
      Count: integer(),
      DeviceIDs: list(v.string()),
      Capabilities: list(v.array(v.string())),
      Options: textMap(),
    }),
  ),
  KernelMemory: integer(),
  KernelMemoryTCP: integer(),
  MemoryReservation: integer(),
  MemorySwap: integer(),
  /** null or -1: unset. */
  MemorySwappiness: orNull(v.pipe(v.number(), v.integer())),
  NanoCpus: integer(),
  OomKillDisable: orNull(v.boolean()),
  /** null: the engine's default. */
  Init: orNull(v.boolean()),
  /** null, 0 or -1: no limit. */
  PidsLimit: orNull(v.pipe(v.number(), v.integer())),
  Ulimits: list(v.object({ Name: text(), Soft: integer(), Hard: integer() })),
  CpuCount: integer(),
  CpuPercent: integer(),
  IOMaximumIOps: integer(),
  IOMaximumBandwidth: integer(),
});
export type Resources = v.InferOutput<typeof Resources>;

export const RestartPolicy = v.object({ Name: text(), MaximumRetryCount: integer() });
export type RestartPolicy = v.InferOutput<typeof RestartPolicy>;

export const Mount = v.object({
  Target: text(),
  Source: text(),
  Type: text(),
  ReadOnly: flag(),
  Consistency: text(),
  BindOptions: orNull(
    v.object({
      Propagation: text(),
      NonRecursive: flag(),
      CreateMountpoint: flag(),
      ReadOnlyNonRecursive: flag(),
      ReadOnlyForceRecursive: flag(),
    }),
  ),
  VolumeOptions: orNull(
    v.object({
      NoCopy: flag(),
      Labels: textMap(),
      DriverConfig: orNull(v.object({ Name: text(), Options: textMap() })),
      Subpath: text(),
    }),
  ),
  ImageOptions: orNull(v.object({ Subpath: text() })),
  TmpfsOptions: orNull(v.object({ SizeBytes: integer(), Mode: integer(), Options: list(v.array(v.string())) })),
});
export type Mount = v.InferOutput<typeof Mount>;

export const HostConfig = v.object({
  ...Resources.entries,
  Binds: list(v.string()),
  ContainerIDFile: text(),
  LogConfig: v.nullish(v.object({ Type: text(), Config: textMap() }), {}),
  NetworkMode: text(),
  PortBindings: PortMap,
  RestartPolicy: v.nullish(RestartPolicy, {}),
  AutoRemove: flag(),
  VolumeDriver: text(),
  VolumesFrom: list(v.string()),
  Mounts: list(Mount),
  ConsoleSize: list(v.number()),
  Annotations: textMap(),
  CapAdd: list(v.string()),
  CapDrop: list(v.string()),
  CgroupnsMode: text(),
  Dns: list(v.string()),
  DnsOptions: list(v.string()),
  DnsSearch: list(v.string()),
  ExtraHosts: list(v.string()),
  GroupAdd: list(v.string()),
  IpcMode: text(),
  Cgroup: text(),
  Links: list(v.string()),
  OomScoreAdj: integer(),
  PidMode: text(),
  Privileged: flag(),
  PublishAllPorts: flag(),
  ReadonlyRootfs: flag(),
  SecurityOpt: list(v.string()),
  StorageOpt: textMap(),
  Tmpfs: textMap(),
  UTSMode: text(),
  UsernsMode: text(),
  ShmSize: integer(),
  Sysctls: textMap(),
  Runtime: text(),
  Isolation: text(),
  /** null: the engine's lists; empty: none (what systempaths=unconfined becomes). */
  MaskedPaths: orNull(v.array(v.string())),
  ReadonlyPaths: orNull(v.array(v.string())),
});
export type HostConfig = v.InferOutput<typeof HostConfig>;

/** The body of POST /containers/{id}/update. What is zero or null is left as it is. */
export const ContainerUpdate = v.object({ ...Resources.entries, RestartPolicy: orNull(RestartPolicy) });
export type ContainerUpdate = v.InferOutput<typeof ContainerUpdate>;
