// The name that commit and import give to a new image, out of `repo` and `tag`.
import { invalid } from "../errors.ts";
import { familiarName, parseReference, type Reference, withDefaultTag, withTag } from "../image/reference.ts";

/** null: none is wanted. Throws Docker's 400. */
export function commitName(repository: string, tag: string): Reference | null {
  if (repository === "") return null;
  const reference = parseReference(repository);
  if (reference.digest !== null) throw invalid("cannot import digest reference");
  if (familiarName(reference) === "sha256")
    throw invalid("refusing to create an ambiguous tag using digest algorithm as name");
  return tag === "" ? withDefaultTag(reference) : withTag(reference, tag);
}
