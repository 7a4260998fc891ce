// From what users write about mounts to mount points and OCI mounts, with every refusal in its words.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import type { Fd, Rootfs } from "../../../../runtime/mod.ts";
import type { ContainerRecord, MountPoint } from "../../../../src/engine/containers/container.ts";
import {
  type ContainerMountsDeps,
  createContainerMounts,
  imagesOf,
  shownMounts,
} from "../../../../src/engine/containers/mounts.ts";
import type { ImageRecord, VolumeRecord } from "../../../../src/engine/mod.ts";
import type { VolumeService } from "../../../../src/engine/volumes/service.ts";
import { conflict, notFound } from "../../../../src/errors.ts";
import { ContainerConfig } from "../../../../src/schema/container.ts";
import { HostConfig } from "../../../../src/schema/host_config.ts";

let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "berth-mounts-"));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

/** Volumes as a map: what is claimed, made and removed can be seen. */
function fakeVolumes() {
  const volumes = new Map<string, VolumeRecord>();
  const claims = new Map<string, number>();
  const busy = new Set<string>();
  const users = new Set<string>();
  let count = 0;
  const refuse = () => Promise.reject(new Error("not part of this test"));
  const service: VolumeService = {
    async create(request) {
      if (request.Driver === "nope")
        throw notFound('create x: error looking up volume plugin nope: plugin "nope" not found');
      const name = request.Name || (++count).toString(16).padStart(64, "a");
      const known = volumes.get(name);
      if (known && request.Driver === "other") throw conflict(`create ${name}: volume name must be unique`);
      const mountpoint = join(base, name, "_data");
      const made: VolumeRecord = known ?? {
        name,
        driver: "local",
        scope: "local",
        createdAt: "2024-01-01T00:00:00Z",
        mountpoint,
        labels: request.Labels,
        options: request.DriverOpts,
        isAnonymous: request.Name === "",
      };
      mkdirSync(mountpoint, { recursive: true });
      volumes.set(name, made);
      return made;
    },
    get(name) {
      const found = volumes.get(name);
      if (!found) throw notFound(`get ${name}: no such volume`);
      return found;
    },
    claim(name) {
      service.get(name);
      claims.set(name, (claims.get(name) ?? 0) + 1);
      return () => void claims.set(name, (claims.get(name) ?? 0) - 1);
    },
    removeUnused: async (name) => !busy.has(name) && volumes.delete(name),
    inspect: refuse,
    needsMount: (name) => Object.hasOwn(service.get(name).options, "device"),
    mount: async (name, user) => (users.add(`${name} ${user}`), service.get(name).mountpoint),
    unmount: async (name, user) => void users.delete(`${name} ${user}`),
    regain: (name, user) => void users.add(`${name} ${user}`),
    settle: () => undefined,
    list: refuse,
    remove: refuse,
    prune: refuse,
    usage: refuse,
  };
  return { service, volumes, claims, busy, users };
}

function world(outcome: "copied" | "notDirectory" = "copied") {
  const volumes = fakeVolumes();
  const copied: string[] = [];
  const mounts = createContainerMounts({
    volumes: volumes.service,
    images,
    copyUp: async (_view, path, destination) => {
      copied.push(`${path} -> ${destination.slice(base.length + 1)}`);
      return outcome;
    },
  });
  return { ...volumes, mounts, copied };
}

/** One image, `busybox`, of two layers. */
const images: ContainerMountsDeps["images"] = {
  claim(name) {
    if (name !== "busybox") throw notFound(`No such image: ${name}`);
    return { image: { id: "sha256:b0" } as ImageRecord, release: () => undefined };
  },
  rootfsLayers: async () => ({ layersDir: "/layers", lower: ["B", "A"] }),
};
const rootfs: Rootfs = {
  kind: "overlay",
  layersDir: "/layers",
  lower: [],
  upper: "/c/upper",
  work: "/c/work",
  target: "/c/rootfs",
};

