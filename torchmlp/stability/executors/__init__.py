"""Who trains a map's tasks: each executor's `run` yields a task's results as they are there.

pool    processes on this machine
ray     a Ray cluster, or a local one

Cells come out the same in all of them; see `torchmlp.stability.map.task`.
"""
