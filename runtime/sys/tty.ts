// Pseudoterminals: a devpts instance of its own for a container, and the ioctls on a master. See pty(7), ioctl_tty(2).
import { Fd } from "./fd.ts";
import { alloc, check } from "./ffi.ts";
import { O, openAt } from "./file.ts";
import { type FsOption, newFileSystem } from "./mount.ts";

export const TIOCSCTTY = 0x540e,
  TIOCSWINSZ = 0x5414,
  TIOCGPTPEER = 0x5441,
  TIOCSPTLCK = 0x40045431;

export interface Pty {
  /** The devpts instance, detached: to be attached at the container's /dev/pts. */
  mount: Fd;
  master: Fd;
  slave: Fd;
}

/**
 * A new devpts instance with one terminal in it. The master is opened relative to the mount, and the slave by
 * TIOCGPTPEER from the master: no path is involved that could lead elsewhere.
 */
export function openPty(options: readonly FsOption[], attributes: number): Pty {
  const mount = newFileSystem("devpts", [...options, ["newinstance", null]], attributes);
  try {
    const master = openAt(mount, "ptmx", O.RDWR | O.NOCTTY);
    try {
      // SAFETY: TIOCSPTLCK reads one int.
      check("ioctl", [master.number, TIOCSPTLCK, alloc(4)], { request: "TIOCSPTLCK" });
      const flags = O.RDWR | O.NOCTTY | O.CLOEXEC;
      const slave = new Fd(check("ioctl", [master.number, TIOCGPTPEER, flags], { request: "TIOCGPTPEER" }));
      return { mount, master, slave };
    } catch (error) {
      master.close();
      throw error;
    }
  } catch (error) {
    mount.close();
    throw error;
  }
}

/** struct winsize {u16 rows, columns, xpixel, ypixel}. */
export function winsize(rows: number, columns: number): Uint8Array<ArrayBuffer> {
  const bytes = alloc(8);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, rows, true);
  view.setUint16(2, columns, true);
  return bytes;
}

/** Tells the terminal its size in cells; its foreground process group gets SIGWINCH when it changed. */
export function setWindowSize(master: Fd, rows: number, columns: number): void {
  check("ioctl", [master.number, TIOCSWINSZ, winsize(rows, columns)], { request: "TIOCSWINSZ", rows, columns });
}
