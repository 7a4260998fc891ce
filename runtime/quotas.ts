// Limits on how much directories may hold, by the file system's project quotas: ext4 (made with `-O quota,project`) and XFS,
// mounted with `prjquota`. The limits, and which directories they are for, are kept by the file system itself, so they hold
// whether a daemon runs or not, and there is nothing to restore.
//
//   take a number that nobody uses → set its limit → give it to the directories, which hand it on to all that is made in them
//
// INVARIANT: a number with files or a limit is in use. One whose directory was discarded is free when its last file is deleted.
import { dirname } from "node:path";
import { SyscallError } from "./errors.ts";
import type { Fd } from "./sys/fd.ts";
import { O, openPath } from "./sys/file.ts";
import { enforcesProjects, limitProject, projectAccount, projectOf, setProject } from "./sys/quota.ts";

/** Far from what administrators and other programs give to their projects. */
const FIRST_PROJECT = 0x6265_0000;
const LAST_PROJECT = 0x6265_ffff;

export interface Quotas {
  /**
   * All that will be made in these directories, together, may take so many bytes on the disk. They are new, and empty.
   * Throws SyscallError, and leaves no limit then.
   */
  limit(directories: readonly string[], bytes: number): void;
  /** The directory is about to go. Does nothing for one that has no limit, or is not there. */
  release(directory: string): void;
}

/** null where the file system that `directory` lies on has no project quotas, or they are off. Linux 5.14. */
export function openQuotas(directory: string): Quotas | null {
  if (!isOnQuotas(directory)) return null;
  let next = FIRST_PROJECT;
  const takeNumber = (place: Fd): number => {
    for (let tries = FIRST_PROJECT; tries <= LAST_PROJECT; tries++) {
      const id = next;
      next = id === LAST_PROJECT ? FIRST_PROJECT : id + 1;
      const { files, limitBytes, usedBytes } = projectAccount(place, id);
      if (files === 0 && limitBytes === 0 && usedBytes === 0) return id;
    }
    throw new Error(`no project number is free: all ${LAST_PROJECT - FIRST_PROJECT + 1} are in use`);
  };
  return {
    limit(directories, bytes) {
      const [first] = directories;
      if (first === undefined) return;
      using place = openPath(first, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
      const id = takeNumber(place);
      limitProject(place, id, bytes);
      try {
        for (const path of directories) {
          using opened = openPath(path, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
          setProject(opened, { id, isInherited: true });
        }
      } catch (error) {
        limitProject(place, id, 0);
        throw error;
      }
    },
    release(path) {
      try {
        using opened = openPath(path, O.RDONLY | O.DIRECTORY | O.NOFOLLOW);
        const { id } = projectOf(opened);
        if (id < FIRST_PROJECT || id > LAST_PROJECT) return;
        limitProject(opened, id, 0);
        // Within a project that an administrator has given to all the data, a directory of another one cannot be renamed.
        using parent = openPath(dirname(path), O.RDONLY | O.DIRECTORY);
        setProject(opened, projectOf(parent));
      } catch (error) {
        // A limit that stays costs a number, a container that cannot be removed costs a person's evening.
        if (!(error instanceof SyscallError)) throw error;
      }
    },
  };
}

/** Tried for real, where the limits will be set: attributes can be read, and the account is enforced. */
function isOnQuotas(directory: string): boolean {
  try {
    using opened = openPath(directory, O.RDONLY | O.DIRECTORY);
    if (!enforcesProjects(opened)) return false;
    projectOf(opened);
    projectAccount(opened, FIRST_PROJECT);
    return true;
  } catch (error) {
    if (error instanceof SyscallError) return false;
    throw error;
  }
}
