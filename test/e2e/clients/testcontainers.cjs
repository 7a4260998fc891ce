// testcontainers against berth, under Node: life, wait strategies, networks and aliases, exec, copies, log consumers, and its
// reaper. Prints one line a step; throws at the first surprise. It is run in the network of the engine's host.
const assert = require("node:assert");
const { GenericContainer, Network, Wait } = require("testcontainers");

const ok = (what) => console.log(`ok ${what}`);

async function text(stream) {
  let all = "";
  for await (const chunk of stream) all += chunk;
  return all;
}

async function main() {
  const network = await new Network().start();
  const web = await new GenericContainer("busybox")
    .withCommand(["httpd", "-f", "-h", "/www", "-p", "80"])
    .withNetwork(network)
    .withNetworkAliases("web")
    .withExposedPorts(80)
    .withWaitStrategy(Wait.forAll([Wait.forListeningPorts(), Wait.forHttp("/index.html", 80)]))
    .withCopyContentToContainer([{ content: "copied in\n", target: "/www/copied.html" }])
    .start();
  const page = await fetch(`http://${web.getHost()}:${web.getMappedPort(80)}/index.html`);
  assert.equal(await page.text(), "served by busybox\n");
  ok("a published port, when it listens");

  const ran = await web.exec(["sh", "-c", "cat /www/copied.html; echo wrong >&2; exit 3"]);
  assert.deepEqual([ran.stdout, ran.stderr, ran.exitCode], ["copied in\n", "wrong\n", 3]);
  ok("exec and files");

  const lines = [];
  const client = await new GenericContainer("busybox")
    .withCommand(["sh", "-c", "wget -q -O - http://web/index.html; echo done; exec sleep 1000"])
    .withNetwork(network)
    .withLogConsumer((stream) => stream.on("data", (line) => lines.push(String(line))))
    .withWaitStrategy(Wait.forLogMessage("done"))
    .start();
  for (let tries = 0; tries < 200 && !/done/.test(lines.join("")); tries++) await new Promise((r) => setTimeout(r, 50));
  assert.match(lines.join(""), /served by busybox\s+done/);
  ok("a name on a network, a log message, a log consumer");

  const healthy = await new GenericContainer("busybox")
    .withCommand(["sh", "-c", "sleep 0.3; touch /tmp/ready; exec sleep 1000"])
    .withHealthCheck({ test: ["CMD-SHELL", "test -e /tmp/ready"], interval: 100, retries: 100 })
    .withWaitStrategy(Wait.forHealthCheck())
    .start();
  const once = await new GenericContainer("busybox")
    .withCommand(["true"])
    .withWaitStrategy(Wait.forOneShotStartup())
    .start();
  ok("a health check, a one-shot");

  const tmpfs = await new GenericContainer("busybox")
    .withCommand(["sleep", "1000"])
    .withTmpFs({ "/scratch": "rw,noexec,size=1m" })
    .withEnvironment({ COLOR: "blue" })
    .withLabels({ who: "test" })
    .withUser("1000")
    .withWorkingDir("/tmp")
    .withResourcesQuota({ memory: 0.0625, cpu: 0.5 })
    .start();
  const seen = await tmpfs.exec(["sh", "-c", "echo $COLOR; id -u; pwd; grep -c ' /scratch tmpfs' /proc/mounts"]);
  assert.equal(seen.output, "blue\n1000\n/tmp\n1\n");
  assert.match(await text(await tmpfs.copyArchiveFromContainer("/etc/passwd")), /root:x:0:0/);
  ok("settings and a copy out");

  await web.restart();
  assert.equal((await fetch(`http://${web.getHost()}:${web.getMappedPort(80)}/copied.html`)).status, 200);
  ok("restart");

  await Promise.all([client, healthy, tmpfs].map((container) => container.stop()));
  void once;
  // One container and the network are left for the reaper.
  ok("stop");
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