const config = (more: object = {}) => v.parse(ContainerConfig, more);
const host = (more: object = {}) => v.parse(HostConfig, more);
const nobody = (name: string): never => {
  throw notFound(`No such container: ${name}`);
};
const view = (): Fd => ({ [Symbol.dispose]: () => undefined }) as unknown as Fd;

async function resolve(
  hostConfig: object,
  configuration: object = {},
  donors: (name: string) => ContainerRecord = nobody,
) {
  const made = world();
  return { ...made, points: await made.mounts.resolve(config(configuration), host(hostConfig), donors) };
}
const refusal = (hostConfig: object, configuration: object = {}) =>
  resolve(hostConfig, configuration).then(
    () => "accepted",
    (error: Error & { kind: string }) => `${error.kind}: ${error.message}`,
  );

describe("Binds", () => {
  test("a host path is a bind, made when it is missing", async () => {
    const { points } = await resolve({ Binds: [`${base}/a/b/:/data/../in/:ro,z,rslave`] });
    expect(points).toEqual([
      {
        type: "bind",
        name: "",
        source: `${base}/a/b`,
        destination: "/in",
        driver: "",
        mode: "ro,z,rslave",
        isWritable: false,
        propagation: "rslave",
        isAnonymous: false,
        options: [],
        subpath: "",
      },
    ]);
    expect(statSync(`${base}/a/b`).isDirectory()).toBe(true);
  });

  test("a file is bound as it is", async () => {
    writeFileSync(`${base}/file`, "x");
    const { points } = await resolve({ Binds: [`${base}/file:/etc/file`] });
    expect(points[0]).toMatchObject({ source: `${base}/file`, mode: "", propagation: "rprivate", isWritable: true });
  });

  test("a path below a file cannot be made, and says so", async () => {
    writeFileSync(`${base}/file`, "x");
    expect(await refusal({ Binds: [`${base}/file/below:/x`] })).toContain(
      `invalid mount config for type "bind": stat ${base}/file/below: not a directory`,
    );
  });

  test("a name is a volume, one that is missing is made", async () => {
    const { points, volumes } = await resolve({ Binds: ["data:/var/lib/data", "data:/again:nocopy,ro", "/only"] });
    expect(
      points.map((point) => [
        point.type,
        point.name.slice(0, 4),
        point.destination,
        point.mode,
        point.isWritable,
        point.isAnonymous,
        point.options,
      ]),
    ).toEqual([
      ["volume", "data", "/var/lib/data", "z", true, false, []],
      ["volume", "data", "/again", "nocopy,ro", false, false, ["nocopy"]],
      ["volume", "aaaa", "/only", "z", true, true, []],
    ]);
    expect(volumes.get("data")?.mountpoint).toBe(points[0]?.source ?? "");
  });

  test.each([
    ["", "invalid volume specification: ''"],
    [":", "invalid volume specification: ':'"],
    ["a:b:c:d", "invalid volume specification: 'a:b:c:d'"],
    ["/foo:rw", "invalid volume specification: '/foo:rw'"],
    ["/foo:", "invalid volume specification: '/foo:'"],
    ["/foo:/bar:zz", "invalid mode: zz"],
    ["/foo:/bar:ro,rw", "invalid mode: ro,rw"],
    ["/foo:/bar:ro,", "invalid mode: ro,"],
    ["/foo:/bar:shared,slave", "invalid mode: shared,slave"],
    [
      "/foo:/",
      `invalid volume specification: '/foo:/': invalid mount config for type "bind": invalid specification: destination can't be '/'`,
    ],
    ["/foo:/../.", "destination can't be '/'"],
    [
      "data:relative",
      `invalid volume specification: 'data:relative': invalid mount config for type "volume": invalid mount path: 'relative' mount path must be absolute`,
    ],
    ["/foo:/bar:nocopy", `invalid mount config for type "bind": field VolumeOptions must not be specified`],
    ["data:/bar:rshared", `invalid mount config for type "volume": field BindOptions must not be specified`],
    ["./rel:/bar", `"./rel" includes invalid characters for a local volume name`],
    ["x:/bar", "volume name is too short"],
  ])("refuses %j", async (bind, message) => {
    expect(await refusal({ Binds: [bind] })).toStartWith("invalid: ");
    expect(await refusal({ Binds: [bind] })).toContain(message);
  });
});

