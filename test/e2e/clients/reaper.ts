// The image that testcontainers starts to clean up after it, as far as it needs one: it listens on 8080, is told filters a
// line at a time and answers ACK; when the last client has gone it removes what carries those labels.
import { connect, createServer } from "node:net";
import process from "node:process";

const SOCKET = "/var/run/docker.sock";
const filters = new Set<string>();
let clients = 0;

function ask(method: string, path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect(SOCKET);
  let reply = "";
  socket.on("data", (part) => (reply += part.toString()));
  socket.on("end", () => resolve(reply.slice(reply.indexOf("\r\n\r\n") + 4)));
  socket.on("error", reject);
  socket.end(`${method} ${path} HTTP/1.0\r\nHost: engine\r\n\r\n`);
  return promise;
}

/** What the API lists as an array, or under a name. */
async function listed(path: string, filter: string): Promise<Record<string, string>[]> {
  const reply: unknown = JSON.parse(await ask("GET", `${path}?all=1&filters=${encodeURIComponent(filter)}`));
  if (Array.isArray(reply)) return reply as Record<string, string>[];
  return ((reply as Record<string, unknown>)["Volumes"] ?? []) as Record<string, string>[];
}

async function reap(): Promise<void> {
  for (const line of filters) {
    const labels = new URLSearchParams(line).getAll("label");
    const filter = JSON.stringify({ label: labels });
    for (const { Id, Names } of await listed("/containers/json", filter)) {
      // Itself has the label, too.
      if (!/ryuk/.test(String(Names))) await ask("DELETE", `/containers/${Id}?force=1&v=1`);
    }
    for (const { Id } of await listed("/networks", filter)) await ask("DELETE", `/networks/${Id}`);
    for (const { Name } of await listed("/volumes", filter)) await ask("DELETE", `/volumes/${Name}?force=1`);
  }
  process.exit(0);
}

createServer((socket) => {
  clients++;
  let rest = "";
  socket.on("data", (part) => {
    const lines = (rest + part.toString()).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      filters.add(line.trim());
      socket.write("ACK\n");
    }
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    if (--clients === 0) void reap();
  });
}).listen(8080, () => console.log("Started!"));
