// Images, networks and volumes in memory, for tests of routes: small, but with the refusals that clients rely on.
import type {
  ImageRecord,
  Images,
  ManifestSummary,
  NetworkRecord,
  Networks,
  VolumeRecord,
  Volumes,
} from "../../src/engine/mod.ts";
import { conflict, forbidden, notFound } from "../../src/errors.ts";
import { canonical, parseReference, withDefaultTag } from "../../src/image/reference.ts";

export function fakeImage(change: Partial<ImageRecord> = {}): ImageRecord {
  return {
    id: `sha256:${"ab".repeat(32)}`,
    tags: ["docker.io/library/busybox:latest"],
    repoDigests: [`docker.io/library/busybox@sha256:${"cd".repeat(32)}`],
    createdAt: "2025-01-02T03:04:05.5Z",
    author: "",
    comment: "",
    architecture: "amd64",
    variant: "",
    os: "linux",
    osVersion: "",
    config: { Env: ["PATH=/bin"], Cmd: ["sh"], Volumes: {}, Labels: { a: "b" } },
    diffIDs: [`sha256:${"ef".repeat(32)}`],
    history: [
      {
        created: "2025-01-02T03:04:05Z",
        createdBy: "ADD rootfs",
        comment: "",
        author: "",
        isEmptyLayer: false,
        sizeBytes: 4_000_000,
      },
      {
        created: "2025-01-02T03:04:06Z",
        createdBy: "CMD sh",
        comment: "end",
        author: "",
        isEmptyLayer: true,
        sizeBytes: 0,
      },
    ],
    sizeBytes: 4_000_000,
    lastTagTime: "2025-06-01T00:00:00Z",
    manifest: {
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: `sha256:${"cd".repeat(32)}`,
      size: 500,
    },
    index: null,
    ...change,
  };
}

export function fakeImages(records: ImageRecord[]): Images {
  const find = (nameOrID: string): ImageRecord => {
    const wanted = canonical(withDefaultTag(parseReference(nameOrID)));
    const found = records.find(
      (image) => image.id === nameOrID || image.id.startsWith(`sha256:${nameOrID}`) || image.tags.includes(wanted),
    );
    if (found === undefined) throw notFound(`No such image: ${nameOrID}`);
    return found;
  };
  return {
    get: find,
    list: async ({ sharedSize }) =>
      records.map((image) => ({ image, sharedSizeBytes: sharedSize ? 0 : -1, containers: 0 })),
    manifests: async (image): Promise<ManifestSummary[]> => [
      {
        descriptor: {
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          digest: `sha256:${"cd".repeat(32)}`,
          size: 500,
        },
        annotations: {},
        platform: { os: image.os, architecture: image.architecture, variant: image.variant },
        kind: "image",
        isAvailable: true,
        contentBytes: 1500,
        unpackedBytes: image.sizeBytes,
        subject: "",
        containers: [],
      },
      {
        descriptor: {
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          digest: `sha256:${"ce".repeat(32)}`,
          size: 300,
        },
        annotations: { "vnd.docker.reference.type": "attestation-manifest" },
        platform: null,
        kind: "attestation",
        isAvailable: false,
        contentBytes: 0,
        unpackedBytes: 0,
        subject: `sha256:${"cd".repeat(32)}`,
        containers: [],
      },
    ],
    async attestations(nameOrID, { types, withStatement }) {
      find(nameOrID);
      const predicateType = "https://slsa.dev/provenance/v0.2";
      if (types.length > 0 && !types.includes(predicateType)) return [];
      const descriptor = { mediaType: "application/vnd.in-toto+json", digest: `sha256:${"cf".repeat(32)}`, size: 100 };
      return [{ descriptor, predicateType, statement: withStatement ? { predicateType } : null }];
    },
    tag: async (source, repository, tag) =>
      void find(source).tags.push(canonical(parseReference(`${repository}:${tag || "latest"}`))),
    async remove(nameOrID) {
      const image = find(nameOrID);
      records.splice(records.indexOf(image), 1);
      return [...image.tags.map((tag) => ({ Untagged: tag })), { Deleted: image.id }];
    },
    prune: async () => ({ deleted: [], spaceReclaimed: 0 }),
    push: async ({ image }, progress) => progress({ status: `The push refers to repository [${image}]` }),
    import: async (_request, progress) => progress({ status: `sha256:${"1d".repeat(32)}` }),
    async pull({ image, tag }, progress) {
      const name = tag.includes(":") ? `${image}@${tag}` : `${image}:${tag}`;
      progress({ status: `Pulling from ${image}`, id: tag });
      records.push(
        fakeImage({
          id: `sha256:${records.length.toString(16).padStart(64, "5")}`,
          tags: [canonical(parseReference(name))],
        }),
      );
      progress({ status: `Status: Downloaded newer image for ${name}` });
    },
    async load(body, _options, progress) {
      let sizeBytes = 0;
      for await (const bytes of body) sizeBytes += bytes.length;
      progress({ stream: `Loaded ${sizeBytes} bytes\n` });
    },
    async save(names) {
      const images = names.map(find);
      return (async function* () {
        for (const image of images) yield new TextEncoder().encode(image.id);
      })();
    },
    rootfsLayers: async () => ({ layersDir: "/layers", lower: [] }),
    totals: async () => ({
      count: records.length,
      layersBytes: records.reduce((sum, image) => sum + image.sizeBytes, 0),
    }),
  };
}

