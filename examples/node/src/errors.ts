import type { RejectedReason } from "./messages.js";

/** What acquiring or holding a lock can fail with. */
export class LockError extends Error {
  override name = this.constructor.name;
}

/** The daemon refused the request (`reason` is one of docs/protocol.md), or an operator ended it (`forced`). */
export class RefusedError extends LockError {
  constructor(
    readonly reason: RejectedReason | "forced",
    detail: string,
  ) {
    super(`${reason}: ${detail}`);
  }
}

/** The turn did not come within `wait`. */
export class WaitExpiredError extends LockError {}

/** The lease ended before the work did: another holder may work now. */
export class LockLostError extends LockError {}
