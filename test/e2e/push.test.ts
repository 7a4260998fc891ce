// docker push to Debian's docker-registry: plain, and with a login; skopeo and a second berth's store as the other clients.
// Digests stay what they are on every way: load, push, pull, save.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadBusybox } from "../support/busybox.ts";
import { run, TestDaemon } from "../support/daemon.ts";
import { DockerRegistry } from "../support/docker_registry.ts";
import { file, imageOf, layerOf, ociArchive } from "../support/images.ts";

let berth: TestDaemon;
beforeAll(async () => {
  berth = await TestDaemon.start();
  await loadBusybox(berth);
});
afterAll(async () => await berth[Symbol.asyncDispose]());

async function skopeo(...args: string[]): Promise<string> {
  const ran = await berth.inside(["skopeo", ...args]);
  if (ran.code !== 0) throw new Error(`skopeo ${args.join(" ")}: ${ran.stderr}`);
  return ran.stdout;
}

test("a pushed image is drawn as Docker does, and is what skopeo and a later pull find", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5000 });
  const name = `${registry.host}/team/tool:1`;
  await berth.dockerOK(
    "run",
    "--name",
    "maker",
    "busybox",
    "sh",
    "-c",
    "head -c 3000000 /dev/urandom > /big; echo 1 > /one",
  );
  await berth.dockerOK("commit", "-c", 'CMD ["cat", "/one"]', "maker", name);
  await berth.dockerOK("rm", "maker");
  const pushed = (await berth.dockerOK("push", name)).split("\n");
  const [, digest = ""] = /^1: digest: (sha256:[0-9a-f]{64}) size: \d+$/.exec(pushed.at(-1) ?? "") ?? [];
  expect(pushed[0]).toBe(`The push refers to repository [${registry.host}/team/tool]`);
  const layers = JSON.parse(
    await berth.dockerOK("image", "inspect", name, "-f", "{{json .RootFS.Layers}}"),
  ) as string[];
  const ids = layers.map((layer) => layer.slice("sha256:".length, "sha256:".length + 12)).toReversed();
  expect(pushed.slice(1, 3)).toEqual(ids.map((id) => `${id}: Preparing`));
  expect(pushed.slice(3, -1).toSorted()).toEqual(ids.map((id) => `${id}: Pushed`).toSorted());

  // The other client reads it, and every digest holds.
  const inspected = JSON.parse(await skopeo("inspect", "--tls-verify=false", `docker://${name}`));
  expect([inspected.Digest, inspected.Layers.length]).toEqual([digest, 2]);
  await skopeo("copy", "-q", "--src-tls-verify=false", `docker://${name}`, `oci:${berth.directory}/copied:1`);

  // Again: everything is there. Under another name: nothing is sent twice.
  const again = await berth.dockerOK("push", name);
  for (const id of ids) expect(again).toContain(`${id}: Layer already exists`);
  await berth.dockerOK("tag", name, `${registry.host}/other/tool:2`);
  const mounted = await berth.dockerOK("push", `${registry.host}/other/tool:2`);
  for (const id of ids) expect(mounted).toContain(`${id}: Mounted from team/tool`);
  expect(mounted).toContain(`2: digest: ${digest} size: `);

  // The digest is a name now, and all of it comes back.
  const id = await berth.dockerOK("image", "inspect", name, "-f", "{{.Id}}");
  expect(await berth.dockerOK("image", "inspect", `${registry.host}/team/tool@${digest}`, "-f", "{{.Id}}")).toBe(id);
  await berth.dockerOK("rmi", "-f", id);
  expect(await berth.dockerOK("pull", name)).toContain(`Digest: ${digest}`);
  expect(await berth.dockerOK("image", "inspect", name, "-f", "{{.Id}}")).toBe(id);
  expect(await berth.dockerOK("run", "--rm", name)).toBe("1");
});

