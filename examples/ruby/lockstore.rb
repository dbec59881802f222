# A short client of lockstore for Ruby, over Bunny (Debian: ruby-bunny). docs/protocol.md has the whole format.
#
#   locks = Lockstore.new("amqp://guest:guest@localhost/")
#   locks.with_lock("user-42") { |ticket| database.write(answer, token: ticket.number) }
#
# One thread uses one Lockstore at a time; another one renews the lease meanwhile. A thread cannot be stopped from outside: call
# `ticket.check!` before each write.

require "bunny"
require "json"
require "securerandom"
require "timeout"
require "zlib"

class Lockstore
  class Error < StandardError; end
  class LockLost < Error; end
  class StartOver < Error; end

  LOST = Object.new
  FAILURES = [Bunny::Exception, IOError, SystemCallError, Timeout::Error].freeze
  GRACE = 5 # seconds; the daemon decides when the wait is over, and its answer takes a moment
  PATIENCE = 10 # seconds for the answer to a renewal or a release

  Ticket = Struct.new(:number, :until) do
    def lost?
      Lockstore.now >= self.until
    end

    def check!
      raise LockLost, "ticket #{number}: the lease has ended" if lost?
    end
  end

  def self.now
    Process.clock_gettime(Process::CLOCK_BOOTTIME) # monotonic, and counts while the machine is suspended
  rescue NameError
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def initialize(url, namespace: "lockstore", partitions: 1, holder: "ruby #{Process.pid}")
    # To Bunny a lone slash at the end is a virtual host without a name, and no path at all is the default one.
    @url = url.sub(%r{(?<=[^/])/\z}, "")
    @namespace, @partitions, @holder = namespace, partitions, holder
    @answers = Queue.new
    @using = Mutex.new
  end

  def with_lock(conversation, wait: 60, lifetime: 30)
    id, ticket = acquire(conversation, wait, lifetime)
    stop = Queue.new
    keeper = Thread.new { keep(conversation, id, ticket, lifetime, stop) }
    result = yield ticket
    ticket.check!
    result
  ensure
    stop&.push(:stop)
    keeper&.join
    release(conversation, id, lifetime) if ticket
  end

  def close
    @using.synchronize { disconnect }
  end

  private

  def disconnect
    Timeout.timeout(2) { @connection&.close } # likewise
  rescue *FAILURES
    nil
  ensure
    @connection = nil
  end

  # Returns the request id and the ticket.
  def acquire(conversation, wait, lifetime)
    deadline = Lockstore.now + wait
    begin
      id = SecureRandom.uuid
      left = [deadline - Lockstore.now, 0].max
      request = { type: "request", conversation_id: conversation, request_id: id, lifetime: lifetime, wait: left, holder: @holder }
      first = nil
      answer = persist(deadline + GRACE) do
        sent = Lockstore.now
        again, first = first, first || sent
        publish(request)
        granted = await(conversation, id, deadline + GRACE) { |found| found unless found["type"] == "queued" }
        # A second request may find a lease that began long ago: `waited` does not lead back to the first one then.
        granted["waited"] = 0 if again
        granted
      end
      raise refusal(answer) unless answer["type"] == "granted"
      ticket = Ticket.new(answer["ticket_number"], first + answer["waited"] + answer["expires_at"] - answer["at"])
      renew(conversation, id, ticket) if ticket.until < Lockstore.now + lifetime / 10.0
      [id, ticket]
    rescue StartOver
      Lockstore.now < deadline ? retry : raise
    rescue Timeout::Error => error
      release(conversation, id, lifetime) # also a grant that is under way
      raise Error, "no answer in time (#{error.message}); is a daemon running?"
    end
  end

  def refusal(answer)
    why = [answer["type"], answer["reason"] || answer["phase"], answer["detail"]].compact.join(", ")
    ended = answer["reason"] == "finished" || answer["reason"] == "unreachable" || answer["phase"] == "held"
    (ended ? StartOver : Error).new(why)
  end

  # Runs in a thread of its own until told to stop or the lease is over.
  def keep(conversation, id, ticket, lifetime, stop)
    until ticket.lost?
      begin
        Timeout.timeout([lifetime / 3.0, 0.05].max) { return stop.pop }
      rescue Timeout::Error
        begin
          renew(conversation, id, ticket)
        rescue Error
          ticket.until = 0
        rescue *FAILURES
          nil # no renewal is kept for later: the next one is sent when there is a connection
        end
      end
    end
  end

  def renew(conversation, id, ticket)
    tag = SecureRandom.uuid
    answer, sent = @using.synchronize do
      connect
      sent = Lockstore.now
      publish({ type: "renew", conversation_id: conversation, request_id: id }, tag)
      [await(conversation, id, sent + PATIENCE) { |found, correlation| found if correlation == tag }, sent]
    end
    raise refusal(answer) unless answer["type"] == "renewed"
    ticket.until = [ticket.until, sent + answer["expires_at"] - answer["at"]].max
  end

  # Safe to repeat. It ends a lease, and takes a waiting request out of the line.
  def release(conversation, id, lifetime)
    persist(Lockstore.now + [lifetime, PATIENCE].max) do
      publish({ type: "release", conversation_id: conversation, request_id: id })
      await(conversation, id, Lockstore.now + PATIENCE) { |found| found if %w[released cancelled expired rejected].include?(found["type"]) }
    end
  rescue Timeout::Error
    nil # the lease has ended by itself
  end

  # Repeats the block, with a new connection and reply queue, until it succeeds.
  def persist(deadline)
    @using.synchronize do
      connect
      yield
    rescue *FAILURES
      disconnect # it may look open, and be lost
      raise
    end
  rescue *FAILURES => error
    raise Timeout::Error, error.message if Lockstore.now >= deadline
    sleep rand(0.1..0.5)
    retry
  end

  def connect
    return if @connection&.open? && @channel.open?
    disconnect
    @answers = answers = Queue.new
    # Bunny would raise a lost connection in the thread that made it, whatever that does. Here it becomes an answer.
    using = @using
    handler = Object.new
    handler.define_singleton_method(:raise) do |error|
      answers << LOST
      using.owned? ? Kernel.raise(error) : Thread.exit # the reader's thread, which has nothing left to read
    end
    @connection = Bunny.new(@url, automatically_recover: false, session_error_handler: handler, logger: Logger.new(IO::NULL))
    Timeout.timeout(PATIENCE) { @connection.start }
    @channel = @connection.create_channel
    @channel.confirm_select
    @requests = Bunny::Exchange.new(@channel, :direct, "#{@namespace}.requests", no_declare: true)
    @requests.on_return { answers << LOST } # no such partition now: it is sent again
    @queue = @channel.queue("#{@namespace}.replies.#{SecureRandom.uuid}", exclusive: true)
    @queue.subscribe { |_, properties, body| answers << [JSON.parse(body), properties.correlation_id] }
  rescue RuntimeError => error
    raise IOError, error.message # what Bunny raises if the connection is lost again meanwhile
  end

  def publish(body, correlation = nil)
    key = Zlib.crc32(body[:conversation_id]) % @partitions
    @requests.publish(JSON.generate(body), routing_key: key.to_s, mandatory: true, persistent: true, reply_to: @queue.name,
                                           correlation_id: correlation || body[:request_id], content_type: "application/json")
    confirmed = Timeout.timeout(PATIENCE) { @channel.wait_for_confirms } # it would wait for ever if the connection is lost now
    raise IOError, "not confirmed" unless confirmed
  end

  # Returns the first answer to this request for which the block has a result.
  def await(conversation, id, deadline)
    loop do
      found, correlation = Timeout.timeout([deadline - Lockstore.now, 0.001].max) { @answers.pop }
      raise IOError, "the connection is lost, or the message came back" if found.equal?(LOST)
      next unless [conversation, nil].include?(found["conversation_id"]) && found["request_id"] == id
      if found["reason"] == "wrong_partition"
        @partitions = found["partitions"]
        raise IOError, "sent to the wrong partition"
      end
      result = yield found, correlation
      return result if result
    end
  end
end

# ruby lockstore.rb amqp://guest:guest@localhost/ lockstore user-42 3 log.txt
if $PROGRAM_NAME == __FILE__
  url, namespace, conversation, times, log = ARGV
  locks = Lockstore.new(url, namespace: namespace)
  times.to_i.times do
    locks.with_lock(conversation, wait: 600, lifetime: 120) do |ticket|
      File.open(log, "a") { |file| file.syswrite("begin #{ticket.number} ruby\n") }
      sleep 0.05
      ticket.check!
      File.open(log, "a") { |file| file.syswrite("end #{ticket.number} ruby\n") }
    end
  end
  locks.close
end
