"""The demonstration: bot replicas, a real RabbitMQ, a real Redis, the daemon, and a verdict on what was recorded.

    __main__, options   the command line
    conductor           starts everything, hurts two replicas, ends everything       troupe    the replicas, as processes
    replica             one bot, in a process of its own                             rogue     a daemon that misbehaves
    board, screen       what the public events tell, and how it is shown
    records, history    what is written down, and what it says about each call
    verdict, report     what is wrong with a history, and how that is told

Architecture invariant: board, history and verdict are pure; they are told what happened and ask nobody.
"""
