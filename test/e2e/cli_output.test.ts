// What the docker CLI prints of the compiled daemon: nothing missing in version and info, disk usage, lists with every filter,
// templates over inspect, and events in their order. At the CLI's own API version, an old one and the newest: every JSON
// reply on the way is held against the description of the Engine API.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon, until } from "../support/daemon.ts";
import { problemsIn, RecordingProxy } from "../support/recording_proxy.ts";

let berth: TestDaemon;
let proxy: RecordingProxy;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  proxy = await RecordingProxy.start(join(berth.directory, "proxy.sock"), berth.socket);
  await berth.dockerOK("volume", "create", "data");
  const web = ["-p", "8080:80", "-p", "127.0.0.1:8081:81/udp", "--expose", "99", "-v", "data:/d", "-v", "/tmp:/t:ro"];
  const script = ["sh", "-c", "echo hello world; exec sleep 1000"];
  await berth.dockerOK("run", "-d", "--name", "web", ...web, "-l", "a=b", "-l", "c", "busybox", ...script);
  await berth.docker(["run", "--name", "gone", "busybox", "false"]);
  await berth.dockerOK("create", "--name", "made", "busybox");
  await berth.dockerOK("run", "-d", "--name", "still", "busybox", "sleep", "1000");
  await berth.dockerOK("pause", "still");
  const health = ["--health-cmd", "false", "--health-interval", "50ms", "--health-retries", "1"];
  await berth.dockerOK("run", "-d", "--name", "hurt", ...health, "busybox", "sleep", "1000");
  await berth.dockerOK("run", "-d", "--name", "onhost", "--network", "host", "busybox", "sleep", "1000");
  await until(
    "the health check has failed",
    async () => (await berth.dockerOK("inspect", "hurt", "--format", "{{.State.Health.Status}}")) === "unhealthy",
  );
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await berth[Symbol.asyncDispose]();
});

/** Through the proxy, at an API version; "" is the CLI's own choice. */
async function docker(version: string, ...args: string[]): Promise<string> {
  const env = { ...berth.clientEnv, DOCKER_HOST: `unix://${proxy.socket}`, DOCKER_API_VERSION: version };
  const ran = await run(["docker", ...args], { env });
  expect([args, ran.code, ran.stderr]).toEqual([args, 0, ""]);
  return ran.stdout.trim();
}

/** Fields that a Go template prints for a missing value. */
const MISSING = /<no value>|<nil>|%!/;

test.each(["", "1.41", "1.55"])(
  "every reply to the CLI at API %p is what the description promises",
  async (version) => {
    proxy.take();
    for (const command of [
      "version",
      "info",
      "ps -as",
      "inspect -s web gone made still hurt onhost",
      "images --digests",
      "image inspect busybox",
      "history busybox",
      "network ls",
      "network inspect bridge host none",
      "volume ls",
      "volume inspect data",
      "system df -v",
      "top web",
      "port web",
      "logs web",
      "exec web true",
      "run --rm busybox true",
      "events --since 1m --until 0s",
    ]) {
      await docker(version, ...command.split(" "));
    }
    const exchanges = proxy.take();
    expect(exchanges.length).toBeGreaterThan(30);
    expect(problemsIn(exchanges)).toEqual([]);
    expect(new Set(exchanges.map((each) => each.version).filter(Boolean))).toEqual(new Set([version || "1.50"]));
  },
);

