// Container configuration as clients send it at create, and as images carry it. Source: ContainerConfig in v1.55.yaml.
import * as v from "valibot";
import { flag, integer, keySet, list, orNull, text, textMap, words } from "./common.ts";
import { HostConfig } from "./host_config.ts";
import { NetworkingConfig } from "./network.ts";

/** Durations in nanoseconds; 0 means inherit from the image, then the default. */
export const HealthConfig = v.object({
  Test: list(v.string()),
  Interval: integer(),
  Timeout: integer(),
  Retries: integer(),
  StartPeriod: integer(),
  StartInterval: integer(),
});
export type HealthConfig = v.InferOutput<typeof HealthConfig>;

export const ContainerConfig = v.object({
  Hostname: text(),
  Domainname: text(),
  User: text(),
  AttachStdin: flag(),
  AttachStdout: flag(),
  AttachStderr: flag(),
  ExposedPorts: keySet(),
  Tty: flag(),
  OpenStdin: flag(),
  StdinOnce: flag(),
  Env: list(v.string()),
  /** null: from the image. */
  Cmd: words(),
  Healthcheck: orNull(HealthConfig),
  ArgsEscaped: flag(),
  Image: text(),
  Volumes: keySet(),
  WorkingDir: text(),
  /** null: from the image; a given one drops the image's Cmd. */
  Entrypoint: words(),
  NetworkDisabled: flag(),
  MacAddress: text(),
  OnBuild: list(v.string()),
  Labels: textMap(),
  StopSignal: text(),
  /** Seconds; null: the engine's default; negative: wait for ever. */
  StopTimeout: orNull(v.pipe(v.number(), v.integer())),
  Shell: list(v.string()),
});
export type ContainerConfig = v.InferOutput<typeof ContainerConfig>;

/** The body of POST /containers/create: the configuration at top level, with its two companions. */
export const ContainerCreate = v.object({
  ...ContainerConfig.entries,
  HostConfig: v.nullish(HostConfig, {}),
  NetworkingConfig: v.nullish(NetworkingConfig, {}),
});
export type ContainerCreate = v.InferOutput<typeof ContainerCreate>;

/** `CheckpointDir` and `Exit` say where to and what then: no checkpoint is taken that they could be of use to. */
export const CheckpointCreate = v.object({ CheckpointID: text() });
