// An upstream DNS server for tests, run by `bun` in the network namespace that is meant: `dns_upstream.ts ADDRESS…`. It prints
// one line for each query: `udp 10.0.0.1 web.example 1`. What it answers is in the name asked for:
//   nx.…       NXDOMAIN        refused.…  REFUSED        failed.…  SERVFAIL        silent.…  nothing
//   big.…      40 addresses: cut over UDP unless the client takes more, whole over TCP
//   other      192.0.2.<last number of the server's address>, to questions for A; nothing to others
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import process from "node:process";
import { type Answer, encodeAnswer, parseQuery, RCODE, TYPE } from "../../runtime/dns/message.ts";

const CODES: Readonly<Record<string, number>> = {
  nx: RCODE.NXDOMAIN,
  refused: RCODE.REFUSED,
  failed: RCODE.SERVFAIL,
};
const BIG_ANSWERS = 40;

function answerTo(bytes: Uint8Array, address: string, transport: "udp" | "tcp"): Uint8Array | null {
  const query = parseQuery(bytes);
  if (query === null || !("name" in query)) return null;
  console.log(`${transport} ${address} ${query.name} ${query.type}`);
  const [first = ""] = query.name.split(".");
  if (first === "silent") return null;
  const last = Number(address.split(".").at(-1));
  const count = query.type !== TYPE.A || first in CODES ? 0 : first === "big" ? BIG_ANSWERS : 1;
  const answers = Array.from({ length: count }, (_, index): Answer => {
    return { type: TYPE.A, ttlSec: 60, data: Uint8Array.of(192, 0, count === 1 ? 2 : index, last) };
  });
  const maxBytes = transport === "udp" ? query.udpBytes : 65_535;
  return encodeAnswer(bytes, query, answers, { rcode: CODES[first] ?? RCODE.NOERROR, maxBytes });
}

for (const address of process.argv.slice(2)) {
  const socket = createSocket("udp4");
  socket.on("message", (bytes, peer) => {
    const reply = answerTo(bytes, address, "udp");
    if (reply !== null) socket.send(reply, peer.port, peer.address);
  });
  socket.bind(53, address, () => console.log(`serving ${address}`));
  createServer((client) => {
    client.on("error", () => {});
    client.on("data", (chunk) => {
      const reply = answerTo(Uint8Array.from(Buffer.from(chunk)).subarray(2), address, "tcp");
      if (reply !== null) client.write(Uint8Array.of(reply.length >> 8, reply.length & 0xff, ...reply));
    });
  }).listen(53, address);
}
