// Forgets connections that the kernel still translates to a container that has gone: a UDP client that goes on sending would
// reach nobody, or whoever is given the address next. See linux/netfilter/nfnetlink_conntrack.h.
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import { AF, IPPROTO } from "../sys/socket.ts";
import { type Address, addressBytes } from "./address.ts";
import { type MessageWriter, type NetlinkSocket, parseAttributes } from "./netlink.ts";

const CT_GET = (1 << 8) | 1,
  CT_DELETE = (1 << 8) | 2;
const NLA_F_NESTED = 0x8000;
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, FILTER: 25 } as const;
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const;
const CTA_IP_SRC = { 4: 1, 6: 3 } as const;
const CTA_PROTO_NUM = 1;
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const;
const BY_SOURCE = 1 << 0,
  BY_PROTOCOL = 1 << 3;

/** Deletes the entries of UDP flows that a container at this address answers. A kernel without connection tracking has none. */
export function forgetDatagrams(netlink: NetlinkSocket, target: Address): void {
  try {
    netlink.request("forget UDP flows", CT_DELETE, 0, (w) => answeredBy(w, target));
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    // Before Linux 6.8 a deletion takes no filter, only a listing does: there it is one after the other.
    forgetEach(netlink, target);
  }
}

function forgetEach(netlink: NetlinkSocket, target: Address): void {
  try {
    for (const { payload } of netlink.dump("list UDP flows", CT_GET, (w) => answeredBy(w, target))) {
      const original = parseAttributes(payload.subarray(NFGENMSG_BYTES)).get(CTA.TUPLE_ORIG);
      if (original !== undefined) forgetOne(netlink, target, original);
    }
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
  }
}

/** By its original tuple, as the listing has it. It may have ended meanwhile. */
function forgetOne(netlink: NetlinkSocket, target: Address, original: Uint8Array): void {
  try {
    netlink.request("forget a UDP flow", CT_DELETE, 0, (w) => {
      header(w, target);
      w.attribute(CTA.TUPLE_ORIG | NLA_F_NESTED, original);
    });
  } catch (error) {
    if (!(error instanceof SyscallError && error.errno === E.ENOENT)) throw error;
  }
}

function answeredBy(w: MessageWriter, target: Address): void {
  header(w, target);
  w.nest(CTA.TUPLE_REPLY, () => {
    w.nest(CTA_TUPLE.IP, () => w.attribute(CTA_IP_SRC[target.family], addressBytes(target)));
    w.nest(CTA_TUPLE.PROTO, () => w.attribute8(CTA_PROTO_NUM, IPPROTO.UDP));
  });
  w.nest(CTA.FILTER, () => {
    w.attribute32(CTA_FILTER.ORIG_FLAGS, 0).attribute32(CTA_FILTER.REPLY_FLAGS, BY_SOURCE | BY_PROTOCOL);
  });
}

/** struct nfgenmsg {u8 family, u8 version, u16 res_id}. */
function header(w: MessageWriter, target: Address): void {
  w.u8(target.family === 4 ? AF.INET : AF.INET6)
    .u8(0)
    .u16(0);
}
const NFGENMSG_BYTES = 4;
