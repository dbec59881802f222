"""`python -m tests.fleet [--seconds N] [--seed N] [--store ...]`: many daemons that die all the while, for as long as you like.

Exit code: 0 all is well, 1 a fault was found, 130 broken off with Ctrl-C.
"""

import argparse
import asyncio
import random
import sys
from pathlib import Path
from typing import Any

from harness import RedisServer, Workplace, workplace
from tests.fleet.chaos import Site
from tests.fleet.load import Work
from tests.fleet.run import Plan, configured, run
from tests.fleet.table import table

NAMESPACE = "fleet"


async def store(name: str, place: Workplace) -> tuple[dict[str, Any], list[RedisServer]]:
    """Start the store's servers, and give its options and them."""
    if name == "cluster":
        cluster = await place.redis_cluster()
        options = {"type": "concurrent_redis", "deployment_mode": "cluster", "endpoints": cluster.endpoints}
        return options, cluster.nodes
    redis = await place.redis()
    return {"type": name, "host": redis.host, "port": redis.port}, [redis]


async def main(given: argparse.Namespace) -> int:
    work = Work(given.conversations, given.partitions, given.publishers, given.rate)
    plan = Plan(
        given.seconds,
        given.seed,
        given.daemons,
        is_calm=given.calm,
        kill_every_s=given.kill_every,
        is_hostile=given.hostile or given.hostile_turns is not None,
        hostile_turn_s=given.hostile_turns,
        work=work,
    )
    print(f"seed {plan.seed}; the same again: python -m tests.fleet {' '.join(sys.argv[1:])}", flush=True)
    async with workplace() as place:
        rabbitmq = await place.rabbitmq()
        options, servers = await store(given.store, place)
        folder = given.keep or place.folder
        site = Site(configured(rabbitmq, NAMESPACE, options, work), servers, folder)
        outcome = await run(site, plan, lambda line: print(line, flush=True))
    if given.keep:
        messages = (*outcome.history.published, *outcome.history.heard)
        (folder / "history.txt").write_text("".join(f"{message}\n" for message in messages))
    print(table(outcome), flush=True)
    return 0 if outcome.is_well else 1


def parse() -> argparse.Namespace:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=__doc__)
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="of load (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of what befalls the daemons")
    parser.add_argument("--store", choices=["concurrent_redis", "redis", "cluster"], default="concurrent_redis")
    parser.add_argument("--daemons", type=int, default=plan.daemons, help="default: %(default)s")
    parser.add_argument("--partitions", type=int, default=plan.work.partitions, help="default: %(default)s")
    parser.add_argument("--conversations", type=int, default=plan.work.conversations, help="default: %(default)s")
    parser.add_argument("--publishers", type=int, default=plan.work.publishers, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=plan.work.rate, help="requests a second (default: %(default)g)")
    parser.add_argument("--calm", action="store_true", help="nothing befalls the daemons")
    parser.add_argument("--hostile", action="store_true", help="a hostile sender is there all the while")
    parser.add_argument(
        "--hostile-turns", type=float, metavar="S", help="it sends and rests by turns of S seconds, which are compared"
    )
    parser.add_argument("--kill-every", type=float, metavar="S", help="only this: a daemon is killed every S seconds")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where the daemons' logs and the history are to stay"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(parse())))
