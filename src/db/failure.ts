// Failures of the database, told without what was being written. WHY: drizzle puts the query's parameters into its
// message, and a record holds the environment of a container, so its secrets; a message may reach a client or the log.

/** Awaits a query; a failure says what was being done, and SQLite's own words. */
export async function during<T>(what: string, query: PromiseLike<T>): Promise<T> {
  try {
    return await query;
  } catch (error) {
    let cause = error;
    while (cause instanceof Error && cause.cause instanceof Error) cause = cause.cause;
    throw new Error(`cannot ${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
