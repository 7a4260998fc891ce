// The command line and daemon.json: what is accepted, what it means, and how the rest is refused.
import { describe, expect, test } from "bun:test";
import { type CommandLine, helpText, type Inputs, parseCommandLine, planReload } from "../../src/config.ts";
import { OPTIONS } from "../../src/config/options.ts";

const NO_FILES = (): null => null;

function parse(args: string[], others: Partial<Inputs> = {}): CommandLine {
  return parseCommandLine({ argv0: "/usr/bin/berth", args, env: {}, readFile: NO_FILES, ...others });
}

/** Parses with a daemon.json. */
function parseFile(json: unknown, args: string[] = []): CommandLine {
  const text = typeof json === "string" ? json : JSON.stringify(json);
  return parse(["--config-file", "/c.json", ...args], { readFile: (path) => (path === "/c.json" ? text : null) });
}

const IN_FILE = "unable to configure the Docker daemon with file /c.json: ";

describe("the command line", () => {
  test("without arguments berth serves with its own defaults", () => {
    const { command, program, config, warnings } = parse([]);
    expect({ command, program, warnings }).toEqual({ command: "serve", program: "berth", warnings: [] });
    expect(config).toMatchObject({
      hosts: ["unix:///run/berth.sock"],
      dataRoot: "/var/lib/berth",
      execRoot: "/run/berth",
      pidfile: "/run/berth.pid",
      cgroupParent: "/berth",
      isLiveRestore: true,
      defaultLogOptions: { "max-size": "20m", "max-file": "5" },
    });
  });

  test("a link named dockerd has dockerd's socket, pidfile and configuration file, and berth's own data root", () => {
    const read: string[] = [];
    const readFile = (path: string) => (read.push(path), null);
    const { program, config } = parse(["-D"], { argv0: "dockerd", readFile });
    expect(program).toBe("dockerd");
    expect(config).toMatchObject({
      hosts: ["unix:///var/run/docker.sock"],
      pidfile: "/var/run/docker.pid",
      dataRoot: "/var/lib/berth",
    });
    expect(read).toEqual(["/etc/docker/daemon.json"]);
  });

  test("commands may stand anywhere among the flags", () => {
    expect(parse(["serve"]).command).toBe("serve");
    expect(parse(["daemon", "-D"]).command).toBe("serve");
    expect(parse(["--data-root", "/d", "doctor"]).command).toBe("doctor");
    expect(parse(["up"]).command).toBe("up");
    expect(parse(["--version"]).command).toBe("version");
    expect(parse(["-v"]).command).toBe("version");
    expect(parse(["serve", "--help"]).command).toBe("help");
    expect(parse(["--validate"]).command).toBe("validate");
    expect(parse(["--validate=false"]).command).toBe("serve");
  });

  test("flags are spelled as dockerd takes them", () => {
    const { config } = parse([
      "-Dl",
      "warn",
      "-Hunix:///a",
      "-H=unix:///b",
      "--host",
      "unix:///c",
      "--host=fd://",
      "--live-restore=false",
      "--mtu",
      "1400",
      "-b",
      "br7",
      "-G",
      "staff",
      "-p/p",
      "-s",
      "overlay",
      "--label=a=1",
      "--label",
      "b=2",
      "--log-opt",
      "max-size=1m",
      "--default-ulimit=nofile=64:128",
      "--default-shm-size=1g",
      "--default-address-pool",
      "base=10.0.0.0/8,size=24",
      "--insecure-registry=10.0.0.0/8",
      "--insecure-registry",
      "r.lan:5000",
      "--registry-mirror=http://mirror:5000",
      "--dns=10.1.1.1",
      "--dns-search",
      "lan",
      "--dns-opt",
      "ndots:1",
      "--iptables=0",
    ]);
    expect(config).toMatchObject({
      isDebug: true,
      logLevel: "debug",
      hosts: ["unix:///a", "unix:///b", "unix:///c", "fd://"],
      isLiveRestore: false,
      mtu: 1400,
      bridge: "br7",
      group: "staff",
      pidfile: "/p",
      storageDriver: "overlay2",
      labels: ["a=1", "b=2"],
      defaultLogOptions: { "max-size": "1m", "max-file": "5" },
      defaultUlimits: { nofile: { soft: 64, hard: 128 } },
      defaultShmSizeBytes: 1 << 30,
      defaultAddressPools: [{ base: "10.0.0.0/8", size: 24 }],
      insecureRegistries: ["10.0.0.0/8", "r.lan:5000"],
      registryMirrors: ["http://mirror:5000/"],
      dns: ["10.1.1.1"],
      dnsSearch: ["lan"],
      dnsOptions: ["ndots:1"],
      managesFirewall: false,
    });
  });

  test.each([
    [["--nope"], "unknown flag: --nope\nSee 'berth --help'."],
    [["--nope=1"], "unknown flag: --nope\n"],
    [["--"], null],
    [["--=x"], "unknown flag: --\n"],
    [["-x"], "unknown shorthand flag: 'x' in -x\n"],
    [["-Dx"], "unknown shorthand flag: 'x' in -Dx\n"],
    [["--host"], "flag needs an argument: --host\n"],
    [["-H"], "flag needs an argument: 'H' in -H\n"],
    [["--mtu", "x"], `invalid argument "x" for "--mtu" flag: strconv.ParseInt: parsing "x": invalid syntax`],
    [
      ["--debug=maybe"],
      `invalid argument "maybe" for "-D, --debug" flag: strconv.ParseBool: parsing "maybe": invalid syntax`,
    ],
    [["-H", "ftp://x"], `invalid argument "ftp://x" for "-H, --host" flag: invalid bind address format: ftp://x`],
    [["--dns", "x"], "IP address is not correctly formatted: x"],
    [["--label", "x"], "bad attribute format: x"],
    [["--log-level", "loud"], "invalid logging level: loud"],
    [["-s", "zfs"], "driver not supported: zfs"],
    [["--max-concurrent-downloads=0"], "invalid max concurrent downloads: 0"],
    [["--data-root", "here"], `invalid data-root: "here"`],
    [["frobnicate"], "unknown command: frobnicate\nSee 'berth --help'."],
    [["toString"], "unknown command: toString"],
    [["serve", "more"], `"berth serve" accepts no arguments.`],
  ])("%p", (args, message) => {
    if (message === null) expect(parse(args).command).toBe("serve");
    else expect(() => parse(args)).toThrow(message);
  });

  test("conflicting labels are refused, equal ones are one", () => {
    expect(() => parse(["--label", "a=1", "--label", "a=2"])).toThrow("conflict labels for a=2 and a=1");
    expect(parse(["--label", "a=1", "--label", "a=1"]).config.labels).toEqual(["a=1"]);
  });

  test("dockerd's link takes no commands", () => {
    expect(() => parse(["doctor"], { argv0: "dockerd" })).toThrow(
      `"dockerd" accepts no arguments.\nSee 'dockerd --help'.`,
    );
  });

  test("what does nothing here is said once each, and not at all where it asks for what berth does anyway", () => {
    const { warnings } = parse([
      "--containerd=/x",
      "--feature=a=true",
      "--feature=b=true",
      "--userland-proxy=false",
      "--metrics-addr=x",
      "--ip-forward-no-drop",
    ]);
    expect(warnings).toEqual([
      "--metrics-addr is not supported yet and is ignored",
      "--containerd has no meaning for berth and is ignored",
      "--feature has no meaning for berth and is ignored",
    ]);
  });

  test("the default bridge's flags, the options of new networks and marks become what they say", () => {
    const { config } = parse([
      "--icc=false",
      "--ip=127.0.0.1",
      "--ip-masq=false",
      "--ipv6",
      "--bip6=fd00::1/64",
      "--fixed-cidr=10.0.0.0/25",

      "--default-network-opt=bridge=a=b",
      "--default-network-opt=bridge=c=d=e",
      "--bridge-accept-fwmark=0x1/3",
    ]);
    expect(config.defaultBridge).toEqual({
      allowsTraffic: false,
      masquerades: false,
      bindingIP: "127.0.0.1",
      enablesIPv6: true,
      bip6: "fd00::1/64",
      fixedCIDR: "10.0.0.0/25",
      fixedCIDR6: "",
      gateway: "",
      gateway6: "",
    });
    expect(config.defaultNetworkOptions).toEqual({ bridge: { a: "b", c: "d=e" } });
    expect(config.acceptMark).toEqual({ mark: 1, mask: 3 });
    expect(() => parse(["--bridge-accept-fwmark=x"])).toThrow("invalid firewall mark: x");
    expect(() => parse(["--default-network-opt=bridge"])).toThrow();
  });

  test("help names every flag", () => {
    const text = helpText("berth");
    for (const { flag } of OPTIONS) if (flag !== null) expect(text).toContain(`--${flag} `);
  });
});

