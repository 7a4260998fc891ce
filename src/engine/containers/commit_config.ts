// The configuration of an image that is made of a container: what the request says, then what the container has. Pure.
import type { ContainerConfig } from "../../schema/container.ts";
import type { ImageConfig } from "../mod.ts";
import { envKey } from "./defaults.ts";

/** The part of a container's configuration that an image carries. */
export function toImageConfig(config: ContainerConfig): ImageConfig {
  const { User, ExposedPorts, Env, Entrypoint, Cmd, Volumes, WorkingDir, Labels, StopSignal, Healthcheck } = config;
  return {
    ...(User === "" ? {} : { User }),
    ...(isEmptyMap(ExposedPorts) ? {} : { ExposedPorts }),
    ...(Env.length === 0 ? {} : { Env }),
    ...(Entrypoint === null ? {} : { Entrypoint }),
    ...(Cmd === null ? {} : { Cmd }),
    ...(isEmptyMap(Volumes) ? {} : { Volumes }),
    ...(WorkingDir === "" ? {} : { WorkingDir }),
    ...(isEmptyMap(Labels) ? {} : { Labels }),
    ...(StopSignal === "" ? {} : { StopSignal }),
    ...(Healthcheck === null ? {} : { Healthcheck: withoutZeroes(Healthcheck) }),
    ...(config.OnBuild.length === 0 ? {} : { OnBuild: config.OnBuild }),
    ...(config.Shell.length === 0 ? {} : { Shell: config.Shell }),
    ...(config.ArgsEscaped ? { ArgsEscaped: true } : {}),
  };
}

function isEmptyMap(map: object): boolean {
  return Object.keys(map).length === 0;
}

type Health = NonNullable<ImageConfig["Healthcheck"]>;

/** Zero stands for what was not said. */
function withoutZeroes(health: Health): Health {
  return Object.fromEntries(
    Object.entries(health).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value !== 0)),
  );
}

/** COMPAT: how Docker completes a given configuration: lists and maps are joined, a given entrypoint drops the command. */
export function completeConfig(given: ImageConfig, container: ImageConfig): ImageConfig {
  const hasEntrypoint = given.Entrypoint !== undefined && given.Entrypoint !== null;
  const keepsCommand = (given.Entrypoint?.length ?? 0) > 0 || (given.Cmd?.length ?? 0) > 0;
  const healthcheck = given.Healthcheck ? { ...container.Healthcheck, ...given.Healthcheck } : container.Healthcheck;
  const complete: ImageConfig = {
    ...container,
    ...given,
    User: given.User || (container.User ?? ""),
    ExposedPorts: { ...container.ExposedPorts, ...given.ExposedPorts },
    Env: joinedEnv(given.Env ?? [], container.Env ?? []),
    Labels: { ...container.Labels, ...given.Labels },
    Volumes: { ...container.Volumes, ...given.Volumes },
    Cmd: keepsCommand ? (given.Cmd ?? null) : (container.Cmd ?? null),
    Entrypoint: hasEntrypoint ? (given.Entrypoint ?? null) : (container.Entrypoint ?? null),
    WorkingDir: given.WorkingDir || (container.WorkingDir ?? ""),
    StopSignal: given.StopSignal || (container.StopSignal ?? ""),
    ...(healthcheck ? { Healthcheck: healthcheck } : {}),
  };
  return withoutEmpty(complete);
}

function joinedEnv(given: readonly string[], container: readonly string[]): string[] {
  const keys = new Set(given.map(envKey));
  return [...given, ...container.filter((entry) => !keys.has(envKey(entry)))];
}

function withoutEmpty(config: ImageConfig): ImageConfig {
  return Object.fromEntries(
    Object.entries(config).filter(([name, value]) => {
      // An entrypoint of no words is another thing than none.
      if (name === "Entrypoint" || name === "Cmd") return value !== null;
      if (typeof value === "object" && value !== null) return !isEmptyMap(value);
      return value !== "";
    }),
  );
}
