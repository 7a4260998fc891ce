// Datagrams to a log receiver over UDP. A receiver that is not there is not noticed, as UDP has it.
import { createSocket, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { lookup } from "node:dns/promises";
import { TooLargeError, type Transport } from "./mod.ts";

/** What an IPv4 packet has room for behind its own head and UDP's (udp(7)). */
const MAX_DATAGRAM_BYTES = 65_507;

export class Datagrams {
  #socket: Socket | null = null;
  #address = "";

  constructor(private readonly transport: Transport) {}

  async send(bytes: Uint8Array): Promise<void> {
    const socket = this.#socket ?? (await this.#open());
    if (bytes.length > MAX_DATAGRAM_BYTES) throw new TooLargeError(`a datagram of ${bytes.length} bytes`);
    await new Promise<void>((resolve, reject) => {
      socket.send(bytes, this.transport.port, this.#address, (error) => (error ? reject(error) : resolve()));
    });
  }

  close(): void {
    this.#socket?.close();
    this.#socket = null;
  }

  async #open(): Promise<Socket> {
    this.#address = (await lookup(this.transport.host)).address;
    const socket = createSocket(isIPv6(this.#address) ? "udp6" : "udp4");
    // An answer of ICMP "nobody there" comes with a later datagram; the name may have another address by then.
    socket.on("error", () => this.close());
    socket.unref();
    this.#socket = socket;
    return socket;
  }
}
