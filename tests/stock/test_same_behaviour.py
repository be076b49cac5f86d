"""
The suite of both backends: tests that are written for our own runtime, run on AWS's with the fixtures of this folder.

What is not in this list differs on purpose, and stands in the table of docs/stock-runtime.md; or it is about the
process, the log or the calls to the Runtime API, which are AWS's then.
"""

from __future__ import annotations

# ruff: noqa: F401
from tests.background.test_drain import (
    test_abandoned_thread_is_waited_for_at_the_next_drain_and_logs_as_of_its_own_invocation,
    test_coroutines_end_in_time_also_where_nothing_can_be_interrupted,
    test_loop_that_cannot_be_run_fails_its_work_and_not_the_drain,
    test_summary_is_one_event_of_json,
    test_summary_is_one_line_of_text,
    test_summary_names_the_first_twenty_only,
    test_system_exit_of_a_task_that_was_not_handed_over_is_logged,
    test_thread_that_hangs_is_waited_for_once_only,
    test_unknown_deadline_ends_no_work,
    test_whatever_work_raises_is_logged_once_and_stops_nothing,
)
from tests.background.test_orphans import (
    test_adopted_orphan_ends_in_time,
    test_adopted_orphan_that_fails_is_logged_once,
    test_children_of_an_earlier_invocations_orphan_are_not_the_later_ones,
    test_orphan_is_adopted_where_that_is_wanted,
    test_orphan_is_cancelled_where_that_is_wanted,
    test_orphan_is_named_once,
    test_orphan_is_named_with_the_line_that_made_it,
    test_orphan_of_an_attempt_is_not_another_attempts,
    test_orphan_that_ignores_its_cancellation_does_not_hang_the_loop,
    test_task_of_the_start_is_no_orphan,
    test_task_that_is_about_to_end_is_no_orphan,
)
from tests.background.test_report import test_metrics_are_documents_in_the_log_that_cloudwatch_reads
from tests.process.test_exhaustion import test_threads_that_have_ended_after_all_are_free_again
from tests.process.test_freeze import (
    test_after_thaw_runs_first_in_every_invocation_but_the_first,
    test_before_freeze_has_its_turn_when_the_work_took_all_the_time,
    test_failing_after_thaw_is_logged_and_fails_nothing,
    test_failing_before_freeze_is_logged_and_the_next_one_runs,
    test_hanging_after_thaw_is_a_timeout_of_the_handler,
)
from tests.process.test_replacement import test_process_is_kept_where_its_author_says_so
from tests.test_asgi import test_log_mentions_the_rest_only_when_there_was_any
from tests.test_event_loop import (
    test_loop_closed_with_work_on_it_fails_that_work_only,
    test_one_loop_lives_as_long_as_the_environment,
    test_system_exit_of_a_task_beside_the_handler_does_not_end_the_process,
)
from tests.test_hooks import (
    test_before_hook_that_fails_fails_the_invocation,
    test_context_variables_that_a_hook_before_sets_reach_the_handler_and_the_hooks_after,
    test_everything_runs_in_its_order,
    test_failing_after_hook_stops_neither_its_successor_nor_the_loop,
    test_startup_runs_once_and_before_the_first_poll,
    test_startup_that_fails_is_an_init_error,
)
from tests.test_runtime import test_repeated_request_id_is_an_invocation_of_its_own
from tests.test_synchronous import test_request_id_is_in_the_log_of_the_coroutine
