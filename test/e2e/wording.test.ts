// Statuses, texts and headers that clients of Docker match, asked of the compiled daemon: what is refused, in which words.
// Lists, not cases: one request a line.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon } from "../support/daemon.ts";

let berth: TestDaemon;
let upID = "";
let imageID = "";
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  upID = await berth.dockerOK("run", "-d", "--name", "up", "-p", "9999:80", "busybox", "sleep", "1000");
  await berth.dockerOK("create", "--name", "idle", "busybox");
  await berth.dockerOK("network", "create", "--subnet", "10.1.0.0/24", "mine");
  imageID = (await berth.dockerOK("images", "-q", "busybox")).slice(0, 12);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

/** `GET /path {"body":1}`, the status, and the message: all of it, or a pattern. */
type Refusal = readonly [request: string, status: number, message: string | RegExp];

async function holds(refusals: readonly Refusal[]): Promise<void> {
  const wrong: unknown[] = [];
  for (const [request, status, message] of refusals) {
    const [, method = "", path = "", body] = /^(\S+) (\S+)(?: (.*))?$/s.exec(request) ?? [];
    const headers: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
    const response = await berth.request(method, `/v1.50${path}`, { body, headers });
    const text = await response.text();
    const said = (JSON.parse(text || "{}") as { message?: string }).message ?? "";
    const isRight = typeof message === "string" ? said === message : message.test(said);
    if (response.status !== status || !isRight || response.headers.get("content-type") !== "application/json")
      wrong.push({ request, status: response.status, said, expected: [status, String(message)] });
  }
  expect(wrong).toEqual([]);
}

/** A create request that is right but for these fields. */
const create = (fields: object, hostConfig: object = {}, query = ""): string =>
  `POST /containers/create${query} ${JSON.stringify({ Image: "busybox", Cmd: ["true"], ...fields, HostConfig: hostConfig })}`;
const filters = (value: object): string => `filters=${encodeURIComponent(JSON.stringify(value))}`;

describe("headers", () => {
  const COMMON = { "api-version": "1.55", "docker-experimental": "false", ostype: "linux" };

  test("are on every reply, errors included", async () => {
    for (const path of ["/_ping", "/nope", "/v1.12/info", "/v1.50/containers/nope/json", "/v1.50/info"]) {
      const { headers } = await berth.request("GET", path);
      expect(Object.fromEntries(headers)).toMatchObject(COMMON);
      expect(headers.get("server")).toMatch(/^Docker\/\d+\.\d+\.\d+ \(linux\)$/);
    }
  });

  test("a ping tells what the engine is, and is never cached", async () => {
    for (const method of ["GET", "HEAD"]) {
      const response = await berth.request(method, "/_ping");
      expect(Object.fromEntries(response.headers)).toMatchObject({
        ...COMMON,
        "builder-version": "1",
        swarm: "inactive",
        "cache-control": "no-cache, no-store, must-revalidate",
        pragma: "no-cache",
        "content-type": "text/plain; charset=utf-8",
        "content-length": method === "GET" ? "2" : "0",
      });
      expect(await response.text()).toBe(method === "GET" ? "OK" : "");
    }
  });

  test("versions out of range are refused in Docker's words", async () => {
    const message = async (path: string) => (await (await berth.request("GET", path)).json()) as unknown;
    expect(await message("/v1.9/info")).toEqual({
      message:
        "client version 1.9 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
    });
    expect(await message("/v1.99/info")).toEqual({
      message: "client version 1.99 is too new. Maximum supported API version is 1.55",
    });
  });

  test("a reply with 204 or 304 has no body, and an unknown path or method is one 404", async () => {
    const again = await berth.request("POST", "/v1.50/containers/up/start");
    expect([again.status, await again.text()]).toEqual([304, ""]);
    const forced = await berth.request("DELETE", "/v1.50/volumes/nope?force=1");
    expect([forced.status, await forced.text()]).toEqual([204, ""]);
    await holds([
      ["GET /nope", 404, "page not found"],
      ["PUT /info", 404, "page not found"],
    ]);
  });
});

