// Log drivers against real receivers: rsyslog and systemd's journal, in the daemon's namespaces. A receiver that is away holds
// nobody up, and gets everything once it is there, over the daemon's own death too.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { TestDaemon, until } from "../support/daemon.ts";

let daemon: TestDaemon;
const started: Bun.Subprocess[] = [];

beforeAll(async () => {
  daemon = await TestDaemon.start();
  await loadBusybox(daemon);
});
afterAll(async () => {
  for (const child of started) {
    child.kill("SIGKILL");
    await child.exited;
  }
  await daemon[Symbol.asyncDispose]();
});

/** A program in the daemon's namespaces, ended with the tests. */
function start(...command: string[]): void {
  const inside = ["nsenter", "--target", String(daemon.holderPID), "--net", "--mount"];
  started.push(Bun.spawn([...inside, ...command], { stdio: ["ignore", "ignore", "ignore"] }));
}

const count = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i of many; done";
const linesUpTo = (last: number): string[] => Array.from({ length: last }, (_, index) => `line ${index + 1} of many`);

test("labels, environment and tag stand beside each line, and the file is where inspect says", async () => {
  const options = ["labels=app", "env-regex=^DEP", "tag={{.Name}}/{{.ID}}/{{.ImageName}}"].flatMap((each) => [
    "--log-opt",
    each,
  ]);
  await daemon.dockerOK(
    "run",
    "--name",
    "tagged",
    "-l",
    "app=shop",
    "-l",
    "other=1",
    "-e",
    "DEPLOY=a b",
    ...options,
    "busybox",
    "echo",
    "hi",
  );
  const id = await daemon.dockerOK("inspect", "-f", "{{.Id}}", "tagged");
  const tag = `tagged/${id.slice(0, 12)}/busybox`;
  expect(await daemon.dockerOK("logs", "--details", "tagged")).toBe(
    `DEPLOY=a%20b,app=shop,tag=${encodeURIComponent(tag)} hi`,
  );
  const path = await daemon.dockerOK("inspect", "-f", "{{.LogPath}}", "tagged");
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({
    log: "hi\n",
    stream: "stdout",
    attrs: { app: "shop", DEPLOY: "a b", tag },
  });
  await daemon.dockerOK("rm", "tagged");
});

test("drivers that are not here, and options that are not theirs, are refused at create", async () => {
  for (const [args, message] of [
    [["--log-driver", "splunk"], "logger: no log driver named 'splunk' is registered"],
    [["--log-driver", "syslog", "--log-opt", "nope=1"], "unknown log opt 'nope' for syslog log driver"],
    [["--log-opt", "tag={{.Nope}}"], "can't evaluate field Nope in type *logger.Info"],
  ] as const) {
    const ran = await daemon.docker(["create", ...args, "busybox"]);
    expect(ran.code).not.toBe(0);
    expect(ran.stderr).toContain(message);
  }
});

test("syslog: the workload does not wait for a receiver that is away; rsyslog gets every line, over a killed daemon", async () => {
  const received = join(daemon.directory, "syslog");
  const config = join(daemon.directory, "rsyslog.conf");
  writeFileSync(
    config,
    `module(load="imtcp")
input(type="imtcp" port="5514" address="127.0.0.1")
template(name="plain" type="string" string="%programname% %syslogseverity-text%:%msg%\\n")
action(type="omfile" file="${received}" template="plain" flushOnTXEnd="on")
`,
  );
  const driver = [
    "--log-driver",
    "syslog",
    "--log-opt",
    "syslog-address=tcp://127.0.0.1:5514",
    "--log-opt",
    "tag=many",
  ];
  await daemon.dockerOK("run", "--name", "sender", ...driver, "busybox", "sh", "-c", count);
  expect((await daemon.dockerOK("logs", "sender")).split("\n")).toEqual(linesUpTo(3000));
  expect(await daemon.dockerOK("inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}.", "sender")).toBe(
    "syslog .",
  );
  await daemon.kill();
  await daemon.boot();
  start("rsyslogd", "-n", "-f", config, "-i", join(daemon.directory, "rsyslog.pid"));
  const lines = (): string[] =>
    existsSync(received)
      ? readFileSync(received, "utf8")
          .trim()
          .split("\n")
          .map((line) => line.replace("many info: ", ""))
      : [];
  await until("rsyslog has the first run", () => lines().length >= 3000);
  expect(lines()).toEqual(linesUpTo(3000));
  // Nothing twice: the next run's lines follow.
  await daemon.dockerOK("start", "-a", "sender");
  await until("rsyslog has the second run", () => lines().length >= 6000);
  expect(lines()).toEqual([...linesUpTo(3000), ...linesUpTo(3000)]);
  await daemon.dockerOK("rm", "sender");
});

