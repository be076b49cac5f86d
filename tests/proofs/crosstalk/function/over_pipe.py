import subprocess
import sys

from exchanges import over

PEER = """
import sys, time
for line in sys.stdin:
    time.sleep(0.003)
    print("secret of", line, end="", flush=True)
"""
worker = subprocess.Popen([sys.executable, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@over
def handler(who):
    worker.stdin.write(f"{who}\n")
    worker.stdin.flush()
    return worker.stdout.readline().strip()
