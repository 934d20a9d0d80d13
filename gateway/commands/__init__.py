"""The `reelmill` command, by subject. `gateway/cli.py` puts them together.

    arguments.py  types of arguments
    exits.py      exit codes, and how an error is shown
    stay.py       up, dispatcher, gateway: processes that stay
    send.py       submit: files to a farm, by its API
    convert.py    demo, transcode: a farm of one's own for as long as it takes
    jobs.py       jobs, explain, cancel
    operate.py    dead, pause, resume, boost, nodes, drain: an operator's, on the database
    tools.py      token, doctor, test

Heavy imports are inside the commands, so that `--help` is quick.
"""
