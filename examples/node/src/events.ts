import { Link } from "./link.js";
import type { CancelledMessage, ExpiredMessage, GrantedMessage, QueuedMessage, ReleasedMessage } from "./messages.js";

export type Event = QueuedMessage | GrantedMessage | ReleasedMessage | ExpiredMessage | CancelledMessage;

export interface FollowOptions {
  readonly namespace: string;
  /** Of this conversation only. */
  readonly conversationId?: string;
  /** Called when events arrive from now on; after a lost connection, again. */
  readonly subscribed?: () => void;
  readonly signal?: AbortSignal;
  readonly log: (text: string) => void;
}

const REMEMBERED = 10_000; // message ids

/** The public events. Those that happen while there is no connection are missed: nobody keeps them. */
export async function* follow(url: string, options: FollowOptions): AsyncGenerator<Event, void, undefined> {
  const { namespace, conversationId, subscribed, signal, log } = options;
  const arrived: Event[] = [];
  const seen = new Set<string>();
  let wake = () => {};
  const link = new Link(
    url,
    `${namespace}.feed.`,
    {
      async connected(channel, queue) {
        await channel.bindQueue(queue, `${namespace}.events`, conversationId === undefined ? "#" : `#.${conversationId}`);
        subscribed?.();
      },
      received(content, { messageId }) {
        // Both copies of an event that is published twice have the same id.
        if (typeof messageId !== "string" || seen.has(messageId)) return;
        seen.add(messageId);
        if (seen.size > REMEMBERED) for (const oldest of seen.keys()) if (seen.delete(oldest)) break;
        const event = JSON.parse(content.toString()) as Event;
        // A conversation id with `*` or `#` in it binds to others, too.
        if (conversationId !== undefined && event.conversation_id !== conversationId) return;
        arrived.push(event);
        wake();
      },
      undelivered() {},
    },
    log,
  );
  const stop = () => wake();
  signal?.addEventListener("abort", stop);
  try {
    while (!signal?.aborted) {
      const event = arrived.shift();
      if (event !== undefined) yield event;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    signal?.removeEventListener("abort", stop);
    await link.close();
  }
}
