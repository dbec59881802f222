import lockstore.RejectedMessage;
import lockstore.RejectedReason;
import lockstore.RenewMessage;
import lockstore.RequestMessage;

/** What somebody writes against the generated classes. */
class Usage {
    static String text(RejectedMessage rejected) {
        String conversation = rejected.getConversationId();
        Integer partitions = rejected.getPartitions();
        return rejected.getReason() == RejectedReason.BUSY ? "later" : conversation + partitions;
    }

    static void fill(RequestMessage request, RenewMessage renewal) {
        request.setConversationId("user-42");
        request.setLifetime(30.0);
        renewal.setTicketNumber(1795459434123L);
    }
}
