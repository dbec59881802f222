<?php
// A short client of lockstore for PHP, over php-amqplib (Debian: php-amqplib). docs/protocol.md has the whole format.
//
//   $locks = new Lockstore('localhost', 5672, 'guest', 'guest');
//   $locks->withLock('user-42', fn (Ticket $ticket) => $database->write($answer, $ticket->number));
//
// PHP does one thing at a time: nothing renews the lease while you work. Choose a lifetime that is long enough, or call
// $ticket->renew() between the steps of your work; and $ticket->check() before each write.

declare(strict_types=1);

require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPExceptionInterface;
use PhpAmqpLib\Exception\AMQPTimeoutException;
use PhpAmqpLib\Message\AMQPMessage;

class LockError extends RuntimeException {}
class LockLost extends LockError {}
class StartOver extends LockError {}
class Undelivered extends RuntimeException {}

function now(): float
{
    return hrtime(true) / 1e9; // monotonic
}

final class Ticket
{
    public function __construct(public readonly int $number, public float $until, private readonly Closure $renewal) {}

    public function check(): void
    {
        if (now() >= $this->until) {
            throw new LockLost("ticket $this->number: the lease has ended");
        }
    }

    public function renew(): void
    {
        ($this->renewal)($this);
    }
}

final class Lockstore
{
    private const GRACE = 5.0; // seconds; the daemon decides when the wait is over, and its answer takes a moment
    private const PATIENCE = 10.0; // seconds for the answer to a renewal or a release

    private ?AMQPStreamConnection $connection = null;
    private $channel = null;
    private string $queue = '';
    private array $answers = [];
    private bool $returned = false;

    public function __construct(
        private readonly string $host,
        private readonly int $port,
        private readonly string $user,
        private readonly string $password,
        private readonly string $vhost = '/',
        private readonly string $namespace = 'lockstore',
        private int $partitions = 1,
    ) {}

    public function withLock(string $conversation, callable $work, float $wait = 60, float $lifetime = 60): mixed
    {
        [$id, $ticket] = $this->acquire($conversation, $wait, $lifetime);
        try {
            $result = $work($ticket);
            $ticket->check();
            return $result;
        } finally {
            $this->release($conversation, $id, $lifetime);
        }
    }

    public function close(): void
    {
        try {
            $this->connection?->close();
        } catch (Throwable) {
        }
        $this->connection = null;
    }

    /** Returns the request id and the ticket. */
    private function acquire(string $conversation, float $wait, float $lifetime): array
    {
        $deadline = now() + $wait;
        while (true) {
            $id = bin2hex(random_bytes(16));
            try {
                return [$id, $this->request($conversation, $id, $deadline, $lifetime)];
            } catch (StartOver $ended) {
                if (now() >= $deadline) {
                    throw $ended;
                }
            } catch (AMQPTimeoutException $error) {
                $this->release($conversation, $id, $lifetime); // also a grant that is under way
                throw new LockError("no answer in time ({$error->getMessage()}); is a daemon running?");
            }
        }
    }

    private function request(string $conversation, string $id, float $deadline, float $lifetime): Ticket
    {
        $body = ['type' => 'request', 'conversation_id' => $conversation, 'request_id' => $id, 'lifetime' => $lifetime,
            'wait' => max(0, $deadline - now()), 'holder' => 'php ' . getmypid()];
        $first = null;
        $times = 0;
        $answer = $this->persist($deadline + self::GRACE, function () use ($body, $deadline, &$first, &$times) {
            $first ??= now();
            $times++;
            $this->publish($body, $body['request_id']);
            return $this->await($body, $deadline + self::GRACE, fn ($found) => $found['type'] !== 'queued');
        });
        if ($answer['type'] !== 'granted') {
            throw $this->refusal($answer);
        }
        // A second request may find a lease that began long ago: `waited` does not lead back to the first one then.
        $until = $first + ($times === 1 ? $answer['waited'] : 0) + $answer['expires_at'] - $answer['at'];
        $ticket = new Ticket($answer['ticket_number'], $until, fn (Ticket $ticket) => $this->renew($conversation, $id, $ticket));
        if ($until < now() + $lifetime / 10) {
            $ticket->renew();
        }
        return $ticket;
    }

    private function renew(string $conversation, string $id, Ticket $ticket): void
    {
        $body = ['type' => 'renew', 'conversation_id' => $conversation, 'request_id' => $id];
        $sent = 0.0;
        try {
            $answer = $this->persist(max($ticket->until, now() + self::PATIENCE), function () use ($body, &$sent) {
                $tag = bin2hex(random_bytes(16));
                $sent = now();
                $this->publish($body, $tag);
                return $this->await($body, $sent + self::PATIENCE, fn ($found, $correlation) => $correlation === $tag);
            });
        } catch (AMQPTimeoutException) {
            throw new LockLost("ticket $ticket->number: nobody answered its renewal");
        }
        if ($answer['type'] !== 'renewed') {
            $ticket->until = 0;
            throw $this->refusal($answer);
        }
        $ticket->until = max($ticket->until, $sent + $answer['expires_at'] - $answer['at']);
    }

