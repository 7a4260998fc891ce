// Every bound of the src side on a queue, buffer, retry or wait, each with its reason. The runtime has its own in runtime/limits.ts.

/** A request head: docker's own limit on a header block is 1 MiB (net/http DefaultMaxHeaderBytes). */
export const MAX_HEAD_BYTES = 1 << 20;
/** A head must arrive within this; a client that opens a socket and says nothing must not hold it for ever. */
export const HEAD_TIMEOUT_MS = 60_000;
/** JSON bodies: a create request with every field is some 10 KB; a seccomp profile in SecurityOpt some 100 KB. */
export const MAX_JSON_BYTES = 16 << 20;
/** A socket's read queue before it is paused. */
export const READ_QUEUE_BYTES = 256 << 10;
/** Events kept for `since`; the number Docker keeps. */
export const EVENTS_KEPT = 256;
/** Events queued for one slow listener before it misses some, as under Docker. */
export const EVENTS_QUEUED = 1024;
/** A `filters` query parameter; a client with a thousand labels sends some 100 KB, and a head ends at MAX_HEAD_BYTES. */
export const MAX_FILTER_BYTES = 512 << 10;

/** A token server's reply: real ones are 2–5 KB. */
export const MAX_TOKEN_BYTES = 1 << 20;
/** The least time a registry token lives (distribution token specification). */
export const TOKEN_LIFETIME_MS = 60_000;
/** Tokens remembered: one per registry, scope and user. */
export const TOKENS_KEPT = 256;
/** Manifests and indexes: the specification asks registries to take 4 MiB at least. */
export const MAX_MANIFEST_BYTES = 8 << 20;
/** Image configs: real ones are under 100 KB. */
export const MAX_CONFIG_BYTES = 8 << 20;
/** No reply head from a registry in this time: it has stalled. */
export const REGISTRY_HEAD_TIMEOUT_MS = 30_000;
/** No byte of a body in this time: the connection has stalled, and the download goes on where it stood on a new one. */
export const REGISTRY_IDLE_TIMEOUT_MS = 30_000;
/** A registry takes this long at most to check a blob that was sent whole: it may have to read all of it again. */
export const REGISTRY_COMMIT_TIMEOUT_MS = 5 * 60_000;
/** A blob up to this size goes out in one request with its digest, a larger one can be taken up again. */
export const MONOLITHIC_UPLOAD_BYTES = 1 << 20;
/** Attempts at one blob of a push without a byte of progress; dockerd's number. */
export const UPLOAD_ATTEMPTS = 5;
/** Repositories of the same registry that a blob is looked for in; dockerd's number. */
export const MOUNT_ATTEMPTS = 4;
/** Redirects followed for one request. */
export const REGISTRY_REDIRECTS = 5;
/** How long what the certificates' directories hold for a host is taken as it was read: an image has some hundred requests. */
export const CERTS_KEPT_MS = 5_000;
/** Hosts for which that is remembered. */
export const HOSTS_KEPT = 256;
/** A mirror that did not answer is left alone for this long, so that each blob does not wait for it anew. */
export const MIRROR_REST_MS = 30_000;
/** Longest wait between two attempts at one blob; the first waits a second, each next one twice as long. */
export const RETRY_DELAY_MAX_MS = 16_000;
/** Longest Retry-After that is obeyed; a registry that asks for more gets its error told instead. */
export const RETRY_AFTER_MAX_MS = 60_000;
/** Progress messages of one layer are at least this far apart: a terminal shows no more. */
export const PROGRESS_INTERVAL_MS = 100;
/** Tags of one repository that an all-tags pull takes. */
export const MAX_TAGS = 10_000;
/** Files looked at to tell the size of one volume; beyond it the size is unknown. Some 30 s of walking. */
export const MAX_USAGE_ENTRIES = 2_000_000;
/** The name of a volume is a directory's: NAME_MAX. */
export const MAX_NAME_BYTES = 255;
/** Open API connections, hijacked ones included: each is one descriptor, and containers need some too. */
export const MAX_CONNECTIONS = 8192;
/** Header lines of one request; real clients send some ten. */
export const MAX_HEADER_LINES = 512;
/** One line of chunked framing: a size with extensions, or a trailer. */
export const MAX_CHUNK_LINE_BYTES = 8 << 10;
/** How long a kept-alive connection may idle. Go's clients drop theirs after 90 s, so that ours is never the first to go. */
export const KEEP_ALIVE_MS = 300_000;
/** After our last byte: how long input is still swallowed, so that the client reads the answer before the socket goes. */
export const LINGER_MS = 2_000;
/** An unread request body up to this size is read away to keep the connection; a longer one costs the connection. */
export const DRAIN_BYTES = 256 << 10;
/** First keep-alive probe on a quiet TCP connection: how a vanished peer is found out. */
export const TCP_PROBE_MS = 30_000;
/** Progress messages queued for a slow client: from here on those that only move a bar are dropped. */
export const JSON_STREAM_BYTES = 1 << 20;

/** At an exit: how long clients that do not read hold up the container's end. They are served on after it, as nothing is dropped. */
export const EXIT_DRAIN_MS = 2_000;
/** The same where the container is removed by force. */
export const FORCED_DRAIN_MS = 100;
/** A JSON body must be there within this; a client that stalls in the middle must not hold a connection for ever. */
export const JSON_BODY_MS = 60_000;
/** After SIGKILL a process ends at once, unless the kernel waits for a disk or a file server on its behalf. */
export const KILL_WAIT_MS = 10_000;
/** Exec sessions of one container that are kept at once, finished ones included; moby keeps all. */
export const EXECS_KEPT = 4096;
/** A finished exec session can be inspected for this long: the CLI asks for its exit code after the stream has ended. */
export const EXEC_KEPT_MS = 5 * 60_000;
/** A resize that comes with the start of an exec session waits for its terminal this long. */
export const EXEC_RESIZE_WAIT_MS = 10_000;
/** A copy into a container that does not run keeps it from starting: it ends when no byte of it came in this time. */
export const COPY_IDLE_MS = 120_000;
/** From one sample of a container's counters to the next, while somebody listens: Docker's pace. */
export const STATS_PERIOD_MS = 1_000;
/** A removed container's last lines go to its log driver's receiver within this, where that takes any. */
export const LOG_FINISH_MS = 2_000;
/** Containers started at once when the engine starts: more would only queue on the same disk and CPUs. */
export const STARTS_AT_ONCE = 8;
/** At boot: what compose wants to be healthy or through before another starts is waited for this long, then no more. */
export const BOOT_HINT_WAIT_MS = 30_000;
/** At the end of the daemon: requests that still run are given this long. */
export const HTTP_CLOSE_MS = 3_000;
/** At the end of the daemon: files that are being deleted, cgroups that are being removed. */
export const BACKGROUND_END_MS = 5_000;
/** Workers that unpack layers: more than two are no faster on one disk, and each takes a CPU away from the rest. */
export const LAYER_WORKERS = 2;
/** A Worker with nothing to do is ended after this. */
export const WORKER_IDLE_MS = 10_000;
/** Nobody has asked for anything in this time: the daemon gives back memory that only work needs. */
export const QUIET_MS = 1_000;
/** Files in a directory of CDI specifications, and the size of one: that of a machine with eight cards has some 30 KB. */
export const CDI_SPECS = 256;
export const CDI_SPEC_BYTES = 1 << 20;
/** A plugin answers within this, or is taken as gone. */
export const PLUGIN_TIMEOUT_MS = 30_000;
/** A list of ten thousand volumes has about 2 MB. */
export const PLUGIN_REPLY_BYTES = 16 << 20;