describe("tcp hosts", () => {
  test("are refused without client certificates, loopback too, unless the user says so in so many words", () => {
    for (const args of [
      ["-H", "tcp://127.0.0.1:2375"],
      ["-H", ":2375"],
      ["-H", "tcp://0.0.0.0", "--tls"],
    ]) {
      expect(() => parse(args)).toThrow(/refusing to listen on tcp:.*--tls=false/);
    }
    expect(parse(["-H", "tcp://127.0.0.1:99", "--tls=false"]).config.hosts).toEqual(["tcp://127.0.0.1:99"]);
    expect(parse(["-H", "tcp://", "--tlsverify=false"]).config.hosts).toEqual(["tcp://localhost:2375"]);
  });

  test("with client certificates have dockerd's TLS port", () => {
    const { config } = parse(["-H", "tcp://0.0.0.0", "--tlsverify", "--tlscacert=/ca", "--tlscert=/c", "--tlskey=/k"]);
    expect(config.hosts).toEqual(["tcp://0.0.0.0:2376"]);
    expect(config.tls).toEqual({
      isOn: true,
      verifies: true,
      isRefused: false,
      caFile: "/ca",
      certFile: "/c",
      keyFile: "/k",
    });
    const byEnvironment = parse(["-H", "tcp://[::1]"], {
      env: { DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: "/certs" },
    }).config;
    expect(byEnvironment.hosts).toEqual(["tcp://[::1]:2376"]);
    expect(byEnvironment.tls.caFile).toBe("/certs/ca.pem");
  });
});