export function fakeNetwork(change: Partial<NetworkRecord> = {}): NetworkRecord {
  return {
    id: "1".repeat(64),
    name: "bridge",
    createdAt: "2026-01-01T00:00:00.123456789Z",
    driver: "bridge",
    scope: "local",
    enableIPv4: true,
    enableIPv6: false,
    isInternal: false,
    isAttachable: false,
    isIngress: false,
    ipam: {
      driver: "default",
      options: null,
      config: [{ subnet: "172.17.0.0/16", ipRange: "", gateway: "172.17.0.1", auxiliaryAddresses: {} }],
    },
    options: { "com.docker.network.bridge.name": "docker0" },
    labels: {},
    ...change,
  };
}

export function fakeNetworks(records: NetworkRecord[]): Networks {
  const find = (nameOrID: string): NetworkRecord => {
    const found = records.find(({ id, name }) => id === nameOrID || name === nameOrID || id.startsWith(nameOrID));
    if (found === undefined) throw notFound(`network ${nameOrID} not found`);
    return found;
  };
  return {
    get: find,
    list: () => records,
    async create({ Name, Driver, EnableIPv6, IPAM, Internal, Attachable, Labels, Options }) {
      if (records.some(({ name }) => name === Name)) throw conflict(`network with name ${Name} already exists`);
      const id = (records.length + 1).toString(16).padStart(64, "2");
      const config = (IPAM?.Config ?? []).map((pool) => ({
        subnet: pool.Subnet,
        ipRange: pool.IPRange,
        gateway: pool.Gateway,
        auxiliaryAddresses: pool.AuxiliaryAddresses,
      }));
      records.push(
        fakeNetwork({
          id,
          name: Name,
          driver: Driver || "bridge",
          enableIPv6: EnableIPv6 ?? false,
          isInternal: Internal,
          isAttachable: Attachable,
          labels: Labels,
          options: Options,
          ipam: { driver: "default", options: null, config },
        }),
      );
      return { id, warning: "" };
    },
    async remove(nameOrID) {
      const network = find(nameOrID);
      if (network.name === "bridge") throw forbidden("bridge is a pre-defined network and cannot be removed");
      records.splice(records.indexOf(network), 1);
    },
    prune: async () => [],
    connect: async (nameOrID) => void find(nameOrID),
    disconnect: async (nameOrID) => void find(nameOrID),
  };
}

export function fakeVolumes(records: VolumeRecord[] = []): Volumes {
  const get = (name: string): VolumeRecord => {
    const found = records.find((volume) => volume.name === name);
    if (found === undefined) throw notFound(`get ${name}: no such volume`);
    return found;
  };
  return {
    get,
    inspect: async (name) => ({ ...get(name), status: {} }),
    async create({ Name, DriverOpts, Labels }) {
      const name = Name || (records.length + 1).toString(16).padStart(64, "a");
      const volume: VolumeRecord = {
        name,
        driver: "local",
        scope: "local",
        createdAt: "2026-01-01T00:00:00Z",
        mountpoint: `/var/lib/berth/volumes/${name}/_data`,
        labels: Labels,
        options: DriverOpts,
        isAnonymous: Name === "",
      };
      records.push(volume);
      return volume;
    },
    list: async () => ({ volumes: records, warnings: [] }),
    async remove(name, force) {
      if (force && !records.some((volume) => volume.name === name)) return;
      records.splice(records.indexOf(get(name)), 1);
    },
    prune: async () => ({ deleted: records.splice(0).map((volume) => volume.name), spaceReclaimed: 7 }),
    usage: async () => ({ sizeBytes: 1000, refCount: 1 }),
  };
}
