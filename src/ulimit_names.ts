// Names of ulimits, as `--ulimit` and the daemon's defaults take them. See setrlimit(2).

/** COMPAT: Docker's list: every RLIMIT_ but AS. */
export const ULIMIT_NAMES: readonly string[] = [
  "core",
  "cpu",
  "data",
  "fsize",
  "locks",
  "memlock",
  "msgqueue",
  "nice",
  "nofile",
  "nproc",
  "rss",
  "rtprio",
  "rttime",
  "sigpending",
  "stack",
];
