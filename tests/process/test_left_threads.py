"""Threads that are left behind: those that are at work are named, those that wait for work are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Serve

LEFT = "is still at work"


def test_thread_that_is_left_at_work_is_named_with_the_line_that_started_it(serve: Serve) -> None:
    """Once: it belongs to the invocation that started it."""
    served = serve(
        """
        import threading, time

        def handler(event, context):
            if event:
                threading.Thread(target=time.sleep, args=(30,), name="mailer", daemon=True).start()
        """,
        True,
        False,
    )

    (line,) = [line for line in served.lines if LEFT in line]
    assert "thread mailer, started at" in line
    assert "app.py:6" in line
    assert served.api.events[0].request_id in line


@pytest.mark.parametrize("work", ["wait_long", "time.sleep"])
def test_work_left_in_a_pool_is_named_too(serve: Serve, work: str) -> None:
    """By the line that made the pool's thread."""
    served = serve(
        f"""
        import threading, time
        from concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)

        def wait_long(seconds):
            time.sleep(seconds)

        def handler(event, context):
            future = pool.submit({work}, 1)
            while not future.running():
                time.sleep(0.001)
        """,
        None,
    )

    (line,) = [line for line in served.lines if LEFT in line]
    assert "app.py:10" in line


AT_WORK = {
    "sleeps": "threading.Thread(target=sleeping, daemon=True).start()",
    "sleeps in C": "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "computes": "threading.Thread(target=computing, daemon=True).start()",
    "computes beside another": "[threading.Thread(target=computing, daemon=True).start() for _ in range(2)]",
    "computes in C": "threading.Thread(target=hashing, daemon=True).start()",
    "waits for a child process": "threading.Thread(target=subprocess.run, args=(['sleep', '2'],), daemon=True).start()",
    "is a class": "Derived(daemon=True).start()",
    "a timer's work": "timed()",
    "work in a pool": "executor.submit(sleeping)",
    "work in a pool, in C": "executor.submit(time.sleep, 2)",
    "work in a pool of multiprocessing": "pool.apply_async(sleeping)",
    "work in a pool of multiprocessing, in C": "pool.apply_async(time.sleep, (2,))",
    "work of joblib": "threading.Thread(target=in_joblib, daemon=True).start()",
    "work of the event loop's pool": "asyncio.get_event_loop().run_in_executor(None, sleeping)",
}


@pytest.mark.parametrize("start", AT_WORK.values(), ids=AT_WORK)
def test_thread_that_computes_or_sleeps_is_named(serve: Serve, start: str) -> None:
    """Whoever's pool it is in: what is lost is the function's."""
    served = serve(
        f"""
        import asyncio, hashlib, multiprocessing.pool, subprocess, sys, threading, time
        from concurrent.futures import ThreadPoolExecutor

        begun = threading.Event()

        def sleeping():
            begun.set()
            time.sleep(2)

        def computing():
            begun.set()
            until = time.monotonic() + 2
            while time.monotonic() < until:
                pass

        def hashing():
            begun.set()
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000)

        class Derived(threading.Thread):
            def run(self):
                sleeping()

        def timed():
            timer = threading.Timer(0, sleeping)
            timer.daemon = True
            timer.start()

        def in_joblib():
            from joblib import Parallel, delayed
            Parallel(n_jobs=2, backend="threading")(delayed(sleeping)() for _ in range(2))

        def handler(event, context):
            global executor, pool
            executor, pool = ThreadPoolExecutor(1), multiprocessing.pool.ThreadPool(1)
            {start}
            # What says nothing of itself is given the time to begin.
            begun.wait(0.1 if "time.sleep" in {start!r} or "subprocess" in {start!r} else 20)

        if "pbkdf2" in {start!r}:
            import _hashlib
        """,
        None,
    )

    assert LEFT in served.stdout


IDLE = {
    "Condition": "waits(condition)",
    "Condition, for a while": "waits(lambda: condition_for_a_while())",
    "Event": "waits(threading.Event().wait)",
    "Event, for a while": "waits(lambda: threading.Event().wait(60))",
    "Lock": "lock = threading.Lock(); lock.acquire(); kept.append(lock); waits(lock.acquire)",
    "Semaphore": "waits(threading.Semaphore(0).acquire)",
    "Barrier": "waits(threading.Barrier(2).wait)",
    "Timer": "timer = threading.Timer(60, print); timer.daemon = True; timer.start()",
    "Queue": "waits(queue.Queue().get)",
    "Queue, for a while": "waits(lambda: queue.Queue().get(timeout=60))",
    "SimpleQueue": "waits(queue.SimpleQueue().get)",
    "SimpleQueue, for a while": "waits(lambda: queue.SimpleQueue().get(timeout=60))",
    "PriorityQueue": "waits(queue.PriorityQueue().get)",
    "QueueListener": "logging.handlers.QueueListener(queue.SimpleQueue()).start()",
    "multiprocessing.Queue": "q = multiprocessing.Queue(); q.put(1); q.get(); kept.append(q)",
    "multiprocessing.SimpleQueue": "q = multiprocessing.SimpleQueue(); kept.append(q); waits(q.get)",
    "multiprocessing.Pipe": "ends = multiprocessing.Pipe(); kept.append(ends); waits(ends[0].recv)",
    "multiprocessing pool": "pool = multiprocessing.get_context('fork').Pool(1); pool.apply(int); kept.append(pool)",
    "pool of threads of multiprocessing": "pool = ThreadPool(2); pool.apply(int); kept.append(pool)",
    "ThreadPoolExecutor": "pool = ThreadPoolExecutor(2); pool.submit(int).result(); kept.append(pool)",
    "pool of the event loop": "asyncio.get_event_loop().run_until_complete(asyncio.to_thread(int))",
    "event loop": "loop = asyncio.new_event_loop(); kept.append(loop); waits(loop.run_forever)",
    "selector": "ends = socket.socketpair(); kept.append(ends); waits(lambda: select.select([ends[0]], [], []))",
    "poll": "waits(lambda: select.poll().poll(60_000))",
    "socket": "ends = socket.socketpair(); kept.append(ends); waits(lambda: ends[0].recv(1))",
    "server": "waits(socket.create_server(('127.0.0.1', 0)).accept)",
    "socketserver": "waits(socketserver.TCPServer(('127.0.0.1', 0), socketserver.BaseRequestHandler).serve_forever)",
    "pipe": "ends = os.pipe(); waits(lambda: os.read(ends[0], 1))",
    "Sentry": "sentry()",
    "OpenTelemetry, spans": "opentelemetry_spans()",
    "OpenTelemetry, metrics": "opentelemetry_metrics()",
    "PyMongo": "mongo()",
    "joblib": "in_joblib()",
}