describe("daemon.json", () => {
  test("acts like the flags of the same meaning", () => {
    const { config, warnings } = parseFile({
      debug: true,
      hosts: ["unix:///x.sock"],
      labels: ["a=1"],
      "log-opts": { "max-size": "5m" },
      "default-ulimits": { nofile: { Name: "nofile", Soft: 10, Hard: 20 } },
      "default-address-pools": [{ base: "10.10.0.0/16", size: 24 }],
      "default-shm-size": "128M",
      "insecure-registries": ["http://reg.lan"],
      dns: ["1.1.1.1"],
      features: { "containerd-snapshotter": true },
      proxies: { "http-proxy": "http://p:1" },
      runtimes: {},
      "exec-opts": ["native.cgroupdriver=systemd"],
      "storage-driver": "",
    });
    expect(config).toMatchObject({
      isDebug: true,
      hosts: ["unix:///x.sock"],
      labels: ["a=1"],
      defaultLogOptions: { "max-size": "5m", "max-file": "5" },
      defaultUlimits: { nofile: { soft: 10, hard: 20 } },
      defaultAddressPools: [{ base: "10.10.0.0/16", size: 24 }],
      defaultShmSizeBytes: 128 << 20,
      insecureRegistries: ["reg.lan"],
      dns: ["1.1.1.1"],
      storageDriver: "overlay2",
      certsDirs: ["/certs.d", "/etc/docker/certs.d"],
    });
    expect(config.proxies.http).not.toBe("");
    expect(warnings).toEqual([
      `"exec-opts" in /c.json has no meaning for berth and is ignored`,
      `"features" in /c.json has no meaning for berth and is ignored`,
    ]);
  });

  test("an absent default file is no file, an absent named one is an error", () => {
    expect(parse([]).warnings).toEqual([]);
    expect(() => parse(["--config-file=/none.json"])).toThrow(
      "unable to configure the Docker daemon with file /none.json: open /none.json: no such file or directory",
    );
  });

  test("an empty file and a byte order mark are fine", () => {
    expect(parseFile("").warnings).toEqual([]);
    expect(parseFile('\uFEFF{"mtu":1400}').config.mtu).toBe(1400);
  });

  test.each<[unknown, string]>([
    [{ nope: 1, "also-not": 2 }, "the following directives don't match any configuration option: also-not, nope"],
    [{ host: ["unix:///x"] }, "the following directives don't match any configuration option: host"],
    [{ mtu: "x" }, `mtu: a whole number is needed, not "x"`],
    [{ debug: "true" }, `debug: true or false is needed, not "true"`],
    [{ hosts: "unix:///x" }, `hosts: a list is needed`],
    [{ hosts: [7] }, `hosts: a string is needed, not 7`],
    [{ "log-opts": { a: 1 } }, "log-opts: a string for a is needed, not 1"],
    [{ "log-opts": [] }, "log-opts: an object is needed"],
    [
      { "default-ulimits": { nofile: { Soft: 2, Hard: 1 } } },
      "ulimit soft limit must be less than or equal to hard limit",
    ],
    [{ "default-ulimits": { nofile: 3 } }, "default-ulimits: an object is needed"],
    [{ "default-address-pools": [{ base: "10.0.0.0/8" }] }, "default-address-pools: base and size is needed"],
    [{ "registry-mirrors": ["ftp://x"] }, `invalid mirror: unsupported scheme "ftp"`],
    [{ bip: "172.17.0.1" }, "bip: invalid CIDR address: 172.17.0.1"],
    [{ proxies: 1 }, "proxies: an object is needed"],
    ["[]", "an object is needed"],
    ["{", "JSON"],
    ["null", "an object is needed"],
  ])("%j is refused with file and key", (json, message) => {
    expect(() => parseFile(json)).toThrow(IN_FILE);
    expect(() => parseFile(json)).toThrow(message);
  });

  test("a key that a flag sets too is refused, with both values", () => {
    expect(() => parseFile({ hosts: ["tcp://:1"], mtu: 1 }, ["-H", "unix:///a", "--mtu=2"])).toThrow(
      `${IN_FILE}the following directives are specified both as a flag and in the configuration file: ` +
        "hosts: (from flag: [unix:///a], from file: [tcp://:1]), mtu: (from flag: 2, from file: 1)",
    );
  });
});

