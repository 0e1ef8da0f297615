"""Runs one command and tells what it cost. As small as Python gets, because a process starts with the peak memory of
the one that started it: the figure of a small command would otherwise be that of the harness.

launch.py FD COMMAND...  writes the process id to FD at once, and CPU seconds, wall seconds, peak memory in KiB and the
exit code at the end.
"""

import os
import sys
import time

out, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(out, False)
start = time.perf_counter()
child = os.posix_spawnp(command[0], command, os.environ)
os.write(out, b"%d\n" % child)
_, status, usage = os.wait4(child, 0)
wall = time.perf_counter() - start
cpu = usage.ru_utime + usage.ru_stime
code = os.waitstatus_to_exitcode(status)
os.write(out, f"{cpu} {wall} {usage.ru_maxrss} {code}\n".encode())