@pytest.mark.parametrize("start", IDLE.values(), ids=IDLE)
def test_thread_that_waits_is_not_named(serve: Serve, start: str) -> None:
    """For a lock, a queue, a pipe, a socket; nor do helpers of libraries that sleep between two looks."""
    served = serve(
        f"""
        import asyncio, logging.handlers, multiprocessing, multiprocessing.pool, os, queue, select, socket, socketserver
        import threading, time
        from concurrent.futures import ThreadPoolExecutor
        from multiprocessing.pool import ThreadPool

        kept = []

        def waits(call):
            before = set(threading.enumerate())
            threading.Thread(target=call, daemon=True).start()
            stand_still(set(threading.enumerate()) - before)

        def stand_still(threads):
            for thread in threads:
                seen = 0
                while seen < 10 and thread.is_alive():
                    try:
                        with open(f"/proc/self/task/{{thread.native_id}}/stat") as file:
                            seen = seen + 1 if file.read().rpartition(")")[2].split()[0] == "S" else 0
                    except (FileNotFoundError, ProcessLookupError):
                        pass  # it ends
                    time.sleep(0.001)

        def condition():
            condition = threading.Condition()
            with condition:
                condition.wait()

        def condition_for_a_while():
            condition = threading.Condition()
            with condition:
                condition.wait(60)

        def sentry():
            import sentry_sdk
            sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", auto_enabling_integrations=False)
            sentry_sdk.capture_message("x")
            sentry_sdk.flush(20)

        def opentelemetry_spans():
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
            provider = TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(SpanExporter()))
            kept.append(provider)

        def opentelemetry_metrics():
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
            class Exporter(MetricExporter):
                def export(self, *_, **__): pass
                def force_flush(self, *_, **__): pass
                def shutdown(self, *_, **__): pass
            kept.append(MeterProvider([PeriodicExportingMetricReader(Exporter())]))

        def mongo():
            import pymongo
            client = pymongo.MongoClient("127.0.0.1", 1, serverSelectionTimeoutMS=100)
            kept.append(client)
            try:
                client.admin.command("ping")
            except pymongo.errors.PyMongoError:
                pass

        def in_joblib():
            from joblib import Parallel, delayed
            Parallel(n_jobs=2, backend="threading")(delayed(int)() for _ in range(2))

        def handler(event, context):
            {start}
            stand_still(threading.enumerate()[1:])
        """,
        None,
        None,
        env={"LAMBDA_RIC_CHILDREN": "ignore"},
    )

    assert [post.name for post in served.posts] == ["response"] * 2, served
    assert LEFT not in served.stdout


def test_helper_of_a_library_in_the_functions_package_is_not_named(serve: Serve, tmp_path: Path) -> None:
    """A zip has its dependencies beside the function's modules: each says which files it has."""
    (tmp_path / "driver.py").write_text(
        "import threading, time\n\ndef monitor():\n    while True:\n        time.sleep(60)\n\n"
        "def connect():\n    threading.Thread(target=monitor, daemon=True).start()\n"
    )
    (tmp_path / "driver-1.0.dist-info").mkdir()
    (tmp_path / "driver-1.0.dist-info" / "RECORD").write_text("driver.py,sha256=x,1\ndriver-1.0.dist-info/RECORD,,\n")
    (tmp_path / "own.py").write_text((tmp_path / "driver.py").read_text())
    source = """
        import time, {module}

        def handler(event, context):
            {module}.connect()
            time.sleep(0.05)
        """

    assert LEFT not in serve(source.format(module="driver"), None).stdout
    assert LEFT in serve(source.format(module="own"), None).stdout


def test_helper_of_a_library_that_is_between_two_jobs_is_not_named(serve: Serve, tmp_path: Path) -> None:
    """As AnyIO's threads are for a moment, after the answer: they have told that a job is done, and run still."""
    (tmp_path / "busy.py").write_text(
        "import threading\n\n\ndef spin():\n    while True:\n        pass\n\n\n"
        "def start():\n    threading.Thread(target=spin, daemon=True).start()\n"
    )
    (tmp_path / "busy-1.0.dist-info").mkdir()
    (tmp_path / "busy-1.0.dist-info/RECORD").write_text("busy.py,,\n")
    served = serve("import busy\n\ndef handler(event, context):\n    busy.start()\n", None)

    assert LEFT not in served.stdout


def test_thread_of_the_module_or_one_that_has_ended_is_not_named(serve: Serve) -> None:
    """It belongs to no invocation, or is not there any more."""
    served = serve(
        """
        import threading, time

        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()

        def handler(event, context):
            thread = threading.Thread(target=len, args=("",))
            thread.start()
            thread.join()
        """,
        None,
    )

    assert LEFT not in served.stdout
