// Every bound of the runtime's side on a buffer or a wait, each with its reason. Those that one file alone knows stand in it.

/** passwd and group of an image: a directory service's dump of 100,000 users is some 8 MB. */
export const MAX_ACCOUNT_FILE_BYTES = 16 << 20;
/** Pipes to and from a workload: a restart of the daemon must not stall its writers. fs.pipe-max-size's default. */
export const PIPE_BYTES = 1 << 20;
/** From spawn to the workload's execve. A start takes milliseconds; a bind from a dead network share must not hang for ever. */
export const LAUNCH_TIMEOUT_MS = 120_000;
/** For a killed process to be reaped: it leaves within milliseconds unless the kernel waits for a disk. */
export const REAP_TIMEOUT_MS = 10_000;

/** passwd and group of this many images are kept between starts, each of at most this size. */
export const CACHED_FILES = 64;
export const MAX_CACHED_FILE_BYTES = 16 << 10;

/** A hook that names no time-out of its own: a card's takes a second or two, and the whole start has LAUNCH_TIMEOUT_MS. */
export const HOOK_TIMEOUT_MS = 60_000;
/** Of what a failed hook has written, as much is told. */
export const HOOK_OUTPUT_BYTES = 4096;
