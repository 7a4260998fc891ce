// Our record of an image to what the API shows: list, inspect and history. Shapes that changed between versions differ here
// and nowhere else.
import type { Config } from "../config.ts";
import type { AttestationStatement, ImageConfig, ImageRecord, ManifestSummary } from "../engine/mod.ts";
import { familiar, parseReference } from "../image/reference.ts";
import { type ApiVersion, isAtLeast } from "./app_env.ts";

const NEVER = "0001-01-01T00:00:00Z";

/** `docker.io/library/busybox:latest` as people write it: `busybox:latest`. */
function shortened(reference: string): string {
  return familiar(parseReference(reference));
}

export interface ListedImage {
  image: ImageRecord;
  sharedSizeBytes: number;
  containers: number;
}

/** An item of GET /images/json, and of the older `docker system df`. */
export function summaryView({ image, sharedSizeBytes, containers }: ListedImage, version: ApiVersion): object {
  return {
    Id: image.id,
    ParentId: "",
    ...names(image, version),
    Created: unixSeconds(image.createdAt),
    Size: image.sizeBytes,
    ...(isAtLeast(version, 44) ? {} : { VirtualSize: image.sizeBytes }),
    SharedSize: sharedSizeBytes,
    Labels: image.config.Labels ?? {},
    // COMPAT: the field was there, but always -1, before 1.51.
    Containers: isAtLeast(version, 51) ? containers : -1,
    ...descriptor(image, version),
  };
}

/** COMPAT: below 1.43 an image without a name has the name `<none>:<none>`. */
function names(image: ImageRecord, version: ApiVersion): { RepoTags: string[]; RepoDigests: string[] } {
  const RepoTags = image.tags.map(shortened);
  const RepoDigests = image.repoDigests.map(shortened);
  if (isAtLeast(version, 43) || RepoTags.length > 0) return { RepoTags, RepoDigests };
  return { RepoTags: ["<none>:<none>"], RepoDigests: RepoDigests.length > 0 ? RepoDigests : ["<none>@<none>"] };
}

function descriptor(image: ImageRecord, version: ApiVersion): object {
  if (!isAtLeast(version, 48) || image.manifest === null) return {};
  const { mediaType, digest, size } = image.manifest;
  return { Descriptor: { mediaType, digest, size } };
}

// ---- inspect

export function inspectView(image: ImageRecord, version: ApiVersion, config: Pick<Config, "storageDriver">): object {
  const isModern = isAtLeast(version, 52);
  return {
    Id: image.id,
    RepoTags: image.tags.map(shortened),
    RepoDigests: image.repoDigests.map(shortened),
    // COMPAT: from 1.52 what says nothing is left out; before, older clients find the empty field.
    ...(isModern ? {} : { Parent: "", DockerVersion: "" }),
    ...textField("Comment", image.comment, isModern),
    Created: image.createdAt,
    ...(isAtLeast(version, 45) ? {} : { Container: "", ContainerConfig: legacyConfig({}) }),
    ...textField("Author", image.author, isModern),
    Config: isAtLeast(version, 50) ? modernConfig(image.config) : legacyConfig(image.config),
    Architecture: image.architecture,
    ...textField("Variant", image.variant, true),
    Os: image.os,
    ...textField("OsVersion", image.osVersion, true),
    Size: image.sizeBytes,
    ...(isAtLeast(version, 44) ? {} : { VirtualSize: image.sizeBytes }),
    ...(isModern ? {} : { GraphDriver: { Name: config.storageDriver, Data: {} } }),
    RootFS: { Type: "layers", ...(image.diffIDs.length > 0 ? { Layers: image.diffIDs } : {}) },
    Metadata: { LastTagTime: image.lastTagTime || NEVER },
    ...descriptor(image, version),
  };
}

function textField(name: string, value: string, isOmittedWhenEmpty: boolean): object {
  return value === "" && isOmittedWhenEmpty ? {} : { [name]: value };
}

/** From 1.50: what the image's config really says, and nothing else. */
function modernConfig(config: ImageConfig): object {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => !isNothing(value)));
}

function isNothing(value: unknown): boolean {
  if (value === null || value === undefined || value === "" || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/** COMPAT: below 1.50 it has the shape of a container's configuration, with fields that no image has. */
function legacyConfig(config: ImageConfig): object {
  return {
    Hostname: "",
    Domainname: "",
    User: config.User ?? "",
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ...(isNothing(config.ExposedPorts) ? {} : { ExposedPorts: config.ExposedPorts }),
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: config.Env ?? null,
    Cmd: config.Cmd ?? null,
    ...(config.Healthcheck ? { Healthcheck: config.Healthcheck } : {}),
    ...(config.ArgsEscaped ? { ArgsEscaped: true } : {}),
    Image: "",
    Volumes: config.Volumes ?? null,
    WorkingDir: config.WorkingDir ?? "",
    Entrypoint: config.Entrypoint ?? null,
    OnBuild: config.OnBuild ?? null,
    Labels: config.Labels ?? null,
    ...(config.StopSignal ? { StopSignal: config.StopSignal } : {}),
    ...(config.Shell ? { Shell: config.Shell } : {}),
  };
}

// ---- manifests and attestations

/** ImageManifestSummary. */
export function manifestView(each: ManifestSummary): object {
  const { descriptor: named, annotations, platform, kind, isAvailable, contentBytes, unpackedBytes } = each;
  const Platform = platform === null ? null : platformView(platform);
  const hasAnnotations = Object.keys(annotations).length > 0;
  return {
    ID: named.digest,
    Descriptor: {
      ...named,
      ...(hasAnnotations ? { annotations } : {}),
      ...(Platform === null ? {} : { platform: Platform }),
    },
    Available: isAvailable,
    Size: { Content: contentBytes, Total: contentBytes + unpackedBytes },
    Kind: kind,
    ...(kind === "image"
      ? { ImageData: { Platform, Containers: each.containers, Size: { Unpacked: unpackedBytes } } }
      : {}),
    ...(kind === "attestation" ? { AttestationData: { For: each.subject } } : {}),
  };
}

function platformView({ os, architecture, variant }: NonNullable<ManifestSummary["platform"]>): object {
  return { architecture, os, ...(variant === "" ? {} : { variant }) };
}

export function attestationView({ descriptor: named, predicateType, statement }: AttestationStatement): object {
  return { Descriptor: named, PredicateType: predicateType, ...(statement === null ? {} : { Statement: statement }) };
}

// ---- history

/** The newest first. Only the topmost has an ID and tags: the steps below it were never images of their own here. */
export function historyView(image: ImageRecord): object[] {
  return image.history.toReversed().map((entry, index) => ({
    Id: index === 0 ? image.id : "<missing>",
    Created: unixSeconds(entry.created),
    CreatedBy: entry.createdBy,
    Tags: index === 0 && image.tags.length > 0 ? image.tags.map(shortened) : null,
    Size: entry.sizeBytes,
    Comment: entry.comment,
  }));
}

function unixSeconds(moment: string): number {
  const milliseconds = Date.parse(moment);
  return Number.isNaN(milliseconds) ? 0 : Math.floor(milliseconds / 1000);
}
