// Hears of it when another program takes nf_tables rules away: `nft flush ruleset`, a firewall service that starts again. By
// the kernel's own notices (nfnetlink multicast, linux/netfilter/nfnetlink.h), so nothing is polled.
import { SyscallError } from "../errors.ts";
import { createPoller } from "../stdio/poller.ts";
import { E } from "../sys/errno.ts";
import { alloc } from "../sys/ffi.ts";
import { AF, bindNetlink, openSocket, receive, SOCK } from "../sys/socket.ts";
import { attributeText, type Message, NETLINK, parseAttributes, parseMessages } from "./netlink.ts";

const NFNLGRP_NFTABLES = 7;
const SUBSYSTEM = 10;
const DELETED_TABLE = (SUBSYSTEM << 8) | 2,
  DELETED_CHAIN = (SUBSYSTEM << 8) | 5,
  DELETED_RULE = (SUBSYSTEM << 8) | 8;
/** struct nfgenmsg. */
const HEADER_BYTES = 4;
const TABLE_NAME = 1;
/** A transaction's notices come one by one, each far smaller. */
const NOTICE_BYTES = 64 << 10;

export interface Watched {
  /** Of this table nothing may go. */
  own: string;
  /** This one is only to be there; what it holds is its owner's business. */
  kept: string;
  /** Whether a socket with this port number is ours: it may delete what it likes. */
  isOurs(port: number): boolean;
}

/**
 * Calls `onLost` when something was deleted, or when notices were dropped and nobody can tell. Several times for one deletion;
 * the callee waits until it is over.
 */
export function watchTables(watched: Watched, onLost: () => void): Disposable {
  using undo = new DisposableStack();
  const socket = undo.use(openSocket(AF.NETLINK, SOCK.RAW | SOCK.NONBLOCK, NETLINK.NETFILTER));
  bindNetlink(socket, 1 << (NFNLGRP_NFTABLES - 1));
  const poller = undo.adopt(createPoller(onLost), (open) => open.close());
  const watch = undo.adopt(poller.watch(socket), (open) => open.close());
  const buffer = alloc(NOTICE_BYTES);
  watch.onReadable(() => {
    try {
      for (let length = receive(socket, buffer); length !== null; length = receive(socket, buffer)) {
        if (parseMessages(buffer.subarray(0, length)).some((notice) => isLoss(notice, watched))) onLost();
      }
    } catch (error) {
      if (!(error instanceof SyscallError && (error.errno === E.ENOBUFS || error.errno === E.EPROTO))) throw error;
      onLost();
    }
  });
  return undo.move();
}

function isLoss({ type, port, payload }: Message, watched: Watched): boolean {
  if ((type !== DELETED_TABLE && type !== DELETED_CHAIN && type !== DELETED_RULE) || watched.isOurs(port)) return false;
  const table = attributeText(parseAttributes(payload.subarray(HEADER_BYTES)).get(TABLE_NAME));
  return table === watched.own || (type === DELETED_TABLE && table === watched.kept);
}