describe("requests", () => {
  test("bodies", async () => {
    const typed = await berth.request("POST", "/containers/create", {
      body: "x",
      headers: { "content-type": "text/x" },
    });
    expect([typed.status, await typed.json()]).toEqual([
      400,
      { message: "unsupported Content-Type header (text/x): must be 'application/json'" },
    ]);
    await holds([
      ['POST /containers/create {"Image":', 400, /^invalid JSON: /],
      ["POST /containers/create {} {}", 400, "unexpected content after JSON"],
      ["POST /containers/create    ", 400, "invalid JSON: got EOF while reading request body"],
      ["POST /containers/create {}", 400, "config cannot be empty in order to create a container"],
      ['POST /containers/create {"Image":"busybox","Cmd":7}', 400, /^invalid JSON: Cmd: /],
    ]);
  });

  test("field names match whatever their case, and unknown ones are ignored", async () => {
    const body = { image: "busybox", CMD: ["true"], hostconfig: { autoremove: true }, Sailing: "boat" };
    const response = await berth.request("POST", "/v1.50/containers/create", { body });
    const { Id } = (await response.json()) as { Id: string };
    expect(response.status).toBe(201);
    expect(await berth.dockerOK("inspect", Id, "--format", "{{.HostConfig.AutoRemove}} {{.Path}}")).toBe("true true");
    await berth.dockerOK("rm", Id);
  });

  test("filters", async () => {
    await holds([
      [`GET /containers/json?${filters({ x: ["y"] })}`, 400, "invalid filter 'x'"],
      [`GET /containers/json?${filters({ status: ["x"] })}`, 400, /^invalid filter 'status=x'/],
      [`GET /containers/json?${filters({ exited: ["x"] })}`, 400, "invalid filter 'exited=[x]'"],
      [`GET /containers/json?${filters({ before: ["nope"] })}`, 404, "No such container: nope"],
      ["GET /containers/json?filters=garbage", 400, /^invalid filter/],
      [`GET /images/json?${filters({ dangling: ["x"] })}`, 400, "invalid filter 'dangling=[x]'"],
      [`GET /volumes?${filters({ zz: ["x"] })}`, 400, "invalid filter 'zz'"],
      [`GET /networks?${filters({ type: ["zz"] })}`, 400, "invalid filter 'type=[zz]'"],
    ]);
    for (const value of [{ label: { "a=b": true } }, { label: ["a=b"] }])
      expect((await berth.request("GET", `/containers/json?${filters(value)}`)).status).toBe(200);
  });
});

test("names and IDs", async () => {
  const taken = `Conflict. The container name "/up" is already in use by container "${upID}". You have to remove (or rename) that container to be able to reuse that name.`;
  await holds([
    ["GET /containers/nope/json", 404, "No such container: nope"],
    ["GET /images/nope/json", 404, "No such image: nope:latest"],
    ["GET /networks/nope", 404, "network nope not found"],
    ["GET /volumes/nope", 404, "get nope: no such volume"],
    ["GET /exec/nope/json", 404, "No such exec instance: nope"],
    [create({}, {}, "?name=x"), 400, "Invalid container name (x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"],
    [create({}, {}, "?name=/up"), 409, taken],
    ["POST /containers/idle/rename?name=up", 409, taken],
    ["POST /containers/idle/rename?name=", 400, "Neither old nor new names may be empty"],
    ["POST /containers/idle/rename?name=idle", 400, "Renaming a container with the same name as its current name"],
    ["POST /containers/nope/rename?name=x", 404, "No such container: nope"],
    [create({ Image: "nope" }), 404, "No such image: nope:latest"],
    [create({}, {}, "?platform=linux/arm64/v9"), 404, /does not provide the specified platform/],
    [create({}, {}, "?platform=a/b/c/d"), 400, /"a\/b\/c\/d"/],
  ]);
});

