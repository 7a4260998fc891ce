// `bun boxes.ts SOCKET DIRECTORY`: a volume plugin as an administrator would run one. Each volume is a directory that is
// bound to its mount point while somebody uses it. Every call is written to DIRECTORY/calls, a line each.
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:http";
import process from "node:process";

const [socket = "", directory = ""] = process.argv.slice(2);
const boxes = `${directory}/boxes`;
const mounts = `${directory}/mounts`;
for (const path of [boxes, mounts]) mkdirSync(path, { recursive: true });
/** Who has which volume mounted. */
const users = new Map<string, Set<string>>();

interface Call {
  Name?: string;
  ID?: string;
  Opts?: Record<string, string> | null;
}

const volume = (name: string): object => ({
  Name: name,
  Mountpoint: users.get(name)?.size ? `${mounts}/${name}` : "",
  CreatedAt: statSync(`${boxes}/${name}`).mtime.toISOString(),
  Status: { color: "blue" },
});

const methods: Record<string, (call: Call) => object> = {
  "/Plugin.Activate": () => ({ Implements: ["VolumeDriver"] }),
  "/VolumeDriver.Capabilities": () => ({ Capabilities: { Scope: "global" } }),
  "/VolumeDriver.Create": ({ Name = "", Opts }) => {
    if (Opts?.["color"] === "red") return { Err: "red boxes are sold out" };
    mkdirSync(`${boxes}/${Name}`, { recursive: true });
    return {};
  },
  "/VolumeDriver.Remove": ({ Name = "" }) => {
    rmSync(`${boxes}/${Name}`, { recursive: true });
    return {};
  },
  "/VolumeDriver.Get": ({ Name = "" }) =>
    existsSync(`${boxes}/${Name}`) ? { Volume: volume(Name) } : { Err: `no box is called ${Name}` },
  "/VolumeDriver.List": () => ({ Volumes: readdirSync(boxes).map(volume) }),
  "/VolumeDriver.Path": ({ Name = "" }) => ({ Mountpoint: `${mounts}/${Name}` }),
  "/VolumeDriver.Mount": ({ Name = "", ID = "" }) => {
    const mine = users.get(Name) ?? new Set();
    users.set(Name, mine);
    mkdirSync(`${mounts}/${Name}`, { recursive: true });
    if (mine.size === 0) run("mount", "--bind", `${boxes}/${Name}`, `${mounts}/${Name}`);
    mine.add(ID);
    return { Mountpoint: `${mounts}/${Name}` };
  },
  "/VolumeDriver.Unmount": ({ Name = "", ID = "" }) => {
    if (users.get(Name)?.delete(ID) && users.get(Name)?.size === 0) run("umount", `${mounts}/${Name}`);
    return {};
  },
};

function run(...command: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync(command);
  if (exitCode !== 0) throw new Error(stderr.toString());
}

createServer((request, response) => {
  let text = "";
  request.on("data", (part: Buffer) => (text += part.toString()));
  request.on("end", () => {
    const call = JSON.parse(text) as Call;
    appendFileSync(`${directory}/calls`, `${request.url} ${call.Name ?? ""}\n`);
    const method = methods[request.url ?? ""];
    const reply = method === undefined ? null : method(call);
    response.writeHead(reply === null ? 404 : "Err" in reply ? 500 : 200);
    response.end(JSON.stringify(reply ?? { Err: "unknown" }));
  });
}).listen(socket);
