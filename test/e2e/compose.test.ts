// docker compose 2 as it is: a shop of twelve services with nginx, redis and a load generator, and every verb that works on
// it. The project's file lies in compose/.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { type Ran, TestDaemon, until } from "../support/daemon.ts";
import { loadPrograms } from "../support/program_image.ts";

setDefaultTimeout(120_000);
let berth: TestDaemon;
let project = "";
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
  await loadPrograms(berth, {
    name: "shop/nginx",
    programs: ["/usr/sbin/nginx"],
    files: { "/etc/nginx/mime.types": "types { text/html html; }\n" },
    directories: ["/var/log/nginx", "/var/lib/nginx", "/usr/share/nginx"],
    config: {
      Entrypoint: ["/usr/sbin/nginx", "-g", "daemon off;"],
      ExposedPorts: { "80/tcp": {} },
      StopSignal: "SIGQUIT",
    },
  });
  await loadPrograms(berth, {
    name: "shop/redis",
    programs: ["/usr/bin/redis-server", "/usr/bin/redis-cli"],
    config: {
      Cmd: ["/usr/bin/redis-server", "--save", "", "--protected-mode", "no"],
      Volumes: { "/data": {} },
      WorkingDir: "/data",
    },
  });
  await loadPrograms(berth, { name: "shop/ab", programs: ["/usr/bin/ab"], config: { Entrypoint: ["/usr/bin/ab"] } });
  project = join(berth.directory, "shop");
  mkdirSync(join(project, "pages"), { recursive: true });
  writeFileSync(join(project, "compose.yaml"), readFileSync(join(import.meta.dir, "compose/shop.yaml")));
  writeFileSync(join(project, "pages/index.html"), "welcome to the shop\n");
  writeFileSync(join(project, "token.txt"), "s3cret\n");
});
afterAll(async () => {
  await berth[Symbol.asyncDispose]();
});

function compose(...args: string[]): Promise<Ran> {
  return berth.docker(["compose", "--progress", "plain", "-f", join(project, "compose.yaml"), ...args], {
    timeoutMs: 120_000,
  });
}

async function composeOK(...args: string[]): Promise<string> {
  const ran = await compose(...args);
  if (ran.code !== 0)
    throw new Error(
      `compose ${args.join(" ")}: ${ran.code}\n${ran.stdout}${ran.stderr}\n${berth.log.slice(-2000)}\n${(await compose("logs")).stdout}`,
    );
  return ran.stdout.trim();
}

const inService = (service: string, script: string): Promise<string> =>
  composeOK("exec", "-T", service, "/bin/busybox", "sh", "-c", script);

test("up --wait brings a shop of twelve services up in the order of their conditions", async () => {
  await composeOK("up", "-d", "--wait");
  const lines = (await composeOK("ps", "-a", "--format", "{{.Service}} {{.State}} {{.Health}} {{.ExitCode}}"))
    .split("\n")
    .sort();
  expect(lines.map((line) => line.trim())).toEqual([
    "api running healthy 0",
    "api running healthy 0",
    "cache running healthy 0",
    "mail running  0",
    "metrics running  0",
    "migrate exited  0",
    "pages running  0",
    "proxy running healthy 0",
    "queue running healthy 0",
    "scheduler running  0",
    "search running  0",
    "worker running  0",
  ]);
  const at = async (service: string, field: string): Promise<number> =>
    Date.parse(await berth.dockerOK("inspect", "-f", `{{.State.${field}}}`, `shop-${service}-1`));
  expect(await at("migrate", "StartedAt")).toBeGreaterThan(await at("cache", "StartedAt"));
  expect(await at("api", "StartedAt")).toBeGreaterThanOrEqual(await at("migrate", "FinishedAt"));
  expect(await at("proxy", "StartedAt")).toBeGreaterThan(await at("api", "StartedAt"));
});

test("a page comes from outside through proxy and service, by their names", async () => {
  const page = await berth.inside(["curl", "-s", "-f", "http://127.0.0.1:8080/"]);
  expect(page.stdout).toBe("welcome to the shop\n");
  const count = await berth.inside(["curl", "-s", "-f", "http://127.0.0.1:8080/api/"]);
  expect(count.stdout).toContain("migrated");
});