describe("Mounts", () => {
  test("bind, volume and tmpfs", async () => {
    const { points } = await resolve({
      Mounts: [
        {
          Type: "bind",
          Source: base,
          Target: "/b",
          ReadOnly: true,
          BindOptions: { Propagation: "shared", NonRecursive: true },
        },
        { Type: "volume", Source: "v2", Target: "/v", VolumeOptions: { NoCopy: true, Labels: { l: "m" } } },
        { Type: "volume", Target: "/anon" },
        { Type: "tmpfs", Target: "/t", TmpfsOptions: { SizeBytes: 1048576, Mode: 0o1770, Options: [["exec"]] } },
      ],
    });
    expect(
      points.map(({ type, destination, propagation, isWritable, isAnonymous, options }) => ({
        type,
        destination,
        propagation,
        isWritable,
        isAnonymous,
        options,
      })),
    ).toEqual([
      {
        type: "bind",
        destination: "/b",
        propagation: "shared",
        isWritable: false,
        isAnonymous: false,
        options: ["nonrecursive"],
      },
      { type: "volume", destination: "/v", propagation: "", isWritable: true, isAnonymous: false, options: ["nocopy"] },
      { type: "volume", destination: "/anon", propagation: "", isWritable: true, isAnonymous: true, options: [] },
      {
        type: "tmpfs",
        destination: "/t",
        propagation: "",
        isWritable: true,
        isAnonymous: false,
        options: ["nosuid", "nodev", "mode=1770", "size=1048576", "exec"],
      },
    ]);
  });

  test("a missing bind source is refused, or made when asked", async () => {
    const mount = { Type: "bind", Source: `${base}/none`, Target: "/x" };
    expect(await refusal({ Mounts: [mount] })).toBe(
      `invalid: invalid mount config for type "bind": bind source path does not exist: ${base}/none`,
    );
    expect(existsSync(`${base}/none`)).toBe(false);
    await resolve({ Mounts: [{ ...mount, BindOptions: { CreateMountpoint: true } }] });
    expect(existsSync(`${base}/none`)).toBe(true);
  });

  test.each([
    [{ Type: "bind", Source: "/" }, `invalid mount config for type "bind": field Target must not be empty`],
    [{ Type: "bind", Target: "/x" }, `invalid mount config for type "bind": field Source must not be empty`],
    [{ Type: "bind", Source: "rel", Target: "/x" }, `invalid mount path: 'rel' mount path must be absolute`],
    [{ Type: "bind", Source: "/", Target: "x" }, `invalid mount path: 'x' mount path must be absolute`],
    [{ Type: "bind", Source: "/", Target: "/x", VolumeOptions: {} }, "field VolumeOptions must not be specified"],
    [{ Type: "bind", Source: "/", Target: "/x", BindOptions: { Propagation: "odd" } }, "invalid propagation mode: odd"],
    [
      { Type: "bind", Source: "/", Target: "/x", BindOptions: { ReadOnlyNonRecursive: true } },
      "mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive",
    ],
    [{ Type: "volume", Source: "vv", Target: "/" }, "invalid specification: destination can't be '/'"],
    [{ Type: "volume", Source: "vv", Target: "/x", BindOptions: {} }, "field BindOptions must not be specified"],
    [{ Type: "volume", Target: "/x", ReadOnly: true }, "must not set ReadOnly mode when using anonymous volumes"],
    [
      { Type: "volume", Target: "/x", VolumeOptions: { Subpath: "a" } },
      "must not set Subpath when using anonymous volumes",
    ],
    [
      { Type: "volume", Source: "vv", Target: "/x", VolumeOptions: { Subpath: "../a" } },
      "subpath must be a relative path within the volume",
    ],
    [
      { Type: "volume", Source: "vv", Target: "/x", VolumeOptions: { DriverConfig: { Name: "nope" } } },
      'plugin "nope" not found',
    ],
    [{ Type: "image", Target: "/x" }, "field Source must not be empty"],
    [{ Type: "image", Source: "busybox", Target: "/x", BindOptions: {} }, "field BindOptions must not be specified"],
    [{ Type: "image", Source: "none", Target: "/x" }, `invalid mount config for type "image": No such image: none`],
    [
      { Type: "image", Source: "busybox", Target: "/x", ImageOptions: { Subpath: "/etc" } },
      "subpath must be a relative path within the image",
    ],
    [{ Type: "tmpfs", Source: "x", Target: "/x" }, "field Source must not be specified"],
    [{ Type: "tmpfs", Target: "/x", TmpfsOptions: { Options: [["suid"]] } }, "invalid option: suid"],
    [{ Type: "tmpfs", Target: "/x", TmpfsOptions: { Options: [["a", "b", "c"]] } }, "invalid option array length"],
    [{ Type: "npipe", Source: "x", Target: "/x" }, `invalid mount config for type "npipe": mount type unknown`],
  ])("refuses %j", async (mount, message) => {
    expect(await refusal({ Mounts: [mount] })).toStartWith("invalid: ");
    expect(await refusal({ Mounts: [mount] })).toContain(message);
  });
});

