// Images: load and save, pull from Debian's docker-registry (plain, TLS, with a login), tags, removal, history; skopeo as the
// independent client that puts images into the registry.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { busyboxArchive, loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon } from "../support/daemon.ts";
import { DockerRegistry } from "../support/docker_registry.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

/** Copies the busybox archive into a registry with skopeo, layers compressed. */
async function fill(host: string, name: string, ...flags: string[]): Promise<void> {
  const source = `docker-archive:${await busyboxArchive()}`;
  const ran = await berth.inside([
    "skopeo",
    "copy",
    "-q",
    "--dest-tls-verify=false",
    ...flags,
    source,
    `docker://${host}/${name}`,
  ]);
  if (ran.code !== 0) throw new Error(ran.stderr);
}

test("docker images, inspect, history and tag", async () => {
  expect(await berth.dockerOK("images", "--format", "{{.Repository}}:{{.Tag}}")).toBe("busybox:latest");
  const image = JSON.parse(await berth.dockerOK("image", "inspect", "busybox"))[0];
  expect(image).toMatchObject({ RepoTags: ["busybox:latest"], Os: "linux", RootFS: { Type: "layers" } });
  expect(image.Id).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(image.Size).toBeGreaterThan(1_000_000);
  expect(await berth.dockerOK("history", "--format", "{{.CreatedBy}}", "busybox")).toBe("busybox");
  await berth.dockerOK("tag", "busybox", "example.test:5000/team/tool:v1");
  expect(await berth.dockerOK("images", "-q", "example.test:5000/team/tool")).toBe(image.Id.slice(7, 19));
  expect(await berth.dockerOK("rmi", "example.test:5000/team/tool:v1")).toBe(
    "Untagged: example.test:5000/team/tool:v1",
  );
});

test("pull over plain HTTP, by tag and by digest, and again", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5000 });
  await fill(registry.host, "busybox:latest");
  const pulled = await berth.dockerOK("pull", `${registry.host}/busybox`);
  expect(pulled).toContain(`Status: Downloaded newer image for ${registry.host}/busybox:latest`);
  const digest = /Digest: (sha256:[0-9a-f]{64})/.exec(pulled)?.[1];
  expect(await berth.dockerOK("run", "--rm", `${registry.host}/busybox`, "echo", "pulled")).toBe("pulled");
  expect(await berth.dockerOK("pull", `${registry.host}/busybox`)).toContain("Status: Image is up to date");
  expect(await berth.dockerOK("pull", `${registry.host}/busybox@${digest}`)).toContain(`Digest: ${digest}`);
  expect(
    await berth.dockerOK(
      "image",
      "inspect",
      `${registry.host}/busybox@${digest}`,
      "--format",
      "{{index .RepoDigests 0}}",
    ),
  ).toBe(`${registry.host}/busybox@${digest}`);
  const missing = await berth.docker(["pull", `${registry.host}/busybox:nope`]);
  expect(missing.code).toBe(1);
  expect(missing.stderr).toContain("manifest for");
  expect((await berth.docker(["pull", `${registry.host}/nothing`])).stderr).toMatch(/not found|pull access denied/);
});

test("pull draws moving progress bars on a terminal", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5000 });
  await fill(registry.host, "fresh:latest", "--dest-compress-format", "zstd");
  await berth.docker(["rmi", "-f", `${registry.host}/busybox`, "busybox"]);
  const shown = await run(["script", "-qec", `docker pull ${registry.host}/fresh`, "/dev/null"], {
    env: berth.clientEnv,
  });
  expect(shown.stdout).toContain("Pulling fs layer");
  expect(shown.stdout).toContain("Pull complete");
  expect(await berth.dockerOK("run", "--rm", `${registry.host}/fresh`, "echo", "zstd too")).toBe("zstd too");
  await loadBusybox(berth);
});

test("pull over TLS and with a login", async () => {
  await using registry = await DockerRegistry.start(berth, {
    port: 5443,
    tls: true,
    login: { username: "user", password: "secret" },
  });
  await fill(registry.host, "private:1", "--dest-creds", "user:secret");
  const refused = await berth.docker(["pull", `${registry.host}/private:1`]);
  expect(refused.stderr).toContain("pull access denied");
  const login = await berth.docker(["login", "-u", "user", "--password-stdin", registry.host], { stdin: "secret" });
  expect(login.stdout).toContain("Login Succeeded");
  expect(
    (await berth.docker(["login", "-u", "user", "--password-stdin", registry.host], { stdin: "wrong" })).code,
  ).toBe(1);
  expect(await berth.dockerOK("pull", `${registry.host}/private:1`)).toContain("Downloaded newer image");
});

test("save and load give the same image, and skopeo reads what was saved", async () => {
  const id = await berth.dockerOK("images", "-q", "--no-trunc", "busybox");
  const file = join(berth.directory, "saved.tar");
  await berth.dockerOK("save", "-o", file, "busybox");
  mkdirSync(join(berth.directory, "copied"));
  const copied = await run([
    "skopeo",
    "copy",
    "-q",
    `docker-archive:${file}`,
    `dir:${join(berth.directory, "copied")}`,
  ]);
  expect(copied.stderr).toBe("");
  await berth.dockerOK("rmi", "-f", "busybox");
  expect((await berth.docker(["image", "inspect", "busybox"])).stderr).toContain("No such image: busybox");
  expect(await berth.dockerOK("load", "-i", file)).toBe("Loaded image: busybox:latest");
  expect(await berth.dockerOK("images", "-q", "--no-trunc", "busybox")).toBe(id);
});

test("an image in use is not removed, an unused one is, and prune frees it", async () => {
  // Under its one name only: an image with several loses just the name.
  await berth.dockerOK("image", "prune", "-af");
  await loadBusybox(berth);
  await berth.dockerOK("create", "--name", "user", "busybox", "true");
  const refused = await berth.docker(["rmi", "busybox"]);
  expect(refused.stderr).toContain('conflict: unable to remove repository reference "busybox" (must force)');
  const id = await berth.dockerOK("images", "-q", "busybox");
  expect((await berth.docker(["rmi", id])).stderr).toContain("image is being used by stopped container");
  await berth.dockerOK("rm", "user");
  expect(await berth.dockerOK("rmi", "-f", "busybox")).toContain("Deleted: sha256:");
  await loadBusybox(berth);
  expect(await berth.dockerOK("image", "prune", "-af")).toContain("Total reclaimed space");
  expect(await berth.dockerOK("images", "-q")).toBe("");
  await loadBusybox(berth);
});

test("an image for another platform is refused, or warned of", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5000 });
  await fill(registry.host, "busybox:latest");
  const refused = await berth.docker(["pull", "--platform", "linux/arm64", `${registry.host}/busybox`]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("does not provide the specified platform (linux/arm64)");
});
