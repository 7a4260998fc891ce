// The names that stand for what runs containers here, which is berth itself.

/** COMPAT: the names by which clients and configurations of Docker ask for its own runtime, and ours. */
export const RUNTIMES: readonly string[] = ["runc", "io.containerd.runc.v2", "berth"];
