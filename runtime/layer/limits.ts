// Every bound on what a layer or an archive may ask of us, each with its reason. Image content is hostile.

/** A path in an entry: PATH_MAX less the NUL, which no call of ours could pass on. */
export const MAX_PATH_BYTES = 4095;
/** One pax header or GNU long name: xattrs of 64 KiB each are legal, and a real header is below 10 KiB. */
export const MAX_PAX_BYTES = 1 << 20;
/** Pieces of one sparse file: a map longer than this would be larger than most files. */
export const MAX_SPARSE_PIECES = 1 << 17;
/** Extended attributes of one entry; the kernel's own lists end at 64 KiB. */
export const MAX_XATTRS = 256;
/** Bytes one layer may unpack to. Real ones stay below some 50 GiB; the disk's end comes first on most machines. */
export const MAX_LAYER_BYTES = 2 ** 40;
/** Entries of one layer: the largest known images have about a million. */
export const MAX_LAYER_ENTRIES = 1 << 24;
/** What is read of a blob at once. Decompressors reach half their speed with less than 256 KiB. */
export const READ_BYTES = 512 << 10;
/** Output chunks of a decompressor, for the same reason. */
export const INFLATE_CHUNK_BYTES = 256 << 10;
/** Directory descriptors kept open while a layer is applied: more than a tree is deep, in practice. */
export const MAX_OPEN_DIRECTORIES = 32;
/** Jobs waiting for a Worker. A pull brings 128 at most; eight full ones at once is already a queue of minutes. */
export const MAX_WAITING_JOBS = 1024;