test.each(["tar", "gzip", "zstd"] as const)("an image loaded with %s layers keeps its digests", async (form) => {
  await using registry = await DockerRegistry.start(berth, { port: 5001 });
  const image = imageOf([layerOf([file("a", "x".repeat(100_000))], form), layerOf([file("b", "y")], form)]);
  const name = `${registry.host}/kept:${form}`;
  const path = join(berth.directory, "kept.tar");
  writeFileSync(path, ociArchive(image, [name]));
  await berth.dockerOK("load", "-i", path);
  const pushed = await berth.dockerOK("push", name);
  const digest = new Bun.CryptoHasher("sha256").update(image.manifest).digest("hex");
  expect(pushed).toContain(`${form}: digest: sha256:${digest} size: ${image.manifest.length}`);
  await berth.dockerOK("rmi", name);
  await berth.dockerOK("pull", name);
  await berth.dockerOK("save", "-o", path, name);
  const blobs = (await run(["tar", "-tf", path])).stdout;
  for (const each of [digest, image.id.slice(7), ...image.layers.map((layer) => layer.digest.slice(7))])
    expect(blobs).toContain(`blobs/sha256/${each}\n`);
});

test("an image in Docker's own media types keeps them", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5002 });
  const from = `${registry.host}/first:1`;
  await berth.dockerOK("save", "-o", join(berth.directory, "busybox.tar"), "busybox");
  const source = `docker-archive:${berth.directory}/busybox.tar:busybox:latest`;
  await skopeo("copy", "-q", "--format", "v2s2", "--dest-tls-verify=false", source, `docker://${from}`);
  const digest = /Digest: (sha256:[0-9a-f]{64})/.exec(await berth.dockerOK("pull", from))?.[1];
  await berth.dockerOK("tag", from, `${registry.host}/second:1`);
  expect(await berth.dockerOK("push", `${registry.host}/second:1`)).toContain(`1: digest: ${digest} size: `);
  const raw = JSON.parse(await skopeo("inspect", "--raw", "--tls-verify=false", `docker://${registry.host}/second:1`));
  expect(raw.mediaType).toBe("application/vnd.docker.distribution.manifest.v2+json");
});

test("a tree with every feature survives commit, push, pull and save; umoci unpacks the same", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5005 });
  const name = `${registry.host}/tree:1`;
  const make = [
    "mkdir -p /t/a /t/b && cd /t && echo shared > a/one && ln a/one b/two && ln -s ../a/one b/link",
    "mkfifo -m 640 pipe && mknod -m 600 disk b 7 300 && cp /bin/busybox suid && chmod 4755 suid && mkdir -m 1777 sticky",
    `mkdir ${"d".repeat(150)} && echo long > ${"d".repeat(150)}/${"f".repeat(150)} && chown 70000:3000000 a`,
    "touch -d '2001-02-03 04:05:06' a/one && head -c 2000000 /dev/zero > sparse && rm -r /www && mkdir /www && rm /etc/group",
  ].join(" && ");
  await berth.dockerOK("run", "--name", "tree", "busybox", "sh", "-c", make);
  const look = [
    "cd /t; find . | sort | xargs stat -c '%n %F %a %u:%g %h %Y %t:%T'",
    "cat a/one b/link d*/f*; cat sparse suid | sha256sum; ls -a /www; ls /etc",
  ].join("; ");
  const before = await berth
    .dockerOK("commit", "tree", name)
    .then(() => berth.dockerOK("run", "--rm", name, "sh", "-c", look));
  expect(before).toContain("./suid regular file 4755 0:0 1");
  expect(before).toContain("./a/one regular file 644 0:0 2 981173106");
  await berth.dockerOK("push", name);
  await berth.dockerOK("rm", "tree");
  await berth.dockerOK("rmi", name);
  await berth.dockerOK("pull", "-q", name);
  expect(await berth.dockerOK("run", "--rm", name, "sh", "-c", look)).toBe(before);
  const layout = `${berth.directory}/tree`;
  await skopeo("copy", "-q", "--src-tls-verify=false", `docker://${name}`, `oci:${layout}:1`);
  const unpacked = await run(["umoci", "unpack", "--image", `${layout}:1`, `${berth.directory}/bundle`]);
  expect([unpacked.code, unpacked.stderr]).toEqual([0, expect.any(String)]);
  const root = `${berth.directory}/bundle/rootfs`;
  const theirs = await run(["chroot", root, "/bin/busybox", "sh", "-c", look]);
  // The files that an engine mounts are not in the image.
  const bare = (text: string): string => text.replace(/^(hostname|hosts|resolv\.conf)\n?/gm, "").trim();
  expect(bare(theirs.stdout)).toBe(bare(before));
});