describe("Tmpfs", () => {
  test("has safe defaults, and later words win", async () => {
    const { points } = await resolve({
      Tmpfs: { "/t/": "size=1m,mode=1777", "/u": "exec,ro,rw,size=1,size=2", "/v": "" },
    });
    expect(points.map((point) => [point.destination, point.options])).toEqual([
      ["/t", ["noexec", "nosuid", "nodev", "size=1m", "mode=1777"]],
      ["/u", ["nosuid", "nodev", "exec", "rw", "size=2"]],
      ["/v", ["noexec", "nosuid", "nodev"]],
    ]);
  });

  test("refuses what tmpfs does not know", async () => {
    expect(await refusal({ Tmpfs: { "/t": "huge=always" } })).toBe(`invalid: invalid tmpfs option ["huge" "always"]`);
    expect(await refusal({ Tmpfs: { "/t": "bind" } })).toBe(`invalid: invalid tmpfs option ["bind"]`);
    expect(await refusal({ Tmpfs: { t: "" } })).toContain("mount path must be absolute");
    expect(await refusal({ Tmpfs: { "/": "" } })).toContain("destination can't be '/'");
  });

  test("is not among the mounts that inspect shows, a tmpfs of Mounts is", async () => {
    const hostConfig = { Tmpfs: { "/t": "" }, Mounts: [{ Type: "tmpfs", Target: "/shown" }] };
    const { points } = await resolve(hostConfig);
    expect(points.length).toBe(2);
    expect(shownMounts({ mounts: points, hostConfig: host(hostConfig) }).map((point) => point.destination)).toEqual([
      "/shown",
    ]);
  });
});

describe("Volumes of config and image", () => {
  test("become anonymous volumes where nothing else is mounted", async () => {
    const { points } = await resolve(
      { Binds: ["mine:/one"], Tmpfs: { "/two": "" } },
      { Volumes: { "/one": {}, "/two/": {}, "/three": {} } },
    );
    expect(points.map((point) => [point.type, point.destination, point.isAnonymous, point.mode])).toEqual([
      ["volume", "/one", false, "z"],
      ["tmpfs", "/two", false, ""],
      ["volume", "/three", true, ""],
    ]);
  });

  test("must be absolute paths", async () => {
    expect(await refusal({}, { Volumes: { anon: {} } })).toBe(
      "invalid: invalid mount path: 'anon' mount path must be absolute",
    );
    expect(await refusal({}, { Volumes: { "/.": {} } })).toContain("destination can't be '/'");
  });
});

