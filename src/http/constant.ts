// Replies that never change while the process lives: a ping. The transport keeps what it sent for one, and answers the same
// head on the same connection with the same bytes, without a parser and a router in between.

/** Marks a reply: whoever sends this very head again gets this reply again, but for the date. */
export class ConstantResponse extends Response {}
