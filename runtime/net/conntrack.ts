// Forgets connections that the kernel still translates to a container that has gone: a UDP client that goes on sending would
// reach nobody, or whoever is given the address next. See linux/netfilter/nfnetlink_conntrack.h.
import { SyscallError } from "../errors.ts";
import { AF, IPPROTO } from "../sys/socket.ts";
import { type Address, addressBytes } from "./address.ts";
import type { NetlinkSocket } from "./netlink.ts";

const CT_DELETE = (1 << 8) | 2;
const CTA = { TUPLE_REPLY: 2, FILTER: 25 } as const;
const CTA_TUPLE = { IP: 1, PROTO: 2 } as const;
const CTA_IP_SRC = { 4: 1, 6: 3 } as const;
const CTA_PROTO_NUM = 1;
const CTA_FILTER = { ORIG_FLAGS: 1, REPLY_FLAGS: 2 } as const;
const BY_SOURCE = 1 << 0,
  BY_PROTOCOL = 1 << 3;

/** Deletes the entries of UDP flows that a container at this address answers. A kernel that cannot do it by filter is left alone. */
export function forgetDatagrams(netlink: NetlinkSocket, target: Address): void {
  const family = target.family === 4 ? AF.INET : AF.INET6;
  try {
    netlink.request("forget UDP flows", CT_DELETE, 0, (w) => {
      w.u8(family).u8(0).u16(0);
      w.nest(CTA.TUPLE_REPLY, () => {
        w.nest(CTA_TUPLE.IP, () => w.attribute(CTA_IP_SRC[target.family], addressBytes(target)));
        w.nest(CTA_TUPLE.PROTO, () => w.attribute8(CTA_PROTO_NUM, IPPROTO.UDP));
      });
      w.nest(CTA.FILTER, () => {
        w.attribute32(CTA_FILTER.ORIG_FLAGS, 0).attribute32(CTA_FILTER.REPLY_FLAGS, BY_SOURCE | BY_PROTOCOL);
      });
    });
  } catch (error) {
    // Older kernels take the tuple for one connection's, which there is not.
    if (!(error instanceof SyscallError)) throw error;
  }
}