describe("VolumesFrom", () => {
  const point = (more: Partial<MountPoint>): MountPoint => ({
    type: "volume",
    name: "",
    source: "",
    destination: "",
    driver: "local",
    mode: "z",
    isWritable: true,
    propagation: "",
    isAnonymous: false,
    options: [],
    subpath: "",
    ...more,
  });
  const donor = {
    hostConfig: host({ Tmpfs: { "/scratch": "" } }),
    mounts: [
      point({ name: "data", destination: "/data" }),
      point({ type: "bind", source: "/srv", destination: "/srv", isWritable: false, options: ["nonrecursive"] }),
      point({ type: "tmpfs", destination: "/scratch" }),
    ],
  } as unknown as ContainerRecord;

  test("copies the mounts of a container, without its --tmpfs and without copy-up", async () => {
    const { points } = await resolve({ VolumesFrom: ["c0"] }, {}, () => donor);
    expect(points.map((mount) => [mount.destination, mount.isWritable, mount.mode, mount.options])).toEqual([
      ["/data", true, "", ["nocopy"]],
      ["/srv", false, "", ["nonrecursive"]],
    ]);
  });

  test("read-only makes all of them read-only", async () => {
    const { points } = await resolve({ VolumesFrom: ["c0:ro"] }, {}, () => donor);
    expect(points.map((mount) => mount.isWritable)).toEqual([false, false]);
  });

  test("gives way to the container's own mounts, and keeps VOLUME off", async () => {
    const { points } = await resolve(
      { VolumesFrom: ["c0"], Binds: ["own:/data"] },
      { Volumes: { "/srv": {} } },
      () => donor,
    );
    expect(points.map((mount) => [mount.type, mount.name, mount.destination])).toEqual([
      ["bind", "", "/srv"],
      ["volume", "own", "/data"],
    ]);
  });

  test("a missing container is a 400: a 404 would make the client pull the image", async () => {
    expect(await refusal({ VolumesFrom: ["gone"] })).toBe("invalid: No such container: gone");
    expect(await refusal({ VolumesFrom: [""] })).toBe("invalid: volumes-from specification cannot be an empty string");
    expect(await refusal({ VolumesFrom: ["c0:zz"] })).toBe("invalid: invalid mode: zz");
    expect(await refusal({ VolumesFrom: ["c0:nocopy"] })).toBe("invalid: invalid mode: nocopy");
  });
});

describe("resolve() as a whole", () => {
  test.each([
    { Binds: ["aa:/x", "bb:/x/"] },
    { Binds: ["aa:/x"], Mounts: [{ Type: "volume", Source: "bb", Target: "/x" }] },
    { Binds: ["aa:/x"], Tmpfs: { "/x": "" } },
    { Mounts: [{ Type: "tmpfs", Target: "/x" }], Tmpfs: { "/x": "" } },
  ])("two mounts at one place are refused: %j", async (hostConfig) => {
    expect(await refusal(hostConfig)).toBe("invalid: Duplicate mount point: /x");
  });

  test("nothing is made when any part of it is wrong", async () => {
    const { mounts, volumes } = world();
    const wrong = host({ Binds: [`${base}/made:/a`, "data:/b", "/c:/d:zz"] });
    await expect(mounts.resolve(config(), wrong, nobody)).rejects.toThrow("invalid mode: zz");
    expect(existsSync(`${base}/made`)).toBe(false);
    expect(volumes.size).toBe(0);
  });

  test("volumes are claimed until release(), and a failure lets go and removes anonymous ones", async () => {
    const { mounts, volumes, claims } = world();
    const points = await mounts.resolve(config({ Volumes: { "/v": {} } }), host({ Binds: ["data:/b"] }), nobody);
    expect([...claims.values()]).toEqual([1, 1]);
    mounts.release(points);
    mounts.release(points);
    expect([...claims.values()]).toEqual([0, 0]);
    const failing = host({
      Mounts: [
        { Type: "volume", Target: "/v" },
        { Type: "bind", Source: `${base}/none`, Target: "/x" },
      ],
    });
    await expect(mounts.resolve(config(), failing, nobody)).rejects.toThrow("does not exist");
    expect([...claims.values()].every((count) => count === 0)).toBe(true);
    expect(volumes.size).toBe(2);
  });

  test("removeAnonymous() takes the anonymous volumes that nobody else uses", async () => {
    const { mounts, volumes, busy } = world();
    const points = await mounts.resolve(
      config({ Volumes: { "/v": {}, "/w": {} } }),
      host({ Binds: ["data:/b"] }),
      nobody,
    );
    busy.add(points[2]?.name ?? "");
    await mounts.removeAnonymous({ id: "c1" as ContainerRecord["id"], mounts: points });
    expect([...volumes.keys()]).toEqual(["data", points[2]?.name ?? ""]);
  });
});

