"""
Many events at once in one environment, on Lambda Managed Instances. Loaded there only.

**Who is there.** The main process is the `supervisor`: it forks the workers, and loads nothing of the function's. A
worker is a process that loads the function and serves one or many slots; a slot is the place of one event at a time.
`plan` says how many workers have how many slots, for AWS's words *process*, *thread* and *hybrid*, and our *async*.

    supervisor ─fork─▶ worker: one slot     the ordinary loop of `runtime`, with a record in the `ledger`
               ─fork─▶ worker: many slots   a `pool` of `pollers`, threads, or of `loop_pollers`, on one loop

**What the platform does here** (measured with AWS's emulator,
https://github.com/aws/aws-lambda-runtime-interface-emulator, internal/lambda-managed-instances): so many polls as there
are slots wait for events, which are over with their responses. Nothing is frozen, and nothing is reset after an error
or a timeout: the caller is told, and the code runs on. The end of the main process is the end of the environment, that
of a child is not.

**A worker that dies** has written into shared memory, the `ledger`, which request each of its slots was at. The
supervisor answers those, and forks another worker, as fresh as a new environment. Slots that had asked for an event
have a connection that is the supervisor's as well: it stays open, and the new worker reads the event from it. Else the
platform, which does not notice, would give the next events to nobody.

**Nothing is interrupted in a thread.** A signal reaches the main thread alone, and a coroutine that is cancelled among
others leaves a half-read connection to them. So where invocations share a process a handler whose time is up is left to
its end: its caller is told, another thread takes its slot and finishes the invocation, and what it returns goes
nowhere (`watch`, `pool`). Nothing is left half-done, so the process need not be replaced, as it is where something was
interrupted. Only when as many handlers as there are slots run late does it leave, and another one takes its place.

**Nothing is process-wide.** Which invocation code belongs to is a context variable, in threads and tasks as well; the
variable for the trace id is not set where events share a process; lines that are printed say whose they are (`lines`).
"""
