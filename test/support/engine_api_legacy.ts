// What engine_api.yaml does not tell about replies: fields that older API versions have, and spots where the description
// and Docker's own replies differ.
import type { Schema } from "./engine_api.ts";

/**
 * By definition, fields and the version from which on they are gone (shown), or from which on they are there (required):
 * below it a reply may differ from the description in just this field. 999: Docker has it in every version.
 */
const LEGACY: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  ImageInspect: { Parent: 52, DockerVersion: 52, Container: 45, ContainerConfig: 45, VirtualSize: 44 },
  ImageConfig: {
    Hostname: 50,
    Domainname: 50,
    AttachStdin: 50,
    AttachStdout: 50,
    AttachStderr: 50,
    Tty: 50,
    OpenStdin: 50,
    StdinOnce: 50,
    Image: 50,
  },
  ImageSummary: { VirtualSize: 44 },
  ContainerConfig: { MacAddress: 52 },
  NetworkSettings: {
    Bridge: 52,
    HairpinMode: 52,
    LinkLocalIPv6Address: 52,
    LinkLocalIPv6PrefixLen: 52,
    SecondaryIPAddresses: 52,
    SecondaryIPv6Addresses: 52,
    EndpointID: 52,
    Gateway: 52,
    GlobalIPv6Address: 52,
    GlobalIPv6PrefixLen: 52,
    IPAddress: 52,
    IPPrefixLen: 52,
    IPv6Gateway: 52,
    MacAddress: 52,
  },
  // The list of networks had an empty map here, since its type was that of inspect.
  NetworkSummary: { Containers: 52 },
  SystemInfo: { KernelMemory: 42, KernelMemoryTCP: 42, BridgeNfIptables: 50, BridgeNfIp6tables: 50 },
  Commit: { Expected: 49 },
  EventMessage: { status: 52, id: 52, from: 52 },
  HostConfig: { KernelMemory: 42 },
  // GET /system/df has no definition of its own.
  "": { LayersSize: 53, Images: 53, Containers: 53, Volumes: 53, BuildCache: 53, BuilderSize: 42 },
};

export function isLegacy(definition: string, field: string, minor: number): boolean {
  return minor < (LEGACY[definition]?.[field] ?? 0);
}

/** Laid over a definition of the description, or over one field of it. */
export const AMENDED: Readonly<Record<string, Partial<Schema>>> = {
  // GET /exec/{id}/json has no definition of its own; the exit code of a session that has not ended is null there.
  ".ExitCode": { "x-nullable": true },
};