describe("version and info", () => {
  test("docker version has no blanks", async () => {
    const text = await docker("", "version");
    const [, server = ""] = text.split("Server:");
    expect(server).not.toBe("");
    for (const name of ["Version", "API version", "Go version", "Git commit", "Built", "OS/Arch", "Experimental"])
      expect(server).toMatch(new RegExp(`${name}: +\\S`));
    expect(await docker("", "version", "--format", "{{.Server.Version}}")).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test("docker info has no blanks and no warnings", async () => {
    const text = await docker("", "info");
    const [, server = ""] = text.split("\nServer:");
    // A heading ends with its colon, and what belongs to it is further in.
    const lines = server.split("\n").filter(Boolean);
    const indent = (line = ""): number => line.length - line.trimStart().length;
    const blank = lines.filter((line, at) => line.trimEnd().endsWith(":") && indent(lines[at + 1]) <= indent(line));
    expect(blank).toEqual([]);
    expect(text).not.toMatch(/WARNING|ERROR/);
    expect(text).not.toMatch(MISSING);
    for (const name of ["Storage Driver", "Cgroup Driver", "Cgroup Version", "Kernel Version", "Total Memory", "ID"])
      expect(server).toMatch(new RegExp(`${name}: \\S`));
    expect(server).toMatch(/Containers: 6\n {2}Running: 3\n {2}Paused: 1\n {2}Stopped: 2\n/);
    expect(await docker("", "info", "--format", "{{.Swarm.LocalNodeState}} {{.OSType}} {{.DefaultRuntime}}")).toBe(
      "inactive linux runc",
    );
  });

  test("docker context ls and docker system df -v", async () => {
    expect(await berth.dockerOK("context", "ls", "--format", "{{.Name}} {{.Current}} {{.Error}}")).toBe("default true");
    const usage = await docker("", "system", "df", "-v");
    expect(usage).toMatch(/^busybox +latest +[0-9a-f]{12} .* 6$/m);
    expect(usage).toMatch(/ hurt$/m);
    expect(usage).toMatch(/Up .* \(unhealthy\) +hurt$/m);
    expect(usage).toMatch(/^data +1 +0B$/m);
    expect(await docker("", "system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}")).toBe(
      "Images 1 1\nContainers 6 4\nLocal Volumes 1 1\nBuild Cache 0 0",
    );
  });
});

describe("docker ps", () => {
  test.each([
    ["ancestor=busybox", "gone hurt made onhost still web"],
    ["ancestor=busybox:latest", "gone hurt made onhost still web"],
    ["ancestor=nothing", ""],
    ["before=made", "gone web"],
    ["since=still", "hurt onhost"],
    ["exited=1", "gone"],
    ["exited=0", ""],
    ["name=we", "web"],
    ["name=^/web$", "web"],
    ["name=^web$", "web"],
    ["label=a", "web"],
    ["label=a=b", "web"],
    ["label=a=x", ""],
    ["status=created", "made"],
    ["status=paused", "still"],
    ["status=running", "hurt onhost web"],
    ["status=exited", "gone"],
    ["health=none", "gone made onhost still web"],
    ["health=unhealthy", "hurt"],
    ["volume=data", "web"],
    ["volume=/t", "web"],
    ["network=bridge", "gone hurt made still web"],
    ["network=host", "onhost"],
    ["publish=8080", "web"],
    ["publish=8000-8090/udp", "web"],
    ["publish=9", ""],
    ["expose=99", "web"],
    ["expose=90-100/tcp", "web"],
    ["is-task=false", "gone hurt made onhost still web"],
    ["is-task=true", ""],
  ])("--filter %s", async (filter, expected) => {
    const names = await docker("", "ps", "-a", "--filter", filter, "--format", "{{.Names}}");
    expect(names.split("\n").toSorted().join(" ")).toBe(expected);
  });

  test("its columns", async () => {
    const row = async (name: string): Promise<Record<string, string>> =>
      JSON.parse(await docker("", "ps", "-a", "--no-trunc", "--filter", `name=^${name}$`, "--format", "json"));
    expect(await row("web")).toMatchObject({
      Command: `"sh -c 'echo hello world; exec sleep 1000'"`,
      Image: "busybox",
      Labels: "a=b,c=",
      LocalVolumes: "1",
      Networks: "bridge",
      Ports: "99/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 127.0.0.1:8081->81/udp",
      State: "running",
      Status: expect.stringMatching(/^Up (Less than a second|\d+ seconds?)$/),
    });
    expect(await row("gone")).toMatchObject({
      State: "exited",
      Status: expect.stringMatching(/^Exited \(1\) .+ ago$/),
    });
    expect(await row("made")).toMatchObject({ State: "created", Status: "Created", Ports: "" });
    expect(await row("still")).toMatchObject({ State: "paused", Status: expect.stringMatching(/^Up .+ \(Paused\)$/) });
    expect((await row("hurt")).Status).toMatch(/^Up .+ \(unhealthy\)$/);
    expect((await row("onhost")).Networks).toBe("host");
  });

  test("only what runs, the newest first; -l and -n say how many", async () => {
    const names = async (...flags: string[]) =>
      (await docker("", "ps", ...flags, "--format", "{{.Names}}")).split("\n");
    expect(await names()).toEqual(["onhost", "hurt", "still", "web"]);
    expect(await names("-l")).toEqual(["onhost"]);
    expect(await names("-n", "2")).toEqual(["onhost", "hurt"]);
  });
});

describe("docker inspect", () => {
  test.each([
    ["{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}", "running true 0"],
    ["{{.State.Health}}", "<nil>"],
    ["{{.Path}} {{len .Args}} {{.RestartCount}} {{.Platform}}", "sh 2 0 linux"],
    ["{{.HostConfig.NetworkMode}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.IpcMode}}", "bridge no private"],
    ["{{json .Config.Labels}}", '{"a":"b","c":""}'],
    ["{{.Config.Image}} {{.Config.Tty}} {{.Config.Cmd}}", "busybox false [sh -c echo hello world; exec sleep 1000]"],
    ["{{range .Mounts}}{{.Type}}:{{.Destination}}:{{.RW}} {{end}}", "volume:/d:true bind:/t:false"],
    ['{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}', "8080"],
    ["{{range $name, $it := .NetworkSettings.Networks}}{{$name}}={{$it.IPPrefixLen}}{{end}}", "bridge=16"],
    ['{{index .Config.Labels "a"}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}', "b 0 <nil>"],
    ["{{.ExecIDs}} {{.Driver}} {{.HostConfig.LogConfig.Type}}", "[] overlay2 json-file"],
  ])("--format %s", async (format, expected) => {
    expect(await docker("", "inspect", "web", "--format", format)).toBe(expected);
  });

  test("the addresses at the top are those of the default bridge", async () => {
    const format = "{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}} {{.NetworkSettings.MacAddress}}";
    const inNetwork = "{{with .NetworkSettings.Networks.bridge}}{{.IPAddress}} {{.Gateway}} {{.MacAddress}}{{end}}";
    const [top, below] = [format, inNetwork].map((each) => docker("", "inspect", "web", "--format", each));
    expect(await top).toMatch(/^172\.17\.0\.\d+ 172\.17\.0\.1 ([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
    expect(await below).toBe(await top);
  });

  test("a container on the host's network is on the network called host, and seen from there", async () => {
    const networks = JSON.parse(
      await docker("", "inspect", "onhost", "--format", "{{json .NetworkSettings.Networks}}"),
    );
    const id = await docker("", "network", "inspect", "host", "--format", "{{.Id}}");
    expect(networks).toMatchObject({ host: { NetworkID: id, IPAddress: "", MacAddress: "" } });
    expect(await docker("", "network", "inspect", "host", "--format", "{{range .Containers}}{{.Name}}{{end}}")).toBe(
      "onhost",
    );
  });

  test("a health check is told with its last results, and a paused container counts as unhealthy", async () => {
    const health = JSON.parse(await docker("", "inspect", "hurt", "--format", "{{json .State.Health}}"));
    expect(health.Log.length).toBeLessThanOrEqual(5);
    expect(health).toMatchObject({ Status: "unhealthy" });
    expect(health.Log.at(-1)).toMatchObject({ ExitCode: 1, Output: "" });
    await berth.dockerOK("run", "-d", "--name", "well", "--health-cmd", "true", "busybox", "sleep", "1000");
    const status = () => docker("", "inspect", "well", "--format", "{{.State.Health.Status}}");
    expect(await status()).toBe("starting");
    await berth.dockerOK("pause", "well");
    expect(await status()).toBe("unhealthy");
    await berth.dockerOK("rm", "-f", "well");
  });
});

test("docker events tells a run in Docker's order, with what tools read", async () => {
  const since = String(Date.now() / 1000);
  await berth.dockerOK("run", "--rm", "--name", "told", "-l", "a=b", "-v", "data:/d", "busybox", "true");
  await berth.dockerOK("run", "-d", "--name", "tale", "--network", "none", "busybox", "sleep", "1000");
  for (const command of [
    "rename tale tales",
    "exec tales true",
    "kill -s WINCH tales",
    "restart -t 0 tales",
    "rm -f tales",
  ])
    await berth.dockerOK(...command.split(" "));
  await berth.dockerOK("builder", "prune", "-f");
  // Whole seconds would cut off the last events.
  const end = String(Date.now() / 1000 + 0.2);
  const lines = await docker("", "events", "--since", since, "--until", end, "--format", "{{json .}}");
  const events = lines
    .split("\n")
    .map((line) => JSON.parse(line))
    // Its health check goes on meanwhile.
    .filter(({ Actor }) => Actor.Attributes.name !== "hurt");
  expect(events.map(({ Type, Action }) => `${Type} ${Action}`)).toEqual([
    "container create",
    "container attach",
    "network connect",
    "volume mount",
    "container start",
    "network disconnect",
    "volume unmount",
    "container die",
    "container destroy",
    "container create",
    "network connect",
    "container start",
    "container rename",
    "container exec_create: true",
    "container exec_start: true",
    "container exec_die",
    "container kill",
    "container kill",
    "container kill",
    "network disconnect",
    "container die",
    "container stop",
    "network connect",
    "container start",
    "container restart",
    "container kill",
    "network disconnect",
    "container die",
    "container destroy",
    "builder prune",
  ]);
  const attributes = (action: string) => events.find(({ Action }) => Action === action).Actor.Attributes;
  expect(attributes("create")).toEqual({ a: "b", image: "busybox", name: "told" });
  expect(attributes("die")).toEqual({ a: "b", image: "busybox", name: "told", execDuration: "0", exitCode: "0" });
  expect(attributes("rename")).toEqual({ image: "busybox", name: "tales", oldName: "/tale" });
  expect(attributes("mount")).toMatchObject({ driver: "local", destination: "/d", "read/write": "true" });
  expect(attributes("connect")).toMatchObject({ name: "bridge", type: "bridge" });
  // Below 1.52 containers and images have these three as well.
  expect(events[0]).toMatchObject({ status: "create", id: events[0].Actor.ID, from: "busybox", scope: "local" });
});
