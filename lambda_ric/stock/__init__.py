"""
The stock runtime kept: AWS's own Python runtime, awslambdaric, serves the events, and what follows the answer is ours.

Loaded by ``import lambda_ric`` where that runtime is importing the function, and nowhere else.

    AWS's runtime, main thread                       the extension's threads
    ──────────────────────────                       ───────────────────────
    import of the function ── register, ask ──▶      (none yet)
    first poll: on_startup hooks
    event ──▶ before_invoke hooks, handler
              POST response or error, 202 read
              is there anything to do? ── no ──▶     asks for its next event, on the main thread
                                       ── yes ─▶     lambda_ric.extension     starts, watches and ends
    poll for the next event ...                      lambda_ric.after_response does it: `Serving.finish`
                                                     asks for its next event when that is done

Lambda freezes the environment, and sends it another event, when the runtime *and* every extension that is told of
invocations have asked for their next event. So an internal extension that does not ask holds the environment, while
the runtime itself goes on as it always does:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html#runtimes-lifecycle-invoke

**What is seen of the runtime** (`bootstrap`): its loop calls `handle_event_request`, which it looks up anew for each
event, and which returns when the answer has been posted, whether that was a response or an error. That is where ours
stands in between. It is found on the stack, above the import, so there is no doubt which runtime this is, nor that
registration is still open.

**Where its posts cannot be seen**, in a runtime made after AWS's, say, with a client of its own, ours stands before the
handler, which that runtime gets from the function's module: the work begins when the handler has returned.

**What ends an invocation** is the return of that function, by any way out of it; no message is sent by a handler, so
none can be missing or stale. The event that the extension is told is not waited for by a thread: it lies in the
connection until the work is done, is then read, compared with the invocation, and the next one is asked for. So no
thread of ours wakes up beside a handler, none is there before there was work, and a function that hands nothing over
never has one when it forks.

**What nobody can stop** (`carrier`): off the main thread there is no alarm. Coroutines are cancelled when their time
is up. A hook that hangs is waited for a little, then given up: what has a queue is handed over, the rest is named, and
the process ends, as one that was interrupted does.

**The end of the environment**: Lambda lets an internal extension know by SIGTERM only, and refuses it SHUTDOWN. The
main thread may be inside the C code of a poll then, where no handler of Python's runs. So Python is told to write the
number of each signal into a pipe (`wakeups`), which the extension's thread reads.

**Where Lambda takes no extension**, since there are ten already or the import came too late, the runtime's next poll is
held instead. On managed instances that serve many events at once there is no backend: see `bootstrap.attach`.
"""
