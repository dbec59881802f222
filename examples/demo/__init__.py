"""The demonstration: bot replicas, a real RabbitMQ, a real Redis, the daemon, and a verdict on what was recorded.

    __main__, options   the command line
    scenario            starts everything, kills and freezes replicas, ends everything
    replicas, replica   the replicas, as processes; one bot, in a process of its own
    faulty_daemon       a daemon that breaks the rules
    board, screen       what the public events tell, and how it is shown
    records, history    what is written down, and what it says about each call
    verdict, report     what is wrong with a history, and how that is told

Architecture invariant: board, history and verdict are pure; they are told what happened and ask nobody.
"""
