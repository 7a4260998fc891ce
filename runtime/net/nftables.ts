// The nf_tables client: takes tables as data and makes them so in one transaction, which the kernel applies as a whole or
// not at all. A refused message is found by its sequence number and named by what it was to do. See nftables(8),
// linux/netfilter/nf_tables.h.
//
//   BATCH_BEGIN | table, chain, rule … | BATCH_END       each: nlmsghdr | u8 family | u8 version | be16 subsystem | attributes
//
// Unlike the rest of netlink, numbers in attributes are big-endian; data that is compared with packets has their order.
import { SyscallError } from "../errors.ts";
import { E } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { MessageWriter, NetlinkSocket, NLM_F, NLMSG, parseRefusal } from "./netlink.ts";
import type { Chain, Expression, Hook, Rule, Table } from "./nft_rule.ts";

const BATCH_BEGIN = 16,
  BATCH_END = 17;
const SUBSYSTEM = 10;
const MSG = { NEWTABLE: 0, DELTABLE: 2, NEWCHAIN: 3, NEWRULE: 6, GETRULE: 7 } as const;
const FAMILY_INET = 1;
const TABLE_NAME = 1;
const CHAIN = { TABLE: 1, NAME: 3, HOOK: 4, POLICY: 5, TYPE: 7 } as const;
const HOOK = { NUMBER: 1, PRIORITY: 2 } as const;
const RULE = { TABLE: 1, CHAIN: 2, EXPRESSIONS: 4, USERDATA: 7 } as const;
const LIST_ELEMENT = 1;
const EXPR = { NAME: 1, DATA: 2 } as const;
const DATA = { VALUE: 1, VERDICT: 2 } as const;
const VERDICT = { CODE: 1, CHAIN: 2 } as const;
const HOOK_NUMBERS: Readonly<Record<Hook["hook"], number>> = {
  prerouting: 0,
  input: 1,
  forward: 2,
  output: 3,
  postrouting: 4,
};
const VERDICT_CODES = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 } as const;
const NF_ACCEPT = 1;
const REGISTER_VERDICT = 0,
  REGISTER = 1;
const COMMENT_BYTES_MAX = 127;
/** The reply queue and the send buffer: 20,000 rules are some 8 MB. */
const BUFFER_BYTES = 16 << 20;
const REPLY_BYTES = 256 << 10;
/** A transaction that another one overtook, or whose answers did not fit, is sent again; each time is a fresh start. */
const TRIES = 4;

export class NftablesClient implements Disposable {
  readonly #netlink: NetlinkSocket;
  #sequence = 0;

  /** Takes ownership of a NETLINK_NETFILTER socket opened in the namespace that is meant. */
  constructor(socket: Fd) {
    this.#netlink = new NetlinkSocket(socket, { replyBytes: REPLY_BYTES, sendBytes: BUFFER_BYTES });
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }

  /** What notices of its changes carry. */
  get port(): number {
    return this.#netlink.port;
  }

