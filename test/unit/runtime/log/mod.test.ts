// Both file drivers against the one contract.
import { logContract } from "../../../contract/log.ts";

logContract("json-file");
logContract("local");
