// Where a container's files lie; drawn in docs/ARCHITECTURE.md.

export interface Roots {
  dataRoot: string;
  execRoot: string;
}

/** Its own directory: upper and work layers, hosts, hostname, resolv.conf, the log. Gone with the container. */
export function containerDir(roots: Roots, id: string): string {
  return `${roots.dataRoot}/containers/${id}`;
}

/** On tmpfs: the exit record and the log's journal, of use only while a run of this boot can be found again. */
export function stateDir(roots: Roots, id: string): string {
  return `${roots.execRoot}/containers/${id}`;
}