  /** Whatever the table held before, it holds this now. No packet sees anything in between. */
  replaceTable(table: Table): void {
    this.#commit((batch) => {
      // Made first so that there is one to delete.
      batch.table("add", table.name);
      batch.table("delete", table.name);
      batch.table("add", table.name);
      for (const chain of table.chains) batch.chain(table.name, chain);
      for (const chain of table.chains) {
        for (const rule of chain.rules) batch.rule(table.name, chain.name, rule);
      }
    });
  }

  /** Makes the table unless there is one of this name, whatever that holds. Answers whether it did. */
  createTable(table: Table): boolean {
    try {
      this.#commit((batch) => {
        batch.table("add", table.name, NLM_F.EXCL);
        for (const chain of table.chains) batch.chain(table.name, chain);
        for (const chain of table.chains) {
          for (const rule of chain.rules) batch.rule(table.name, chain.name, rule);
        }
      });
      return true;
    } catch (error) {
      if (error instanceof SyscallError && error.errno === E.EEXIST) return false;
      throw error;
    }
  }

  /** None of this name is fine. */
  removeTable(name: string): void {
    this.#commit((batch) => {
      batch.table("add", name);
      batch.table("delete", name);
    });
  }

  /** How many rules a table holds, in all its chains; 0 when there is no such table. */
  countRules(table: string): number {
    try {
      return this.#netlink.dump(`list rules of table ${table}`, (SUBSYSTEM << 8) | MSG.GETRULE, (w) => {
        w.u8(FAMILY_INET).u8(0).u16(0).attribute(RULE.TABLE, table);
      }).length;
    } catch (error) {
      if (error instanceof SyscallError && error.errno === E.ENOENT) return 0;
      throw error;
    }
  }

  #commit(fill: (batch: Batch) => void): void {
    for (let attempt = 1; ; attempt++) {
      const batch = new Batch(this.#sequence);
      batch.begin();
      fill(batch);
      batch.end();
      this.#sequence = batch.sequence;
      try {
        this.#send(batch);
        return;
      } catch (error) {
        this.#netlink.drain();
        if (attempt === TRIES || !isWorthRetrying(error)) throw error;
      }
    }
  }

  #send(batch: Batch): void {
    let isAcknowledged = false;
    let first: SyscallError | null = null;
    for (const message of this.#netlink.exchange(batch.writer.buffer, batch.writer.length)) {
      if (message.type !== NLMSG.ERROR) continue;
      const refusal = parseRefusal(message);
      if (refusal.errno === 0) {
        isAcknowledged ||= message.sequence === batch.lastRequest;
        continue;
      }
      const operation = batch.labels.get(message.sequence) ?? "transaction";
      first ??= new SyscallError(
        `nftables: ${operation}`,
        refusal.errno,
        refusal.text === "" ? {} : { kernel: refusal.text },
      );
    }
    if (first !== null) throw first;
    if (!isAcknowledged)
      throw new SyscallError("nftables: transaction", E.EPROTO, { what: "no answer from the kernel" });
  }
}

function isWorthRetrying(error: unknown): boolean {
  return (
    error instanceof SyscallError && (error.errno === E.EINTR || error.errno === E.ENOBUFS || error.errno === E.EAGAIN)
  );
}

/** The bytes of one transaction, and which sequence number is which operation. */
export class Batch {
  readonly writer = new MessageWriter();
  readonly labels = new Map<number, string>();
  sequence: number;

  constructor(lastSequence: number) {
    this.sequence = lastSequence;
  }

  /** The one message that asks to be acknowledged: success is silent otherwise. */
  lastRequest = 0;
  #lastFlagsAt = 0;

  begin(): void {
    this.#control(BATCH_BEGIN);
  }

  end(): void {
    const view = new DataView(this.writer.buffer.buffer);
    view.setUint16(this.#lastFlagsAt, view.getUint16(this.#lastFlagsAt, true) | NLM_F.ACK, true);
    this.#control(BATCH_END);
  }

  table(action: "add" | "delete", name: string, flags = 0): void {
    const isAdd = action === "add";
    this.#message(
      `${action} table ${name}`,
      isAdd ? MSG.NEWTABLE : MSG.DELTABLE,
      isAdd ? NLM_F.CREATE | flags : 0,
      (w) => {
        w.attribute(TABLE_NAME, name);
      },
    );
  }

  chain(table: string, chain: Chain): void {
    this.#message(`add chain ${chain.name}`, MSG.NEWCHAIN, NLM_F.CREATE, (w) => {
      w.attribute(CHAIN.TABLE, table).attribute(CHAIN.NAME, chain.name);
      const { hook } = chain;
      if (hook === null) return;
      w.nest(CHAIN.HOOK, () => {
        w.attribute(HOOK.NUMBER, be32(HOOK_NUMBERS[hook.hook])).attribute(HOOK.PRIORITY, be32(hook.priority));
      });
      w.attribute(CHAIN.TYPE, hook.type).attribute(CHAIN.POLICY, be32(NF_ACCEPT));
    });
  }

  rule(table: string, chain: string, rule: Rule): void {
    this.#message(
      `add rule ${JSON.stringify(rule.comment)} to ${chain}`,
      MSG.NEWRULE,
      NLM_F.CREATE | NLM_F.APPEND,
      (w) => {
        w.attribute(RULE.TABLE, table).attribute(RULE.CHAIN, chain);
        w.nest(RULE.EXPRESSIONS, () => {
          for (const expression of rule.expressions) w.nest(LIST_ELEMENT, () => writeExpression(w, expression));
        });
        w.attribute(RULE.USERDATA, commentBytes(rule.comment));
      },
    );
  }

  #message(label: string, type: number, flags: number, body: (w: MessageWriter) => void): void {
    this.lastRequest = ++this.sequence;
    this.labels.set(this.sequence, label);
    this.#lastFlagsAt = this.writer.length + 6;
    this.writer.message((SUBSYSTEM << 8) | type, NLM_F.REQUEST | flags, this.sequence, () => {
      this.writer.u8(FAMILY_INET).u8(0).u16(0);
      body(this.writer);
    });
  }

  #control(type: number): void {
    this.writer.message(type, NLM_F.REQUEST, ++this.sequence, () => {
      this.writer
        .u8(0)
        .u8(0)
        .u8(SUBSYSTEM >> 8)
        .u8(SUBSYSTEM & 0xff);
    });
  }
}