describe("create", () => {
  test("limits and modes", async () => {
    await holds([
      [create({ WorkingDir: "x" }), 400, "the working directory 'x' is invalid, it needs to be an absolute path"],
      [create({ Hostname: "a".repeat(65) }), 400, `hostname "${"a".repeat(65)}" is too long (maximum 64 bytes)`],
      [create({ ExposedPorts: { x: {} } }), 400, 'invalid port specification: "x"'],
      [
        create({}, { AutoRemove: true, RestartPolicy: { Name: "always" } }),
        400,
        "can't create 'AutoRemove' container with restart policy",
      ],
      [
        create({}, { RestartPolicy: { Name: "x" } }),
        400,
        "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
      ],
      [
        create({}, { RestartPolicy: { Name: "always", MaximumRetryCount: 3 } }),
        400,
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
      ],
      [create({}, { Memory: 1 }), 400, "Minimum memory limit allowed is 6MB"],
      [
        create({}, { Memory: 1e7, MemorySwap: 1 }),
        400,
        "Minimum memoryswap limit should be larger than memory limit, see usage",
      ],
      [
        create({}, { MemorySwap: 1e7 }),
        400,
        "You should always set the Memory limit when using Memoryswap limit, see usage",
      ],
      [create({}, { MemorySwappiness: 200 }), 400, "Invalid value: 200, valid memory swappiness range is 0-100"],
      [
        create({}, { NanoCpus: 1, CpuPeriod: 1000 }),
        400,
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
      ],
      [
        create({}, { NanoCpus: 1e15 }),
        400,
        /^range of CPUs is from 0\.01 to \d+\.00, as there are only \d+ CPUs available$/,
      ],
      [create({}, { CpuQuota: 1 }), 400, "CPU cfs quota can not be less than 1ms (i.e. 1000)"],
      [create({}, { CpusetCpus: "4095" }), 400, /^Requested CPUs are not available - requested 4095, available: 0/],
      [create({}, { CpuShares: -1 }), 400, "invalid CPU shares (-1): value must be a positive integer"],
      [create({}, { BlkioWeight: 1 }), 400, "Range of blkio weight is from 10 to 1000"],
      [create({}, { IpcMode: "x" }), 400, "invalid IPC mode: x"],
      [create({}, { PidMode: "x" }), 400, "invalid PID mode: x"],
      [create({}, { UTSMode: "x" }), 400, "invalid UTS mode: x"],
      [create({}, { CgroupnsMode: "x" }), 400, "invalid cgroup namespace mode: x"],
      [create({}, { ShmSize: -1 }), 400, "SHM size can not be less than 0"],
      [create({}, { OomScoreAdj: 2000 }), 400, "Invalid value 2000, range for oom score adj is [-1000, 1000]"],
      [create({ Healthcheck: { Interval: 1 } }), 400, "Interval in Healthcheck cannot be less than 1ms"],
      [create({ Healthcheck: { Retries: -1 } }), 400, "Retries in Healthcheck cannot be negative"],
      [create({}, { SecurityOpt: ["x"] }), 400, 'invalid --security-opt 1: "x"'],
      [create({}, { SecurityOpt: ["x=y"] }), 400, 'invalid --security-opt 2: "x=y"'],
      [create({}, { CapAdd: ["X"] }), 400, 'unknown capability: "CAP_X"'],
      [create({}, { DeviceCgroupRules: ["x"] }), 400, "invalid device cgroup rule format: 'x'"],
      [
        create({}, { Annotations: { "": "b" } }),
        400,
        "invalid Annotations: the empty string is not permitted as an annotation key",
      ],
      [create({}, { StorageOpt: { size: "1G" } }), 400, /^--storage-opt is supported only for overlay over xfs/],
      [create({ Entrypoint: [""], Cmd: null }), 400, "no command specified"],
      [
        create({}, { LogConfig: { Type: "json-file", Config: { x: "y" } } }),
        400,
        "unknown log opt 'x' for json-file log driver",
      ],
      [
        create({}, { LogConfig: { Type: "json-file", Config: { "max-file": "0" } } }),
        400,
        "max-file cannot be less than 1",
      ],
    ]);
  });

  test("mounts", async () => {
    const mount = (fields: object): string => create({}, { Mounts: [{ Target: "/x", ...fields }] });
    await holds([
      [create({}, { Binds: ["/tmp:/x", "/tmp:/x"] }), 400, "Duplicate mount point: /x"],
      [create({}, { Binds: ["a:b:c:d"] }), 400, "invalid volume specification: 'a:b:c:d'"],
      [create({}, { Binds: ["/tmp:/x:zz"] }), 400, "invalid mode: zz"],
      [create({}, { Binds: ["/tmp:/"] }), 400, /invalid specification: destination can't be '\/'$/],
      [create({ Volumes: { anon: {} } }), 400, "invalid mount path: 'anon' mount path must be absolute"],
      [
        create({}, { Binds: ["vf:/etc/passwd"] }),
        500,
        "cannot mount volume over existing file, file exists /etc/passwd",
      ],
      [
        mount({ Type: "bind", Source: "/nonexistent" }),
        400,
        'invalid mount config for type "bind": bind source path does not exist: /nonexistent',
      ],
      [mount({ Type: "bind" }), 400, 'invalid mount config for type "bind": field Source must not be empty'],
      [
        mount({ Type: "bind", Source: "/tmp", VolumeOptions: {} }),
        400,
        'invalid mount config for type "bind": field VolumeOptions must not be specified',
      ],
      [mount({ Type: "zz" }), 400, 'invalid mount config for type "zz": mount type unknown'],
      // Not a 404: that would make the CLI pull the image and try again for ever.
      [create({}, { VolumesFrom: ["nope"] }), 400, "No such container: nope"],
    ]);
    await berth.docker(["volume", "rm", "vf"]);
  });

  test("networks", async () => {
    const joined = (fields: object, hostConfig: object = {}): string =>
      create(fields, { NetworkMode: "container:x", ...hostConfig });
    const PortBindings = { "80/tcp": [{ HostPort: "1" }] };
    const endpoint = (network: string, settings: object): string =>
      create({ NetworkingConfig: { EndpointsConfig: { [network]: settings } } }, { NetworkMode: network });
    await holds([
      [joined({ Hostname: "h" }), 400, "conflicting options: hostname and the network mode"],
      [joined({}, { Dns: ["1.1.1.1"] }), 400, "conflicting options: dns and the network mode"],
      [
        joined({}, { ExtraHosts: ["a:1.1.1.1"] }),
        400,
        "conflicting options: custom host-to-IP mapping and the network mode",
      ],
      [joined({}, { PortBindings }), 400, "conflicting options: port publishing and the container type network mode"],
      [
        joined({ ExposedPorts: { "80/tcp": {} } }),
        400,
        "conflicting options: port exposing and the container type network mode",
      ],
      [
        create({}, { NetworkMode: "container:" }),
        400,
        "invalid network mode: invalid container format container:<name|id>",
      ],
      [create({ Hostname: "h" }, { UTSMode: "host" }), 400, "conflicting options: hostname and the UTS mode"],
      [
        endpoint("bridge", { IPAMConfig: { IPv4Address: "1.2.3.4" } }),
        400,
        /invalid endpoint settings:\nuser-specified IP address is supported on user-defined networks only$/,
      ],
      [
        endpoint("mine", { IPAMConfig: { IPv4Address: "zz" } }),
        400,
        /invalid endpoint settings:\ninvalid IPv4 address: zz$/,
      ],
    ]);
  });
});

test("start: the status follows what was wrong, and the words decide the exit code of docker run", async () => {
  const wrong: unknown[] = [];
  for (const [fields, hostConfig, status, exitCode, message] of [
    [{ Cmd: ["nope"] }, {}, 400, 127, /exec: "nope": executable file not found in \$PATH$/],
    [{ Cmd: ["/nope"] }, {}, 400, 127, /exec: "\/nope": stat \/nope: no such file or directory$/],
    [{ Cmd: ["/etc/passwd"] }, {}, 400, 126, /exec: "\/etc\/passwd": permission denied$/],
    [{ Cmd: ["/etc"] }, {}, 400, 126, /is a directory: permission denied$/],
    [{ User: "nobodyknows" }, {}, 500, 128, /^unable to find user nobodyknows: no matching entries in passwd file$/],
    [{}, { Binds: ["/tmp:/etc/passwd"] }, 400, 127, /not a directory: Are you trying to mount a directory onto a file/],
    [
      {},
      { Binds: ["/etc/hostname:/etc"] },
      400,
      127,
      /not a directory: Are you trying to mount a directory onto a file/,
    ],
    [{}, { NetworkMode: "nonet" }, 404, 128, /^failed to set up container networking: network nonet not found$/],
    [
      {},
      { NetworkMode: "container:idle" },
      409,
      128,
      /^cannot join network namespace of a non running container: container idle is created$/,
    ],
    [
      {},
      { IpcMode: "container:up" },
      409,
      128,
      /non-shareable IPC \(hint: use IpcMode:shareable for the donor container\)$/,
    ],
    [
      {},
      { DeviceRequests: [{ Count: -1, Capabilities: [["gpu"]] }] },
      500,
      128,
      /^could not select device driver "" with capabilities: \[\[gpu\]\]$/,
    ],
    [
      {},
      { Devices: [{ PathOnHost: "/dev/x", PathInContainer: "/dev/x", CgroupPermissions: "rwm" }] },
      500,
      128,
      /^error gathering device information while adding custom device "\/dev\/x": no such file or directory$/,
    ],
    [
      {},
      { PortBindings: { "80/tcp": [{ HostPort: "9999" }] } },
      500,
      128,
      /external connectivity on endpoint failing \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:9999 failed: port is already allocated$/,
    ],
  ] as const) {
    const body = { Image: "busybox", Cmd: ["true"], ...fields, HostConfig: hostConfig };
    expect((await berth.request("POST", "/containers/create?name=failing", { body })).status).toBe(201);
    const response = await berth.request("POST", "/v1.50/containers/failing/start");
    const said = ((await response.json()) as { message: string }).message;
    const { State } = (await (await berth.request("GET", "/containers/failing/json")).json()) as {
      State: { Error: string; ExitCode: number; Status: string };
    };
    await berth.request("DELETE", "/containers/failing?v=1");
    const isRight = response.status === status && message.test(said) && State.ExitCode === exitCode;
    if (!isRight || State.Error !== said || State.Status !== "created")
      wrong.push({ body, status: response.status, said, State });
  }
  expect(wrong).toEqual([]);
});

describe("a container's life", () => {
  test("while it runs", async () => {
    await holds([
      [
        'POST /containers/up/start {"Binds":["/a:/b"]}',
        400,
        "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
      ],
      ["POST /containers/up/wait?condition=zz", 400, 'invalid condition: "zz"'],
      ["POST /containers/up/unpause", 500, `Container ${upID} is not paused`],
      ["POST /containers/up/resize?h=x&w=1", 400, /^invalid resize height "x": /],
      ["POST /containers/up/kill?signal=X", 400, "invalid signal: X"],
      [
        "DELETE /containers/up",
        409,
        'cannot remove container "/up": container is running: stop the container before removing or force remove',
      ],
      ["GET /containers/up/logs", 400, "must specify at least one of 'stdout' or 'stderr'"],
      ["GET /containers/up/logs?stdout=1&since=x", 400, /^invalid value for "since": /],
      ["GET /containers/up/top?ps_args=-o+args", 500, "Couldn't find PID field in ps output"],
      ["POST /containers/up/exec {}", 400, "No exec command specified"],
      ["POST /containers/up/attach?stream=1&stdout=1&detachKeys=zzz", 400, "Invalid detach keys (zzz) provided"],
      [
        'POST /containers/up/update {"RestartPolicy":{"Name":"zz"}}',
        400,
        /^invalid restart policy: unknown policy 'zz'/,
      ],
    ]);
    // There is no terminal to resize, and nothing wrong with asking.
    expect((await berth.request("POST", "/containers/up/resize?h=1&w=1")).status).toBe(200);
  });

  test("while it is paused", async () => {
    await berth.dockerOK("pause", "up");
    await holds([
      ["POST /containers/up/pause", 409, `container ${upID} is already paused`],
      ["POST /containers/up/start", 409, "cannot start a paused container, try unpause instead"],
      [
        "POST /containers/up/attach?stream=1&stdout=1",
        409,
        "container up is paused, unpause the container before attach",
      ],
      ['POST /containers/up/exec {"Cmd":["x"]}', 409, `Container ${upID} is paused, unpause the container before exec`],
      ["DELETE /containers/up", 409, 'cannot remove container "/up": container is paused and must be unpaused first'],
    ]);
    await berth.dockerOK("unpause", "up");
  });

  test("while it is down", async () => {
    const id = await berth.dockerOK("inspect", "idle", "--format", "{{.Id}}");
    await holds([
      ["POST /containers/idle/kill", 409, `cannot kill container: idle: container ${id} is not running`],
      ["POST /containers/idle/pause", 409, `container ${id} is not running`],
      ["GET /containers/idle/top", 409, `container ${id} is not running`],
      ['POST /containers/idle/exec {"Cmd":["x"]}', 409, `container ${id} is not running`],
      ["POST /containers/idle/resize?h=1&w=1", 409, `container ${id} is not running`],
    ]);
    expect((await berth.request("POST", "/containers/idle/stop")).status).toBe(304);
    expect(await (await berth.request("POST", "/containers/idle/wait")).json()).toEqual({ StatusCode: 0 });
  });

  test("a failed exec says so in its stream, and its exit code tells how", async () => {
    const said: [string, number][] = [];
    for (const command of ["nope", "/etc/passwd", "/etc"]) {
      const { code, stdout, stderr } = await berth.docker(["exec", "up", command]);
      said.push([`${stdout}${stderr}`.trim(), code]);
    }
    const front = "OCI runtime exec failed: exec failed: unable to start container process: exec:";
    expect(said).toEqual([
      [`${front} "nope": executable file not found in $PATH`, 127],
      [`${front} "/etc/passwd": permission denied`, 126],
      [`${front} "/etc": is a directory: permission denied`, 126],
    ]);
  });
});

test("images", async () => {
  const used = `conflict: unable to remove repository reference "busybox" (must force) - container`;
  await holds([
    [
      "POST /images/busybox/tag?repo=sha256&tag=x",
      400,
      "refusing to create an ambiguous tag using digest algorithm as name",
    ],
    ["POST /images/busybox/tag?repo=UP&tag=x", 400, /^invalid reference format/],
    ["POST /images/busybox/tag?repo=up&tag=$$", 400, "invalid tag format"],
    ["DELETE /images/nope", 404, "No such image: nope:latest"],
    [
      "DELETE /images/busybox",
      409,
      new RegExp(`^${RegExp.escape(used)} [0-9a-f]{12} is using its referenced image ${imageID}$`),
    ],
    [
      `DELETE /images/${imageID}`,
      409,
      `conflict: unable to delete ${imageID} (cannot be forced) - image is being used by running container ${upID.slice(0, 12)}`,
    ],
    ["GET /images/get?names=nope", 404, "No such image: nope:latest"],
    ["POST /images/create?fromImage=UPPER&tag=latest", 400, /^invalid reference format/],
  ]);
});

test("networks and volumes", async () => {
  await berth.dockerOK("run", "-d", "--name", "user", "-v", "data:/d", "--network", "mine", "busybox", "sleep", "1000");
  const id = await berth.dockerOK("inspect", "user", "--format", "{{.Id}}");
  const NOT_A_MANAGER =
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
  const INVALID_NAME =
    '"x/y" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. ' +
    "If you intended to pass a host directory, use absolute path";
  await holds([
    ["DELETE /networks/bridge", 403, "bridge is a pre-defined network and cannot be removed"],
    ['POST /networks/create {"Name":"host"}', 403, "operation is not permitted on predefined host network "],
    ['POST /networks/create {"Name":"mine"}', 409, "network with name mine already exists"],
    ['POST /networks/create {"Name":"o","Driver":"overlay"}', 403, NOT_A_MANAGER],
    ["GET /services/whatever", 503, NOT_A_MANAGER],
    ["POST /swarm/leave", 503, "This node is not part of a swarm"],
    [
      "DELETE /networks/mine",
      403,
      /^error while removing network: network mine has active endpoints \(name:"user" id:"[0-9a-f]{12}"\)$/,
    ],
    ['POST /networks/mine/connect {"Container":"user"}', 403, "endpoint with name user already exists in network mine"],
    [
      'POST /networks/host/connect {"Container":"user"}',
      400,
      "container cannot be disconnected from host network or connected to host network",
    ],
    [
      'POST /networks/bridge/disconnect {"Container":"user"}',
      500,
      `container ${id} is not connected to the network bridge`,
    ],
    [
      'POST /volumes/create {"Name":"x"}',
      400,
      /volume name is too short, names should be at least two alphanumeric characters$/,
    ],
    ['POST /volumes/create {"Name":"x/y"}', 400, new RegExp(`${RegExp.escape(INVALID_NAME)}$`)],
    ["DELETE /volumes/data", 409, `remove data: volume is in use - [${id}]`],
    ["DELETE /volumes/nope", 404, "get nope: no such volume"],
  ]);
  await berth.dockerOK("rm", "-f", "user");
  await berth.dockerOK("volume", "rm", "data");
});
