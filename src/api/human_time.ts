// Times as `docker ps` prints them. The engine makes these texts, and every script parses them.

/** COMPAT: exact words and rounding of Docker: below two minutes "About a minute", below 48 hours still hours, and so on. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.round(milliseconds / 3_600_000);
  const wholeHours = milliseconds / 3_600_000;
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(wholeHours / 24 / 365)} years`;
}

/** Milliseconds since a moment; a clock that was set back counts as none. */
export function since(moment: string, now: Date): number {
  return Math.max(0, now.getTime() - Date.parse(moment));
}