function writeExpression(w: MessageWriter, expression: Expression): void {
  const [name, body] = encodeExpression(w, expression);
  w.attribute(EXPR.NAME, name);
  w.nest(EXPR.DATA, body);
}

/** The kernel's name of an expression and what writes its attributes. Everything is loaded into register 1. */
function encodeExpression(w: MessageWriter, e: Expression): [name: string, body: () => void] {
  switch (e.kind) {
    case "meta":
      return ["meta", () => w.attribute(1, be32(REGISTER)).attribute(2, be32(e.key))];
    case "payload":
      return [
        "payload",
        () => {
          w.attribute(1, be32(REGISTER)).attribute(2, be32(e.base === "network" ? 1 : 2));
          w.attribute(3, be32(e.offset)).attribute(4, be32(e.length));
        },
      ];
    case "mask":
      return [
        "bitwise",
        () => {
          w.attribute(1, be32(REGISTER)).attribute(2, be32(REGISTER)).attribute(3, be32(e.mask.length));
          w.nest(4, () => w.attribute(DATA.VALUE, e.mask));
          w.nest(5, () => w.attribute(DATA.VALUE, new Uint8Array(e.mask.length)));
        },
      ];
    case "compare":
      return [
        "cmp",
        () => {
          w.attribute(1, be32(REGISTER)).attribute(2, be32(e.isEqual ? 0 : 1));
          w.nest(3, () => w.attribute(DATA.VALUE, e.value));
        },
      ];
    case "fibType": {
      const result = 3,
        byDestination = 2;
      return ["fib", () => w.attribute(1, be32(REGISTER)).attribute(2, be32(result)).attribute(3, be32(byDestination))];
    }
    case "conntrack":
      return ["ct", () => w.attribute(1, be32(REGISTER)).attribute(2, be32(e.key))];
    case "immediate":
      return [
        "immediate",
        () => {
          w.attribute(1, be32(e.register));
          w.nest(2, () => w.attribute(DATA.VALUE, e.value));
        },
      ];
    case "dnat":
      // Address from register 1, port from register 2, where `immediate` has put them.
      return [
        "nat",
        () => {
          w.attribute(1, be32(1)).attribute(2, be32(e.family === 4 ? 2 : 10));
          w.attribute(3, be32(1)).attribute(5, be32(2));
        },
      ];
    case "masquerade":
      return ["masq", () => {}];
    case "verdict":
      return [
        "immediate",
        () => {
          w.attribute(1, be32(REGISTER_VERDICT));
          w.nest(2, () =>
            w.nest(DATA.VERDICT, () => {
              w.attribute(VERDICT.CODE, be32(VERDICT_CODES[e.verdict]));
              if (e.verdict === "jump" || e.verdict === "goto") w.attribute(VERDICT.CHAIN, e.chain);
            }),
          );
        },
      ];
  }
}

/** What nft(8) shows as `comment "…"`: u8 type 0 | u8 length | text with NUL. */
function commentBytes(comment: string): Uint8Array {
  const text = new TextEncoder().encode(comment).subarray(0, COMMENT_BYTES_MAX);
  return Uint8Array.of(0, text.length + 1, ...text, 0);
}

function be32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, false);
  return bytes;
}