    /** Safe to repeat. It ends a lease, and takes a waiting request out of the line. */
    private function release(string $conversation, string $id, float $lifetime): void
    {
        $body = ['type' => 'release', 'conversation_id' => $conversation, 'request_id' => $id];
        $ends = ['released', 'cancelled', 'expired', 'rejected'];
        try {
            $this->persist(now() + max($lifetime, self::PATIENCE), function () use ($body, $ends, $id) {
                $this->publish($body, $id);
                return $this->await($body, now() + self::PATIENCE, fn ($found) => in_array($found['type'], $ends, true));
            });
        } catch (AMQPTimeoutException) {
            // the lease has ended by itself
        }
    }

    private function refusal(array $answer): LockError
    {
        $reason = $answer['reason'] ?? $answer['phase'] ?? '';
        $text = implode(', ', array_filter([$answer['type'], $reason, $answer['detail'] ?? '']));
        return in_array($reason, ['finished', 'unreachable', 'held'], true) ? new StartOver($text) : new LockError($text);
    }

    /** Repeats what fails, with a new connection and reply queue, until it succeeds. */
    private function persist(float $deadline, callable $step): array
    {
        while (true) {
            try {
                $this->connect();
                return $step();
            } catch (AMQPExceptionInterface | Undelivered $error) {
                if (now() >= $deadline) {
                    throw new AMQPTimeoutException($error->getMessage());
                }
                if (!$error instanceof Undelivered) {
                    $this->close();
                }
                usleep(random_int(100_000, 500_000));
            }
        }
    }

    private function connect(): void
    {
        if ($this->connection?->isConnected() && $this->channel->is_open()) {
            return;
        }
        $this->close();
        $this->answers = [];
        $this->connection = new AMQPStreamConnection($this->host, $this->port, $this->user, $this->password, $this->vhost);
        $this->channel = $this->connection->channel();
        $this->channel->confirm_select();
        $this->channel->set_nack_handler(fn () => $this->returned = true);
        $this->channel->set_return_listener(fn () => $this->returned = true);
        $this->queue = $this->namespace . '.replies.' . bin2hex(random_bytes(16));
        $this->channel->queue_declare($this->queue, false, false, true, true);
        $hear = function (AMQPMessage $message): void {
            $this->answers[] = [json_decode($message->getBody(), true), $message->get_properties()['correlation_id'] ?? null];
        };
        $this->channel->basic_consume($this->queue, '', false, true, true, false, $hear);
    }

    private function publish(array $body, string $correlation): void
    {
        $key = (string) (crc32($body['conversation_id']) % $this->partitions);
        $properties = ['delivery_mode' => 2, 'reply_to' => $this->queue, 'correlation_id' => $correlation, 'content_type' => 'application/json'];
        $this->returned = false;
        $message = new AMQPMessage(json_encode($body, JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION | JSON_THROW_ON_ERROR), $properties);
        $this->channel->basic_publish($message, $this->namespace . '.requests', $key, true);
        $this->channel->wait_for_pending_acks_returns(self::PATIENCE);
        if ($this->returned) {
            throw new Undelivered('no such partition now');
        }
    }

    /** Returns the first answer to this request that is wanted. */
    private function await(array $body, float $deadline, callable $wanted): array
    {
        while (true) {
            while ($next = array_shift($this->answers)) {
                [$found, $correlation] = $next;
                if (($found['conversation_id'] ?? $body['conversation_id']) !== $body['conversation_id'] || $found['request_id'] !== $body['request_id']) {
                    continue;
                }
                if (($found['reason'] ?? '') === 'wrong_partition') {
                    $this->partitions = $found['partitions'];
                    throw new Undelivered('sent to the wrong partition');
                }
                if ($wanted($found, $correlation)) {
                    return $found;
                }
            }
            $this->channel->wait(null, false, max($deadline - now(), 0.001));
        }
    }
}

// php lockstore.php HOST PORT NAMESPACE user-42 3 log.txt
if (realpath($_SERVER['SCRIPT_FILENAME'] ?? '') === __FILE__) {
    [, $host, $port, $namespace, $conversation, $times, $log] = $argv;
    $locks = new Lockstore($host, (int) $port, 'guest', 'guest', namespace: $namespace);
    for ($time = 0; $time < (int) $times; $time++) {
        $locks->withLock($conversation, function (Ticket $ticket) use ($log): void {
            file_put_contents($log, "begin $ticket->number php\n", FILE_APPEND);
            usleep(50_000);
            $ticket->check();
            file_put_contents($log, "end $ticket->number php\n", FILE_APPEND);
        }, wait: 600, lifetime: 120);
    }
    $locks->close();
}