test("lines that rotate away before the receiver is there are counted, and told of once", async () => {
  const received = join(daemon.directory, "late");
  const config = join(daemon.directory, "late.conf");
  writeFileSync(
    config,
    `module(load="imtcp")
input(type="imtcp" port="5515" address="127.0.0.1")
action(type="omfile" file="${received}" flushOnTXEnd="on")
`,
  );
  const options = ["syslog-address=tcp://127.0.0.1:5515", "cache-max-size=24k", "cache-max-file=2"];
  const driver = ["--log-driver", "syslog", ...options.flatMap((each) => ["--log-opt", each])];
  // The first line is in the deliverer's hands before the others come.
  const script = `echo line 0 of many; until [ -e /go ]; do sleep 0.05; done; ${count}; touch /done; exec sleep 1000`;
  await daemon.dockerOK("run", "-d", "--name", "late", ...driver, "busybox", "sh", "-c", script);
  await until("its receiver is missed", () => daemon.log.includes("a log driver's receiver fails"));
  await daemon.dockerOK("exec", "late", "touch", "/go");
  await until("all is said", async () => (await daemon.docker(["exec", "late", "test", "-e", "/done"])).code === 0);
  start("rsyslogd", "-n", "-f", config, "-i", join(daemon.directory, "late.pid"));
  const lines = (): string[] => (existsSync(received) ? readFileSync(received, "utf8").trim().split("\n") : []);
  await until("the last line is there", () => lines().at(-1)?.endsWith("line 3000 of many") ?? false);
  const told = () => daemon.log.split("\n").filter((line) => line.includes("rotated away"));
  await until("it is told", () => told().length > 0);
  expect(told().length).toBe(1);
  expect(Number(/lines\W+(\d+)/.exec(told()[0] ?? "")?.[1])).toBe(3001 - lines().length);
  expect(lines().length).toBeLessThan(3001);
  await daemon.dockerOK("rm", "-f", "late");
});

test("journald: fields are Docker's, a line of several pieces too", async () => {
  await daemon.inside([
    "sh",
    "-c",
    "for each in /run/systemd /run/log; do mkdir -p $each; mount -t tmpfs tmpfs $each; mkdir $each/journal; done",
  ]);
  start("/lib/systemd/systemd-journald");
  await until(
    "the journal listens",
    async () => (await daemon.inside(["test", "-S", "/run/systemd/journal/socket"])).code === 0,
  );
  const script = "echo out; echo err >&2; head -c 20000 /dev/zero | tr '\\0' x; echo";
  const driver = ["--log-driver", "journald", "--log-opt", "labels=app", "--log-opt", "tag=t-{{.Name}}"];
  await daemon.dockerOK("run", "--name", "journal", "-l", "app=shop", ...driver, "busybox", "sh", "-c", script);
  const id = await daemon.dockerOK("inspect", "-f", "{{.Id}}", "journal");
  const read = async (): Promise<Record<string, string>[]> => {
    const { stdout } = await daemon.inside([
      "journalctl",
      "-D",
      "/run/log/journal",
      "--all",
      "-o",
      "json",
      "--no-pager",
      `CONTAINER_ID_FULL=${id}`,
    ]);
    return stdout
      .split("\n")
      .filter(Boolean)
      .map((line): Record<string, string> => JSON.parse(line));
  };
  await until("the journal has it", async () => (await read()).length >= 4);
  const entries = await read();
  const common = {
    CONTAINER_ID: id.slice(0, 12),
    CONTAINER_NAME: "journal",
    CONTAINER_TAG: "t-journal",
    IMAGE_NAME: "busybox",
    APP: "shop",
    SYSLOG_IDENTIFIER: "t-journal",
  };
  expect(entries.find(({ MESSAGE }) => MESSAGE === "out")).toMatchObject({ ...common, PRIORITY: "6" });
  expect(entries.find(({ MESSAGE }) => MESSAGE === "err")).toMatchObject({ ...common, PRIORITY: "3" });
  const pieces = entries.filter(({ CONTAINER_PARTIAL_MESSAGE }) => CONTAINER_PARTIAL_MESSAGE === "true");
  expect(
    pieces.map((each) => [each["MESSAGE"]?.length, each["CONTAINER_PARTIAL_ORDINAL"], each["CONTAINER_PARTIAL_LAST"]]),
  ).toEqual([
    [16384, "1", "false"],
    [3616, "2", "true"],
  ]);
  await daemon.dockerOK("rm", "journal");

  // Larger than a datagram may be: net.core.wmem_max is 212,992.
  const large = ["big1", "big2", "big3"].flatMap((name) => ["-l", `${name}=${name.repeat(25_000)}`]);
  const asked = ["--log-driver", "journald", "--log-opt", "labels-regex=^big", "--log-opt", "tag=large"];
  await daemon.dockerOK("run", "--rm", ...large, ...asked, "busybox", "echo", "with labels");
  const inJournal = [
    "journalctl",
    "-D",
    "/run/log/journal",
    "--all",
    "-o",
    "json",
    "--no-pager",
    "CONTAINER_TAG=large",
  ];
  await until("the journal has the large entry", async () => (await daemon.inside(inJournal)).stdout !== "");
  const entry: Record<string, string> = JSON.parse((await daemon.inside(inJournal)).stdout);
  expect([entry["MESSAGE"], entry["BIG3"]?.length]).toEqual(["with labels", 100_000]);
});

test("with cache-disabled the log is delivered and not read", async () => {
  const driver = ["--log-driver", "journald", "--log-opt", "cache-disabled=true"];
  await daemon.dockerOK("run", "--name", "unread", ...driver, "busybox", "echo", "hi");
  const ran = await daemon.docker(["logs", "unread"]);
  expect(ran.stderr).toContain("configured logging driver does not support reading");
  await daemon.dockerOK("rm", "unread");
  // The last lines of a container that goes with its end.
  await daemon.dockerOK("run", "--rm", ...driver, "--log-opt", "tag=gone", "busybox", "echo", "last words");
  const entries = ["journalctl", "-D", "/run/log/journal", "-o", "cat", "--no-pager", "CONTAINER_TAG=gone"];
  await until("the journal has it", async () => (await daemon.inside(entries)).stdout === "last words\n");
  await until("nothing is left", async () => (await daemon.leftovers()).length === 0);
});