test("the load generator meets no failure", async () => {
  const said = await composeOK("run", "--rm", "-T", "load");
  expect(said).toContain("Complete requests:      500");
  expect(said).toContain("Failed requests:        0");
});

test("services find each other by name, alias and fixed address; other networks do not", async () => {
  expect(await inService("worker", "nslookup store | awk '/^Address/ { print $2 }' | tail -n 1")).toBe("10.77.0.20");
  expect(await inService("worker", "nslookup cache | awk '/^Address/ { print $2 }' | tail -n 1")).toBe("10.77.0.20");
  expect((await compose("exec", "-T", "pages", "/bin/busybox", "nslookup", "cache")).code).not.toBe(0);
  const both = await inService("proxy", "/bin/busybox nslookup api | /bin/busybox grep -c '^Address: '");
  expect(both).toBe("2");
});

test("configs, secrets, limits and variables are inside", async () => {
  expect(await inService("api", "cat /etc/shop.conf /run/secrets/token; echo $SHOP_NAME")).toBe(
    "open = true\ns3cret\nshop",
  );
  const limits = await berth.dockerOK("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", "shop-api-1");
  expect(limits).toBe(`${32 << 20} 500000000`);
});

test("the work goes on: jobs put in the queue by one service are done by another", async () => {
  await inService("scheduler", "printf 'LPUSH jobs one\\r\\nQUIT\\r\\n' | nc queue 6379");
  await until("the job is done", async () =>
    (await composeOK("logs", "--no-log-prefix", "worker")).includes("done one"),
  );
});

test("scale, restart, pause, run, cp, top, port, images, stats, events", async () => {
  await composeOK("up", "-d", "--no-recreate", "--scale", "worker=3");
  expect((await composeOK("ps", "-q", "worker")).split("\n").length).toBe(3);
  await composeOK("restart", "-t", "1", "mail");
  await composeOK("pause", "mail");
  expect(await composeOK("ps", "--format", "{{.State}}", "mail")).toBe("paused");
  await composeOK("unpause", "mail");
  expect(await composeOK("run", "--rm", "-T", "tool", "echo", "from a tool")).toBe("from a tool");
  await composeOK("cp", "api:/etc/shop.conf", join(project, "copied"));
  expect(readFileSync(join(project, "copied"), "utf8")).toBe("open = true\n");
  await composeOK("cp", join(project, "copied"), "mail:/tmp/pushed");
  expect(await inService("mail", "cat /tmp/pushed")).toBe("open = true");
  expect(await composeOK("top", "cache")).toContain("redis-server");
  expect(await composeOK("port", "proxy", "80")).toBe("0.0.0.0:8080");
  expect(await composeOK("images", "cache")).toContain("shop/redis");
  expect(await composeOK("stats", "--no-stream", "--format", "{{.Name}}", "cache")).toBe("shop-cache-1");
  // compose ends with the end of the stream as its error, whatever the engine.
  const events = await compose("events", "--since", "10m", "--until", "0s", "mail");
  expect(events.stdout.split("\n").join()).toMatch(/ pause .* unpause /s);
});

test("up again changes nothing; a changed service alone is made anew", async () => {
  const ids = async (): Promise<string[]> => (await composeOK("ps", "-aq", "--no-trunc")).split("\n").sort();
  const before = await ids();
  await composeOK("up", "-d", "--no-recreate", "--scale", "worker=3", "--wait");
  expect(await ids()).toEqual(before);
  const text = readFileSync(join(project, "compose.yaml"), "utf8");
  writeFileSync(join(project, "compose.yaml"), text.replace("MAIL_FROM: shop", "MAIL_FROM: berth"));
  await composeOK("up", "-d", "--no-deps", "mail");
  const after = await ids();
  expect(after.filter((id) => !before.includes(id)).length).toBe(1);
  expect(await inService("mail", "echo $MAIL_FROM")).toBe("berth");
});

test("down takes everything away again", async () => {
  await composeOK("down", "-v", "-t", "1");
  expect(await berth.dockerOK("ps", "-aq")).toBe("");
  expect(await berth.dockerOK("network", "ls", "-q", "--filter", "type=custom")).toBe("");
  expect(await berth.dockerOK("volume", "ls", "-q")).toBe("");
  expect(await berth.leftovers()).toEqual([]);
});