describe("copyUp()", () => {
  test("fills empty volumes only, and opens no view when there is none", async () => {
    const { mounts, copied } = world();
    const points = await mounts.resolve(
      config({ Volumes: { "/v": {} } }),
      host({ Binds: ["full:/f", "data:/d", "kept:/k:nocopy", `${base}:/b`], Tmpfs: { "/t": "" } }),
      nobody,
    );
    writeFileSync(join(points[0]?.source ?? "", "file"), "x");
    await mounts.copyUp(points, view);
    expect(copied).toEqual(["/d -> data/_data", `/v -> ${points.find((point) => point.isAnonymous)?.name}/_data`]);
    await mounts.copyUp(
      points.filter((point) => point.type !== "volume"),
      () => {
        throw new Error("opened for nothing");
      },
    );
  });

  test("a file in the image at a volume's place is told", async () => {
    const { mounts } = world("notDirectory");
    const points = await mounts.resolve(config({ Volumes: { "/etc/passwd": {} } }), host(), nobody);
    await expect(mounts.copyUp(points, view)).rejects.toThrow(
      "cannot mount volume over existing file, file exists /etc/passwd",
    );
  });
});

test("toOci() sorts by depth and spells options as the runtime-spec does", async () => {
  const { mounts, points } = await resolve({
    Binds: [`${base}:/a/b/c`, "data:/a:ro"],
    Mounts: [
      { Type: "bind", Source: base, Target: "/z", BindOptions: { NonRecursive: true }, ReadOnly: true },
      {
        Type: "bind",
        Source: base,
        Target: "/y",
        BindOptions: { ReadOnlyNonRecursive: true, Propagation: "rshared" },
        ReadOnly: true,
      },
      { Type: "tmpfs", Target: "/a/t", ReadOnly: true },
    ],
  });
  expect(await mounts.toOci(points, rootfs)).toEqual([
    { destination: "/a", type: "bind", source: join(base, "data", "_data"), options: ["rbind", "rro", "rprivate"] },
    { destination: "/z", type: "bind", source: base, options: ["bind", "ro", "rprivate"] },
    { destination: "/y", type: "bind", source: base, options: ["rbind", "ro", "rshared"] },
    { destination: "/a/t", type: "tmpfs", source: "tmpfs", options: ["noexec", "nosuid", "nodev", "ro"] },
    { destination: "/a/b/c", type: "bind", source: base, options: ["rbind", "rprivate"] },
  ]);
});

test("a part of a volume and of an image", async () => {
  const { points, mounts, copied } = await resolve({
    Mounts: [
      { Type: "volume", Source: "data", Target: "/v", VolumeOptions: { Subpath: "a/./b/" } },
      { Type: "image", Source: "busybox", Target: "/i", ImageOptions: { Subpath: "etc" } },
      { Type: "image", Source: "busybox", Target: "/whole", ImageOptions: { Subpath: "." } },
    ],
  });
  await mounts.copyUp(points, view);
  expect(copied).toEqual([]);
  expect(imagesOf({ imageID: "sha256:c0", mounts: points })).toEqual(new Set(["sha256:c0", "sha256:b0"]));
  const overlay = { type: "overlay", source: "sha256:b0" };
  const options = ["ro", "lowerdir+=/layers/B", "lowerdir+=/layers/A", "lowerdir+=/c/rootfs"];
  expect(await mounts.toOci(points, rootfs)).toEqual([
    {
      destination: "/v",
      type: "bind",
      source: join(base, "data", "_data"),
      options: ["rbind", "rprivate"],
      subpath: "a/b",
    },
    { destination: "/i", ...overlay, options, subpath: "etc" },
    { destination: "/whole", ...overlay, options },
  ]);
});
