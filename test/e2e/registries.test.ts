// Registries as people have them: behind a private authority, with tokens, with mirrors. Debian's docker-registry serves,
// skopeo is the second client that fills it, and that reads images out of the daemon and into it.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { busyboxArchive, loadBusybox } from "../support/busybox.ts";
import { makeCertificates } from "../support/certificates.ts";
import { run, TestDaemon } from "../support/daemon.ts";
import { DockerRegistry } from "../support/docker_registry.ts";
import { TokenIssuer } from "../support/token_issuer.ts";

const ADDRESS = "10.99.0.1";
const NAME = "registry.test";

let berth: TestDaemon;
let certsDir: string;
beforeAll(async () => {
  berth = await TestDaemon.start({ args: ["--registry-mirror", "http://127.0.0.1:5001"] });
  await berth.stop();
  // A name that is not loopback's, for whatever runs in the daemon's namespaces.
  writeFileSync(join(berth.directory, "hosts"), `127.0.0.1 localhost\n${ADDRESS} ${NAME}\n`);
  await berth.inside(["ip", "address", "add", `${ADDRESS}/32`, "dev", "lo"]);
  await berth.inside(["mount", "--bind", join(berth.directory, "hosts"), "/etc/hosts"]);
  certsDir = join(berth.directory, "certs.d");
  mkdirSync(certsDir);
  await berth.inside(["mkdir", "-p", "/etc/docker"]);
  await berth.inside(["mount", "-t", "tmpfs", "tmpfs", "/etc/docker"]);
  await berth.inside(["ln", "-s", certsDir, "/etc/docker/certs.d"]);
  await berth.boot();
  await loadBusybox(berth);
});
afterAll(async () => {
  for (const path of ["/etc/hosts", "/etc/docker"]) await berth.inside(["umount", path]);
  await berth[Symbol.asyncDispose]();
});

async function skopeo(...args: string[]): Promise<string> {
  const ran = await berth.inside(["skopeo", ...args]);
  if (ran.code !== 0) throw new Error(ran.stderr);
  return ran.stdout.trim();
}
const fill = async (host: string, name: string, ...flags: string[]): Promise<string> =>
  await skopeo(
    "copy",
    "-q",
    "--dest-tls-verify=false",
    ...flags,
    `docker-archive:${await busyboxArchive()}`,
    `docker://${host}/${name}`,
  );

test("a registry with a private authority is trusted once its certificate lies in certs.d", async () => {
  const { authority, server } = makeCertificates([`DNS:${NAME}`]);
  await using registry = await DockerRegistry.start(berth, {
    port: 5443,
    address: ADDRESS,
    name: NAME,
    certificate: server,
  });
  await fill(registry.host, "team/tool:1");
  const refused = await berth.docker(["pull", `${registry.host}/team/tool:1`]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/certificate|issuer/i);
  mkdirSync(join(certsDir, registry.host));
  writeFileSync(join(certsDir, registry.host, "ca.crt"), authority);
  // What was read of the directory is remembered for a moment.
  const patience = Date.now() + 20_000;
  let pulled = await berth.docker(["pull", "-q", `${registry.host}/team/tool:1`]);
  while (pulled.code !== 0 && Date.now() < patience) {
    await Bun.sleep(500);
    pulled = await berth.docker(["pull", "-q", `${registry.host}/team/tool:1`]);
  }
  expect(pulled).toMatchObject({ code: 0, stdout: `${registry.host}/team/tool:1\n` });
}, 60_000);

test("tokens: a login gives an identity token, which pulls afterwards bring", async () => {
  const user = { username: "user", password: "secret" };
  await using issuer = await TokenIssuer.start(berth, { port: 5050, ...user });
  await using registry = await DockerRegistry.start(berth, { port: 5002, tokens: issuer.settings });
  await fill(registry.host, "private/tool:1", "--dest-creds", "user:secret");
  const refused = await berth.docker(["pull", `${registry.host}/private/tool:1`]);
  expect(refused.stderr).toMatch(/pull access denied|unauthorized/);
  const wrong = await berth.docker(["login", "-u", "user", "--password-stdin", registry.host], { stdin: "wrong" });
  expect(wrong.stderr).toContain("incorrect username or password");

  issuer.asked.length = 0;
  const login = await berth.docker(["login", "-u", "user", "--password-stdin", registry.host], { stdin: "secret" });
  expect(login.stdout).toContain("Login Succeeded");
  const kept: unknown = JSON.parse(readFileSync(join(berth.directory, "docker-config/config.json"), "utf8"));
  expect(kept).toMatchObject({ auths: { [registry.host]: { identitytoken: issuer.identity } } });
  expect(await berth.dockerOK("pull", `${registry.host}/private/tool:1`)).toContain("Downloaded newer image");
  expect(issuer.asked).toContain("POST user repository:private/tool:pull");
  await berth.dockerOK("logout", registry.host);
});

test("a mirror of the default registry serves its images under their own names", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5001 });
  await fill(registry.host, "library/mirrored:1");
  expect(await berth.dockerOK("pull", "mirrored:1")).toContain("Downloaded newer image for mirrored:1");
  expect(await berth.dockerOK("run", "--rm", "mirrored:1", "echo", "from the mirror")).toBe("from the mirror");
  expect(await berth.dockerOK("info", "--format", "{{json .RegistryConfig.Mirrors}}")).toBe(
    '["http://127.0.0.1:5001/"]',
  );
});

test("skopeo copies an image out of the daemon and back into it, and it is the same", async () => {
  await using relay = await oldClientsRelay();
  const copy = join(berth.directory, "copy");
  const id = await berth.dockerOK("images", "-q", "--no-trunc", "busybox");
  await skopeo("copy", "-q", "--src-daemon-host", relay.host, "docker-daemon:busybox:latest", `dir:${copy}`);
  const config: unknown = JSON.parse(await skopeo("inspect", "--config", `dir:${copy}`));
  expect(config).toMatchObject({ os: "linux", rootfs: { type: "layers" } });
  await skopeo("copy", "-q", "--dest-daemon-host", relay.host, `dir:${copy}`, "docker-daemon:again:1");
  expect(await berth.dockerOK("images", "-q", "--no-trunc", "again:1")).toBe(id);
  expect(await berth.dockerOK("run", "--rm", "again:1", "echo", "back")).toBe("back");
});

/** skopeo before 1.14 asks in version 1.22, which every Docker Engine since 25 refuses as we do; here it means 1.24. */
async function oldClientsRelay(): Promise<AsyncDisposable & { host: string }> {
  const path = join(berth.directory, "relay.sock");
  const server = createServer((client) => {
    const engine = connect(berth.socket);
    client.on("data", (chunk: Buffer) => {
      const isHead = /^(GET|HEAD|POST) \/v1\.22\//.test(chunk.subarray(0, 16).toString("latin1"));
      engine.write(isHead ? Buffer.from(chunk.toString("latin1").replace("/v1.22/", "/v1.24/"), "latin1") : chunk);
    });
    client.on("end", () => engine.end());
    client.on("error", () => engine.destroy());
    engine.on("error", () => client.destroy());
    engine.pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    host: `unix://${path}`,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

test("two pulls of one image at once ask for each blob once", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5001 });
  await fill(registry.host, "library/twice:1");
  for (const name of ["twice:1", "mirrored:1"]) await berth.docker(["rmi", "-f", name]);
  const pulls = await Promise.all(
    Array.from({ length: 3 }, () => run(["docker", "pull", "twice:1"], { env: berth.clientEnv })),
  );
  expect(pulls.map(({ code }) => code)).toEqual([0, 0, 0]);
});