test("all tags of a repository, and the event of a push", async () => {
  await using registry = await DockerRegistry.start(berth, { port: 5003 });
  for (const tag of ["a", "b"]) await berth.dockerOK("tag", "busybox", `${registry.host}/all:${tag}`);
  const since = String(Date.now() / 1000);
  const pushed = await berth.dockerOK("push", "-a", `${registry.host}/all`);
  expect(pushed.match(/^[ab]: digest: /gm)).toEqual(["a: digest: ", "b: digest: "]);
  const until = String(Date.now() / 1000 + 0.1);
  const format = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}";
  expect(await berth.dockerOK("events", "--since", since, "--until", until, "--format", format)).toBe(
    `push ${registry.host}/all ${registry.host}/all`,
  );
  const listed = JSON.parse(await skopeo("list-tags", "--tls-verify=false", `docker://${registry.host}/all`));
  expect(listed.Tags.toSorted()).toEqual(["a", "b"]);
  // A search looks through the same registry's catalogue.
  const found = await berth.dockerOK("search", "--format", "{{.Name}}", `${registry.host}/al`);
  expect(found).toBe(`${registry.host}/all`);
});

test("a registry with a login takes only those who have one", async () => {
  await using registry = await DockerRegistry.start(berth, {
    port: 5004,
    login: { username: "u", password: "secret" },
  });
  const name = `${registry.host}/private:1`;
  await berth.dockerOK("tag", "busybox", name);
  const refused = await berth.docker(["push", name]);
  expect([refused.code, refused.stderr]).toEqual([1, "no basic auth credentials\n"]);
  await berth.dockerOK("login", "-u", "u", "-p", "secret", registry.host);
  expect(await berth.dockerOK("push", name)).toContain("1: digest: sha256:");
  await skopeo("inspect", "--tls-verify=false", "--creds", "u:secret", `docker://${name}`);
});

test("what is not there is told as Docker tells it", async () => {
  const told = async (...args: string[]): Promise<string[]> => {
    const { code, stdout, stderr } = await berth.docker(["push", ...args]);
    expect(code).toBe(1);
    return [...stdout.trim().split("\n"), stderr.trim()];
  };
  expect(await told("nosuch")).toEqual([
    "Using default tag: latest",
    "The push refers to repository [docker.io/library/nosuch]",
    "An image does not exist locally with the tag: nosuch",
  ]);
  await berth.dockerOK("tag", "busybox", "localhost:5999/a/b:1");
  expect(await told("localhost:5999/a/b:2")).toEqual([
    "The push refers to repository [localhost:5999/a/b]",
    "tag does not exist: localhost:5999/a/b:2",
  ]);
  expect((await told("localhost:5999/a/b:1")).at(-1)).toContain("connection refused");
  const query = 'tag=1&platform={"os":"linux","architecture":"s390x"}';
  const other = await berth.request("POST", `/images/localhost:5999/a/b/push?${query}`);
  expect([other.status, await other.json()]).toEqual([
    404,
    {
      message: expect.stringMatching(
        /was found but its platform \(linux\/\w+\) does not match the specified platform \(linux\/s390x\)/,
      ),
    },
  ]);
});