describe("defaults of containers", () => {
  test("from flags and from the file, with their bounds", () => {
    const { config, warnings } = parse([
      "--default-stop-timeout=-1",
      "--default-runtime",
      "io.containerd.runc.v2",
      "--cpu-rt-period=500000",
      "--cpu-rt-runtime=1000",
      "--oom-score-adjust=-500",
      "--cdi-spec-dir",
      "/a",
      "--cdi-spec-dir=/b",
    ]);
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      defaultStopTimeoutSec: -1,
      defaultRuntime: "io.containerd.runc.v2",
      realtimePeriodUs: 500_000,
      realtimeRuntimeUs: 1_000,
      oomScoreAdjust: -500,
      cdiSpecDirs: ["/a", "/b"],
    });
    expect(parse([]).config.cdiSpecDirs).toEqual(["/etc/cdi", "/var/run/cdi"]);
    expect(parse(["--cdi-spec-dir="]).config.cdiSpecDirs).toEqual([]);
    expect(parseFile({ "cdi-spec-dirs": ["/c"], "default-stop-timeout": 3 }).config).toMatchObject({
      cdiSpecDirs: ["/c"],
      defaultStopTimeoutSec: 3,
    });
  });

  test.each([
    [["--oom-score-adjust=1001"], "invalid oom-score-adjust: 1001: -1000 to 1000 is needed"],
    [["--cpu-rt-runtime=-1"], "invalid cpu-rt-runtime: -1"],
    [["--cdi-spec-dir=cdi"], 'invalid cdi-spec-dir: "cdi": an absolute path is needed'],
    [["--default-runtime=kata"], "invalid default runtime: kata"],
  ])("%j is refused", (args, message) => {
    expect(() => parse(args)).toThrow(message);
  });
});

describe("planReload()", () => {
  const running = parse(["-D"]).config;

  test("applies what can change at once and names what needs a restart", () => {
    const wanted = parse(["--live-restore=false", "--label=a=1", "--mtu=1400", "--registry-mirror=http://m"]).config;
    const { applied, changed, needRestart } = planReload(running, wanted);
    expect(changed.sort()).toEqual(["debug", "labels", "live-restore", "log-level", "registry-mirrors"]);
    expect(needRestart).toEqual(["mtu"]);
    expect(applied).toEqual({
      ...running,
      isDebug: false,
      logLevel: "info",
      labels: ["a=1"],
      isLiveRestore: false,
      registryMirrors: ["http://m/"],
    });
  });

  test("an unchanged configuration changes nothing", () => {
    expect(planReload(running, structuredClone(running))).toEqual({ applied: running, changed: [], needRestart: [] });
  });
});

test("what confines containers by default", () => {
  const { config } = parse(["--seccomp-profile", "/p.json", "--default-ipc-mode", "shareable"]);
  expect(config).toMatchObject({ seccompProfile: "/p.json", defaultIpcMode: "shareable", defaultCgroupnsMode: "" });
  expect(parse(["--seccomp-profile="]).config.seccompProfile).toBe("builtin");
  expect(parse(["--default-cgroupns-mode=host"]).config.defaultCgroupnsMode).toBe("host");
  expect(() => parse(["--default-ipc-mode=host"])).toThrow("invalid default IPC mode: host");
  expect(() => parse(["--selinux-enabled"])).toThrow("SELinux labels are not supported");
  expect(parse(["--selinux-enabled=false"]).warnings).toEqual([]);
  expect(parse(["--userns-remap=default"]).config.usernsRemap).toBe("default");
});
