// What somebody writes against the generated types. `tsc` fails if a line marked as an error is none.
import { Message, RejectedReason, RequestMessage } from "./messages.js";
import { Replies } from "./interfaces/Replies.js";
import { RejectedReason as Reason } from "./interfaces/RejectedReason.js";
import { RenewMessage } from "./interfaces/RenewMessage.js";
import { GrantedMessage } from "./classes/GrantedMessage.js";

export const request: RequestMessage = { type: "request", conversation_id: "user-42", request_id: "b7c1", wait: 10 };
export const renewal: RenewMessage = { type: "renew", conversation_id: "user-42", ticket_number: 7 };

// @ts-expect-error no such field
export const mistyped: RequestMessage = { type: "request", conversation_id: "user-42", lifetme: 3 };
// @ts-expect-error no such reason
export const unknown: RejectedReason = "bussy";
// @ts-expect-error always there
export const nameless: RequestMessage = { type: "request" };

export function fromJsonSchema(message: Message): string {
  switch (message.type) {
    case "granted":
      return message.conversation_id.toUpperCase() + message.request_id.toUpperCase() + message.ticket_number.toFixed();
    case "expired":
      return message.phase;
    case "rejected": {
      const reason: RejectedReason = message.reason;
      // @ts-expect-error may be null
      message.conversation_id.toUpperCase();
      return reason + (message.partitions ?? 1).toFixed() + (message.ended ?? "forgotten");
    }
    default:
      return message.type;
  }
}

export function fromAsyncapi(reply: Replies): string {
  if (reply.type === "rejected") return reply.reason === Reason.BUSY ? "later" : (reply.conversation_id ?? "unknown");
  return reply.conversation_id.toUpperCase();
}

export const grant = new GrantedMessage({
  conversationId: "user-42", ticketNumber: 7, requestId: "b7c1", holder: null, at: 0, expiresAt: 30, waited: 0, behind: 0,
});
