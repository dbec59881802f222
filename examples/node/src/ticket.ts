import { LockLostError } from "./errors.js";

const MARGIN_MS = 500; // for writes that are under way when the lease ends
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** A lock that is held. Its lease is renewed until it is released. */
export class Ticket {
  readonly #lost = new AbortController();
  readonly #release: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #end = 0;
  #isReleased = false;

  /** @param number The fencing token: give it to every system that you write to. */
  constructor(
    readonly conversationId: string,
    readonly number: number,
    release: () => Promise<void>,
  ) {
    this.#release = release;
  }

  /** Aborted when the lease is lost, with a LockLostError. Give it to `fetch`, database drivers, timers. */
  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** Throw unless the lease certainly lasts. Timers are late when the event loop is busy; call this before a write. */
  check(): void {
    if (performance.now() >= this.#end) this.lose("its lease ended without being renewed");
    this.#lost.signal.throwIfAborted();
  }

  /** Give the lock back; the next in line gets it. Does not throw, and may be called again. */
  async release(): Promise<void> {
    this.#isReleased = true;
    clearTimeout(this.#timer);
    await this.#release();
  }

  /** The lease lasts at least until then, on the clock of `performance.now()`. For the client. */
  lastsUntil(end: number): void {
    if (this.#isReleased || this.#lost.signal.aborted) return;
    // A short lease has a short margin.
    const margin = Math.min(MARGIN_MS, (end - performance.now()) / 10);
    this.#end = Math.max(this.#end, end - margin);
    clearTimeout(this.#timer);
    const left = Math.min(this.#end - performance.now(), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.lose("its lease ended without being renewed"), left);
  }

  /** For the client. */
  lose(why: string): void {
    clearTimeout(this.#timer);
    if (!this.#isReleased) this.#lost.abort(new LockLostError(`ticket ${this.number} of ${this.conversationId}: ${why}`));
  }
}
