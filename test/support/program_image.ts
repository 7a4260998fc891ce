// Images of real servers, made of this machine's own programs: each with the libraries it loads, some files and busybox.
import { readFileSync } from "node:fs";
import { dirname } from "node:path";
import { run, type TestDaemon } from "./daemon.ts";
import { directory, dockerArchive, file, imageOf, type LayerEntry, layerOf, symlink } from "./images.ts";

export interface ProgramImage {
  name: string;
  /** Paths of executables on this machine; in the image they lie where they lie here. */
  programs: readonly string[];
  files?: Readonly<Record<string, string>>;
  /** Empty directories. */
  directories?: readonly string[];
  config?: Record<string, unknown>;
}

/** Makes the image and loads it into a test's daemon. */
export async function loadPrograms(daemon: TestDaemon, image: ProgramImage): Promise<void> {
  const contents = new Map<string, LayerEntry>();
  const add = (path: string, content: Uint8Array | string, mode: number): void => {
    for (let parent = dirname(path); parent !== "/"; parent = dirname(parent)) addDirectory(parent);
    contents.set(path, file(path.slice(1), content, mode));
  };
  const addDirectory = (path: string): void => {
    if (!contents.has(path)) contents.set(path, directory(path.slice(1)));
  };
  for (const path of ["/tmp", "/var", "/run", "/etc", ...(image.directories ?? [])]) addDirectory(path);
  for (const program of image.programs) {
    add(program, readFileSync(program), 0o755);
    for (const library of await librariesOf(program)) add(library, readFileSync(library), 0o755);
  }
  add("/bin/busybox", readFileSync("/bin/busybox"), 0o755);
  contents.set("/bin/sh", symlink("bin/sh", "busybox"));
  add("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644);
  add("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644);
  for (const [path, content] of Object.entries(image.files ?? {})) add(path, content, 0o644);
  const entries = [...contents.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
  const made = imageOf([layerOf(entries)], { config: { Cmd: null, ...image.config } });
  const loaded = await daemon.request("POST", "/images/load", {
    body: dockerArchive(made, [image.name]),
    headers: { "content-type": "application/x-tar" },
  });
  if (!loaded.ok) throw new Error(`cannot load ${image.name}: ${await loaded.text()}`);
  await loaded.text();
}

/** What the dynamic linker says it would load, itself included. */
async function librariesOf(program: string): Promise<string[]> {
  const listed = await run(["ldd", program]);
  return [...listed.stdout.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path = ""]) => path);
}
