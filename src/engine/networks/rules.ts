// Puts the packet filter's rules in place. Many containers that start at once share one transaction.
import type { FirewallState, HostNetwork } from "../../../runtime/mod.ts";

export interface Rules {
  /** Resolves once rules made after this call are in force; rejects when the kernel refuses them. */
  sync(): Promise<void>;
}

export function createRules(
  host: Pick<HostNetwork, "applyFirewall">,
  table: string,
  isOn: () => boolean,
  state: () => FirewallState,
): Rules {
  let pending: Promise<void> | null = null;
  return {
    sync() {
      if (!isOn()) return Promise.resolve();
      // The state is read when the transaction is made, so whoever asks until then is in it.
      pending ??= new Promise<void>((resolve, reject) => {
        setImmediate(() => {
          pending = null;
          try {
            host.applyFirewall(table, state());
            resolve();
          } catch (error) {
            reject(error);
          }
        });
      });
      return pending;
    },
  };
}

/** One table for each daemon: those beside the usual one are told apart by their bridge. */
export function tableName(bridge: string): string {
  return bridge === "docker0" || bridge === "" || bridge === "none"
    ? "berth"
    : `berth_${bridge.replace(/[^\w.-]/g, "_")}`;
}

/** The administrator's table, asked before ours; docs/ARCHITECTURE.md says how to use it. */
export function userTableName(bridge: string): string {
  return `${tableName(bridge)}_user`;
}

/** After a notice: the program that took rules away is given this long to finish, and no two of us chase each other faster. */
const REPAIR_DELAY_MS = 250;

/** What to call at each notice; `repair` follows once for all of them. */
export function repairing(repair: () => Promise<void>, onError: (error: unknown) => void): () => void {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    const timer = setTimeout(() => {
      isWaiting = false;
      repair().catch(onError);
    }, REPAIR_DELAY_MS);
    timer.unref();
  };
}
